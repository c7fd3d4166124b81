"""What becomes of objects whose owners go: deleted in the background, before their owner (foreground), or set free
(orphan). Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from fairway.client.base import Object
from fairway.control import owners, pods
from fairway.control.writes import Delete, Patch, Plan, Write
from fairway.objects.kinds import Kind

FOREGROUND = "foregroundDeletion"
ORPHAN = "orphan"

OwnerState = Literal["solid", "absent", "waiting"]
"""Of an owner: it lives; it is gone for certain; it waits for its dependents to go first (foreground)."""


@dataclass(frozen=True, slots=True)
class Dependent:
    """An object that names another one as its owner."""

    kind: Kind
    obj: Object


def is_waiting(obj: Object) -> bool:
    """Whether the object is being deleted in the foreground: after its dependents."""
    return pods.is_going(obj) and FOREGROUND in _finalizers(obj)


def plan(kind: Kind, obj: Object, states: Mapping[str, OwnerState], dependents: Sequence[Dependent]) -> Plan:
    """The writes for one object: `states` tells of its owners by uid, `dependents` are the objects it owns."""
    if pods.is_going(obj):
        return Plan(_farewell(kind, obj, dependents))
    references = owners.references(obj)
    found = [states.get(each.get("uid", ""), "solid") for each in references]
    if not references or all(state == "solid" for state in found):
        return Plan()
    if "solid" in found:
        kept = [each for each, state in zip(references, found, strict=True) if state == "solid"]
        return Plan([_patched(kind, obj, {"ownerReferences": kept})])
    propagation = "Background" if "waiting" not in found else "Foreground" if dependents else "Background"
    return Plan([_delete(kind, obj, propagation)])


def _farewell(kind: Kind, obj: Object, dependents: Sequence[Dependent]) -> list[Write]:
    """An object on its way out: free its dependents (orphan), or let it go when none of them holds it any more."""
    finalizers = _finalizers(obj)
    owner_uid = pods.uid(obj)
    if ORPHAN in finalizers:
        freed: list[Write] = [_freed(each, owner_uid) for each in dependents]
        return [*freed, _without(kind, obj, ORPHAN)]
    if FOREGROUND in finalizers and not any(_holds(each.obj, owner_uid) for each in dependents):
        return [_without(kind, obj, FOREGROUND)]
    return []


def _holds(dependent: Object, owner_uid: str) -> bool:
    """Whether the owner must wait for this dependent (blockOwnerDeletion)."""
    return any(each.get("uid") == owner_uid and each.get("blockOwnerDeletion") for each in owners.references(dependent))


def _finalizers(obj: Object) -> list[str]:
    return list(obj["metadata"].get("finalizers") or ())


def _without(kind: Kind, obj: Object, finalizer: str) -> Patch:
    return _patched(kind, obj, {"finalizers": [each for each in _finalizers(obj) if each != finalizer]})


def _freed(dependent: Dependent, owner_uid: str) -> Patch:
    kept = [each for each in owners.references(dependent.obj) if each.get("uid") != owner_uid]
    return _patched(dependent.kind, dependent.obj, {"ownerReferences": kept})


def _patched(kind: Kind, obj: Object, metadata: Object) -> Patch:
    """A change of metadata alone, held to the revision it was decided on. A patch, because of some kinds only the
    metadata is known here."""
    known = obj["metadata"]
    change = {**{name: value or None for name, value in metadata.items()}, "resourceVersion": known["resourceVersion"]}
    return Patch(kind, known.get("namespace", ""), known["name"], {"metadata": change})


def _delete(kind: Kind, obj: Object, propagation: str) -> Delete:
    metadata = obj["metadata"]
    return Delete(kind, metadata.get("namespace", ""), metadata["name"], metadata["uid"], propagation=propagation)
