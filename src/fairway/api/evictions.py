"""Evictions: deletes of pods that ask their PodDisruptionBudget first."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import msgspec

from fairway.api import status
from fairway.api.deletes import Deleter, Order
from fairway.api.keys import key_of, prefix_of
from fairway.api.metadata import timestamp
from fairway.api.render import load
from fairway.api.requests import Target
from fairway.api.writes import Draft, Writer
from fairway.objects.errors import SelectorError
from fairway.objects.kinds import POD, POD_DISRUPTION_BUDGET
from fairway.objects.selectors import from_label_selector
from fairway.store.base import Store

Object = dict[str, Any]

LIKELY_SECONDS = 10
"""When to ask again about a budget that has not been counted yet."""
MOST_EVICTED = 2000
"""How many pods may be on their way out of one budget."""


class Evictor:
    """Lets pods go as far as their budgets allow."""

    def __init__(self, store: Store, writer: Writer, deleter: Deleter, now: Callable[[], datetime]) -> None:
        self._store = store
        self._writer = writer
        self._deleter = deleter
        self._now = now

    async def evict(self, target: Target, order: Order) -> None:
        """Delete the pod. Raises 403, 404, 409; 429 while its budget does not allow it, 500 when it has several."""
        entry = await self._store.get(key_of(POD, target.namespace, target.name))
        if entry is None:
            raise status.not_found(POD, target.name)
        pod = load(entry.value, entry.modified)
        budgets = [] if is_free(pod) else await self._budgets(target.namespace, pod)
        if len(budgets) > 1:
            why = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
            raise status.internal(why)
        if budgets and not goes_anyway(pod, budgets[0]):
            await self._take(target, budgets[0], order)
        await self._deleter.end(target, order)

    async def _budgets(self, namespace: str, pod: Object) -> list[Object]:
        page = await self._store.range(prefix_of(POD_DISRUPTION_BUDGET, namespace))
        return [budget for budget in map(_read, page.entries) if _selects(budget, pod)]

    async def _take(self, target: Target, budget: Object, order: Order) -> None:
        kind = POD_DISRUPTION_BUDGET
        place = Target(kind, kind.api_version, target.namespace, budget["metadata"]["name"], "status")

        def make(now: Object) -> Draft:
            return Draft(taken(now, target.name, timestamp(self._now())))

        await self._writer.change(place, make, trusted=True, dry_run=order.dry_run)


def is_free(pod: Object) -> bool:
    """Whether no budget is asked: the pod serves nobody, or is going already."""
    ended = (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed", "Pending")
    return ended or bool(pod["metadata"].get("deletionTimestamp"))


def goes_anyway(pod: Object, budget: Object) -> bool:
    """Whether a pod that is not ready may go without being counted: always, or while enough others are (KEP-3017)."""
    conditions = (pod.get("status") or {}).get("conditions") or []
    if any(each.get("type") == "Ready" and each.get("status") == "True" for each in conditions):
        return False
    if budget["spec"].get("unhealthyPodEvictionPolicy") == "AlwaysAllow":
        return True
    said = budget.get("status") or {}
    return bool(said.get("desiredHealthy", 0) > 0 and said.get("currentHealthy", 0) >= said["desiredHealthy"])


def taken(budget: Object, pod: str, now: str) -> Object:
    """The budget with one disruption less, that of `pod`. Raises 403, 429."""
    name, said = budget["metadata"]["name"], dict(budget.get("status") or {})
    if said.get("observedGeneration", 0) < budget["metadata"].get("generation", 0):
        why = f"The disruption budget {name} is still being processed by the server."
        raise status.too_many_disruptions(why, LIKELY_SECONDS)
    evicted = said.get("disruptedPods") or {}
    if len(evicted) > MOST_EVICTED:
        why = "DisruptedPods map too big - too many evictions not confirmed by PDB controller"
        raise status.forbidden(POD_DISRUPTION_BUDGET, name, why)
    allowed = said.get("disruptionsAllowed", 0)
    if allowed <= 0:
        wanted, healthy = said.get("desiredHealthy", 0), said.get("currentHealthy", 0)
        why = f"The disruption budget {name} needs {wanted} healthy pods and has {healthy} currently"
        raise status.too_many_disruptions(why, 0)
    said |= {"disruptionsAllowed": allowed - 1, "disruptedPods": {**evicted, pod: now}}
    return {**budget, "status": said}


def _read(entry: Any) -> Object:
    budget: Object = msgspec.json.decode(entry.value)
    return budget


def _selects(budget: Object, pod: Object) -> bool:
    selector = (budget.get("spec") or {}).get("selector")
    try:
        return selector is not None and from_label_selector(selector).matches(pod["metadata"].get("labels") or {})
    except SelectorError:
        return False
