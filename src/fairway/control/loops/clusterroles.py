"""Runs `control.clusterroles`."""

from __future__ import annotations

from fairway.client.base import Object
from fairway.client.informer import Change
from fairway.control import clusterroles
from fairway.control.cluster import Cluster
from fairway.control.reconcile import Reconciler
from fairway.objects.kinds import CLUSTER_ROLE

COMPONENT = "clusterrole-aggregation-controller"


class ClusterRoles:
    """The controller of aggregated cluster roles."""

    def __init__(self, cluster: Cluster) -> None:
        self.queue: Reconciler[str] = Reconciler(COMPONENT, self._work, jitter=cluster.random)
        self._cluster = cluster
        self._roles = cluster.mirrors[CLUSTER_ROLE]
        self._roles.listen(self._changed)

    def _changed(self, change: Change[Object]) -> None:
        """Whatever changes may be gathered, or not any more, by any that gathers."""
        for (_, name), role in self._roles.items.items():
            if clusterroles.gathers(role):
                self.queue.add(name)

    async def _work(self, name: str) -> None:
        role = self._roles.items.get(("", name))
        if role is not None:
            plan = clusterroles.plan(role, self._roles.items.values())
            await self._cluster.perform(plan.writes, COMPONENT)
