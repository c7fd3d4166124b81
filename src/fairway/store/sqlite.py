"""The store in one SQLite file: a log with revisions in one table, committed in groups by a thread of its own.

A commit is acknowledged after SQLite's own commit returned with `synchronous=FULL` on a write-ahead log, so it survives
a killed process and, as far as fsync promises, a power cut. Reads come from memory and show durable state only.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from pathlib import Path

from fairway.store.base import Bell, Check, Conflict, Delete, Entry, Event, Page, Put, StoreError, View
from fairway.store.committer import Committer
from fairway.store.file import LogFile
from fairway.store.log import Transaction


class SqliteStore:
    """`Store` in the file at `path`, created when missing. Raises Unusable when the file is damaged, is not a
    Fairway store, or is in use by another process."""

    def __init__(self, path: str | Path) -> None:
        self._file = LogFile(Path(path))
        self._log = self._file.load()
        self._committer = Committer(self._file, self._log)
        self._closed = False

    async def view(self) -> View:
        return self._log

    async def catch_up(self) -> bool:
        return False

    async def get(self, key: str) -> Entry | None:
        return self._log.get(key)

    async def range(self, prefix: str, *, after: str = "", limit: int = 0, revision: int = 0) -> Page:
        return self._log.range(prefix, after, limit, revision)

    async def commit(self, checks: Sequence[Check], changes: Sequence[Put | Delete]) -> int:
        transaction = await self._stage(checks, changes)
        if transaction is None:
            return self._log.revision
        await self._committer.submit(transaction)
        return transaction.revision

    def watch(self, prefix: str, after: int, bell: Bell | None = None) -> AsyncGenerator[Sequence[Event], None]:
        return self._log.watch(prefix, after, bell)

    async def revision(self) -> int:
        return self._log.revision

    async def compact(self, revision: int) -> None:
        forgotten = self._log.compact(revision)
        if forgotten:
            await self._committer.run(lambda: self._file.forget(forgotten, revision))

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        await self._committer.stop()
        self._file.close()
        self._log.watchers.fail(StoreError("the store is closed"))

    async def _stage(self, checks: Sequence[Check], changes: Sequence[Put | Delete]) -> Transaction | None:
        """Stage, but never tell anybody of state that is not durable yet: a conflict with it waits until it is."""
        while True:
            if self._closed:
                raise StoreError("the store is closed")
            try:
                transaction = self._log.stage(checks, changes)
                if transaction or not self._log.pending:
                    return transaction
            except Conflict:
                if not self._log.pending:
                    raise
            await self._committer.run(lambda: None)
