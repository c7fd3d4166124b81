"""Deployment: one ReplicaSet per template, replicas moved from the old ones to the new one. Pure.

Each plan is one step from the state as it is; what it writes brings the next state, which brings the next step.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fairway.client.base import Object
from fairway.control import owners, pods
from fairway.control.deployment_status import is_complete, status_plan
from fairway.control.naming import template_hash
from fairway.control.replicas import claim, selector_of
from fairway.control.rollout import Limits, Set, grow, limits, proportion, shrink
from fairway.control.writes import Create, Delete, Note, Plan, Update, Write
from fairway.objects.kinds import DEPLOYMENT, REPLICA_SET

HASH_LABEL = "pod-template-hash"
REVISION = "deployment.kubernetes.io/revision"
REVISION_HISTORY = "deployment.kubernetes.io/revision-history"
DESIRED = "deployment.kubernetes.io/desired-replicas"
MOST = "deployment.kubernetes.io/max-replicas"
_OWN_ANNOTATIONS = (
    REVISION,
    REVISION_HISTORY,
    DESIRED,
    MOST,
    "kubectl.kubernetes.io/last-applied-configuration",
)


@dataclass(frozen=True, slots=True)
class Rollout:
    """A Deployment with its ReplicaSets: `new` has the present template (None: not made yet), `old` the others,
    oldest first. `pods` counts the pods of each ReplicaSet (by uid) that have not finished, going ones included."""

    deployment: Object
    new: Object | None
    old: Sequence[Object]
    pods: Mapping[str, int]

    @property
    def sets(self) -> list[Object]:
        return [*self.old, self.new] if self.new is not None else list(self.old)

    @property
    def limits(self) -> Limits:
        """The bounds of its strategy; Recreate has no room in either direction until the old pods are gone."""
        spec = self.deployment["spec"]
        replicas = int(spec.get("replicas", 1))
        if self.recreates:
            return Limits(replicas, 0, replicas)
        update = (spec.get("strategy") or {}).get("rollingUpdate") or {}
        return limits(replicas, update.get("maxSurge", "25%"), update.get("maxUnavailable", "25%"))

    @property
    def recreates(self) -> bool:
        return bool((self.deployment["spec"].get("strategy") or {}).get("type") == "Recreate")


def plan(deployment: Object, candidates: Iterable[Object], pods_of: Mapping[str, int], now: float) -> Plan:
    """The next writes for `deployment`. `candidates` are the ReplicaSets of its namespace that are its own or have no
    controller; `pods_of` is `Rollout.pods`; `now` is in seconds since the epoch."""
    claims = claim(DEPLOYMENT, deployment, selector_of(DEPLOYMENT, deployment), candidates, REPLICA_SET)
    if claims.writes:
        return Plan(claims.writes)
    rollout = sort_out(deployment, claims.mine, pods_of)
    if pods.is_going(deployment):
        return status_plan(deployment, rollout.new, rollout.old, now)
    if not deployment["spec"].get("paused"):
        first = _new_set(rollout) or _revision(rollout)
        if first:
            return Plan([first])
    writes = _scale(rollout)
    status = status_plan(deployment, rollout.new, rollout.old, now)
    done = [] if writes else _forget_history(rollout)
    return Plan([*writes, *status.writes, *done], status.again)


def sort_out(deployment: Object, sets: Iterable[Object], pods_of: Mapping[str, int]) -> Rollout:
    """Tell the new ReplicaSet from the old ones by its template (the oldest wins should there be two)."""
    ordered = sorted(sets, key=lambda each: (pods.created(each), each["metadata"]["name"]))
    wanted = deployment["spec"]["template"]
    new = next((each for each in ordered if without_hash(each["spec"]["template"]) == without_hash(wanted)), None)
    return Rollout(deployment, new, [each for each in ordered if each is not new], pods_of)


def without_hash(template: Mapping[str, Any]) -> dict[str, Any]:
    """The template as the user wrote it: without the label that tells ReplicaSets apart."""
    metadata = dict(template.get("metadata") or {})
    metadata.pop("creationTimestamp", None)
    labels = {key: value for key, value in (metadata.get("labels") or {}).items() if key != HASH_LABEL}
    return {**template, "metadata": {**metadata, "labels": labels}}


def revision(replica_set: Object) -> int:
    """The rollout revision that a ReplicaSet carries; 0 when it has none."""
    text = (replica_set["metadata"].get("annotations") or {}).get(REVISION, "")
    return int(text) if text.isdecimal() else 0


def _new_set(rollout: Rollout) -> Write | None:
    """Make the new ReplicaSet, or bring its annotations up to date."""
    next_revision = max((revision(each) for each in rollout.old), default=0) + 1
    if rollout.new is None:
        return _create(rollout, next_revision)
    metadata = rollout.new["metadata"]
    before = metadata.get("annotations") or {}
    after = _annotations(rollout.deployment, before)
    if revision(rollout.new) < next_revision:
        if before.get(REVISION):
            after[REVISION_HISTORY] = ",".join(filter(None, (before.get(REVISION_HISTORY, ""), before[REVISION])))
        after[REVISION] = str(next_revision)
    wait = rollout.deployment["spec"].get("minReadySeconds", 0)
    if after == before and rollout.new["spec"].get("minReadySeconds", 0) == wait:
        return None
    return Update(
        REPLICA_SET,
        {
            **rollout.new,
            "metadata": {**metadata, "annotations": after},
            "spec": {**rollout.new["spec"], "minReadySeconds": wait},
        },
    )


def _annotations(deployment: Object, before: Mapping[str, str]) -> dict[str, str]:
    """The Deployment's annotations over a ReplicaSet's own ones."""
    given = deployment["metadata"].get("annotations") or {}
    return {**before, **{key: value for key, value in given.items() if key not in _OWN_ANNOTATIONS}}


def _create(rollout: Rollout, number: int) -> Create:
    deployment, limit = rollout.deployment, rollout.limits
    spec, metadata = deployment["spec"], deployment["metadata"]
    digest = template_hash(without_hash(spec["template"]), deployment.get("status", {}).get("collisionCount", 0))
    name = f"{metadata['name']}-{digest}"
    held = rollout.recreates and any(rollout.pods.get(pods.uid(each)) for each in rollout.old)
    count = 0 if held else grow(Set(name, 0), [numbers(each) for each in rollout.old], limit)
    template = spec["template"]
    template_metadata = template.get("metadata") or {}
    labels = {**(template_metadata.get("labels") or {}), HASH_LABEL: digest}
    selector = spec["selector"]
    annotations = {**_annotations(deployment, {}), REVISION: str(number), **_marks(limit)}
    replica_set = {
        "apiVersion": REPLICA_SET.api_version,
        "kind": REPLICA_SET.name,
        "metadata": {
            "name": name,
            "namespace": metadata["namespace"],
            "labels": labels,
            "annotations": annotations,
            "ownerReferences": [owners.reference(DEPLOYMENT, deployment)],
        },
        "spec": {
            "replicas": count,
            "minReadySeconds": spec.get("minReadySeconds", 0),
            "selector": {**selector, "matchLabels": {**(selector.get("matchLabels") or {}), HASH_LABEL: digest}},
            "template": {**template, "metadata": {**template_metadata, "labels": labels}},
        },
    }
    return Create(REPLICA_SET, replica_set, _note(deployment, name, 0, count) if count else None)


def _revision(rollout: Rollout) -> Write | None:
    """Show the new ReplicaSet's revision on the Deployment; through its status, as an annotation that others write
    counts as a new generation."""
    if rollout.new is None:
        return None
    number = str(revision(rollout.new))
    metadata = rollout.deployment["metadata"]
    annotations = metadata.get("annotations") or {}
    if annotations.get(REVISION) == number:
        return None
    changed = {**metadata, "annotations": {**annotations, REVISION: number}}
    return Update(DEPLOYMENT, {**rollout.deployment, "metadata": changed}, "status")


def numbers(replica_set: Object) -> Set:
    """A ReplicaSet as the arithmetic sees it."""
    status = replica_set.get("status", {})
    return Set(
        replica_set["metadata"]["name"],
        int(replica_set["spec"].get("replicas", 1)),
        int(status.get("replicas", 0)),
        int(status.get("availableReplicas", 0)),
        int(status.get("observedGeneration", 0)) >= int(replica_set["metadata"].get("generation", 0)),
    )


def _scale(rollout: Rollout) -> list[Write]:
    """Set the replica counts that may be set now."""
    by_name = {each["metadata"]["name"]: each for each in rollout.sets}
    wanted = {each.name: each.asked for each in _wanted(rollout)}
    writes = []
    for name, replica_set in by_name.items():
        write = _resize(rollout, replica_set, wanted.get(name, numbers(replica_set).asked))
        if write is not None:
            writes.append(write)
    return writes


def _wanted(rollout: Rollout) -> list[Set]:
    limit = rollout.limits
    old = [numbers(each) for each in rollout.old]
    active = [each for each in old if each.asked]
    new = numbers(rollout.new) if rollout.new is not None else None
    if rollout.deployment["spec"].get("paused") or _was_scaled(rollout):
        return _rescaled(rollout, new, active, limit)
    if new is None:
        return []
    if rollout.recreates:
        return _recreated(rollout, new, old, limit)
    grown = _asked(new, grow(new, old, limit))
    if grown.asked != new.asked:
        return [grown]
    return shrink(new, active, limit)


def _was_scaled(rollout: Rollout) -> bool:
    """Whether the wanted number has changed since the active ReplicaSets were last scaled."""
    wanted = str(rollout.limits.replicas)
    marks = [
        (each["metadata"].get("annotations") or {}).get(DESIRED) for each in rollout.sets if numbers(each).asked > 0
    ]
    return any(mark is not None and mark != wanted for mark in marks)


def _rescaled(rollout: Rollout, new: Set | None, active: Sequence[Set], limit: Limits) -> list[Set]:
    """Follow a change of the wanted number without going on with the rollout."""
    everyone = [*active, *([new] if new is not None and new.asked else [])]
    if len(everyone) <= 1:
        latest = everyone[0] if everyone else new or (numbers(rollout.old[-1]) if rollout.old else None)
        return [] if latest is None else [_asked(latest, limit.replicas)]
    if new is not None and new.asked >= limit.replicas and new.available >= limit.replicas:
        return [*(_asked(each, 0) for each in active), _asked(new, limit.replicas)]
    if rollout.recreates:
        return []
    most = {each["metadata"]["name"]: _number(each, MOST) for each in rollout.sets}
    return proportion(everyone, limit, most)


def _recreated(rollout: Rollout, new: Set, old: Sequence[Set], limit: Limits) -> list[Set]:
    """First all old pods go, then, when not one of them runs any more, all new ones come."""
    if any(each.asked for each in old):
        return [_asked(each, 0) for each in old]
    if any(rollout.pods.get(pods.uid(each)) for each in rollout.old):
        return []
    return [_asked(new, limit.replicas)]


def _asked(each: Set, count: int) -> Set:
    return replace(each, asked=count)


def _number(replica_set: Object, annotation: str) -> int:
    text = (replica_set["metadata"].get("annotations") or {}).get(annotation, "")
    return int(text) if text.isdecimal() else 0


def _resize(rollout: Rollout, replica_set: Object, count: int) -> Write | None:
    """Ask a ReplicaSet for `count` pods, and keep the marks of active ones current."""
    before = numbers(replica_set).asked
    metadata = replica_set["metadata"]
    annotations = metadata.get("annotations") or {}
    marked = {**annotations, **_marks(rollout.limits)}
    if count == before and (annotations == marked or not count):
        return None
    changed = {
        **replica_set,
        "metadata": {**metadata, "annotations": marked},
        "spec": {**replica_set["spec"], "replicas": count},
    }
    told = None if count == before else _note(rollout.deployment, metadata["name"], before, count)
    return Update(REPLICA_SET, changed, told=told)


def _marks(limit: Limits) -> dict[str, str]:
    return {DESIRED: str(limit.replicas), MOST: str(limit.most)}


def _note(deployment: Object, name: str, before: int, after: int) -> Note:
    direction = "up" if after > before else "down"
    message = f"Scaled {direction} replica set {name} from {before} to {after}"
    return Note(DEPLOYMENT, deployment, "Normal", "ScalingReplicaSet", message)


def _forget_history(rollout: Rollout) -> list[Write]:
    """Delete ReplicaSets that a finished rollout needs no more, beyond the history the user wants to keep."""
    keep = rollout.deployment["spec"].get("revisionHistoryLimit")
    if keep is None or not is_complete(rollout.deployment, rollout.new, rollout.old):
        return []
    idle = [each for each in rollout.old if not pods.is_going(each) and _is_idle(each)]
    spare = sorted(idle, key=lambda each: (revision(each), pods.created(each)))[: max(len(idle) - int(keep), 0)]
    return [
        Delete(REPLICA_SET, each["metadata"]["namespace"], each["metadata"]["name"], each["metadata"]["uid"])
        for each in spare
    ]


def _is_idle(replica_set: Object) -> bool:
    found = numbers(replica_set)
    return found.settled and not found.most
