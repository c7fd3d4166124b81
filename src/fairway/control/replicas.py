"""ReplicationController and ReplicaSet: as many pods of one template as asked for. One core for both. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from fairway.client.base import Object
from fairway.control import owners, pods
from fairway.control.naming import suffixed
from fairway.control.times import stamp
from fairway.control.writes import Create, Delete, Living, Note, Plan, Update, Write
from fairway.objects.kinds import POD, REPLICATION_CONTROLLER, Kind
from fairway.objects.selectors import LabelSelector, from_label_selector, from_map

BURST = 500
"""At most so many pods are made or deleted before the state is looked at again."""


def selector_of(kind: Kind, owner: Object) -> LabelSelector:
    """The selector of a ReplicaSet or Deployment (a label selector) or ReplicationController (a map). Raises
    SelectorError."""
    selector = owner["spec"].get("selector")
    return from_map(selector) if kind is REPLICATION_CONTROLLER else from_label_selector(selector)


def selector_pairs(kind: Kind, owner: Object) -> dict[str, str]:
    """The selector's plain label pairs."""
    selector = owner["spec"].get("selector") or {}
    return dict(selector if kind is REPLICATION_CONTROLLER else selector.get("matchLabels") or {})


@dataclass
class Claims:
    """Whose pods are whose: `mine` count as this owner's once `writes` (adoptions and releases) are done."""

    mine: list[Object] = field(default_factory=list)
    writes: list[Write] = field(default_factory=list)


def claim(
    kind: Kind, owner: Object, selector: LabelSelector, candidates: Iterable[Object], candidate_kind: Kind
) -> Claims:
    """Sort `candidates` (in the owner's namespace): its own that still match stay, its own that no longer match are
    released, matching ones without a controller are adopted, if the owner lives."""
    claims = Claims()
    owner_uid = pods.uid(owner)
    for each in candidates:
        holder = owners.controller_of(each)
        matches = selector.matches(pods.labels(each))
        if holder is not None and holder.get("uid") == owner_uid:
            if matches or pods.is_going(owner):
                claims.mine.append(each)
            elif not pods.is_going(each):
                claims.writes.append(Update(candidate_kind, owners.disowned(each, owner_uid)))
        elif holder is None and matches and not pods.is_going(each) and not pods.is_going(owner):
            claims.mine.append(each)
            claims.writes.append(
                Update(candidate_kind, owners.owned(each, kind, owner), living=_living(kind, owner)),
            )
    return claims


def _living(kind: Kind, owner: Object) -> Living:
    metadata = owner["metadata"]
    return Living(kind, metadata.get("namespace", ""), metadata["name"], metadata["uid"])


def plan(
    kind: Kind,
    owner: Object,
    candidates: Iterable[Object],
    now: float,
    random: Callable[[], float],
    neighbours: Sequence[Object] = (),
) -> Plan:
    """The writes that bring the owner's pods to its replica count.

    `candidates` are the pods of its namespace that are its own or match its selector; `neighbours` the pods of its
    siblings (other ReplicaSets of the same Deployment), which count when pods doubled up on a node are chosen for
    deletion. The status is not part of it: see `status`.
    """
    claims = claim(kind, owner, selector_of(kind, owner), candidates, POD)
    if pods.is_going(owner):
        return Plan(claims.writes)
    active = [each for each in claims.mine if pods.is_active(each)]
    surplus = len(active) - int(owner["spec"].get("replicas", 1))
    if surplus < 0:
        missing = min(-surplus, BURST)
        return Plan([*claims.writes, *(_create(kind, owner, random) for _ in range(missing))])
    leaving = _leaving(active, min(surplus, BURST), now, neighbours)
    return Plan([*claims.writes, *(_delete(kind, owner, each) for each in leaving)])


def _create(kind: Kind, owner: Object, random: Callable[[], float]) -> Create:
    template = owner["spec"]["template"]
    base = owner["metadata"]["name"] + "-"
    name = suffixed(base, random)
    metadata = {key: value for key, value in (template.get("metadata") or {}).items() if key in _FROM_TEMPLATE}
    metadata |= {
        "name": name,
        "generateName": base,
        "namespace": owner["metadata"]["namespace"],
        "ownerReferences": [owners.reference(kind, owner)],
    }
    pod = {"apiVersion": POD.api_version, "kind": POD.name, "metadata": metadata, "spec": template["spec"]}
    return Create(POD, pod, Note(kind, owner, "Normal", "SuccessfulCreate", f"Created pod: {name}"))


