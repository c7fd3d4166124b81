"""PodDisruptionBudgets: how many of the selected pods may be evicted now. Pure.

The numbers are those of the Kubernetes documentation ("Specifying a Disruption Budget for your Application").
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from fairway.client.base import Object
from fairway.control import owners, pods
from fairway.control.rollout import bound
from fairway.control.times import parse, stamp
from fairway.control.writes import Note, Plan, Update, Write
from fairway.objects.kinds import POD_DISRUPTION_BUDGET

EVICTED_SECONDS = 120.0
"""How long an evicted pod that does not go counts as going: its eviction was lost then."""

Scale = Callable[[Mapping[str, Any], str], int | None]
"""How many pods the owner that a reference (and a namespace) names wants; None for one that does not say."""


def plan(budget: Object, members: Sequence[Object], scale: Scale, now: float) -> Plan:
    """The status of a budget whose selector matches `members`. `now` is in seconds since the epoch."""
    present = budget.get("status") or {}
    evicted = _evicted(present.get("disruptedPods") or {}, members, now)
    expected, wanted = _numbers(budget["spec"], members, scale)
    healthy = sum(1 for pod in members if _counts(pod, evicted))
    allowed = max(healthy - wanted, 0) if expected > 0 else 0
    status: Object = {
        "observedGeneration": budget["metadata"].get("generation", 0),
        "disruptionsAllowed": allowed,
        "currentHealthy": healthy,
        "desiredHealthy": wanted,
        "expectedPods": expected,
        **({"disruptedPods": evicted} if evicted else {}),
        "conditions": _conditions(budget, present.get("conditions") or [], allowed, now),
    }
    again = min((_moment(when) + EVICTED_SECONDS - now for when in evicted.values()), default=None)
    writes: list[Write] = []
    if status != present:
        writes = [Update(POD_DISRUPTION_BUDGET, {**budget, "status": status}, "status", _unmanaged(budget, members))]
    return Plan(writes, again if again is None else max(again, 0.0) + 1.0)


def _evicted(noted: Mapping[str, str], members: Iterable[Object], now: float) -> dict[str, str]:
    """The pods that were let go and are still there and not on their way."""
    staying = {pod["metadata"]["name"] for pod in members if not pods.is_going(pod)}
    return {name: when for name, when in noted.items() if name in staying and now - _moment(when) < EVICTED_SECONDS}


def _moment(text: str) -> float:
    return parse(text) or 0.0


def _counts(pod: Object, evicted: Mapping[str, str]) -> bool:
    return pods.is_ready(pod) and not pods.is_going(pod) and pod["metadata"]["name"] not in evicted


def _numbers(spec: Mapping[str, Any], members: Sequence[Object], scale: Scale) -> tuple[int, int]:
    """How many pods there should be, and how many of them healthy."""
    least, most = spec.get("minAvailable"), spec.get("maxUnavailable")
    if most is None and not isinstance(least, str):
        return len(members), 0 if least is None else least
    expected = _expected(members, scale)
    if most is not None:
        return expected, max(expected - bound(most, expected, up=True), 0)
    return expected, bound(least or 0, expected, up=True)


def _expected(members: Iterable[Object], scale: Scale) -> int:
    """What the owners of the pods want, each owner counted once."""
    found: dict[str, int] = {}
    for pod in members:
        owner = owners.controller_of(pod)
        if owner is not None and owner["uid"] not in found:
            found[owner["uid"]] = scale(owner, pod["metadata"]["namespace"]) or 0
    return sum(found.values())


def _unmanaged(budget: Object, members: Iterable[Object]) -> Note | None:
    spec = budget["spec"]
    counts = spec.get("maxUnavailable") is not None or isinstance(spec.get("minAvailable"), str)
    alone = [pod["metadata"]["name"] for pod in members if owners.controller_of(pod) is None]
    if not counts or not alone:
        return None
    message = f"Pods without a controller do not count for this budget, whose numbers may mislead: {', '.join(alone)}"
    return Note(POD_DISRUPTION_BUDGET, budget, "Warning", "UnmanagedPods", message)


def _conditions(budget: Object, present: Sequence[Mapping[str, Any]], allowed: int, now: float) -> list[Object]:
    others = [dict(each) for each in present if each.get("type") != "DisruptionAllowed"]
    before = next((each for each in present if each.get("type") == "DisruptionAllowed"), {})
    state, reason = ("True", "SufficientPods") if allowed else ("False", "InsufficientPods")
    moved = before.get("lastTransitionTime") if before.get("status") == state else stamp(now)
    said = {
        "type": "DisruptionAllowed",
        "status": state,
        "reason": reason,
        "message": "",
        "observedGeneration": budget["metadata"].get("generation", 0),
        "lastTransitionTime": moved,
    }
    return [*others, said]
