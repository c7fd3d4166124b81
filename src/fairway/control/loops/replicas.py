"""Runs `control.replicas` for ReplicationControllers and ReplicaSets."""

from __future__ import annotations

from collections.abc import Iterator

from fairway.client.base import ApiError, Object
from fairway.client.informer import Change, Key
from fairway.control import owners, pods, replicas
from fairway.control.cluster import Cluster
from fairway.control.mirror import Anchors, key_of, word
from fairway.control.reconcile import Reconciler
from fairway.control.writes import Create, Delete, Note, Write
from fairway.objects.kinds import POD, REPLICA_SET, Kind

_TRANSIENT = ("Conflict", "AlreadyExists")


class Replicas:
    """The controller of one kind, REPLICA_SET or REPLICATION_CONTROLLER."""

    def __init__(self, cluster: Cluster, kind: Kind) -> None:
        self.component = "replicaset-controller" if kind is REPLICA_SET else "replication-controller"
        self.queue: Reconciler[Key] = Reconciler(self.component, self._work, jitter=cluster.random)
        self._cluster = cluster
        self._kind = kind
        self._owners = cluster.mirrors[kind]
        self._pods = cluster.mirrors[POD]
        self._by_owner = self._pods.index(_owner_words)
        self._orphans = self._pods.index(_orphan_words)
        self._siblings = self._owners.index(_owner_words)
        self._anchors = Anchors()
        self._owners.listen(self._owner_changed)
        self._pods.listen(self._pod_changed)

    def _owner_changed(self, change: Change[Object]) -> None:
        pairs = None if change.new is None else replicas.selector_pairs(self._kind, change.new)
        self._anchors.put(change.key, pairs)
        if change.new is not None:
            self.queue.add(change.key)

    def _pod_changed(self, change: Change[Object]) -> None:
        for pod in (change.old, change.new):
            if pod is None:
                continue
            holder = owners.controller_of(pod)
            if holder is None:
                for key in self._anchors.candidates(change.key[0], pods.labels(pod)):
                    self.queue.add(key)
            elif holder.get("kind") == self._kind.name:
                self.queue.add((change.key[0], holder["name"]))

    async def _work(self, key: Key) -> float | None:
        owner = self._owners.items.get(key)
        if owner is None:
            return None
        failure = None
        plan = replicas.plan(
            self._kind,
            owner,
            self._candidates(owner),
            self._cluster.clock(),
            self._cluster.random,
            list(self._neighbours(owner)),
        )
        try:
            await self._perform(plan.writes)
        except ApiError as error:
            if error.reason in _TRANSIENT:
                raise
            failure = error
        again = await self._report(key, failure)
        if failure is not None:
            raise failure
        return again

    async def _perform(self, writes: list[Write]) -> None:
        burst = [each for each in writes if isinstance(each, Create | Delete)]
        await self._cluster.perform([each for each in writes if not isinstance(each, Create | Delete)], self.component)
        await self._cluster.perform_burst(burst, self.component)

    async def _report(self, key: Key, failure: ApiError | None) -> float | None:
        owner = self._owners.items.get(key)
        if owner is None:
            return None
        said = None if failure is None else ("FailedCreate", failure.message)
        if failure is not None:
            note = Note(self._kind, owner, "Warning", "FailedCreate", f"Error creating: {failure.message}")
            self._cluster.tell(note, self.component)
        plan = replicas.status_update(self._kind, owner, self._mine(owner), self._cluster.clock(), said)
        await self._cluster.perform(plan.writes, self.component)
        return plan.again

    def _mine(self, owner: Object) -> list[Object]:
        return self._pods.look_up(self._by_owner, pods.uid(owner))

    def _candidates(self, owner: Object) -> list[Object]:
        orphans = self._pods.look_up(self._orphans, word(key_of(owner)[0]))
        return [*self._mine(owner), *orphans]

    def _neighbours(self, owner: Object) -> Iterator[Object]:
        for key in self._siblings.get(_owner_words(owner)[0]) if _owner_words(owner) else ():
            sibling = self._owners.items[key]
            if sibling is not owner:
                yield from self._mine(sibling)


def _owner_words(obj: Object) -> list[str]:
    holder = owners.controller_of(obj)
    return [holder["uid"]] if holder is not None else []


def _orphan_words(obj: Object) -> list[str]:
    return [] if owners.controller_of(obj) is not None else [word(key_of(obj)[0])]
