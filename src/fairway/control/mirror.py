"""The objects of one kind as a controller may believe them: what the watch told, and our own writes that it has not
told yet.

A controller that decided from the watch alone would make replicas twice, because its own creations come back late.
Here every answer to a write counts at once, and the watch catches up silently. This rests on resourceVersions of one
kind being ordered numbers (KEP-5504, Kubernetes 1.35; true of etcd-backed servers before); on a server where they are
not, own writes are simply not anticipated.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from fairway.client.base import Object
from fairway.client.informer import Cache, Change, Key, as_dict
from fairway.objects.kinds import Kind

Listener = Callable[[Change[Object]], None]


def key_of(obj: Object) -> Key:
    """(namespace, name) of an object."""
    metadata = obj["metadata"]
    return metadata.get("namespace", ""), metadata["name"]


@dataclass(frozen=True, slots=True)
class _Ahead:
    """An own write the watch has not told yet: `obj` is the answer, None after a removal."""

    obj: Object | None
    uid: str
    revision: int


class Index:
    """Keys of objects grouped by strings that `words` draws from each."""

    def __init__(self, words: Callable[[Object], Iterable[str]]) -> None:
        self._words = words
        self._keys: dict[str, dict[Key, None]] = {}

    def get(self, word: str) -> Iterator[Key]:
        """The keys under `word`, in the order they came."""
        return iter(tuple(self._keys.get(word, ())))

    def count(self, word: str) -> int:
        return len(self._keys.get(word, ()))

    def update(self, change: Change[Object]) -> None:
        before = set(self._words(change.old)) if change.old is not None else set()
        after = set(self._words(change.new)) if change.new is not None else set()
        for word in before - after:
            keys = self._keys[word]
            del keys[change.key]
            if not keys:
                del self._keys[word]
        for word in after - before:
            self._keys.setdefault(word, {})[change.key] = None


class Mirror:
    """`items` is the state to decide from, keyed (namespace, name); objects in it are never changed in place.

    `cache` is to be followed, its changes given to `observe`; listeners hear of every change of `items` after it.
    """

    def __init__(self, kind: Kind, decode: Callable[[bytes], Object] = as_dict) -> None:
        self.kind = kind
        self.cache: Cache[Object] = Cache(decode)
        self.items: dict[Key, Object] = {}
        self._ahead: dict[Key, _Ahead] = {}
        self._due: list[tuple[int, Key]] = []  # a heap: when the watch is there, what is ahead is looked at again
        self._indexes: list[Index] = []
        self._listeners: list[Listener] = []

    def index(self, words: Callable[[Object], Iterable[str]]) -> Index:
        """A new index over `items`, kept in step from now on."""
        index = Index(words)
        for key, obj in self.items.items():
            index.update(Change("added", key, None, obj))
        self._indexes.append(index)
        return index

    def listen(self, listener: Listener) -> None:
        """Call `listener` with every later change."""
        self._listeners.append(listener)

    def look_up(self, index: Index, word: str) -> list[Object]:
        """The objects that `index` has under `word`."""
        return [self.items[key] for key in index.get(word)]

    def observe(self, changes: Sequence[Change[Object]]) -> None:
        """Take what the watch told (`cache` holds it already)."""
        for change in changes:
            self._settle(change.key)
        reached = _number(self.cache.resource_version)
        while self._due and self._due[0][0] <= reached:
            self._settle(heapq.heappop(self._due)[1])

    def wrote(self, obj: Object) -> None:
        """Take the server's answer to a create, update or patch."""
        key, revision = key_of(obj), _revision(obj)
        if revision is None or revision <= _number(self.cache.resource_version):
            return
        ahead = self._ahead.get(key)
        if ahead is None or ahead.revision < revision:
            self._anticipate(key, _Ahead(obj, obj["metadata"].get("uid", ""), revision))

    def removed(self, key: Key, uid: str) -> None:
        """Take the server's word that the object is gone."""
        obj = self.items.get(key)
        if obj is None or obj["metadata"].get("uid", "") != uid:
            return
        self._anticipate(key, _Ahead(None, uid, _revision(obj) or 0))

    def _anticipate(self, key: Key, ahead: _Ahead) -> None:
        self._ahead[key] = ahead
        heapq.heappush(self._due, (ahead.revision, key))
        self._show(key, ahead.obj)

    def _settle(self, key: Key) -> None:
        """Show what the watch says of `key`, unless an own write is newer than that."""
        told = self.cache.items.get(key)
        ahead = self._ahead.get(key)
        if ahead is not None:
            if self._is_newer(ahead, told):
                return
            del self._ahead[key]
        self._show(key, told)

    def _is_newer(self, ahead: _Ahead, told: Object | None) -> bool:
        if ahead.obj is not None:
            return ahead.revision > _number(self.cache.resource_version)
        if told is not None:
            return bool(told["metadata"].get("uid", "") == ahead.uid)
        return ahead.revision > _number(self.cache.resource_version)

    def _show(self, key: Key, new: Object | None) -> None:
        old = self.items.get(key)
        if new is old:
            return
        if new is None:
            del self.items[key]
        else:
            self.items[key] = new
        change: Change[Object] = Change(
            "deleted" if new is None else "added" if old is None else "modified", key, old, new
        )
        for index in self._indexes:
            index.update(change)
        for listener in self._listeners:
            listener(change)


class Anchors:
    """Which selectors may match a set of labels, found without trying all of them.

    Each selector is filed under the one of its pairs that fewest others are filed under; selectors without pairs
    (only expressions) are candidates for everything in their namespace.
    """

    def __init__(self) -> None:
        self._anchor: dict[Key, str] = {}
        self._filed: dict[str, dict[Key, None]] = {}

    def put(self, key: Key, pairs: Mapping[str, str] | None) -> None:
        """File the selector of the object at `key`; None forgets it."""
        anchor = self._anchor.pop(key, None)
        if anchor is not None:
            del self._filed[anchor][key]
            if not self._filed[anchor]:
                del self._filed[anchor]
        if pairs is None:
            return
        words = [word(key[0], *pair) for pair in sorted(pairs.items())] or [word(key[0])]
        anchor = min(words, key=lambda each: len(self._filed.get(each, ())))
        self._anchor[key] = anchor
        self._filed.setdefault(anchor, {})[key] = None

    def candidates(self, namespace: str, labels: Mapping[str, str]) -> list[Key]:
        """The keys whose selectors may match `labels` in `namespace`."""
        words = [word(namespace, *pair) for pair in labels.items()] + [word(namespace)]
        return [key for each in words for key in self._filed.get(each, ())]


def word(namespace: str, *pair: str) -> str:
    """The index word of a label pair in a namespace (`default/app=web`), or of the namespace itself."""
    return f"{namespace}/{'='.join(pair)}"


def label_words(obj: Object) -> list[str]:
    """The index words of an object's labels."""
    metadata = obj["metadata"]
    return [word(metadata.get("namespace", ""), *pair) for pair in (metadata.get("labels") or {}).items()]


def _revision(obj: Object) -> int | None:
    text = obj["metadata"].get("resourceVersion", "")
    return int(text) if text.isdecimal() else None


def _number(text: str) -> int:
    return int(text) if text.isdecimal() else 0
