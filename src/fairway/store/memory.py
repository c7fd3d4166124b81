"""The store in memory: for tests and for clusters nobody needs tomorrow."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence

from fairway.store.base import Bell, Check, Delete, Entry, Event, Page, Put, StoreError, View
from fairway.store.log import Log


class MemoryStore:
    """`Store` without a disk: every transaction is durable at once, for as long as the process lives."""

    def __init__(self) -> None:
        self._log = Log()

    async def view(self) -> View:
        return self._log

    async def catch_up(self) -> bool:
        return False

    async def get(self, key: str) -> Entry | None:
        return self._log.get(key)

    async def range(self, prefix: str, *, after: str = "", limit: int = 0, revision: int = 0) -> Page:
        return self._log.range(prefix, after, limit, revision)

    async def commit(self, checks: Sequence[Check], changes: Sequence[Put | Delete]) -> int:
        transaction = self._log.stage(checks, changes)
        if transaction:
            self._log.publish(transaction)
        return self._log.revision

    def watch(self, prefix: str, after: int, bell: Bell | None = None) -> AsyncGenerator[Sequence[Event], None]:
        return self._log.watch(prefix, after, bell)

    async def revision(self) -> int:
        return self._log.revision

    async def compact(self, revision: int) -> None:
        self._log.compact(revision)

    async def close(self) -> None:
        self._log.watchers.fail(StoreError("the store is closed"))
