"""What every store promises: keys, bytes, one revision counter, watches that start at a revision.

The model is etcd's (a log with revisions), so that memory, SQLite and etcd can stand in for each other; the contract
suite in `tests/contract/test_store.py` runs on each.

The values are msgspec structures unknown to the garbage collector: a store holds them by the hundred thousand, and they
can make no cycles.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Protocol

from msgspec import Struct


class Entry(Struct, frozen=True, gc=False):
    """A live key. `created` and `modified` are the revisions of its creation and last change."""

    key: str
    value: bytes
    created: int
    modified: int


class Event(Struct, frozen=True, gc=False):
    """One change. `entry` is None for a deletion; `previous` is None for a creation. `revision` orders all events of
    the store; the changes of one transaction share it."""

    key: str
    revision: int
    entry: Entry | None
    previous: Entry | None


class Check(Struct, frozen=True, gc=False):
    """A precondition: the key was last modified at `modified`, or does not exist if `modified` is 0."""

    key: str
    modified: int


class Put(Struct, frozen=True, gc=False):
    """Write `value` under `key`."""

    key: str
    value: bytes


class Delete(Struct, frozen=True, gc=False):
    """Remove `key`; removing what is not there is no change."""

    key: str


class Page(Struct, frozen=True, gc=False):
    """A consistent piece of a range as of `revision`. `more` says that keys remain after the last one; `remaining`
    counts them."""

    entries: tuple[Entry, ...]
    revision: int
    more: bool = False
    remaining: int = 0


class StoreError(Exception):
    """Root of the store's errors."""


class Conflict(StoreError):
    """A check failed and nothing was written. `entry` is the key's present state (None: it does not exist)."""

    def __init__(self, key: str, entry: Entry | None) -> None:
        super().__init__(f"{key} has changed")
        self.key = key
        self.entry = entry


class Compacted(StoreError):
    """The asked revision is older than what the store remembers."""

    def __init__(self, asked: int, oldest: int) -> None:
        super().__init__(f"revision {asked} has been compacted; the oldest is {oldest}")
        self.asked = asked
        self.oldest = oldest


class FutureRevision(StoreError):
    """The asked revision has not happened yet."""

    def __init__(self, asked: int, current: int) -> None:
        super().__init__(f"revision {asked} is in the future; the current one is {current}")
        self.asked = asked
        self.current = current


class TooSlow(StoreError):
    """A watcher fell too far behind and was dropped; it must list and watch again."""


class Unusable(StoreError):
    """The store's file or cluster cannot be used: damaged, foreign, held by somebody else, full."""


class Bell:
    """Wakes the reader of a watch: a read under way cannot be broken off without ending the watch."""

    def __init__(self) -> None:
        self._rung = False
        self._wake: Callable[[], object] | None = None

    def hang(self, wake: Callable[[], object]) -> None:
        """Say what wakes the reader."""
        self._wake = wake

    def ring(self) -> None:
        """Wake the reader, or have it find the bell rung when it comes."""
        self._rung = True
        if self._wake:
            self._wake()

    def silence(self) -> bool:
        """Whether it was rung since the last time."""
        rung, self._rung = self._rung, False
        return rung


class View(Protocol):
    """The present as this process knows it, answered without a pause."""

    def get(self, key: str) -> Entry | None:
        """See `Store.get`."""

    def range(self, prefix: str, after: str = "", limit: int = 0, revision: int = 0) -> Page:
        """See `Store.range`."""


class Store(Protocol):
    """A durable, ordered map of bytes with history."""

    async def view(self) -> View:
        """What is known without asking: durable, but perhaps without what other processes wrote a moment ago. Whoever
        writes by it says so in the transaction's checks, and refuses nothing by it before `catch_up`."""

    async def catch_up(self) -> bool:
        """Bring the view up to now. Returns whether it may have been behind: never where nobody else writes."""

    async def get(self, key: str) -> Entry | None:
        """The key's present state."""

    async def range(self, prefix: str, *, after: str = "", limit: int = 0, revision: int = 0) -> Page:
        """Entries whose key starts with `prefix` and sorts after `after`, in key order, at most `limit` (0: all), as
        of `revision` (0: now). Raises Compacted or FutureRevision."""

    async def commit(self, checks: Sequence[Check], changes: Sequence[Put | Delete]) -> int:
        """All changes or, when a check fails, none (raises Conflict for the first that failed). Returns the
        transaction's revision once the changes are durable. A transaction that changes nothing returns the current
        revision."""

    def watch(self, prefix: str, after: int, bell: Bell | None = None) -> AsyncGenerator[Sequence[Event], None]:
        """Every event under `prefix` with a revision greater than `after`, in order, in batches that never split a
        transaction; goes on until closed (`aclose`). Whenever `bell` is rung, an empty batch comes once everything
        before is told. Raises Compacted when history no longer reaches back to `after`, TooSlow when the reader falls
        behind."""

    async def revision(self) -> int:
        """The current revision: that of the last durable change; at least 1."""

    async def compact(self, revision: int) -> None:
        """Forget history before `revision`; live entries stay."""

    async def close(self) -> None:
        """Finish what was acknowledged and release files and connections."""
