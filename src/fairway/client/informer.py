"""A cache of one kind's objects, kept by feeding it listings and watch events (`client.follow` does that; no I/O here).

The server's resourceVersion is opaque here (equal or not, never ordered), as the API conventions ask of clients.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Set
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

import msgspec

from fairway.client.base import Listing, WatchEvent

T = TypeVar("T")
Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Change(Generic[T]):
    """What became of one object. `old` is None when added (or nobody kept it), `new` is None when deleted."""

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
    strange object cannot stop the rest. Who keeps the objects himself does not `keep` them here: then `items` stays
    empty, and changes do not know what was before.
    """

    def __init__(self, decode: Callable[[bytes], T], *, keep: bool = True) -> None:
        self.items: dict[Key, T] = {}
        self.refused: dict[Key, str] = {}
        self.synced = False
        self.resource_version = ""
        self._decode = decode
        self._keep = keep
        self._heads: dict[Key, bytes] = {}  # uid and revision in one, in octets: there are many

    @property
    def keys(self) -> list[Key]:
        """All objects that have been heard of, refused ones included."""
        return list(self._heads)

    def replace(self, listing: Listing) -> list[Change[T]]:
        """Take `listing` as the whole truth. Objects whose revision is the one already held give no change; an object
        that was deleted and made anew in between gives a deletion and an addition."""
        before, listed = self.keys, set[Key]()
        changes = [*self.take(listing.items, listed), *self.strike(before, listed)]
        self.stand_at(listing.resource_version)
        return changes

    def take(self, items: Iterable[bytes], listed: set[Key]) -> list[Change[T]]:
        """The first step of `replace`, for a part of the listing: take its objects, and add their keys to `listed`."""
        changes: list[Change[T]] = []
        for raw in items:
            key, head = _identify(raw)
            listed.add(key)
            changes += self._put(key, head, raw)
        return changes

    def strike(self, keys: Iterable[Key], listed: Set[Key]) -> list[Change[T]]:
        """The second, for a part of the `keys` that were there before: remove those that are not listed."""
        return [change for key in keys if key not in listed for change in self._remove(key)]

    def stand_at(self, resource_version: str) -> None:
        """The third: all of the listing has been taken."""
        self.resource_version = resource_version
        self.synced = True

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
        known = key in self._heads and key not in self.refused
        self._heads[key] = now
        try:
            new = self._decode(raw)
        except (ValueError, msgspec.MsgspecError) as error:
            self.refused[key] = str(error)
            return [*changes, self._gone(key)] if known else changes
        self.refused.pop(key, None)
        old = self.items.get(key)
        if self._keep:
            self.items[key] = new
        return [*changes, Change("modified" if known else "added", key, old, new)]

    def _remove(self, key: Key) -> list[Change[T]]:
        heard = self._heads.pop(key, None) is not None
        refused = self.refused.pop(key, None) is not None
        return [self._gone(key)] if heard and not refused else []

    def _gone(self, key: Key) -> Change[T]:
        return Change("deleted", key, self.items.pop(key, None), None)


def _identify(raw: bytes) -> tuple[Key, tuple[str, str]]:
    """((namespace, name), (uid, resourceVersion)) of an object's JSON. Raises msgspec.DecodeError on broken JSON."""
    metadata = _HEAD.decode(raw).metadata
    return (sys.intern(metadata.namespace), metadata.name), (metadata.uid, metadata.resource_version)
