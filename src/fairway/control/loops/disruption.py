"""Runs `control.disruption`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fairway.client.base import Object
from fairway.client.informer import Change, Key
from fairway.control import disruption, owners, pods
from fairway.control.cluster import Cluster
from fairway.control.reconcile import Reconciler
from fairway.objects.errors import SelectorError
from fairway.objects.kinds import DEPLOYMENT, POD, POD_DISRUPTION_BUDGET, REPLICA_SET, REPLICATION_CONTROLLER
from fairway.objects.selectors import from_label_selector

COMPONENT = "disruption-controller"


class Disruption:
    """The controller of PodDisruptionBudgets."""

    def __init__(self, cluster: Cluster) -> None:
        self.queue: Reconciler[Key] = Reconciler(COMPONENT, self._work, jitter=cluster.random)
        self._cluster = cluster
        self._budgets = cluster.mirrors[POD_DISRUPTION_BUDGET]
        self._pods = cluster.mirrors[POD]
        self._budgets.listen(lambda change: self.queue.add(change.key))
        self._pods.listen(self._pod_changed)
        for kind in (DEPLOYMENT, REPLICA_SET, REPLICATION_CONTROLLER):
            cluster.mirrors[kind].listen(self._owner_changed)

    def _pod_changed(self, change: Change[Object]) -> None:
        for key, budget in self._budgets.items.items():
            states = [pod for pod in (change.old, change.new) if pod is not None]
            if key[0] == change.key[0] and any(_selects(budget, pod) for pod in states):
                self.queue.add(key)

    def _owner_changed(self, change: Change[Object]) -> None:
        """How many pods are wanted may be another number: budgets of the namespace are looked at again."""
        numbers = [each["spec"].get("replicas") if each is not None else None for each in (change.old, change.new)]
        if numbers[0] != numbers[1]:
            for key in self._budgets.items:
                if key[0] == change.key[0]:
                    self.queue.add(key)

    async def _work(self, key: Key) -> float | None:
        budget = self._budgets.items.get(key)
        if budget is None or pods.is_going(budget):
            return None
        members = [pod for (where, _), pod in self._pods.items.items() if where == key[0] and _selects(budget, pod)]
        living = [pod for pod in members if not pods.is_finished(pod)]
        plan = disruption.plan(budget, living, self._scale, self._cluster.clock())
        await self._cluster.perform(plan.writes, COMPONENT)
        return plan.again

    def _scale(self, owner: Mapping[str, Any], namespace: str) -> int | None:
        """A ReplicaSet of a Deployment stands for that: while it rolls, several ReplicaSets share its number."""
        for kind in (REPLICA_SET, REPLICATION_CONTROLLER):
            found = self._cluster.get(kind, owner["name"], namespace) if owner["kind"] == kind.name else None
            if found is not None and pods.uid(found) == owner["uid"]:
                above = owners.controller_of(found)
                top = self._cluster.get(DEPLOYMENT, above["name"], namespace) if above is not None else None
                return int((top or found)["spec"].get("replicas", 1))
        return None


def _selects(budget: Object, pod: Object) -> bool:
    selector = budget["spec"].get("selector")
    try:
        return selector is not None and from_label_selector(selector).matches(pods.labels(pod))
    except SelectorError:
        return False
