"""Runs `control.scheduler`: decisions one after the other, bindings side by side."""

from __future__ import annotations

from collections.abc import Iterator

from fairway.client.base import ApiError, Object
from fairway.client.informer import Change, Key
from fairway.control import owners, pods, scheduler
from fairway.control.cluster import Cluster
from fairway.control.reconcile import Reconciler
from fairway.objects.kinds import NODE, POD


class Scheduler:
    """The scheduler. A pod counts on its node from the decision on, not only when the watch tells of the binding."""

    def __init__(self, cluster: Cluster) -> None:
        self.queue: Reconciler[Key] = Reconciler(scheduler.SCHEDULER, self._work, concurrency=8, jitter=cluster.random)
        self._cluster = cluster
        self._pods = cluster.mirrors[POD]
        self._nodes = cluster.mirrors[NODE]
        self._by_node = self._pods.index(lambda pod: [] if pods.is_finished(pod) else [pods.node_name(pod)])
        self._by_owner = self._pods.index(_owner_words)
        self._assumed: dict[Key, tuple[str, str]] = {}
        self._waiting: set[Key] = set()
        self._pods.listen(self._pod_changed)
        self._nodes.listen(self._node_changed)

    def _pod_changed(self, change: Change[Object]) -> None:
        if change.new is not None and scheduler.is_ours(change.new):
            self.queue.add(change.key)
            return
        self._assumed.pop(change.key, None)
        self._waiting.discard(change.key)
        if change.new is None or pods.is_finished(change.new):
            self._retry()

    def _node_changed(self, change: Change[Object]) -> None:
        if _traits(change.old) != _traits(change.new):
            self._retry()

    def _retry(self) -> None:
        """Something has changed for the pods that found no node."""
        for key in self._waiting:
            self.queue.add(key)
        self._waiting.clear()

    async def _work(self, key: Key) -> float | None:
        pod = self._pods.items.get(key)
        if pod is None or not scheduler.is_ours(pod) or key in self._assumed:
            return None
        nodes = [self._nodes.items[each] for each in sorted(self._nodes.items)]
        node, reasons = scheduler.choose(pod, nodes, self._load(pod))
        plan = scheduler.plan(pod, node, reasons, len(nodes), self._cluster.clock())
        if not node:
            self._waiting.add(key)
            await self._cluster.perform(plan.writes, scheduler.SCHEDULER)
            return None
        self._assumed[key] = (pods.uid(pod), node)
        try:
            await self._cluster.perform(plan.writes, scheduler.SCHEDULER)
        except ApiError as error:
            self._assumed.pop(key, None)
            if error.code != 404:
                raise
        except BaseException:
            self._assumed.pop(key, None)
            raise
        return None

    def _load(self, pod: Object) -> scheduler.Load:
        """Counts from the indexes; what is assumed counts as bound."""
        load = scheduler.Load()
        wants_ports = bool(scheduler.host_ports(pod))
        for name in (node["metadata"]["name"] for node in self._nodes.items.values()):
            load.all[name] = self._by_node.count(name)
            if wants_ports:
                there = self._pods.look_up(self._by_node, name)
                load.ports[name] = [port for other in there for port in scheduler.host_ports(other)]
        holder = owners.controller_of(pod)
        same = self._pods.look_up(self._by_owner, holder["uid"]) if holder is not None else []
        load.same.update(pods.node_name(each) for each in same if pods.is_active(each) and pods.node_name(each))
        for node_name, other in self._assumed_pods():
            load.all[node_name] += 1
            if wants_ports:
                load.ports.setdefault(node_name, []).extend(scheduler.host_ports(other))
            if holder is not None and owners.is_controlled_by(other, holder["uid"]):
                load.same[node_name] += 1
        return load

    def _assumed_pods(self) -> Iterator[tuple[str, Object]]:
        for key, (uid, node) in self._assumed.items():
            pod = self._pods.items.get(key)
            if pod is not None and pods.uid(pod) == uid:
                yield node, pod


def _owner_words(pod: Object) -> list[str]:
    holder = owners.controller_of(pod)
    return [holder["uid"]] if holder is not None else []


def _traits(node: Object | None) -> tuple[object, ...]:
    """What of a node decides whether pods may go there."""
    if node is None:
        return ()
    spec = node.get("spec", {})
    allocatable = (node.get("status", {}).get("allocatable") or {}).get("pods")
    return (spec.get("unschedulable"), spec.get("taints"), pods.is_ready(node), dict(pods.labels(node)), allocatable)
