"""Runs `control.servicecidrs`."""

from __future__ import annotations

import msgspec

from fairway.client.base import Object
from fairway.client.informer import Change
from fairway.control import pods, servicecidrs
from fairway.control.cluster import Cluster
from fairway.control.reconcile import Reconciler
from fairway.objects.kinds import IP_ADDRESS, SERVICE_CIDR

COMPONENT = "service-cidr-controller"


class _Metadata(msgspec.Struct, frozen=True):
    name: str


class _Head(msgspec.Struct, frozen=True):
    metadata: _Metadata


_HEAD = msgspec.json.Decoder(_Head)


class ServiceCidrs:
    """The controller of Service ranges."""

    def __init__(self, cluster: Cluster) -> None:
        self.queue: Reconciler[str] = Reconciler(COMPONENT, self._work, jitter=cluster.random)
        self._cluster = cluster
        self._cidrs = cluster.mirrors[SERVICE_CIDR]
        self._cidrs.listen(self._cidr_changed)
        cluster.mirrors[IP_ADDRESS].listen(self._address_changed)

    def _cidr_changed(self, change: Change[Object]) -> None:
        """Another range may cover what one that goes still holds."""
        self.queue.add(change.key[1])
        self._look_at_going()

    def _address_changed(self, change: Change[Object]) -> None:
        if change.new is None:
            self._look_at_going()

    def _look_at_going(self) -> None:
        for (_, name), cidr in self._cidrs.items.items():
            if pods.is_going(cidr):
                self.queue.add(name)

    async def _work(self, name: str) -> float | None:
        cidr = self._cidrs.items.get(("", name))
        if cidr is None:
            return None
        others = [each for (_, other), each in self._cidrs.items.items() if other != name]
        addresses = await self._listed() if pods.is_going(cidr) else []
        plan = servicecidrs.plan(cidr, others, addresses, self._cluster.clock())
        await self._cluster.perform(plan.writes, COMPONENT)
        return plan.again

    async def _listed(self) -> list[str]:
        """Every address that is held, asked of the server: the mirror may not know yet of one that was taken before
        the range began to go, and none is taken after."""
        listing = await self._cluster.client.list(IP_ADDRESS)
        return [_HEAD.decode(raw).metadata.name for raw in listing.items]
