"""Runs `control.nodes`: listens for signs of life, and hands out pod ranges one at a time."""

from __future__ import annotations

from collections.abc import Sequence

from fairway.client.base import Object
from fairway.client.informer import Change, Key
from fairway.control import nodes, pods
from fairway.control.cluster import Cluster
from fairway.control.reconcile import Reconciler
from fairway.control.writes import Update
from fairway.node import Network
from fairway.objects.kinds import LEASE, NODE, POD

COMPONENT = "node-controller"
RANGE_COMPONENT = "cidr-allocator"


class Lifecycle:
    """The node lifecycle controller."""

    def __init__(self, cluster: Cluster, patience: nodes.Patience) -> None:
        self.queue: Reconciler[str] = Reconciler(COMPONENT, self._work, jitter=cluster.random)
        self._cluster = cluster
        self._patience = patience
        self._nodes = cluster.mirrors[NODE]
        self._leases = cluster.mirrors[LEASE]
        self._pods = cluster.mirrors[POD]
        self._on_node = self._pods.index(lambda pod: [pods.node_name(pod)])
        self._heard: dict[str, tuple[tuple[str, str], float]] = {}
        self._nodes.listen(lambda change: self.queue.add(change.key[1]))
        self._leases.listen(self._lease_changed)
        self._pods.listen(self._pod_changed)

    def _lease_changed(self, change: Change[Object]) -> None:
        if change.key[0] == nodes.LEASE_NAMESPACE:
            self.queue.add(change.key[1])

    def _pod_changed(self, change: Change[Object]) -> None:
        """A pod on a silent node may have to be taken out of service."""
        name = pods.node_name(change.new) if change.new is not None else ""
        node = self._nodes.items.get(("", name))
        if node is not None and not pods.is_ready(node):
            self.queue.add(name)

    async def _work(self, name: str) -> float | None:
        node = self._nodes.items.get(("", name))
        if node is None:
            self._heard.pop(name, None)
            return None
        members = self._pods.look_up(self._on_node, name)
        plan = nodes.plan(node, members, self._silence(name, node), self._patience, self._cluster.clock())
        await self._cluster.perform(plan.writes, COMPONENT)
        return plan.again

    def _silence(self, name: str, node: Object) -> float:
        """Seconds since the last sign of life that this process has seen. A node first met counts as heard just now,
        unless it is known to be silent already."""
        now = self._cluster.clock()
        beat = nodes.heartbeat(node, self._leases.items.get((nodes.LEASE_NAMESPACE, name)))
        seen = self._heard.get(name)
        if seen is None:
            unknown = (pods.condition(node, "Ready") or {}).get("status") == "Unknown"
            seen = self._heard[name] = (beat, now - self._patience.grace if unknown else now)
        elif nodes.is_news(beat, seen[0]):
            seen = self._heard[name] = (beat, now)
        return now - seen[1]


class Ranges:
    """Gives each node its pod ranges. One key at a time, and what was asked for stays taken until the node tells."""

    def __init__(self, cluster: Cluster, ranges: Sequence[tuple[Network, int]]) -> None:
        self.queue: Reconciler[Key] = Reconciler(RANGE_COMPONENT, self._work, concurrency=1, jitter=cluster.random)
        self._cluster = cluster
        self._ranges = ranges
        self._nodes = cluster.mirrors[NODE]
        self._asked: dict[Key, list[str]] = {}
        self._waiting: set[Key] = set()
        self._nodes.listen(self._node_changed)

    def _node_changed(self, change: Change[Object]) -> None:
        if change.new is None:
            self._asked.pop(change.key, None)
            for key in self._waiting:
                self.queue.add(key)
            self._waiting.clear()
        elif _cidrs(change.new):
            self._asked.pop(change.key, None)
        else:
            self.queue.add(change.key)

    async def _work(self, key: Key) -> float | None:
        node = self._nodes.items.get(key)
        if node is None or _cidrs(node):
            return None
        used = [cidr for other, each in self._nodes.items.items() if other != key for cidr in _cidrs(each)]
        used += [cidr for other, cidrs in self._asked.items() if other != key for cidr in cidrs]
        plan = nodes.assign(node, used, self._ranges)
        for write in plan.writes:
            if isinstance(write, Update):
                self._asked[key] = _cidrs(write.obj)
            else:
                self._waiting.add(key)
            await self._cluster.perform_one(write, RANGE_COMPONENT)
        return None


def _cidrs(node: Object) -> list[str]:
    spec = node.get("spec", {})
    return list(spec.get("podCIDRs") or ([spec["podCIDR"]] if spec.get("podCIDR") else []))
