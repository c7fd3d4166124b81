"""The log with revisions that the memory and the SQLite store share: live keys, history, staging and watchers.

Pure bookkeeping on one event loop: a transaction is first *staged* (its checks are judged against everything staged
before it, and it gets its revision), and *published* once it is durable. Reads and watchers see published state only.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import AsyncGenerator, Iterable, Sequence
from dataclasses import dataclass

from fairway.store.base import (
    Bell,
    Check,
    Compacted,
    Conflict,
    Delete,
    Entry,
    Event,
    FutureRevision,
    Page,
    Put,
    StoreError,
)
from fairway.store.watch import Watchers, transactions

FIRST_REVISION = 1


@dataclass(frozen=True, slots=True)
class Transaction:
    """Staged changes that share one revision; one event per key that really changes."""

    revision: int
    events: tuple[Event, ...]


class Log:
    """Live entries, the events since the last compaction, and who watches them."""

    def __init__(
        self, entries: Iterable[Entry] = (), history: Iterable[Event] = (), compacted: int = FIRST_REVISION
    ) -> None:
        """`entries` are the live keys as of `compacted`; `history` the events after it, in order."""
        self.watchers = Watchers()
        self._live: dict[str, Entry] = {entry.key: entry for entry in entries}
        self._keys = sorted(self._live)
        self._history: list[Event] = []
        self._staged: dict[str, tuple[int, Entry | None]] = {}
        self._compacted = compacted
        self._revision = self._staged_revision = compacted
        for event in history:
            self._apply(event)

    @property
    def revision(self) -> int:
        """The revision of the last published transaction."""
        return self._revision

    @property
    def compacted(self) -> int:
        """Reads as of this revision still work; older ones do not."""
        return self._compacted

    @property
    def pending(self) -> bool:
        """Whether something is staged and not yet published."""
        return self._staged_revision > self._revision

    def get(self, key: str) -> Entry | None:
        return self._live.get(key)

    def staged(self, key: str) -> Entry | None:
        """The key as it will be once everything staged is published."""
        found = self._staged.get(key)
        return found[1] if found else self._live.get(key)

    def stage(self, checks: Sequence[Check], changes: Sequence[Put | Delete]) -> Transaction | None:
        """Judge the checks and give the changes their revision; None when nothing would change. Raises Conflict."""
        if len({change.key for change in changes}) < len(changes):
            raise StoreError("a transaction may change a key only once")
        for check in checks:
            entry = self.staged(check.key)
            if (entry.modified if entry else 0) != check.modified:
                raise Conflict(check.key, entry)
        revision = self._staged_revision + 1
        events = tuple(event for change in changes if (event := self._event(change, revision)))
        if not events:
            return None
        self._staged_revision = revision
        for event in events:
            self._staged[event.key] = (revision, event.entry)
        return Transaction(revision, events)

    def publish(self, transaction: Transaction) -> None:
        """Make a staged transaction visible; transactions are published in the order they were staged."""
        for event in transaction.events:
            self._apply(event)
            if self._staged[event.key][0] == event.revision:
                del self._staged[event.key]
        self.watchers.deliver(transaction.events)

    def adopt(self, revision: int, events: Sequence[Event]) -> None:
        """Publish a transaction that was staged elsewhere: the counter stands at `revision` afterwards, whether or not
        any of its events are ours."""
        for event in events:
            self._apply(event)
        self._revision = self._staged_revision = revision
        if events:
            self.watchers.deliver(events)

    def discard_staged(self) -> None:
        """Forget everything staged: the disk refused it."""
        self._staged.clear()
        self._staged_revision = self._revision

    def range(self, prefix: str, after: str = "", limit: int = 0, revision: int = 0) -> Page:
        """See `Store.range`."""
        at = revision or self._revision
        if at > self._revision:
            raise FutureRevision(at, self._revision)
        if at < self._compacted:
            raise Compacted(at, self._compacted)
        if at == self._revision:
            keys, entries = self._keys, self._live
        else:
            entries = self._as_of(at, prefix)
            keys = sorted(entries)
        first, last = _span(keys, prefix, after)
        end = min(last, first + limit) if limit else last
        found = tuple(entries[key] for key in keys[first:end])
        return Page(found, at, more=end < last, remaining=last - end)

    def events_after(self, revision: int, prefix: str) -> list[Event]:
        """The published events under `prefix` after `revision`, in order. Raises Compacted."""
        if revision < self._compacted:
            raise Compacted(revision, self._compacted)
        start = bisect_right(self._history, revision, key=lambda event: event.revision)
        return [event for event in self._history[start:] if event.key.startswith(prefix)]

    async def watch(self, prefix: str, after: int, bell: Bell | None = None) -> AsyncGenerator[Sequence[Event], None]:
        """See `Store.watch`: first what history has, then what comes."""
        backlog = self.events_after(after, prefix)
        with self.watchers.joined(prefix, max(after, self._revision), bell) as watcher:
            for batch in transactions(backlog):
                yield batch
            while True:
                yield await watcher.next()

    def compact(self, revision: int) -> list[Event]:
        """Forget history up to `revision` and return the forgotten events. Raises FutureRevision."""
        if revision > self._revision:
            raise FutureRevision(revision, self._revision)
        if revision <= self._compacted:
            return []
        end = bisect_right(self._history, revision, key=lambda event: event.revision)
        forgotten = self._history[:end]
        del self._history[:end]
        self._compacted = revision
        return forgotten

    def _event(self, change: Put | Delete, revision: int) -> Event | None:
        previous = self.staged(change.key)
        if isinstance(change, Delete):
            return Event(change.key, revision, None, previous) if previous else None
        created = previous.created if previous else revision
        return Event(change.key, revision, Entry(change.key, change.value, created, revision), previous)

    def _apply(self, event: Event) -> None:
        if event.entry is None:
            del self._live[event.key]
            del self._keys[bisect_left(self._keys, event.key)]
        else:
            if event.key not in self._live:
                insort(self._keys, event.key)
            self._live[event.key] = event.entry
        self._history.append(event)
        self._revision = event.revision
        self._staged_revision = max(self._staged_revision, event.revision)

    def _as_of(self, revision: int, prefix: str) -> dict[str, Entry]:
        first, last = _span(self._keys, prefix, "")
        entries = {key: self._live[key] for key in self._keys[first:last]}
        for event in reversed(self.events_after(revision, prefix)):
            if event.previous is None:
                entries.pop(event.key, None)
            else:
                entries[event.key] = event.previous
        return entries


def _span(keys: Sequence[str], prefix: str, after: str) -> tuple[int, int]:
    """Where the keys with `prefix` that sort after `after` begin and end."""
    first = bisect_left(keys, prefix)
    if after >= prefix:
        first = max(first, bisect_right(keys, after))
    last = bisect_left(keys, prefix + "\U0010ffff", lo=first) if prefix else len(keys)
    return first, max(first, last)
