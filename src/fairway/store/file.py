"""The SQLite file itself: one table that is the log, opened, read, appended to and compacted.

A row is one key changed in one revision; `value` is NULL for a deletion. The live keys as of the compacted revision are
rows like any other, so reopening is one replay.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from fairway.store.base import Entry, Event, Unusable
from fairway.store.log import FIRST_REVISION, Log, Transaction

APPLICATION_ID = 0x46574159  # "FWAY" in the header of the file
FORMAT = 1

_SCHEMA = """
CREATE TABLE log (
    id INTEGER PRIMARY KEY,
    revision INTEGER NOT NULL,
    created INTEGER NOT NULL,
    key TEXT NOT NULL,
    value BLOB
);
CREATE INDEX log_by_revision ON log (revision);
CREATE TABLE compacted (revision INTEGER NOT NULL);
"""


ROWS_AT_ONCE = 64
"""Rows of one INSERT; each number of rows is a statement that stays prepared."""


@cache
def _insertion(rows: int) -> str:
    return f"INSERT INTO log (revision, created, key, value) VALUES {', '.join(['(?, ?, ?, ?)'] * rows)}"


def _gone(event: Event) -> tuple[object, ...]:
    return event.revision, 0, event.key, None


class LogFile:
    """An open log file. The methods may be called from any one thread at a time."""

    def __init__(self, path: Path) -> None:
        """Open or create. Raises Unusable."""
        self._path = path
        try:
            self._db = sqlite3.connect(path, timeout=1, isolation_level=None, check_same_thread=False)
        except sqlite3.Error as error:
            raise Unusable(f"cannot open {path}: {error}") from error
        try:
            with self._explained():
                self._prepare()
        except Unusable:
            self._db.close()
            raise

    def load(self) -> Log:
        """Replay the file. Raises Unusable."""
        with self._explained():
            (compacted,) = self._db.execute("SELECT revision FROM compacted").fetchone()
            base: dict[str, Entry] = {}
            history: list[Event] = []
            latest: dict[str, Entry | None] = {}
            for revision, created, key, value in self._db.execute(
                "SELECT revision, created, key, value FROM log ORDER BY id"
            ):
                entry = None if value is None else Entry(key, value, created, revision)
                if revision > compacted:
                    history.append(Event(key, revision, entry, latest.get(key)))
                elif entry:
                    base[key] = entry
                else:
                    base.pop(key, None)
                latest[key] = entry
            return Log(base.values(), history, compacted)

    def append(self, transactions: Sequence[Transaction]) -> None:
        """Write transactions and return when they are on the disk; all or none. Raises Unusable."""
        events = [event for transaction in transactions for event in transaction.events]
        if len(events) <= ROWS_AT_ONCE:
            with self._explained():
                self._insert(events)
            return
        with self._transaction():
            for start in range(0, len(events), ROWS_AT_ONCE):
                self._insert(events[start : start + ROWS_AT_ONCE])

    def _insert(self, events: Sequence[Event]) -> None:
        """One statement, which alone is a transaction too: each step of SQLite gives up the interpreter's lock and
        has to win it back from a busy event loop."""
        values: list[object] = []
        for event in events:
            entry = event.entry
            values += (event.revision, entry.created, event.key, entry.value) if entry else _gone(event)
        self._db.execute(_insertion(len(events)), values)

    def forget(self, events: Sequence[Event], revision: int) -> None:
        """Drop the rows that `events`, now history, made superfluous: what they replaced, and deletions themselves."""
        rows = [(event.previous.modified, event.key) for event in events if event.previous]
        rows += [(event.revision, event.key) for event in events if event.entry is None]
        with self._transaction():
            self._db.executemany("DELETE FROM log WHERE revision = ? AND key = ?", rows)
            self._db.execute("UPDATE compacted SET revision = ?", (revision,))

    def close(self) -> None:
        """Fold the write-ahead log into the file and let go of it."""
        self._db.close()

    def _prepare(self) -> None:
        # Held exclusively: two processes that both count revisions would destroy each other's history.
        self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
        (application,) = self._db.execute("PRAGMA application_id").fetchone()
        (tables,) = self._db.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        if application != APPLICATION_ID and (application or tables):
            raise Unusable(f"{self._path} is a SQLite database, but not a Fairway store; name another file")
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        if not tables:
            self._create()
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if version != FORMAT:
            raise Unusable(f"{self._path} has format {version}, this version reads {FORMAT}; use the one that wrote it")
        self._check()

    def _create(self) -> None:
        self._db.executescript(
            f"BEGIN;{_SCHEMA}"
            f"INSERT INTO compacted VALUES ({FIRST_REVISION});"
            f"PRAGMA application_id = {APPLICATION_ID};PRAGMA user_version = {FORMAT};COMMIT;"
        )

    def _check(self) -> None:
        (verdict,) = self._db.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise Unusable(f"{self._path} is damaged ({verdict}); restore a copy")
        # Taking the write lock now tells of a second process at once, not at the first write.
        self._db.execute("BEGIN IMMEDIATE")
        self._db.execute("COMMIT")

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._explained():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except sqlite3.Error:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:
            if "locked" in str(error):
                raise Unusable(f"{self._path} is in use by another process; stop that one first") from error
            raise Unusable(f"cannot use {self._path}: {error}") from error
        except sqlite3.DatabaseError as error:
            raise Unusable(f"{self._path} is damaged or not a Fairway store ({error}); restore a copy") from error
