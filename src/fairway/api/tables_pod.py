"""The one word that says how a pod is, how many of its containers are ready, how often they restarted.

The word is derived from phase, reason and container states together, because users read `CrashLoopBackOff`,
`Init:1/2` or `Completed` there, none of which is a phase.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from fairway.api.tables_cells import since

Object = Mapping[str, Any]


@dataclass(slots=True)
class PodSummary:
    """What the first columns of a pod say."""

    word: str
    ready: int
    total: int
    restarts: int
    last_restart: str = ""

    def restarts_cell(self, now: datetime) -> str:
        """`3 (2m ago)`, or the bare number when no restart's time is known."""
        if not self.restarts or not self.last_restart:
            return str(self.restarts)
        return f"{self.restarts} ({since(self.last_restart, now)} ago)"


def summarize(pod: Object) -> PodSummary:
    """The summary of one pod."""
    status, spec = pod.get("status") or {}, pod.get("spec") or {}
    inits = spec.get("initContainers") or []
    sidecars = {one.get("name") for one in inits if one.get("restartPolicy") == "Always"}
    summary = PodSummary(_base_word(status), 0, len(spec.get("containers") or []) + len(sidecars), 0)
    initializing = _read_inits(summary, status, sidecars, len(inits))
    if not initializing or _condition(status, "Initialized"):
        _read_containers(summary, status, sidecars)
    if (pod.get("metadata") or {}).get("deletionTimestamp"):
        if status.get("reason") == "NodeLost":
            summary.word = "Unknown"
        elif status.get("phase") not in ("Succeeded", "Failed"):
            summary.word = "Terminating"
    return summary


def readiness_gates(pod: Object) -> str:
    """`1/2`: how many of the pod's own readiness conditions hold."""
    gates = (pod.get("spec") or {}).get("readinessGates") or []
    if not gates:
        return "<none>"
    met = sum(_condition(pod.get("status") or {}, gate.get("conditionType")) for gate in gates)
    return f"{met}/{len(gates)}"


def _base_word(status: Object) -> str:
    for condition in status.get("conditions") or []:
        if condition.get("type") == "PodScheduled" and condition.get("reason") == "SchedulingGated":
            return "SchedulingGated"
    return str(status.get("reason") or status.get("phase") or "Unknown")


def _condition(status: Object, type_: str) -> bool:
    conditions = status.get("conditions") or []
    return any(one.get("type") == type_ and one.get("status") == "True" for one in conditions)


def _count_restarts(summary: PodSummary, container: Object) -> None:
    summary.restarts += container.get("restartCount") or 0
    ended = ((container.get("lastState") or {}).get("terminated") or {}).get("finishedAt") or ""
    summary.last_restart = max(summary.last_restart, ended)


def _read_inits(summary: PodSummary, status: Object, sidecars: set[Any], total: int) -> bool:
    """Reads init containers in order up to the one that holds the pod; whether there is one."""
    for index, container in enumerate(status.get("initContainerStatuses") or []):
        _count_restarts(summary, container)
        state = container.get("state") or {}
        ended = state.get("terminated")
        if ended is not None and not ended.get("exitCode"):
            continue
        if container.get("name") in sidecars and container.get("started"):
            summary.ready += bool(container.get("ready"))
            continue
        waiting = (state.get("waiting") or {}).get("reason") or ""
        if ended is not None:
            summary.word = f"Init:{_ended_word(ended)}"
        elif waiting and waiting != "PodInitializing":
            summary.word = f"Init:{waiting}"
        else:
            summary.word = f"Init:{index}/{total}"
        return True
    return False


def _read_containers(summary: PodSummary, status: Object, sidecars: set[Any]) -> None:
    # Once the pod runs, the restarts of finished init containers are history; those of sidecars still count.
    summary.restarts, summary.last_restart = 0, ""
    for container in status.get("initContainerStatuses") or []:
        if container.get("name") in sidecars:
            _count_restarts(summary, container)
    running = False
    # Backwards, so that the first container with something to say has the last word.
    for container in reversed(status.get("containerStatuses") or []):
        _count_restarts(summary, container)
        state = container.get("state") or {}
        waiting = (state.get("waiting") or {}).get("reason")
        if waiting:
            summary.word = waiting
        elif state.get("terminated") is not None:
            summary.word = _ended_word(state["terminated"])
        elif container.get("ready") and state.get("running") is not None:
            running = True
            summary.ready += 1
    if summary.word == "Completed" and running:
        summary.word = "Running" if _condition(status, "Ready") else "NotReady"


def _ended_word(terminated: Object) -> str:
    if terminated.get("reason"):
        return str(terminated["reason"])
    if terminated.get("signal"):
        return f"Signal:{terminated['signal']}"
    return f"ExitCode:{terminated.get('exitCode') or 0}"
