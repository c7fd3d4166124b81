"""The metadata that belongs to the server: identity, times, generated names, preconditions. Pure."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from fairway.api import status
from fairway.api.requests import Target

Object = dict[str, Any]

# The letters and digits upstream's suffixes use: no vowels and none that look alike, so that no words appear.
SUFFIX_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
SUFFIX_LENGTH = 5
LONGEST_BASE = 63 - SUFFIX_LENGTH

_SERVER_OWNED = ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "selfLink")


def timestamp(moment: datetime) -> str:
    """RFC 3339 in UTC, whole seconds, as all Kubernetes times."""
    return f"{moment.isoformat()[:19]}Z"


def parse_timestamp(text: str) -> datetime:
    """The moment a timestamp names."""
    return datetime.fromisoformat(text)


def place(target: Target, obj: Object) -> None:
    """Settle the namespace and name between URL and body. Raises 400 when they differ."""
    metadata = obj.setdefault("metadata", {})
    if not target.kind.namespaced:
        metadata.pop("namespace", None)
    elif metadata.setdefault("namespace", target.namespace) != target.namespace:
        raise status.bad_request(
            "the namespace of the provided object does not match the namespace sent on the request"
        )
    if target.name and metadata.setdefault("name", target.name) != target.name:
        raise status.bad_request(
            f"the name of the object ({metadata['name']}) does not match the name on the URL ({target.name})"
        )


def begin(obj: Object, uid: str, now: datetime) -> None:
    """Make a new object's metadata the server's. Raises 400 for a resourceVersion on what does not exist yet."""
    metadata = obj["metadata"]
    if metadata.get("resourceVersion"):
        raise status.bad_request("resourceVersion should not be set on objects to be created")
    for name in (*_SERVER_OWNED, "managedFields", "resourceVersion"):
        metadata.pop(name, None)
    metadata["uid"] = uid
    metadata["creationTimestamp"] = timestamp(now)


def generated_name(base: str, suffix: str) -> str:
    """`base` (cut to leave room) and the suffix."""
    return base[:LONGEST_BASE] + suffix


def carry(target: Target, new: Object, old: Object) -> None:
    """Keep what only the server may change, and hold the body's preconditions. Raises 409."""
    metadata, former = new["metadata"], old["metadata"]
    if metadata.get("resourceVersion", "") not in ("", former["resourceVersion"]):
        raise status.modified(target.kind, target.name)
    if metadata.get("uid", "") not in ("", former["uid"]):
        raise uid_mismatch(target, metadata["uid"], former["uid"])
    for name in (*_SERVER_OWNED, "generateName"):
        metadata.pop(name, None)
        if name in former:
            metadata[name] = former[name]
    metadata.pop("resourceVersion", None)


def expect_nothing(target: Target, obj: Object) -> None:
    """Hold the body's preconditions against an object that does not exist. Raises 404, 409."""
    if uid := obj["metadata"].get("uid"):
        raise uid_mismatch(target, uid, "")
    if obj["metadata"].get("resourceVersion", "0") not in ("", "0"):
        raise status.not_found(target.kind, target.name)


def uid_mismatch(target: Target, wanted: str, found: str) -> status.Failure:
    """409: the object of that name is another one by now."""
    why = f"Precondition failed: UID in precondition: {wanted}, UID in object meta: {found}"
    return status.conflict(target.kind, target.name, why)


def finished(obj: Object) -> bool:
    """Whether an object that is being deleted has nothing left that holds it."""
    metadata = obj["metadata"]
    if not metadata.get("deletionTimestamp") or metadata.get("finalizers"):
        return False
    if metadata.get("deletionGracePeriodSeconds"):
        return False
    return obj["kind"] != "Namespace" or not obj.get("spec", {}).get("finalizers")