_FROM_TEMPLATE = ("labels", "annotations", "finalizers")


def _delete(kind: Kind, owner: Object, pod: Object) -> Delete:
    metadata = pod["metadata"]
    note = Note(kind, owner, "Normal", "SuccessfulDelete", f"Deleted pod: {metadata['name']}")
    return Delete(POD, metadata["namespace"], metadata["name"], metadata["uid"], told=note)


def _leaving(active: Sequence[Object], count: int, now: float, neighbours: Sequence[Object]) -> list[Object]:
    """The `count` pods that are missed least."""
    if count <= 0:
        return []
    crowd = Counter(pods.node_name(each) for each in (*active, *neighbours) if pods.is_active(each))
    return sorted(active, key=lambda each: _worth(each, crowd, now))[:count]


_PHASES = {"Pending": 0, "Unknown": 1, "Running": 2}


def _worth(pod: Object, crowd: Counter[str], now: float) -> tuple[Any, ...]:
    """Smaller goes first: unscheduled, early phase, not ready, cheap by annotation, crowded node, ready for less long,
    restarted more, younger, and by name so that the choice is one."""
    node = pods.node_name(pod)
    since = pods.ready_since(pod)
    return (
        bool(node),
        _PHASES.get(pods.phase(pod), 2),
        pods.is_ready(pod),
        pods.deletion_cost(pod),
        -crowd[node] if node else 0,
        0.0 if since is None else now - since,
        -pods.restarts(pod),
        now - pods.created(pod),
        pod["metadata"]["name"],
    )


def status(
    kind: Kind, owner: Object, mine: Iterable[Object], now: float, failure: tuple[str, str] | None
) -> tuple[dict[str, Any], float | None]:
    """The status of an owner whose pods are `mine`, and the seconds until a pod of them becomes available by age.

    `failure` is (reason, message) of the last attempt to make or delete pods, None when it went well.
    """
    active = [each for each in mine if pods.is_active(each)]
    template_labels = ((owner["spec"].get("template") or {}).get("metadata") or {}).get("labels") or {}
    waits = [pods.available_in(each, int(owner["spec"].get("minReadySeconds", 0)), now) for each in active]
    counts = {
        "replicas": len(active),
        "fullyLabeledReplicas": sum(template_labels.items() <= dict(pods.labels(each)).items() for each in active),
        "readyReplicas": sum(wait is not None for wait in waits),
        "availableReplicas": sum(wait == 0 for wait in waits),
    }
    new: dict[str, Any] = {name: count for name, count in counts.items() if count or name == "replicas"}
    new["observedGeneration"] = owner["metadata"].get("generation", 0)
    conditions = _failure_conditions(owner, failure, now)
    if conditions:
        new["conditions"] = conditions
    later = [wait for wait in waits if wait]
    return new, min(later, default=None)


def _failure_conditions(owner: Object, failure: tuple[str, str] | None, now: float) -> list[dict[str, Any]]:
    kept = [each for each in owner.get("status", {}).get("conditions") or () if each.get("type") != "ReplicaFailure"]
    if failure is None:
        return kept
    old = pods.condition(owner, "ReplicaFailure") or {}
    reason, message = failure
    since = old.get("lastTransitionTime", stamp(now)) if old.get("reason") == reason else stamp(now)
    entry = {"type": "ReplicaFailure", "status": "True", "lastTransitionTime": since}
    return [*kept, {**entry, "reason": reason, "message": message}]


def status_update(
    kind: Kind, owner: Object, mine: Iterable[Object], now: float, failure: tuple[str, str] | None
) -> Plan:
    """The write that brings the owner's status in line, if it is not."""
    new, again = status(kind, owner, mine, now, failure)
    if new == owner.get("status", {}):
        return Plan([], again)
    return Plan([Update(kind, {**owner, "status": new}, "status")], again)
