"""What a Pod object says of itself: scheduled, ready since when, finished, going. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fairway.client.base import Object
from fairway.control.times import parse

DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"


def labels(obj: Object) -> Mapping[str, str]:
    """The object's labels."""
    return obj["metadata"].get("labels") or {}


def uid(obj: Object) -> str:
    """The object's uid, "" before it has one."""
    return str(obj["metadata"].get("uid", ""))


def is_going(obj: Object) -> bool:
    """Whether the object is being deleted."""
    return bool(obj["metadata"].get("deletionTimestamp"))


def phase(pod: Object) -> str:
    """status.phase, Pending when nothing is said yet."""
    return str(pod.get("status", {}).get("phase") or "Pending")


def is_finished(pod: Object) -> bool:
    """Whether its containers have all ended for good."""
    return phase(pod) in ("Succeeded", "Failed")


def is_active(pod: Object) -> bool:
    """Whether the pod counts as a replica."""
    return not is_finished(pod) and not is_going(pod)


def condition(obj: Object, name: str) -> Mapping[str, Any] | None:
    """The status condition of type `name`."""
    for each in obj.get("status", {}).get("conditions") or ():
        if each.get("type") == name:
            return dict(each)
    return None


def is_ready(pod: Object) -> bool:
    """Whether the condition Ready is True."""
    ready = condition(pod, "Ready")
    return ready is not None and ready.get("status") == "True"


def ready_since(pod: Object) -> float | None:
    """When the pod became ready (seconds since the epoch); None when it is not or does not say."""
    ready = condition(pod, "Ready")
    return parse(ready.get("lastTransitionTime")) if ready is not None and ready.get("status") == "True" else None


def available_in(pod: Object, min_ready_seconds: int, now: float) -> float | None:
    """Seconds until the pod has been ready for `min_ready_seconds`; 0 when it has, None while it is not ready."""
    if not is_ready(pod):
        return None
    if min_ready_seconds == 0:
        return 0.0
    since = ready_since(pod)
    return float(min_ready_seconds) if since is None else max(since + min_ready_seconds - now, 0.0)


def created(obj: Object) -> float:
    """When the object was made; 0 when unknown."""
    return parse(obj["metadata"].get("creationTimestamp")) or 0.0


def node_name(pod: Object) -> str:
    """The node the pod is bound to, or ""."""
    return str(pod.get("spec", {}).get("nodeName") or "")


def restarts(pod: Object) -> int:
    """The most restarts that any of its containers has had."""
    statuses = pod.get("status", {}).get("containerStatuses") or ()
    return max((int(each.get("restartCount", 0)) for each in statuses), default=0)


def deletion_cost(pod: Object) -> int:
    """The user's wish which pods go first: the lower the sooner; 0 by default and for text that is no number."""
    text = (pod["metadata"].get("annotations") or {}).get(DELETION_COST, "0")
    try:
        return int(text)
    except ValueError:
        return 0


def with_condition(obj: Object, new: Mapping[str, Any], now_stamp: str) -> Object:
    """`obj` with the condition of `new`'s type set to `new`; its lastTransitionTime moves only when the status does."""
    conditions = list(obj.get("status", {}).get("conditions") or ())
    old = condition(obj, new["type"])
    same = old is not None and old.get("status") == new["status"]
    since = old.get("lastTransitionTime", now_stamp) if old is not None and same else now_stamp
    entry = {**(old or {}), **new, "lastTransitionTime": since}
    replaced = [entry if each.get("type") == new["type"] else each for each in conditions]
    return {
        **obj,
        "status": {**obj.get("status", {}), "conditions": replaced if old is not None else [*conditions, entry]},
    }
