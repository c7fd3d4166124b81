"""What a Deployment says of its rollout: counts and the conditions Available, Progressing, ReplicaFailure. Pure.

`kubectl rollout status` and `kubectl wait` read nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fairway.client.base import Object
from fairway.control import pods
from fairway.control.rollout import limits
from fairway.control.times import parse, stamp
from fairway.control.writes import Plan, Update
from fairway.objects.kinds import DEPLOYMENT

_NO_DEADLINE = 2**31 - 1
Conditions = dict[str, dict[str, Any]]


def status_plan(deployment: Object, new: Object | None, old: Sequence[Object], now: float) -> Plan:
    """The write that brings the status in line, if it is not, and when to look again for a missed deadline."""
    before = deployment.get("status", {})
    after = counts(deployment, new, old)
    conditions = {each["type"]: dict(each) for each in before.get("conditions") or ()}
    conditions["Available"] = _available(deployment, after, conditions, now)
    failure = _failure([*old, *([new] if new is not None else [])])
    _put(conditions, "ReplicaFailure", failure)
    again = _progressing(deployment, new, before, after, conditions, now)
    after["conditions"] = sorted(conditions.values(), key=lambda each: str(each["type"]))
    if after == {**before, "conditions": sorted(before.get("conditions") or (), key=lambda each: str(each["type"]))}:
        return Plan([], again)
    return Plan([Update(DEPLOYMENT, {**deployment, "status": after}, "status")], again)


def counts(deployment: Object, new: Object | None, old: Sequence[Object]) -> dict[str, Any]:
    """The status without conditions."""
    sets = [*old, *([new] if new is not None else [])]
    available = sum(_count(each, "availableReplicas") for each in sets)
    asked = sum(int(each["spec"].get("replicas", 1)) for each in sets)
    found = {
        "replicas": sum(_count(each, "replicas") for each in sets),
        "updatedReplicas": 0 if new is None else _count(new, "replicas"),
        "readyReplicas": sum(_count(each, "readyReplicas") for each in sets),
        "availableReplicas": available,
        "unavailableReplicas": max(asked - available, 0),
        "collisionCount": deployment.get("status", {}).get("collisionCount", 0),
    }
    return {
        "observedGeneration": deployment["metadata"].get("generation", 0),
        **{name: count for name, count in found.items() if count},
    }


def is_complete(deployment: Object, new: Object | None, old: Sequence[Object]) -> bool:
    """Whether every wanted pod is of the new template and available, and no other is left."""
    return _all_there(deployment, counts(deployment, new, old))


def _all_there(deployment: Object, status: Mapping[str, Any]) -> bool:
    wanted = int(deployment["spec"].get("replicas", 1))
    return all(status.get(name, 0) == wanted for name in ("replicas", "updatedReplicas", "availableReplicas"))


def _count(replica_set: Object, name: str) -> int:
    return int(replica_set.get("status", {}).get(name, 0))


def _available(deployment: Object, status: Mapping[str, Any], old: Conditions, now: float) -> dict[str, Any]:
    spec = deployment["spec"]
    replicas = int(spec.get("replicas", 1))
    strategy = spec.get("strategy") or {}
    update = strategy.get("rollingUpdate") or {}
    least = replicas
    if strategy.get("type") != "Recreate":
        least -= limits(replicas, update.get("maxSurge", "25%"), update.get("maxUnavailable", "25%")).unavailable
    if status.get("availableReplicas", 0) >= least:
        return _condition(
            "Available", "True", "MinimumReplicasAvailable", f"At least {least} pods are available.", old, now
        )
    message = f"{status.get('availableReplicas', 0)} pods are available, at least {least} are needed."
    return _condition("Available", "False", "MinimumReplicasUnavailable", message, old, now)


def _failure(sets: Sequence[Object]) -> dict[str, Any] | None:
    found = (pods.condition(each, "ReplicaFailure") for each in sets)
    first = next((each for each in found if each is not None), None)
    return None if first is None else {**first, "lastUpdateTime": first.get("lastTransitionTime", "")}


def _progressing(
    deployment: Object,
    new: Object | None,
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    conditions: Conditions,
    now: float,
) -> float | None:
    """Set the condition Progressing; returns the seconds until its deadline while there is one to miss."""
    deadline = deployment["spec"].get("progressDeadlineSeconds", _NO_DEADLINE)
    old = conditions.get("Progressing")
    if deadline in (None, _NO_DEADLINE):
        _put(conditions, "Progressing", None)
        return None
    verdict = _verdict(deployment, new, before, after, old, now)
    if verdict is not None:
        conditions["Progressing"] = _condition("Progressing", *verdict, conditions, now, touch=True)
    current = conditions.get("Progressing") or {}
    if current.get("status") != "True" or current.get("reason") == "NewReplicaSetAvailable":
        return None
    return max((parse(current.get("lastUpdateTime")) or now) + int(deadline) - now, 0) + 1


def _verdict(
    deployment: Object,
    new: Object | None,
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    old: Mapping[str, Any] | None,
    now: float,
) -> tuple[str, str, str] | None:
    """(status, reason, message) of Progressing when it has to change; None leaves it alone."""
    reason = "" if old is None else str(old.get("reason", ""))
    name = "" if new is None else new["metadata"]["name"]
    if deployment["spec"].get("paused"):
        paused = ("Unknown", "DeploymentPaused", "The rollout is paused.")
        return None if reason == "DeploymentPaused" else paused
    if reason == "DeploymentPaused":
        return "Unknown", "DeploymentResumed", "The rollout goes on."
    whole = after.get("replicas", 0) == after.get("updatedReplicas", 0)
    if reason == "NewReplicaSetAvailable" and whole and new is not None:
        return None
    if new is not None and _all_there(deployment, after):
        return "True", "NewReplicaSetAvailable", f'ReplicaSet "{name}" has all its pods available.'
    if old is None:
        return "True", "NewReplicaSetCreated", f'ReplicaSet "{name}" has been created.'
    if reason in ("NewReplicaSetAvailable", "DeploymentResumed") or _has_moved(before, after):
        return "True", "ReplicaSetUpdated", f'ReplicaSet "{name}" is progressing.'
    deadline = float(deployment["spec"]["progressDeadlineSeconds"])
    if reason != "ProgressDeadlineExceeded" and now > (parse(old.get("lastUpdateTime")) or now) + deadline:
        return "False", "ProgressDeadlineExceeded", f'ReplicaSet "{name}" has made no progress for {deadline:g} s.'
    return None


def _has_moved(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    """Whether there are more new, ready or available pods than before, or fewer old ones."""
    if any(
        after.get(name, 0) > before.get(name, 0) for name in ("updatedReplicas", "readyReplicas", "availableReplicas")
    ):
        return True
    rest = [status.get("replicas", 0) - status.get("updatedReplicas", 0) for status in (before, after)]
    return bool(rest[1] < rest[0])


def _condition(
    name: str, status: str, reason: str, message: str, old: Conditions, now: float, *, touch: bool = False
) -> dict[str, Any]:
    """A condition whose times move only as far as it changed: lastTransitionTime with the status, lastUpdateTime with
    the status and reason, or always with `touch`."""
    was = old.get(name) or {}
    same = was.get("status") == status
    kept = same and was.get("reason") == reason and not touch
    return {
        "type": name,
        "status": status,
        "lastUpdateTime": was.get("lastUpdateTime", stamp(now)) if kept else stamp(now),
        "lastTransitionTime": was.get("lastTransitionTime", stamp(now)) if same else stamp(now),
        "reason": reason,
        "message": message,
    }


def _put(conditions: Conditions, name: str, entry: dict[str, Any] | None) -> None:
    if entry is None:
        conditions.pop(name, None)
    else:
        conditions[name] = entry
