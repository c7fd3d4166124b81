"""EDGE. Run a program inside a pod: `fairway exec POD -- CMD`.

The pod's process 1 starts it, so it is in all of the pod's namespaces, is reaped there, and ends with the pod; its
standard streams are descriptors of ours that travel over the pod's socket (SCM_RIGHTS, unix(7)).
"""

from __future__ import annotations

import json
import signal
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fairway.pods.errors import NotFound, SandboxProblem
from fairway.pods.records import PodDir, PodRecord, connect

_REQUEST = 1
_DEPTHS = ("pods/*", "*/pods/*", "*/*/pods/*")  # a node's state directory, a lab's nodes, a lab


@dataclass(frozen=True, slots=True)
class FoundPod:
    """A pod on this machine: its directory and the record in it."""

    directory: PodDir
    record: PodRecord


def find_pod(root: Path, namespace: str, name: str) -> FoundPod:
    """The pod of that name under `root`, which is a node's state directory or one that holds several; one that runs
    is preferred to the remains of a namesake. Raises NotFound."""
    paths = [path for depth in _DEPTHS for path in sorted(root.glob(depth))]
    found = [FoundPod(d, record) for d in map(PodDir, paths) if (record := d.read()) is not None]
    named = [pod for pod in found if (pod.record.namespace, pod.record.name) == (namespace, name)]
    if not named:
        raise NotFound(f"no pod {namespace}/{name} on this machine under {root}", absent=True)
    return next((pod for pod in named if _runs(pod)), named[0])


def _runs(pod: FoundPod) -> bool:
    handle = connect(pod.directory)
    if handle is not None:
        handle.close()
    return handle is not None


def run_in_pod(
    pod: FoundPod,
    argv: Sequence[str],
    *,
    container: str = "",
    env: Mapping[str, str] | None = None,
    streams: tuple[int, int, int] = (0, 1, 2),
) -> int:
    """Run `argv` in a running container (the pod's first by default) with its environment, working directory and user,
    plus `env`; its exit code, 128 + n when signal n ended it. Interrupt and termination are passed on to it when called
    from the main thread. Raises NotFound when the pod does not run, SandboxProblem when the program cannot."""
    name = container or pod.record.containers[0]
    if name not in pod.record.containers:
        known = ", ".join(pod.record.containers)
        raise NotFound(f"pod {pod.record.name} has no container {name!r}; it has {known}")
    handle = connect(pod.directory)
    if handle is None:
        raise NotFound(f"pod {pod.record.namespace}/{pod.record.name} does not run (now)")
    request = {"id": _REQUEST, "do": "exec", "container": name, "argv": list(argv), "env": dict(env or {}), "fds": 3}
    with handle, handle.makefile("rb") as answers:
        socket.send_fds(handle, [json.dumps(request).encode() + b"\n"], list(streams))
        with _signals_passed_on(handle):
            answer = _answer(answers)
    if "error" in answer:
        raise SandboxProblem(str(answer["error"]))
    return int(answer["code"])


def _answer(lines: Any) -> dict[str, Any]:
    for line in lines:
        message: dict[str, Any] = json.loads(line)
        if message.get("id") == _REQUEST:
            return message
    raise SandboxProblem("the pod ended while the program ran")


@contextmanager
def _signals_passed_on(handle: socket.socket) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def pass_on(number: int, _: object) -> None:
        handle.sendall(json.dumps({"do": "signal", "request": _REQUEST, "signal": number}).encode() + b"\n")

    before = {number: signal.signal(number, pass_on) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
