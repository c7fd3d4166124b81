"""A node agent on the real kernel: pods reach each other, outlive the agent, and leave nothing behind."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fairway.kernel.base import Bridge, DeviceAddress, LinkState
from fairway.kernel.linux import netns
from fairway.kernel.linux.links import LinuxLinks
from fairway.pods.errors import NotFound
from fairway.pods.exec import find_pod, run_in_pod
from fairway.pods.records import sandbox_pids

pytestmark = pytest.mark.kernel
ROOT = Path(__file__).parents[2]
Object = dict[str, Any]


class Node:
    """A node in a namespace of its own; its agent can be started, killed and started again."""

    def __init__(self, name: str, state_dir: Path) -> None:
        self.name, self.state_dir = name, state_dir
        self.pods: dict[str, Object] = {}
        self.events: list[Object] = []
        self.said: list[tuple[str, str]] = []  # (pod, its Ready condition) of each write
        self.process: subprocess.Popen[str] | None = None
        LinuxLinks(netns.create(name)).apply(
            LinkState(bridges=(Bridge("eth0", 1500),), addresses=(DeviceAddress("eth0", "10.0.0.11/24"),))
        )

    def start(self) -> None:
        settings = {"netns": self.name, "state_dir": str(self.state_dir), "pods": list(self.pods.values())}
        self.lines: queue.Queue[Object] = queue.Queue()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.kernel.pods_node", json.dumps(settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        threading.Thread(target=self._read, args=(self.process, self.lines), daemon=True).start()

    def _read(self, process: subprocess.Popen[str], lines: queue.Queue[Object]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            lines.put(json.loads(line))

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()
        self.drain()

    def drain(self) -> None:
        while not self.lines.empty():
            self._take(self.lines.get())

    def _take(self, message: Object) -> None:
        obj = message["object"]
        if obj["kind"] == "Pod":
            self.pods[obj["metadata"]["name"]] = obj
            self.said.append((obj["metadata"]["name"], self.condition(obj["metadata"]["name"], "Ready")))
            if message["event"] == "DELETED":
                del self.pods[obj["metadata"]["name"]]
        elif obj["kind"] == "Event":
            self.events.append(obj)

    def until(self, condition: Callable[[], bool], seconds: float = 15.0) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            try:
                self._take(self.lines.get(timeout=max(0.0, deadline - time.monotonic())))
            except queue.Empty:
                raise AssertionError(f"did not come about; pods: {json.dumps(self.pods)}") from None

    def order(self, **order: Any) -> None:
        assert self.process is not None and self.process.stdin is not None
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()

    def create(self, name: str, **spec: Any) -> None:
        container: Object = {"name": "web", "image": "httpd", "ports": [{"containerPort": 80}]}
        container["readinessProbe"] = {"httpGet": {"port": 80, "path": "/healthz"}}
        spec = {"nodeName": "node-x", "containers": [container], **spec}
        self.order(put={"kind": "Pod", "metadata": {"name": name, "namespace": "default"}, "spec": spec})

    def delete(self, name: str, grace: int = 5) -> None:
        pod = self.pods[name]
        mark = {"deletionTimestamp": "2026-01-01T00:00:00Z", "deletionGracePeriodSeconds": grace}
        self.order(put={**pod, "metadata": {**pod["metadata"], **mark}})

    def ready(self, *names: str) -> bool:
        return all(self.condition(name, "Ready") == "True" for name in names)

    def condition(self, name: str, kind: str) -> str:
        conditions = self.pods.get(name, {}).get("status", {}).get("conditions", [])
        return next((c["status"] for c in conditions if c["type"] == kind), "")

    def container(self, name: str) -> Object:
        status: Object = self.pods[name]["status"]["containerStatuses"][0]
        return status

    def address(self, name: str) -> str:
        return str(self.pods[name]["status"]["podIP"])

    def run(self, name: str, *argv: str, env: dict[str, str] | None = None) -> tuple[int, str]:
        reading, writing = os.pipe()
        try:
            code = run_in_pod(find_pod(self.state_dir, "default", name), argv, env=env, streams=(0, writing, writing))
        finally:
            os.close(writing)
        with os.fdopen(reading) as output:
            return code, output.read()

    def get(self, address: str, path: str) -> str:
        with netns.entered(netns.path(self.name)):
            handle = socket.create_connection((address, 80), timeout=5)
        with handle:
            handle.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
            answer = b"".join(iter(lambda: handle.recv(4096), b""))
        return answer.partition(b"\r\n\r\n")[2].decode().strip()

    def links(self) -> set[str]:
        return {i.name for i in LinuxLinks(netns.path(self.name)).interfaces() if i.name.startswith("veth")}

    def remove(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        for pid in sandbox_pids(self.state_dir):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        netns.delete(self.name)


def lives(pid: int) -> bool:
    """Whether a process runs; one that only waits to be reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    made = Node(f"fwt-{os.getpid()}-pods", tmp_path / "state")
    made.state_dir.mkdir(mode=0o700)
    try:
        made.start()
        yield made
    finally:
        made.remove()


