"""The store in an etcd cluster, which several servers may share: keys and revisions are etcd's own.

Writes are etcd transactions; reads and watches come from a copy in memory (`etcd_mirror`) that a read first brings up
to etcd's present revision, so that a read sees every write acknowledged before it began, by whatever server.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing

from fairway.store import etcd_wire as wire
from fairway.store.base import Bell, Check, Conflict, Delete, Entry, Event, Page, Put, StoreError, View
from fairway.store.etcd_mirror import Mirror
from fairway.store.etcd_rpc import AlreadyCompacted, Cluster, Tls
from fairway.store.etcd_writer import Slots, Writer

PREFIX = "/fairway"


class EtcdStore:
    """`Store` in an etcd v3 cluster (3.4 or newer), lease-free. `endpoints` are `host:port` of its members; `prefix` is
    put before every key, and `<prefix>-writers/` beside it holds what makes a repeated write land once (`etcd_writer`).
    Keys begin with a slash. Connects at the first use, which raises StoreError when no member answers."""

    def __init__(self, endpoints: Sequence[str], *, prefix: str = PREFIX, tls: Tls | None = None) -> None:
        self._endpoints = tuple(endpoints)
        self._prefix = prefix.rstrip("/").encode()
        self._tls = tls
        self._opening = asyncio.Lock()
        self._connection: _Connection | None = None
        self._closed = False

    async def view(self) -> View:
        return (await self._connected()).mirror.log

    async def catch_up(self) -> bool:
        await self._fresh()
        return True

    async def get(self, key: str) -> Entry | None:
        mirror = await self._fresh()
        return mirror.log.get(key)

    async def range(self, prefix: str, *, after: str = "", limit: int = 0, revision: int = 0) -> Page:
        mirror = (await self._connected()).mirror
        if not 0 < revision <= mirror.log.revision:  # what is past does not change
            mirror = await self._fresh()
        return mirror.log.range(prefix, after, limit, revision)

    async def commit(self, checks: Sequence[Check], changes: Sequence[Put | Delete]) -> int:
        if len({change.key for change in changes}) < len(changes):
            raise StoreError("a transaction may change a key only once")
        connection = await self._connected()
        for key in (item.key for item in (*checks, *changes)):
            if not key.startswith("/"):
                raise StoreError(f"key {key!r} does not begin with a slash")
        return await connection.finish(self._commit(connection, checks, changes))

    async def watch(self, prefix: str, after: int, bell: Bell | None = None) -> AsyncGenerator[Sequence[Event], None]:
        log = (await self._connected()).mirror.log
        async with aclosing(log.watch(prefix, after, bell)) as batches:
            async for batch in batches:
                yield batch

    async def revision(self) -> int:
        return (await self._fresh()).log.revision

    async def compact(self, revision: int) -> None:
        """See `Store.compact`. Several servers may do it: the later one finds it done."""
        connection = await self._connected()
        log = (await self._fresh()).log
        if log.compacted < revision <= log.revision:
            with contextlib.suppress(AlreadyCompacted):
                await connection.cluster.call(wire.COMPACT, wire.compaction_request(revision))
            await connection.slots.sweep(revision)
        log.compact(revision)

    async def close(self) -> None:
        self._closed = True
        async with self._opening:
            if self._connection:
                await self._connection.close()
                self._connection = None

    async def _commit(self, connection: _Connection, checks: Sequence[Check], changes: Sequence[Put | Delete]) -> int:
        if not changes or any(isinstance(change, Put) for change in changes):
            return await connection.writer.write(checks, changes)
        # Deletions may turn out to change nothing, and then there must be no revision: say what there is to delete.
        named = {check.key for check in checks}
        while True:
            found = [await self.get(change.key) for change in changes]
            present = [Check(entry.key, entry.modified) for entry in found if entry and entry.key not in named]
            absent = [
                Check(change.key, 0)
                for change, entry in zip(changes, found, strict=True)
                if entry is None and change.key not in named
            ]
            real = [change for change, entry in zip(changes, found, strict=True) if entry]
            try:
                return await connection.writer.write([*checks, *present, *absent], real)
            except Conflict as conflict:
                if conflict.key in named:
                    raise

    async def _fresh(self) -> Mirror:
        """The copy, not older than the moment of asking."""
        connection = await self._connected()
        await connection.mirror.reached(await connection.now())
        return connection.mirror

    async def _connected(self) -> _Connection:
        if self._connection:
            return self._connection
        async with self._opening:
            if self._closed:
                raise StoreError("the store is closed")
            if self._connection is None:
                self._connection = await _Connection.open(self._endpoints, self._tls, self._prefix)
            return self._connection


class _Connection:
    """Everything that lives as long as the store is open."""

    def __init__(self, cluster: Cluster, prefix: bytes) -> None:
        self.cluster = cluster
        self.mirror = Mirror(cluster, prefix + b"/")
        self.slots = Slots(cluster, prefix + b"-writers/", uuid.uuid4().hex[:12])
        self.writer = Writer(cluster, self.slots, prefix)
        self.now = _Shared(self._ask_revision)
        self._writes: set[asyncio.Task[int]] = set()

    @classmethod
    async def open(cls, endpoints: Sequence[str], tls: Tls | None, prefix: bytes) -> _Connection:
        """Raises StoreError; then nothing is left open."""
        cluster = Cluster(endpoints, tls)
        connection = cls(cluster, prefix)
        try:
            await connection.mirror.start()
        except BaseException:
            await cluster.close()
            raise
        return connection

    async def finish(self, write: Awaitable[int]) -> int:
        """Carry a write to its end even if nobody waits any more: half-known writes would be lost track of."""
        task = asyncio.ensure_future(write)
        self._writes.add(task)
        task.add_done_callback(self._writes.discard)
        return await asyncio.shield(task)

    async def close(self) -> None:
        """Finish what was begun and let go."""
        if self._writes:
            await asyncio.wait(self._writes)
        await self.mirror.stop(StoreError("the store is closed"))
        with contextlib.suppress(StoreError):
            await self.slots.clear()
        await self.cluster.close()

    async def _ask_revision(self) -> int:
        """Etcd's present revision, by a linearizable read of nothing."""
        answer, _ = await self.cluster.call(wire.RANGE, wire.range_request(wire.EVERYTHING, count_only=True))
        return wire.read_range(answer).revision


class _Shared:
    """One question for all who ask at the same time. A question already on its way may be answered from before one
    came, so those who come meanwhile share the next."""

    def __init__(self, ask: Callable[[], Awaitable[int]]) -> None:
        self._ask = ask
        self._running: asyncio.Task[int] | None = None
        self._next: asyncio.Task[int] | None = None

    async def __call__(self) -> int:
        if self._next is None:
            self._next = asyncio.create_task(self._run(self._running))
            self._next.add_done_callback(_noticed)
        return await asyncio.shield(self._next)

    async def _run(self, before: asyncio.Task[int] | None) -> int:
        if before:
            await asyncio.wait([before])
        self._running, self._next = self._next, None
        return await self._ask()


def _noticed(task: asyncio.Task[int]) -> None:
    """Take note of a failure that nobody may be left to hear."""
    if not task.cancelled():
        task.exception()
