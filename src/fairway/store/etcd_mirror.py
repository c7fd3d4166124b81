"""A copy of the store's keys and history in memory, kept in step by one watch on etcd.

Reads and watches are answered from the copy, so that a thousand watchers cost etcd one. The copy begins at etcd's own
compacted revision and replays everything since, so it remembers as far back as etcd does: watches resume over a restart
of the server.

The watch covers the whole key space, not only the store's prefix: every revision of etcd must be seen to know how far
one has read (progress notifications could tell too, but up to 3.4.24 and 3.5.7 etcd sends some before the events they
speak of). What others write in the same etcd passes by unread, so an etcd of one's own is the better neighbour.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterator
from contextlib import aclosing

from fairway.store import etcd_wire as wire
from fairway.store.base import Entry, Event, StoreError, TooSlow
from fairway.store.etcd_rpc import PATIENCE_SECONDS, AlreadyCompacted, Cluster, Lost, Silent
from fairway.store.log import FIRST_REVISION, Log

PAGE = 1000
STALE_SECONDS = 2.0
"""How long the watch may be behind what another member says before it is moved to another member."""
RETRY_SECONDS = 0.1

_log = logging.getLogger(__name__)


class _Gap(Exception):
    """History went on without us for longer than etcd remembers."""


class Mirror:
    """The keys under `prefix`, as a `Log` whose revisions are etcd's."""

    def __init__(self, cluster: Cluster, prefix: bytes) -> None:
        self._cluster = cluster
        self._prefix = prefix
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []
        self._following: asyncio.Task[None] | None = None
        self._reading: asyncio.Task[None] | None = None
        self.log = Log()

    async def start(self) -> None:
        """Read everything, and follow from there on. Raises StoreError."""
        now = await self._load()
        self._following = asyncio.create_task(self._follow())
        await self.reached(now)

    async def stop(self, failure: StoreError) -> None:
        """Stop following; every watch and everybody who waits ends with `failure`."""
        if self._following:
            self._following.cancel()
            await asyncio.wait([self._following])
        self.log.watchers.fail(failure)
        for _, waiter in self._waiting:
            if not waiter.done():
                waiter.set_exception(failure)

    async def reached(self, revision: int) -> None:
        """Wait until the copy shows everything up to `revision`. Raises Silent."""
        if self.log.revision >= revision:
            return None
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((revision, waiter))
        for _ in range(round(PATIENCE_SECONDS / STALE_SECONDS)):
            done, _ = await asyncio.wait([waiter], timeout=STALE_SECONDS)
            if done:
                return waiter.result()
            self._move()
        waiter.cancel()
        raise Silent(f"the watch on etcd does not come to revision {revision} (it is at {self.log.revision})")

    async def _load(self) -> int:
        """Begin a new copy at the oldest revision etcd knows; returns its present revision. Raises StoreError."""
        base = FIRST_REVISION
        while True:
            try:
                entries, now = await self._read_all(base)
            except AlreadyCompacted:
                base = await self._oldest()
                continue
            old, self.log = self.log, Log(entries, compacted=base)
            old.watchers.fail(TooSlow("the connection to etcd was lost for longer than etcd remembers"))
            return now

    async def _read_all(self, revision: int) -> tuple[list[Entry], int]:
        """Every entry as of `revision`, and the present revision. Raises AlreadyCompacted."""
        entries: list[Entry] = []
        key, end = self._prefix, wire.prefix_end(self._prefix)
        while True:
            request = wire.range_request(key, end, limit=PAGE, revision=revision)
            answer, _ = await self._cluster.call(wire.RANGE, request)
            reply = wire.read_range(answer)
            entries += [self._entry(found) for found in reply.found]
            if not reply.more:
                return entries, reply.revision
            key = reply.found[-1].key + b"\0"

    async def _oldest(self) -> int:
        """Etcd's compacted revision, which only a watch from before it is told."""
        request = wire.watch_request(wire.EVERYTHING, b"", FIRST_REVISION)
        for _ in self._cluster.endpoints:
            with contextlib.suppress(Lost, TimeoutError):
                async with (
                    asyncio.timeout(PATIENCE_SECONDS),
                    aclosing(self._cluster.stream(wire.WATCH, request)) as told,
                ):
                    async for answer in told:
                        if compacted := wire.read_watch(answer).compacted:
                            return compacted
        raise Silent("no member of the etcd cluster says how far its history goes back")

    async def _follow(self) -> None:
        """Read the watch for ever: after each loss from where it broke off, after a gap from a new copy."""
        while True:
            self._reading = asyncio.create_task(self._read())
            try:
                await asyncio.wait([self._reading])
            except asyncio.CancelledError:
                self._reading.cancel()
                await asyncio.wait([self._reading])
                raise
            failure = None if self._reading.cancelled() else self._reading.exception()
            if isinstance(failure, Lost):
                _log.info("the watch on etcd broke off after revision %d: %s", self.log.revision, failure)
            elif failure:
                _log.warning("everything is read from etcd anew", exc_info=failure)
                with contextlib.suppress(StoreError):
                    await self._load()
            await asyncio.sleep(RETRY_SECONDS)

    async def _read(self) -> None:
        """Follow one stream. Raises Lost, _Gap."""
        request = wire.watch_request(wire.EVERYTHING, wire.EVERYTHING, self.log.revision + 1)
        pieces: list[wire.Change] = []
        async with aclosing(self._cluster.stream(wire.WATCH, request)) as answers:
            async for answer in answers:
                reply = wire.read_watch(answer)
                if reply.compacted:
                    raise _Gap(f"etcd's history begins at revision {reply.compacted}")
                if reply.canceled:
                    raise Lost(reply.reason or "etcd ended the watch")
                pieces += reply.changes
                if not reply.fragment:
                    self._take(pieces)
                    pieces = []

    def _take(self, changes: list[wire.Change]) -> None:
        """Publish changes, transaction by transaction; those a resumed watch tells again are known already."""
        for revision, group in _transactions(changes):
            if revision > self.log.revision:
                self.log.adopt(revision, [self._event(change) for change in group if self._is_ours(change)])
        arrived = [waiter for revision, waiter in self._waiting if revision <= self.log.revision]
        self._waiting = [item for item in self._waiting if item[0] > self.log.revision and not item[1].done()]
        for waiter in arrived:
            if not waiter.done():
                waiter.set_result(None)

    def _move(self) -> None:
        """Read from another member: this one is behind."""
        _log.warning("the watch on etcd is behind; it moves to another member")
        self._cluster.leave()
        if self._reading:
            self._reading.cancel()

    def _is_ours(self, change: wire.Change) -> bool:
        return change.found.key.startswith(self._prefix)

    def _event(self, change: wire.Change) -> Event:
        entry = self._entry(change.found)
        previous = self.log.get(entry.key)
        return Event(entry.key, entry.modified, None if change.deleted else entry, previous)

    def _entry(self, found: wire.KeyValue) -> Entry:
        key = found.key[len(self._prefix) - 1 :].decode()
        return Entry(key, found.value, found.created, found.modified)


def _transactions(changes: list[wire.Change]) -> Iterator[tuple[int, list[wire.Change]]]:
    """Changes by the revision they share, in order."""
    start = 0
    for at in range(1, len(changes) + 1):
        revision = changes[start].found.modified
        if at == len(changes) or changes[at].found.modified != revision:
            yield revision, changes[start:at]
            start = at
