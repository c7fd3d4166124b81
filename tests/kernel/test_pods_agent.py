"""A node agent on the real kernel: pods reach each other, outlive the agent, and leave nothing behind."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest

from fairway.pods.errors import NotFound
from fairway.pods.records import sandbox_pids
from tests.kernel.pods_bench import Node

pytestmark = pytest.mark.kernel


def lives(pid: int) -> bool:
    """Whether a process runs; one that only waits to be reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


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
    claim = {"name": "data", "persistentVolumeClaim": {"claimName": "mine"}}
    node.create("a", containers=[{"name": "web", "image": "pause", "volumeMounts": [mount]}], volumes=[claim])
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


def test_init_containers_run_first_and_liveness_restarts(node: Node) -> None:
    probe = {"exec": {"command": ["test", "-e", "/flags/alive"]}, "periodSeconds": 1, "failureThreshold": 1}
    shared = {"volumeMounts": [{"name": "flags", "mountPath": "/flags"}]}
    node.create(
        "a",
        initContainers=[{"name": "one", "command": ["touch", "/flags/alive"], **shared}],
        containers=[{"name": "web", "command": ["sleep", "100"], "livenessProbe": probe, **shared}],
        volumes=[{"name": "flags", "emptyDir": {}}],
    )
    node.until(lambda: node.ready("a"))
    assert node.pods["a"]["status"]["initContainerStatuses"][0]["state"]["terminated"]["exitCode"] == 0
    assert node.run("a", "rm", "/flags/alive") == (0, "")
    node.until(lambda: node.container("a")["restartCount"] == 1)
    node.until(lambda: any(event["reason"] == "Unhealthy" for event in node.events))


def test_a_host_network_pod_lives_at_the_nodes_address(node: Node) -> None:
    node.create("a", hostNetwork=True)
    node.until(lambda: node.ready("a"))
    assert node.address("a") == "10.0.0.11"
    assert node.get("10.0.0.11", "/hostname") == "a"
    assert node.links() == set()
