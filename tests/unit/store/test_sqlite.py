"""What only a file can suffer: kill -9, damage, strangers, a second process, a full disk."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from contextlib import aclosing
from pathlib import Path

import pytest

from fairway.store.base import Check, Conflict, Put, StoreError, Unusable
from fairway.store.committer import Committer
from fairway.store.log import Log, Transaction
from fairway.store.sqlite import SqliteStore

WRITER = """
import asyncio, sys
from fairway.store.base import Put
from fairway.store.sqlite import SqliteStore

async def write(store, worker):
    number = 0
    while True:
        key = f"/{worker}/{number}"
        revision = await store.commit([], [Put(key, b"x" * 100)])
        print(key, revision, flush=True)
        number += 1

async def main():
    store = SqliteStore(sys.argv[1])
    await asyncio.gather(*(write(store, worker) for worker in range(8)))

asyncio.run(main())
"""


def test_after_kill_9_every_acknowledged_write_is_there(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    child = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    lines = [child.stdout.readline() for _ in range(300)]
    os.kill(child.pid, signal.SIGKILL)
    lines += child.stdout.read().splitlines(keepends=True)
    child.wait()
    acknowledged = [line.split() for line in lines if line.endswith("\n")]

    async def read() -> None:
        store = SqliteStore(path)
        for key, revision in acknowledged:
            entry = await store.get(key)
            assert entry is not None and entry.modified == int(revision)
        assert await store.revision() >= max(int(revision) for _, revision in acknowledged)
        await store.close()

    assert len(acknowledged) >= 300
    asyncio.run(read())


def test_a_watch_resumes_over_a_restart(tmp_path: Path) -> None:
    async def story() -> None:
        store = SqliteStore(tmp_path / "store.db")
        seen = await store.commit([], [Put("/a", b"1")])
        await store.commit([], [Put("/a", b"2")])
        await store.close()
        store = SqliteStore(tmp_path / "store.db")
        async with aclosing(store.watch("/", seen)) as watch:
            (event,) = await anext(watch)
        assert event.entry and event.previous
        assert (event.previous.value, event.entry.value) == (b"1", b"2")
        await store.close()

    asyncio.run(story())


def test_compaction_leaves_only_live_rows_and_the_kept_history_in_the_file(tmp_path: Path) -> None:
    async def story() -> None:
        store = SqliteStore(tmp_path / "store.db")
        for number in range(50):
            await store.commit([], [Put("/a", b"%d" % number)])
        await store.compact(await store.revision() - 1)
        await store.close()

    asyncio.run(story())
    with sqlite3.connect(tmp_path / "store.db") as db:
        assert db.execute("SELECT value FROM log ORDER BY id").fetchall() == [(b"48",), (b"49",)]


def test_a_file_that_is_no_database_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("not a database, but long enough to be taken for one " * 20)
    with pytest.raises(Unusable, match=r"notes\.txt is damaged or not a Fairway store"):
        SqliteStore(path)
    assert path.read_text().startswith("not a database")


def test_a_database_of_somebody_else_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE theirs (x)")
    before = path.read_bytes()
    with pytest.raises(Unusable, match="not a Fairway store"):
        SqliteStore(path)
    assert path.read_bytes() == before


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "store.db"

    async def fill() -> None:
        store = SqliteStore(path)
        for number in range(200):
            await store.commit([], [Put(f"/{number}", b"x" * 200)])
        await store.close()

    asyncio.run(fill())
    data = bytearray(path.read_bytes())
    data[4096:12288] = b"\xa5" * 8192
    path.write_bytes(data)
    with pytest.raises(Unusable, match="damaged"):
        SqliteStore(path)


def test_a_second_opener_is_told_that_the_file_is_in_use(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    store = SqliteStore(path)
    with pytest.raises(Unusable, match="in use by another process"):
        SqliteStore(path)
    asyncio.run(store.close())
    asyncio.run(SqliteStore(path).close())


def test_a_folder_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(Unusable, match="nowhere"):
        SqliteStore(tmp_path / "nowhere" / "store.db")


def test_a_closed_store_refuses_writes_and_ends_watches(tmp_path: Path) -> None:
    async def story() -> None:
        store = SqliteStore(tmp_path / "store.db")
        watch = store.watch("", 1)
        waiting = asyncio.ensure_future(anext(watch))
        await asyncio.sleep(0)
        await store.close()
        with pytest.raises(StoreError):
            await waiting
        with pytest.raises(StoreError):
            await store.commit([], [Put("/a", b"")])

    asyncio.run(story())


class FailingFile:
    """Refuses appends while `broken`; keeps what it took."""

    def __init__(self) -> None:
        self.broken = False
        self.kept: list[int] = []

    def append(self, transactions: Sequence[Transaction]) -> None:
        if self.broken:
            raise Unusable("the disk is full")
        self.kept += [transaction.revision for transaction in transactions]


def test_what_the_disk_refused_never_shows_and_takes_along_what_was_staged_on_it() -> None:
    async def story() -> None:
        log, file = Log(), FailingFile()
        committer = Committer(file, log)

        def stage(key: str) -> asyncio.Future[None]:
            transaction = log.stage([], [Put(key, b"")])
            assert transaction
            return committer.submit(transaction)

        await stage("/first")
        file.broken = True
        outcomes = await asyncio.gather(*(stage(f"/{n}") for n in range(5)), return_exceptions=True)
        assert all(isinstance(outcome, Unusable) for outcome in outcomes)
        assert log.revision == 2 and log.staged("/0") is None and not log.pending
        file.broken = False
        await stage("/second")
        assert log.revision == 3 and file.kept == [2, 3] and log.get("/second")
        await committer.stop()

    asyncio.run(story())


class CountingFile:
    """A file that remembers in which groups it was written."""

    def __init__(self) -> None:
        self.groups: list[int] = []

    def append(self, transactions: Sequence[Transaction]) -> None:
        self.groups.append(len(transactions))


def test_writes_of_one_moment_share_a_sync_and_none_waits_for_ever() -> None:
    async def story() -> None:
        log, file = Log(), CountingFile()
        committer = Committer(file, log)

        async def write(key: str, turns: int) -> None:
            for _ in range(turns):
                await asyncio.sleep(0)
            transaction = log.stage([], [Put(key, b"")])
            assert transaction
            await committer.submit(transaction)

        await asyncio.gather(*(write(f"/{n}", n // 4) for n in range(16)))
        assert file.groups == [16], "four turns of the loop that add four each"
        await asyncio.gather(*(write(f"/more-{n}", n) for n in range(40)))
        assert len(file.groups) > 2 and sum(file.groups) == 56, "a steady stream does not hold the first back"
        await committer.stop()

    asyncio.run(story())


def test_a_writer_that_is_cancelled_leaves_its_write_and_holds_nobody_up(tmp_path: Path) -> None:
    async def story() -> None:
        store = SqliteStore(tmp_path / "store.db")
        first = asyncio.ensure_future(store.commit([], [Put("/a", b"1")]))
        await asyncio.sleep(0)
        first.cancel()
        with pytest.raises(Conflict):
            await store.commit([Check("/a", 0)], [Put("/a", b"2")])
        entry = await store.get("/a")
        assert entry and entry.value == b"1"
        await store.close()

    asyncio.run(story())


def test_a_conflict_is_told_only_once_what_it_is_about_is_durable(tmp_path: Path) -> None:
    async def story() -> None:
        store = SqliteStore(tmp_path / "store.db")
        first = asyncio.ensure_future(store.commit([Check("/a", 0)], [Put("/a", b"1")]))
        await asyncio.sleep(0)
        with pytest.raises(Conflict) as caught:
            await store.commit([Check("/a", 0)], [Put("/a", b"2")])
        assert first.done() and caught.value.entry == await store.get("/a")
        await store.close()

    asyncio.run(story())
