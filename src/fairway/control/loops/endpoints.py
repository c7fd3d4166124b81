"""Runs `control.endpointslices` and `control.endpoints`: which Services a pod's change concerns, found by index."""

from __future__ import annotations

from collections.abc import Mapping

from fairway.client.base import Object
from fairway.client.informer import Change, Key
from fairway.control import backends, endpoints, endpointslices, mirroring, packing, pods
from fairway.control.cluster import Cluster
from fairway.control.mirror import Anchors, Index, Mirror, key_of, label_words, word
from fairway.control.reconcile import Reconciler
from fairway.control.triggers import Triggers
from fairway.node import ZONE_LABEL
from fairway.objects.kinds import ENDPOINT_SLICE, ENDPOINTS, NODE, POD, SERVICE

SLICE_COMPONENT = "endpoint-slice-controller"
ENDPOINTS_COMPONENT = "endpoint-controller"
MIRROR_COMPONENT = "endpoint-slice-mirroring-controller"


class Backends:
    """Services and the pods their selectors match, kept as indexes; shared by both controllers."""

    def __init__(self, cluster: Cluster) -> None:
        self.services = cluster.mirrors[SERVICE]
        self.pods: Mirror = cluster.mirrors[POD]
        self.nodes = cluster.mirrors[NODE]
        self._labels: Index = self.pods.index(label_words)
        self._on_node: Index = self.pods.index(lambda pod: [pods.node_name(pod)])
        self._anchors = Anchors()
        self._queues: list[Reconciler[Key]] = []
        self.services.listen(self._service_changed)
        self.pods.listen(self._pod_changed)
        self.nodes.listen(self._node_changed)

    def feed(self, queue: Reconciler[Key]) -> None:
        """Add to `queue` the key of every Service that a change concerns."""
        self._queues.append(queue)

    def members(self, service: Object) -> list[Object]:
        """The pods that the Service's selector matches: the rarest of its labels' index, filtered by the others."""
        selector = service["spec"].get("selector") or {}
        if not selector:
            return []
        words = [word(key_of(service)[0], *pair) for pair in selector.items()]
        rarest = min(words, key=self._labels.count)
        return [
            pod for pod in self.pods.look_up(self._labels, rarest) if selector.items() <= dict(pods.labels(pod)).items()
        ]

    def zones(self, members: list[Object]) -> Mapping[str, str]:
        """The zones of the nodes that `members` are on."""
        names = {pods.node_name(pod) for pod in members}
        found = ((name, self.nodes.items.get(("", name))) for name in names)
        return {name: pods.labels(node).get(ZONE_LABEL, "") for name, node in found if node is not None}

    def _add(self, key: Key) -> None:
        for queue in self._queues:
            queue.add(key)

    def _service_changed(self, change: Change[Object]) -> None:
        selects = change.new is not None and backends.selects(change.new)
        self._anchors.put(change.key, change.new["spec"]["selector"] if change.new is not None and selects else None)
        self._add(change.key)

    def _pod_changed(self, change: Change[Object]) -> None:
        keys = set()
        for pod in (change.old, change.new):
            if pod is not None:
                keys.update(self._anchors.candidates(change.key[0], pods.labels(pod)))
        for key in keys:
            self._add(key)

    def _node_changed(self, change: Change[Object]) -> None:
        zones = [pods.labels(each).get(ZONE_LABEL) if each is not None else None for each in (change.old, change.new)]
        if zones[0] == zones[1]:
            return
        for pod in self.pods.look_up(self._on_node, change.key[1]):
            for key in self._anchors.candidates(key_of(pod)[0], pods.labels(pod)):
                self._add(key)


