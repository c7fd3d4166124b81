"""A node for the kernel tests of pods: a namespace, and an agent in it that can be killed and started again."""

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
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fairway.kernel.base import Bridge, DeviceAddress, LinkState
from fairway.kernel.linux import netns
from fairway.kernel.linux.links import LinuxLinks
from fairway.pods.exec import find_pod, run_in_pod
from fairway.pods.records import sandbox_pids

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

    def run(self, name: str, *argv: str, env: dict[str, str] | None = None, container: str = "") -> tuple[int, str]:
        reading, writing = os.pipe()
        pod = find_pod(self.state_dir, "default", name)
        try:
            code = run_in_pod(pod, argv, env=env, container=container, streams=(0, writing, writing))
        finally:
            os.close(writing)
        with os.fdopen(reading) as output:
            return code, output.read()

    def seen(self, name: str, *argv: str, says: str, seconds: float = 15.0) -> None:
        """Wait until a command in a pod says this."""
        deadline = time.monotonic() + seconds
        while (answer := self.run(name, *argv)) != (0, says):
            assert time.monotonic() < deadline, f"{argv} says {answer}"
            time.sleep(0.05)

    def get(self, address: str, path: str, *, port: int = 80, source: str = "") -> str:
        with netns.entered(netns.path(self.name)):
            handle = socket.create_connection(
                (address, port), timeout=5, source_address=(source, 0) if source else None
            )
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
