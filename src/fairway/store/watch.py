"""Watchers of the log: each has a bounded buffer, so that a slow reader costs itself its watch and nobody else."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from fairway.store.base import Bell, Event, StoreError, TooSlow

BUFFER_EVENTS = 8192


class Watcher:
    """One reader's buffer of batches, at most `limit` events in all."""

    def __init__(self, after: int, limit: int = BUFFER_EVENTS, bell: Bell | None = None) -> None:
        self.after = after
        self._limit = limit
        self._bell = bell
        self._batches: deque[Sequence[Event]] = deque()
        self._size = 0
        self._failure: StoreError | None = None
        self._wake: asyncio.Future[None] | None = None
        if bell:
            bell.hang(self._rouse)

    def push(self, batch: Sequence[Event]) -> None:
        """Add a batch; a reader too far behind loses its buffer and will be told so."""
        if self._failure or batch[-1].revision <= self.after:
            return
        if self._batches and self._size + len(batch) > self._limit:
            self.fail(TooSlow(f"the watcher fell more than {self._limit} events behind"))
            return
        self._batches.append(batch)
        self._size += len(batch)
        self._rouse()

    def fail(self, failure: StoreError) -> None:
        """End the watch with `failure`."""
        self._batches.clear()
        self._failure = failure
        self._rouse()

    async def next(self) -> Sequence[Event]:
        """The oldest batch, waited for if need be; an empty one when there is none and the bell was rung. Raises the
        failure the watch was ended with."""
        while not self._batches:
            if self._failure:
                raise self._failure
            if self._bell and self._bell.silence():
                return ()
            self._wake = asyncio.get_running_loop().create_future()
            await self._wake
        batch = self._batches.popleft()
        self._size -= len(batch)
        return batch

    def _rouse(self) -> None:
        if self._wake and not self._wake.done():
            self._wake.set_result(None)


class Watchers:
    """Every open watch, by prefix: an event is matched once per distinct prefix, not once per watcher."""

    def __init__(self) -> None:
        self._by_prefix: dict[str, set[Watcher]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._by_prefix.values()))

    def deliver(self, events: Sequence[Event]) -> None:
        """Hand one transaction's events to those whose prefix they have."""
        for prefix, watchers in self._by_prefix.items():
            if batch := tuple(event for event in events if event.key.startswith(prefix)):
                for watcher in watchers:
                    watcher.push(batch)

    def fail(self, failure: StoreError) -> None:
        """End every watch."""
        for watchers in self._by_prefix.values():
            for watcher in watchers:
                watcher.fail(failure)

    @contextmanager
    def joined(self, prefix: str, after: int, bell: Bell | None = None) -> Iterator[Watcher]:
        """A watcher of `prefix` for as long as the block lasts; it gets what is delivered after revision `after`."""
        watcher = Watcher(after, bell=bell)
        self._by_prefix.setdefault(prefix, set()).add(watcher)
        try:
            yield watcher
        finally:
            self._leave(prefix, watcher)

    def _leave(self, prefix: str, watcher: Watcher) -> None:
        watchers = self._by_prefix[prefix]
        watchers.discard(watcher)
        if not watchers:
            del self._by_prefix[prefix]


def transactions(events: Sequence[Event]) -> list[Sequence[Event]]:
    """Events in order, grouped by the revision they share."""
    batches: list[list[Event]] = []
    for event in events:
        if batches and batches[-1][0].revision == event.revision:
            batches[-1].append(event)
        else:
            batches.append([event])
    return list(batches)