class EndpointSlices:
    """The EndpointSlice controller."""

    def __init__(self, cluster: Cluster, shared: Backends) -> None:
        self.queue: Reconciler[Key] = Reconciler(SLICE_COMPONENT, self._work, jitter=cluster.random)
        self._cluster = cluster
        self._shared = shared
        self._slices = cluster.mirrors[ENDPOINT_SLICE]
        self._by_service = self._slices.index(lambda each: _service_words(each, endpointslices.MANAGER))
        self._triggers = Triggers()
        shared.feed(self.queue)
        self._slices.listen(self._slice_changed)

    def _slice_changed(self, change: Change[Object]) -> None:
        for key in _services_of(change, endpointslices.MANAGER):
            self.queue.add(key)

    async def _work(self, key: Key) -> float | None:
        service = self._shared.services.items.get(key)
        if service is None:
            self._triggers.forget(key)
            return None
        members = self._shared.members(service)
        stored = self._slices.look_up(self._by_service, word(*key))
        trigger = self._triggers.look(key, service, members)
        plan = endpointslices.plan(service, members, self._shared.zones(members), stored, self._cluster.random, trigger)
        await self._cluster.perform(plan.writes, SLICE_COMPONENT)
        return plan.again


class Endpoints:
    """The Endpoints controller."""

    def __init__(self, cluster: Cluster, shared: Backends) -> None:
        self.queue: Reconciler[Key] = Reconciler(ENDPOINTS_COMPONENT, self._work, jitter=cluster.random)
        self._cluster = cluster
        self._shared = shared
        self._endpoints = cluster.mirrors[ENDPOINTS]
        self._triggers = Triggers()
        shared.feed(self.queue)
        self._endpoints.listen(self._endpoints_changed)

    def _endpoints_changed(self, change: Change[Object]) -> None:
        self.queue.add(change.key)

    async def _work(self, key: Key) -> float | None:
        service = self._shared.services.items.get(key)
        stored = self._endpoints.items.get(key)
        if service is not None:
            members = self._shared.members(service)
            plan = endpoints.plan(service, members, stored, self._triggers.look(key, service, members))
        elif stored is not None and endpoints.is_ours(stored):
            plan = endpoints.leftover(stored)
        else:
            self._triggers.forget(key)
            return None
        await self._cluster.perform(plan.writes, ENDPOINTS_COMPONENT)
        return plan.again


class Mirroring:
    """The controller that mirrors hand-written Endpoints."""

    def __init__(self, cluster: Cluster) -> None:
        self.queue: Reconciler[Key] = Reconciler(MIRROR_COMPONENT, self._work, jitter=cluster.random)
        self._cluster = cluster
        self._services = cluster.mirrors[SERVICE]
        self._endpoints = cluster.mirrors[ENDPOINTS]
        self._slices = cluster.mirrors[ENDPOINT_SLICE]
        self._by_service = self._slices.index(lambda each: _service_words(each, mirroring.MANAGER))
        self._services.listen(self._service_changed)
        self._endpoints.listen(lambda change: self.queue.add(change.key))
        self._slices.listen(self._slice_changed)

    def _service_changed(self, change: Change[Object]) -> None:
        if change.key in self._endpoints.items:
            self.queue.add(change.key)

    def _slice_changed(self, change: Change[Object]) -> None:
        for key in _services_of(change, mirroring.MANAGER):
            self.queue.add(key)

    async def _work(self, key: Key) -> float | None:
        stored = self._slices.look_up(self._by_service, word(*key))
        service, source = self._services.items.get(key), self._endpoints.items.get(key)
        plan = mirroring.plan(service, source, stored, self._cluster.random)
        await self._cluster.perform(plan.writes, MIRROR_COMPONENT)
        return plan.again


def _services_of(change: Change[Object], manager: str) -> set[Key]:
    """The Services whose slices, of this manager, have changed."""
    both = [each for each in (change.old, change.new) if each is not None and _service_words(each, manager)]
    return {(change.key[0], pods.labels(each)[packing.SERVICE_NAME]) for each in both}


def _service_words(slice_object: Object, manager: str) -> list[str]:
    """Slices of this manager, under the Service they belong to."""
    labels = pods.labels(slice_object)
    name = labels.get(packing.SERVICE_NAME)
    if name is None or labels.get(packing.MANAGED_BY) != manager:
        return []
    return [word(key_of(slice_object)[0], name)]
