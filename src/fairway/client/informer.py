"""A cache of one kind's objects, kept by feeding it listings and watch events (`client.follow` does that; no I/O here).

The server's resourceVersion is opaque here (equal or not, never ordered), as the API conventions ask of clients.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

import msgspec

from fairway.client.base import Listing, WatchEvent

T = TypeVar("T")
Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Change(Generic[T]):
    """What became of one object. `old` is None when added, `new` is None when deleted."""

    kind: Literal["added", "modified", "deleted"]
    key: Key
    old: T | None
    new: T | None


class _Metadata(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""


class _Head(msgspec.Struct, frozen=True, gc=False):
    metadata: _Metadata


_HEAD = msgspec.json.Decoder(_Head)
_DICT = msgspec.json.Decoder(dict[str, Any])


def as_dict(raw: bytes) -> dict[str, Any]:
    """The decoder of caches that keep plain JSON objects."""
    return _DICT.decode(raw)


class Cache(Generic[T]):
    """The objects of one kind as last heard of, each decoded once per revision by `decode`.

    `items` is keyed (namespace, name); the namespace of cluster-scoped objects is "". `synced` is True after the first
    listing; `resource_version` is where a watch goes on ("" means: list first). An object that `decode` refuses (it
    raises ValueError or a msgspec error) is treated as absent and stands in `refused` with the reason, so that one
    strange object cannot stop the rest.
    """

    def __init__(self, decode: Callable[[bytes], T]) -> None:
        self.items: dict[Key, T] = {}
        self.refused: dict[Key, str] = {}
        self.synced = False
        self.resource_version = ""
        self._decode = decode
        self._heads: dict[Key, bytes] = {}  # uid and revision in one, in octets: there are many

    def replace(self, listing: Listing) -> list[Change[T]]:
        """Take `listing` as the whole truth. Objects whose revision is the one already held give no change; an object
        that was deleted and made anew in between gives a deletion and an addition."""
        changes: list[Change[T]] = []
        gone = set(self._heads)
        for raw in listing.items:
            key, head = _identify(raw)
            gone.discard(key)
            changes += self._put(key, head, raw)
        for key in gone:
            changes += self._remove(key)
        self.resource_version = listing.resource_version
        self.synced = True
        return changes

    def apply(self, event: WatchEvent) -> Change[T] | None:
        """Take one watch event; None when it changes nothing (a bookmark, a repeated event)."""
        key, head = _identify(event.object)
        if event.type == "BOOKMARK":
            changes: list[Change[T]] = []
        elif event.type == "DELETED":
            changes = self._remove(key)
        else:
            changes = self._put(key, head, event.object)
        self.resource_version = head[1] or self.resource_version
        return changes[-1] if changes else None

    def _put(self, key: Key, head: tuple[str, str], raw: bytes) -> list[Change[T]]:
        before, now = self._heads.get(key), " ".join(head).encode()
        if before == now:
            return []
        changes: list[Change[T]] = []
        if before is not None and before.partition(b" ")[0] != head[0].encode():
            changes = self._remove(key)
        self._heads[key] = now
        try:
            new = self._decode(raw)
        except (ValueError, msgspec.MsgspecError) as error:
            self.refused[key] = str(error)
            return changes + self._drop(key)
        self.refused.pop(key, None)
        old = self.items.get(key)
        self.items[key] = new
        return [*changes, Change("added" if old is None else "modified", key, old, new)]

    def _remove(self, key: Key) -> list[Change[T]]:
        self._heads.pop(key, None)
        self.refused.pop(key, None)
        return self._drop(key)

    def _drop(self, key: Key) -> list[Change[T]]:
        old = self.items.pop(key, None)
        return [] if old is None else [Change("deleted", key, old, None)]


def _identify(raw: bytes) -> tuple[Key, tuple[str, str]]:
    """((namespace, name), (uid, resourceVersion)) of an object's JSON. Raises msgspec.DecodeError on broken JSON."""
    metadata = _HEAD.decode(raw).metadata
    return (sys.intern(metadata.namespace), metadata.name), (metadata.uid, metadata.resource_version)