def test_pods_reach_each_other_and_see_their_own_world(node: Node) -> None:
    node.create("a")
    node.create("b", hostname="bee", subdomain="hive")
    node.until(lambda: node.ready("a", "b"))
    a, b = node.address("a"), node.address("b")
    assert {a, b} == {"10.244.7.2", "10.244.7.3"}
    assert node.get(a, "/hostname") == "a"
    assert node.get(b, "/clientip").startswith("10.244.7.1:")
    fetch = "exec 3<>/dev/tcp/$0/80; printf 'GET /clientip HTTP/1.0\\r\\n\\r\\n' >&3; cat <&3"
    code, answer = node.run("a", "bash", "-c", fetch, b)
    assert (code, answer.splitlines()[-1].partition(":")[0]) == (0, a)
    assert node.run("b", "hostname") == (0, "bee\n")
    assert "bee.hive.default.svc.cluster.local" in node.run("b", "cat", "/etc/hosts")[1]
    resolv = "search default.svc.cluster.local svc.cluster.local cluster.local\nnameserver 10.96.0.10\n"
    assert node.run("a", "cat", "/etc/resolv.conf")[1].startswith(resolv.splitlines()[0])
    assert "nameserver 10.96.0.10\n" in node.run("a", "cat", "/etc/resolv.conf")[1]
    assert node.run("a", "sh", "-c", "readlink /proc/self; cat /proc/1/comm")[0] == 0
    assert any(event["reason"] == "StandIn" for event in node.events)


def test_volumes_are_not_passed_over_in_silence(node: Node) -> None:
    mount = {"name": "data", "mountPath": "/data"}
    node.create(
        "a", containers=[{"name": "web", "image": "pause", "volumeMounts": [mount]}], volumes=[{"name": "data"}]
    )
    node.until(lambda: any(event["reason"] == "VolumesNotMounted" for event in node.events))
    [said] = [event["message"] for event in node.events if event["reason"] == "VolumesNotMounted"]
    assert "container web does without data at /data" in said


def test_an_ephemeral_container_is_said_not_to_run(node: Node) -> None:
    node.create("a")
    node.until(lambda: node.ready("a"))
    pod = node.pods["a"]
    node.order(put={**pod, "spec": {**pod["spec"], "ephemeralContainers": [{"name": "debug", "image": "busybox"}]}})
    node.until(lambda: any("Ephemeral container debug is not run" in event["message"] for event in node.events))
    assert node.container("a")["restartCount"] == 0 and node.ready("a")


def test_exec_has_the_containers_environment_and_tells_its_exit_code(node: Node) -> None:
    node.create("a", containers=[{"name": "web", "image": "pause", "env": [{"name": "MINE", "value": "$(HERE)!"}]}])
    node.until(lambda: node.ready("a"))
    assert node.run("a", "sh", "-c", 'echo "$MINE $EXTRA"; exit 7', env={"EXTRA": "more"}) == (7, "$(HERE)! more\n")
    with pytest.raises(NotFound):
        node.run("nobody", "true")


def test_the_agent_may_be_killed_and_loses_nothing(node: Node) -> None:
    node.create("a")
    ticking = "i=0; while :; do i=$((i+1)); echo tick $i; sleep 0.05; done"
    node.create("b", containers=[{"name": "web", "image": "busybox", "command": ["sh", "-c", ticking]}])
    node.create("c", containers=[{"name": "web", "command": ["sh", "-c", "sleep 0.3; exit 3"]}], restartPolicy="Never")
    node.until(lambda: node.ready("a", "b", "c"))
    address, sandboxes, started = node.address("a"), sorted(sandbox_pids(node.state_dir)), node.container("b")["state"]
    node.kill()
    assert node.get(address, "/hostname") == "a"
    log = node.state_dir / "pods" / node.pods["b"]["metadata"]["uid"] / "logs/web/0.log"
    size = log.stat().st_size
    exited = node.state_dir / "pods" / node.pods["c"]["metadata"]["uid"] / "state.json"
    deadline = time.monotonic() + 10
    while json.loads(exited.read_text())["containers"]["web"]["exited"] is None or log.stat().st_size == size:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    node.said.clear()
    node.start()
    node.until(lambda: node.pods["c"]["status"]["phase"] == "Failed")
    assert node.container("c")["state"]["terminated"]["exitCode"] == 3
    assert node.ready("a", "b")
    assert node.container("b")["state"] == started
    assert node.address("a") == address
    assert set(sandbox_pids(node.state_dir)) <= set(sandboxes)
    node.create("d")
    node.until(lambda: node.ready("d"))
    assert node.address("d") not in {node.address("a"), node.address("b"), node.address("c")}
    assert node.container("a")["restartCount"] == 0
    assert ("a", "False") not in node.said


