"""Runs `control.namespaces`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from fairway.client.base import Object
from fairway.client.informer import Change
from fairway.control import namespaces, pods
from fairway.control.cluster import Cluster
from fairway.control.reconcile import Reconciler
from fairway.objects.kinds import CONFIG_MAP, NAMESPACE, SERVICE_ACCOUNT, Kind

COMPONENT = "namespace-controller"
LOOK_AGAIN_SECONDS = 1.0
"""How soon to look again at a namespace whose contents take their time to go and are of kinds nobody follows."""


class _Head(msgspec.Struct, frozen=True, gc=False):
    metadata: dict[str, Any]


_HEAD = msgspec.json.Decoder(_Head)


class Namespaces:
    """The namespace controller: `kinds` are those whose objects a namespace may hold."""

    def __init__(self, cluster: Cluster, kinds: Iterable[Kind], root_ca: str) -> None:
        self.queue: Reconciler[str] = Reconciler(COMPONENT, self._work, jitter=cluster.random)
        self._cluster = cluster
        self._kinds = [kind for kind in kinds if kind.namespaced]
        self._root_ca = root_ca
        self._namespaces = cluster.mirrors[NAMESPACE]
        self._accounts = cluster.mirrors[SERVICE_ACCOUNT]
        self._maps = cluster.mirrors[CONFIG_MAP]
        self._namespaces.listen(lambda change: self.queue.add(change.key[1]))
        for kind in self._kinds:
            if kind in cluster.mirrors:
                cluster.mirrors[kind].listen(self._content_changed)
        self._accounts.listen(self._furniture_changed)
        self._maps.listen(self._furniture_changed)

    def _content_changed(self, change: Change[Object]) -> None:
        """The last object of a namespace that goes may have gone."""
        if change.new is None:
            namespace = self._namespaces.items.get(("", change.key[0]))
            if namespace is not None and pods.is_going(namespace):
                self.queue.add(change.key[0])

    def _furniture_changed(self, change: Change[Object]) -> None:
        if change.key[1] in (namespaces.DEFAULT_ACCOUNT, namespaces.ROOT_CA):
            self.queue.add(change.key[0])

    async def _work(self, name: str) -> float | None:
        namespace = self._namespaces.items.get(("", name))
        if namespace is None:
            return None
        if pods.is_going(namespace):
            return await self._empty(namespace)
        account = self._accounts.items.get((name, namespaces.DEFAULT_ACCOUNT))
        root = self._maps.items.get((name, namespaces.ROOT_CA))
        plan = namespaces.furnish(namespace, account, root, self._root_ca)
        await self._cluster.perform(plan.writes, COMPONENT)
        return plan.again

    async def _empty(self, namespace: Object) -> float | None:
        """Delete what the server lists (the mirrors may lag), and let go once it lists nothing."""
        name = namespace["metadata"]["name"]
        contents = {kind: await self._list(kind, name) for kind in self._kinds}
        left = {kind: objects for kind, objects in contents.items() if objects}
        if left:
            await self._cluster.perform_burst(namespaces.empty(left).writes, COMPONENT)
            left = {kind: objects for kind in left if (objects := await self._list(kind, name))}
        if left:
            await self._cluster.perform(namespaces.report(namespace, left, self._cluster.clock()).writes, COMPONENT)
            return LOOK_AGAIN_SECONDS
        await self._cluster.perform(namespaces.let_go(namespace).writes, COMPONENT)
        return None

    async def _list(self, kind: Kind, name: str) -> list[Object]:
        listing = await self._cluster.client.list(kind, name)
        return [{"metadata": _HEAD.decode(raw).metadata} for raw in listing.items]
