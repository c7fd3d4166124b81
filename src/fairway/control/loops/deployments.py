"""Runs `control.deployments`."""

from __future__ import annotations

from fairway.client.base import ApiError, Object
from fairway.client.informer import Change, Key
from fairway.control import deployments, owners, pods
from fairway.control.cluster import Cluster
from fairway.control.mirror import key_of, word
from fairway.control.reconcile import Reconciler
from fairway.control.writes import Create, Update, Write
from fairway.objects.kinds import DEPLOYMENT, POD, REPLICA_SET

COMPONENT = "deployment-controller"


class Deployments:
    """The Deployment controller."""

    def __init__(self, cluster: Cluster) -> None:
        self.queue: Reconciler[Key] = Reconciler(COMPONENT, self._work, jitter=cluster.random)
        self._cluster = cluster
        self._deployments = cluster.mirrors[DEPLOYMENT]
        self._sets = cluster.mirrors[REPLICA_SET]
        self._pods = cluster.mirrors[POD]
        self._by_owner = self._sets.index(_owner_words)
        self._pods_by_owner = self._pods.index(_owner_words)
        self._in_namespace = self._deployments.index(lambda each: [word(key_of(each)[0])])
        self._deployments.listen(self._deployment_changed)
        self._sets.listen(self._set_changed)
        self._pods.listen(self._pod_changed)

    def _deployment_changed(self, change: Change[Object]) -> None:
        if change.new is not None:
            self.queue.add(change.key)

    def _set_changed(self, change: Change[Object]) -> None:
        for each in (change.old, change.new):
            if each is None:
                continue
            holder = owners.controller_of(each)
            if holder is None:
                for key in self._in_namespace.get(word(change.key[0])):
                    self.queue.add(key)
            elif holder.get("kind") == DEPLOYMENT.name:
                self.queue.add((change.key[0], holder["name"]))

    def _pod_changed(self, change: Change[Object]) -> None:
        """A pod that is gone may be the last old one that Recreate waits for."""
        gone = change.old is not None and (change.new is None or pods.is_finished(change.new))
        holder = owners.controller_of(change.old) if gone and change.old is not None else None
        if holder is None or holder.get("kind") != REPLICA_SET.name:
            return
        replica_set = self._sets.items.get((change.key[0], holder["name"]))
        above = owners.controller_of(replica_set) if replica_set is not None else None
        if above is not None:
            self.queue.add((change.key[0], above["name"]))

    async def _work(self, key: Key) -> float | None:
        deployment = self._deployments.items.get(key)
        if deployment is None:
            return None
        candidates = [
            *self._sets.look_up(self._by_owner, pods.uid(deployment)),
            *self._sets.look_up(self._by_owner, _orphan_word(key[0])),
        ]
        plan = deployments.plan(deployment, candidates, self._count_pods(candidates), self._cluster.clock())
        for write in plan.writes:
            await self._perform(deployment, write)
        return plan.again

    async def _perform(self, deployment: Object, write: Write) -> None:
        try:
            await self._cluster.perform_one(write, COMPONENT)
        except ApiError as error:
            if error.reason != "AlreadyExists" or not isinstance(write, Create):
                raise
            await self._resolve(deployment, write)

    async def _resolve(self, deployment: Object, write: Create) -> None:
        """The new ReplicaSet's name is taken: by itself, made earlier, or by another template with the same hash,
        which then gets another name."""
        metadata = write.obj["metadata"]
        found = await self._cluster.client.get(REPLICA_SET, metadata["name"], metadata["namespace"])
        template = deployments.without_hash(deployment["spec"]["template"])
        same = deployments.without_hash(found["spec"]["template"]) == template
        if same and owners.is_controlled_by(found, pods.uid(deployment)):
            self._sets.wrote(found)
            self.queue.add(key_of(deployment))
            return
        status = deployment.get("status", {})
        counted = {**status, "collisionCount": status.get("collisionCount", 0) + 1}
        await self._cluster.perform_one(Update(DEPLOYMENT, {**deployment, "status": counted}, "status"), COMPONENT)

    def _count_pods(self, sets: list[Object]) -> dict[str, int]:
        counts = {}
        for each in sets:
            found = self._pods.look_up(self._pods_by_owner, pods.uid(each))
            counts[pods.uid(each)] = sum(not pods.is_finished(pod) for pod in found)
        return counts


def _owner_words(obj: Object) -> list[str]:
    holder = owners.controller_of(obj)
    return [holder["uid"] if holder is not None else _orphan_word(key_of(obj)[0])]


def _orphan_word(namespace: str) -> str:
    return word(namespace)