def test_a_deleted_pod_leaves_no_process_link_or_file(node: Node) -> None:
    stubborn = "trap '' TERM; while :; do sleep 1; done"
    node.create("a")
    node.create("b", containers=[{"name": "web", "command": ["bash", "-c", stubborn]}])
    node.until(lambda: node.ready("a", "b"))
    assert len(node.links()) == 2
    pids = sandbox_pids(node.state_dir)
    node.delete("a")
    node.delete("b", grace=1)
    node.until(lambda: not node.pods)
    assert not any(lives(pid) for pid in pids)
    deadline = time.monotonic() + 5
    while list((node.state_dir / "pods").iterdir()):
        assert time.monotonic() < deadline
        time.sleep(0.005)
    assert node.links() == set()
    assert str(node.state_dir) not in Path("/proc/self/mountinfo").read_text()


def test_pods_the_api_forgot_meanwhile_are_taken_down(node: Node) -> None:
    node.create("a")
    node.create("b")
    node.until(lambda: node.ready("a", "b"))
    node.kill()
    forgotten = node.pods.pop("a")["metadata"]["uid"]
    node.start()
    gone = node.state_dir / "pods" / forgotten
    deadline = time.monotonic() + 10
    while gone.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert len(sandbox_pids(node.state_dir)) == 1
    assert len(node.links()) == 1


def test_a_pod_whose_sandbox_is_killed_gets_a_new_one(node: Node) -> None:
    node.create("a")
    node.until(lambda: node.ready("a"))
    before = node.address("a")
    [pid] = sandbox_pids(node.state_dir)
    os.kill(pid, signal.SIGKILL)
    node.until(lambda: node.ready("a") and node.container("a")["restartCount"] == 1)
    assert node.container("a")["lastState"]["terminated"]["exitCode"] == 137
    assert node.address("a") != before
    assert node.get(node.address("a"), "/hostname") == "a"


def test_crashing_containers_are_started_again_then_backed_off(node: Node) -> None:
    node.create("a", containers=[{"name": "web", "command": ["sh", "-c", "echo out; echo err >&2; exit 3"]}])
    node.until(
        lambda: (
            node.pods.get("a", {}).get("status", {}).get("containerStatuses", [{}])[0].get("state", {}).get("waiting")
            is not None
        )
    )
    state = node.container("a")
    assert state["state"]["waiting"]["reason"] == "CrashLoopBackOff"
    assert state["restartCount"] == 1
    assert state["lastState"]["terminated"]["exitCode"] == 3
    logs = node.state_dir / "pods" / node.pods["a"]["metadata"]["uid"] / "logs/web"
    assert sorted(path.name for path in logs.iterdir()) == ["0.log", "1.log"]
    lines = sorted(line.split(" ", 1)[1] for line in (logs / "1.log").read_text().splitlines())
    assert lines == ["stderr F err", "stdout F out"]


def test_a_program_that_does_not_exist_is_told_to_the_user(node: Node) -> None:
    node.create("a", containers=[{"name": "web", "command": ["no-such-program"]}], restartPolicy="Never")
    node.until(lambda: node.pods.get("a", {}).get("status", {}).get("phase") == "Failed")
    ended = node.container("a")["state"]["terminated"]
    assert (ended["reason"], ended["exitCode"]) == ("StartError", 128)
    assert "no-such-program: not found in PATH" in ended["message"]


def test_init_containers_run_first_and_liveness_restarts(node: Node, tmp_path: Path) -> None:
    flag = tmp_path / "alive"
    probe = {"exec": {"command": ["test", "-e", str(flag)]}, "periodSeconds": 1, "failureThreshold": 1}
    node.create(
        "a",
        initContainers=[{"name": "one", "command": ["touch", str(flag)]}],
        containers=[{"name": "web", "command": ["sleep", "100"], "livenessProbe": probe}],
    )
    node.until(lambda: node.ready("a"))
    assert node.pods["a"]["status"]["initContainerStatuses"][0]["state"]["terminated"]["exitCode"] == 0
    flag.unlink()
    node.until(lambda: node.container("a")["restartCount"] == 1)
    node.until(lambda: any(event["reason"] == "Unhealthy" for event in node.events))


def test_a_host_network_pod_lives_at_the_nodes_address(node: Node) -> None:
    node.create("a", hostNetwork=True)
    node.until(lambda: node.ready("a"))
    assert node.address("a") == "10.0.0.11"
    assert node.get("10.0.0.11", "/hostname") == "a"
    assert node.links() == set()
