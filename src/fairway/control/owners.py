"""Owner references: who made an object and keeps it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fairway.client.base import Object
from fairway.objects.kinds import Kind


def references(obj: Object) -> Sequence[dict[str, Any]]:
    """The object's owner references."""
    return obj["metadata"].get("ownerReferences") or ()


def controller_of(obj: Object) -> dict[str, Any] | None:
    """The one reference whose owner manages the object."""
    return next((each for each in references(obj) if each.get("controller")), None)


def is_controlled_by(obj: Object, owner_uid: str) -> bool:
    """Whether the owner with this uid manages the object."""
    reference = controller_of(obj)
    return reference is not None and reference.get("uid") == owner_uid


def reference(kind: Kind, owner: Object) -> dict[str, Any]:
    """The reference by which `owner` manages what it makes."""
    return {
        "apiVersion": kind.api_version,
        "kind": kind.name,
        "name": owner["metadata"]["name"],
        "uid": owner["metadata"]["uid"],
        "controller": True,
        "blockOwnerDeletion": True,
    }


def owned(obj: Object, kind: Kind, owner: Object) -> Object:
    """`obj` taken over by `owner`."""
    return with_references(obj, [*references(obj), reference(kind, owner)])


def disowned(obj: Object, owner_uid: str) -> Object:
    """`obj` without its reference to the owner."""
    return with_references(obj, [each for each in references(obj) if each.get("uid") != owner_uid])


def with_references(obj: Object, kept: Sequence[dict[str, Any]]) -> Object:
    """`obj` with exactly these references."""
    metadata = {name: value for name, value in obj["metadata"].items() if name != "ownerReferences"}
    return {**obj, "metadata": {**metadata, "ownerReferences": list(kept)} if kept else metadata}
