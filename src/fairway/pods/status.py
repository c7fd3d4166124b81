"""A pod's status as the API shows it (pure): from the pod and what is known of its processes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fairway.pods import lifecycle
from fairway.pods.images import plain_name
from fairway.pods.lifecycle import Facts, Run
from fairway.pods.view import Container, Pod, timestamp_of

Status = dict[str, Any]

SANDBOX_READY, INITIALIZED = "PodReadyToStartContainers", "Initialized"
CONTAINERS_READY, READY, SCHEDULED = "ContainersReady", "Ready", "PodScheduled"


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the pod and its node can be reached; the first of each is the primary one."""

    pod_ips: tuple[str, ...] = ()
    host_ips: tuple[str, ...] = ()


def build(pod: Pod, facts: Facts, addresses: Addresses, now: float) -> Status:
    """The status this node answers for. Conditions of others in the present status are kept as they stand."""
    phase = lifecycle.phase(pod, facts)
    mine = list(_conditions(pod, facts, phase))
    status: Status = {
        "phase": phase,
        "conditions": merge_conditions(pod.status.get("conditions") or [], mine, now),
        "startTime": pod.status.get("startTime") or timestamp_of(_begun(facts, now)),
        "containerStatuses": [_container(pod, c, facts, now) for c in pod.spec.containers],
    }
    if pod.spec.init_containers:
        status["initContainerStatuses"] = [_container(pod, c, facts, now) for c in pod.spec.init_containers]
    if addresses.host_ips:
        status |= {"hostIP": addresses.host_ips[0], "hostIPs": [{"ip": ip} for ip in addresses.host_ips]}
    if addresses.pod_ips:
        status |= {"podIP": addresses.pod_ips[0], "podIPs": [{"ip": ip} for ip in addresses.pod_ips]}
    return status


def _begun(facts: Facts, now: float) -> float:
    """When the pod was taken up: not after any of its containers started, though they may before it is reported."""
    return min((now, *(run.started for run in facts.runs.values())))


def difference(present: Mapping[str, Any], wanted: Status) -> Status:
    """The fields of a merge patch (RFC 7386) that turn the present status into the wanted one."""
    return {name: value for name, value in wanted.items() if present.get(name) != value}


def merge_conditions(present: Sequence[Mapping[str, Any]], mine: Sequence[Status], now: float) -> list[Status]:
    """`mine` in place of those of the same type, the others untouched; a condition whose status did not change keeps
    the time of its last change."""
    before = {condition["type"]: condition for condition in present}
    merged = dict(before)
    for condition in mine:
        old = before.get(condition["type"], {})
        changed = old.get("status") != condition["status"]
        since = timestamp_of(now) if changed else old.get("lastTransitionTime", timestamp_of(now))
        kept = {"lastProbeTime": old["lastProbeTime"]} if "lastProbeTime" in old else {}
        merged[condition["type"]] = {**kept, **condition, "lastTransitionTime": since}
    return [dict(condition) for condition in merged.values()]


def _conditions(pod: Pod, facts: Facts, phase: str) -> Iterator[Status]:
    yield _condition(SANDBOX_READY, facts.sandbox)
    waiting = [c.name for c in pod.spec.init_containers if not lifecycle.init_done(c, facts)]
    if phase == lifecycle.SUCCEEDED:
        yield _condition(INITIALIZED, True, "PodCompleted")
    elif lifecycle.initialized(pod, facts):
        yield _condition(INITIALIZED, True)
    else:
        yield _condition(INITIALIZED, False, "ContainersNotInitialized", _listing("incomplete status", waiting))
    containers_ready, *why = _containers_ready(pod, facts, phase)
    gates = [gate.condition_type for gate in pod.spec.readiness_gates if not _holds(pod, gate.condition_type)]
    if containers_ready and gates:
        yield _condition(READY, False, "ReadinessGatesNotReady", f"conditions not met: {', '.join(gates)}")
    else:
        yield _condition(READY, containers_ready, *why)
    yield _condition(CONTAINERS_READY, containers_ready, *why)
    yield _condition(SCHEDULED, True)


