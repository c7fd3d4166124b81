"""Runs `control.garbage`: knows who owns what by uid, over all kinds."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from fairway.client.base import ApiError, Object
from fairway.client.informer import Change, Key
from fairway.control import garbage, owners, pods
from fairway.control.cluster import Cluster
from fairway.control.garbage import Dependent, OwnerState
from fairway.control.mirror import Index
from fairway.control.reconcile import Reconciler
from fairway.objects.kinds import Kind, by_kind

COMPONENT = "garbage-collector-controller"
Item = tuple[Kind, Key]


class Garbage:
    """The garbage collector over the given kinds."""

    def __init__(self, cluster: Cluster, kinds: Iterable[Kind]) -> None:
        self.queue: Reconciler[Item] = Reconciler(COMPONENT, self._work, concurrency=8, jitter=cluster.random)
        self._cluster = cluster
        self._indexes: dict[Kind, Index] = {}
        for kind in kinds:
            mirror = cluster.mirrors[kind]
            self._indexes[kind] = mirror.index(_owner_uids)
            mirror.listen(self._listener(kind))

    def _listener(self, kind: Kind) -> Callable[[Change[Object]], None]:
        def changed(change: Change[Object]) -> None:
            self._changed(kind, change)

        return changed

    def _changed(self, kind: Kind, change: Change[Object]) -> None:
        if change.new is not None and (owners.references(change.new) or pods.is_going(change.new)):
            self.queue.add((kind, change.key))
        gone = change.old is not None and (change.new is None or pods.uid(change.new) != pods.uid(change.old))
        waits = change.new is not None and garbage.is_waiting(change.new)
        for obj in (change.old if gone else None, change.new if waits else None):
            if obj is not None:
                for item in self._dependents(pods.uid(obj)):
                    self.queue.add(item)
        if gone and change.old is not None:
            for reference in owners.references(change.old):
                self._add_owner(change.key[0], reference)

    def _add_owner(self, namespace: str, reference: dict[str, Any]) -> None:
        """The owner may wait for the dependent that has gone."""
        kind = by_kind(str(reference.get("apiVersion")), str(reference.get("kind")))
        if kind is not None:
            self.queue.add((kind, (namespace if kind.namespaced else "", str(reference.get("name")))))

    def _dependents(self, uid: str) -> list[Item]:
        return [(kind, key) for kind, index in self._indexes.items() for key in index.get(uid)]

    async def _work(self, item: Item) -> float | None:
        kind, key = item
        mirror = self._cluster.mirrors.get(kind)
        obj = mirror.items.get(key) if mirror is not None else None
        if obj is None:
            return None
        states = {}
        if not pods.is_going(obj):
            states = {each["uid"]: await self._state(key[0], each) for each in owners.references(obj)}
        found = [
            Dependent(each, self._cluster.mirrors[each].items[where]) for each, where in self._dependents(pods.uid(obj))
        ]
        plan = garbage.plan(kind, obj, states, found)
        await self._cluster.perform(plan.writes, COMPONENT)
        return plan.again

    async def _state(self, namespace: str, reference: dict[str, Any]) -> OwnerState:
        """An owner that is not in the mirror is asked for: the watches of two kinds may be apart."""
        kind = by_kind(reference["apiVersion"], reference["kind"])
        if kind is None:
            return "solid"  # a kind that nobody serves here: not ours to judge
        place = namespace if kind.namespaced else ""
        mirror = self._cluster.mirrors.get(kind)
        owner = mirror.items.get((place, reference["name"])) if mirror is not None else None
        if owner is None or pods.uid(owner) != reference["uid"]:
            try:
                owner = await self._cluster.client.get(kind, reference["name"], place)
            except ApiError as error:
                if error.code == 404:
                    return "absent"
                raise
        if pods.uid(owner) != reference["uid"]:
            return "absent"
        return "waiting" if garbage.is_waiting(owner) else "solid"


def _owner_uids(obj: Object) -> list[str]:
    return [str(each.get("uid")) for each in owners.references(obj)]