def _containers_ready(pod: Pod, facts: Facts, phase: str) -> tuple[bool, str, str]:
    if phase == lifecycle.SUCCEEDED:
        return False, "PodCompleted", ""
    if phase == lifecycle.FAILED:
        return False, "PodFailed", ""
    counted = [*pod.spec.containers, *filter(lifecycle.is_sidecar, pod.spec.init_containers)]
    unready = [c.name for c in counted if not _is_ready(facts.run(c))]
    if unready:
        return False, "ContainersNotReady", _listing("unready status", unready)
    return True, "", ""


def _is_ready(run: Run | None) -> bool:
    return run is not None and run.running and run.ready


def _holds(pod: Pod, kind: str) -> bool:
    conditions = pod.status.get("conditions") or []
    return any(condition["type"] == kind and condition["status"] == "True" for condition in conditions)


def _condition(kind: str, holds: bool, reason: str = "", message: str = "") -> Status:
    condition = {"type": kind, "status": "True" if holds else "False"}
    if reason:
        condition["reason"] = reason
    if message:
        condition["message"] = message
    return condition


def _listing(what: str, names: Sequence[str]) -> str:
    return f"containers with {what}: [{' '.join(names)}]"


def container_id(pod: Pod, container: Container, run: Run) -> str:
    """An attempt's own id; the same whenever it is asked."""
    text = f"{pod.uid}/{container.name}/{run.attempt}"
    return "fairway://" + hashlib.sha256(text.encode()).hexdigest()


def _container(pod: Pod, container: Container, facts: Facts, now: float) -> Status:
    run = facts.run(container)
    init_complete = container in pod.spec.init_containers and lifecycle.init_done(container, facts)
    status: Status = {
        "name": container.name,
        "image": container.image,
        "imageID": "",
        "ready": _is_ready(run) or init_complete,
        "started": run is not None and run.running and run.up,
        "restartCount": run.attempt if run is not None else 0,
        "state": _state(pod, container, run, facts, now),
        "lastState": {},
    }
    if run is not None:
        status["imageID"] = f"fairway://{plain_name(container.image)}"
        status["containerID"] = container_id(pod, container, run)
        last = run if "waiting" in status["state"] else run.previous
        if last is not None and not last.running:
            status["lastState"] = {"terminated": _terminated(pod, container, last)}
    return status


def _state(pod: Pod, container: Container, run: Run | None, facts: Facts, now: float) -> Status:
    if run is not None and run.running:
        return {"running": {"startedAt": timestamp_of(run.started)}}
    if container.name in facts.blocked:
        return _waiting("CreateContainerConfigError", facts.blocked[container.name])
    if run is None:
        busy = bool(pod.spec.init_containers) and not lifecycle.initialized(pod, facts)
        return _waiting("PodInitializing" if busy and facts.sandbox else "ContainerCreating")
    ending = pod.deleting or facts.gone
    if not ending and run.backoff and lifecycle.will_restart(run, lifecycle.policy(pod, container)):
        which = f"container={container.name} pod={pod.metadata.name}_{pod.metadata.namespace}({pod.uid})"
        return _waiting("CrashLoopBackOff", f"back-off {_duration(run.backoff)} restarting failed {which}")
    return {"terminated": _terminated(pod, container, run)}


def _waiting(reason: str, message: str = "") -> Status:
    return {"waiting": {"reason": reason, "message": message} if message else {"reason": reason}}


def _terminated(pod: Pod, container: Container, run: Run) -> Status:
    reason = "StartError" if run.failed else "Completed" if run.code == 0 else "Error"
    state: Status = {
        "exitCode": run.code,
        "reason": reason,
        "startedAt": timestamp_of(run.started),
        "finishedAt": timestamp_of(run.exited or run.started),
        "containerID": container_id(pod, container, run),
    }
    if run.signal:
        state["signal"] = run.signal
    if run.note:
        state["message"] = run.note
    return state


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"
