"""What a durable commit costs in each store, as a ratio to the bare thing measured in the same run.

    python bench/store.py [RUNS]        (default 5 runs, medians; needs no root, but `etcd` on PATH)

16 clients each commit small transactions, one after the other, each to a key of its own with a check on its revision.
The floors: SQLite alone, taking the same rows in groups of 16 in one statement with the same pragmas; a bare gRPC
client sending etcd puts of the same size, 16 at a time; the same client sending the checked transaction that a commit
is at least. Floor and store take turns of a second, so that both meet the same disk and processor. Then: time from the
beginning of a write to its event, and of a read that vouches for being current.
"""

from __future__ import annotations

import asyncio
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from pathlib import Path

import uvloop

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from fairway.store import etcd_wire as wire
from fairway.store.base import Check, Put, Store
from fairway.store.etcd import EtcdStore
from fairway.store.file import LogFile
from fairway.store.sqlite import SqliteStore
from tests import etcd

CLIENTS = 16
SECONDS = 1.0
TURNS = 4
VALUE = b"x" * 300
ROUNDS = 200

Figures = dict[str, float]


async def rate(work: Callable[[int], Awaitable[None]]) -> float:
    """How often per second CLIENTS clients together get `work(client)` done."""
    done = 0
    end = time.perf_counter() + SECONDS

    async def client(number: int) -> None:
        nonlocal done
        while time.perf_counter() < end:
            await work(number)
            done += 1

    begun = time.perf_counter()
    await asyncio.gather(*(client(number) for number in range(CLIENTS)))
    return done / (time.perf_counter() - begun)


async def commits(store: Store, turn: int) -> float:
    """Checked writes per second."""
    last = [0] * CLIENTS

    async def write(number: int) -> None:
        key = f"/registry/core/configmaps/default/c-{turn}-{number}"
        last[number] = await store.commit([Check(key, last[number])], [Put(key, VALUE)])

    for number in range(CLIENTS):
        await write(number)
    return await rate(write)


class BareSqlite:
    """The same file, table, index and pragmas, and nothing around them."""

    def __init__(self, path: Path) -> None:
        LogFile(path).close()
        self._database = sqlite3.connect(path, isolation_level=None)
        for pragma in ("locking_mode = EXCLUSIVE", "journal_mode = WAL", "synchronous = FULL"):
            self._database.execute(f"PRAGMA {pragma}")
        self._revision = 1

    def rate(self) -> float:
        """Rows per second in groups of CLIENTS, each group one durable statement."""
        places = ", ".join(["(?, ?, ?, ?)"] * CLIENTS)
        statement = f"INSERT INTO log (revision, created, key, value) VALUES {places}"
        first, begun = self._revision, time.perf_counter()
        while time.perf_counter() < begun + SECONDS:
            values: list[object] = []
            for number in range(CLIENTS):
                self._revision += 1
                key = f"/registry/core/configmaps/default/c-{number}"
                values += (self._revision, self._revision, key, VALUE)
            self._database.execute(statement, values)
        return (self._revision - first) / (time.perf_counter() - begun)


async def bare_etcd(endpoint: str, *, checked: bool, value: bytes = VALUE) -> float:
    """Puts per second by nothing but gRPC; `checked`: each in a transaction that checks the key's revision."""
    import grpc

    last = [0] * CLIENTS
    async with grpc.aio.insecure_channel(endpoint) as channel:
        send = channel.unary_unary(wire.TXN if checked else "/etcdserverpb.KV/Put")

        async def write(number: int) -> None:
            key = b"/bare-%d/registry/core/configmaps/default/c-%d" % (checked, number)
            put = wire.put_request(key, value)
            if checked:
                compare, look = wire.modified_is(key, last[number]), wire.range_op(wire.range_request(key))
                answer = wire.read_txn(await send(wire.txn_request([compare], [wire.put_op(put)], [look])))
                last[number] = answer.revision if answer.succeeded else answer.ranges[0].found[0].modified
            else:
                await send(put)

        for number in range(CLIENTS):
            await write(number)
        return await rate(write)


async def delays(store: Store) -> tuple[float, float]:
    """Milliseconds from a write's begin to its event, and of one read; medians."""
    told, read = [], []
    async with aclosing(store.watch("/registry/", await store.revision())) as watch:
        for number in range(ROUNDS):
            begun = time.perf_counter()
            await store.commit([], [Put("/registry/one", b"%d" % number)])
            await anext(watch)
            told.append(time.perf_counter() - begun)
            begun = time.perf_counter()
            await store.get("/registry/one")
            read.append(time.perf_counter() - begun)
    return statistics.median(told) * 1000, statistics.median(read) * 1000


async def run(folder: Path, endpoint: str) -> Figures:
    sqlite, kept = SqliteStore(folder / "store.db"), EtcdStore([endpoint])
    bare = BareSqlite(folder / "bare.db")
    turns: dict[str, list[float]] = {}
    for turn in range(TURNS):
        turns.setdefault("sqlite: bare, rows/s", []).append(bare.rate())
        turns.setdefault("sqlite: commits/s", []).append(await commits(sqlite, turn))
        turns.setdefault("etcd: bare, puts/s", []).append(await bare_etcd(endpoint, checked=False))
        turns.setdefault("etcd: bare, transactions/s", []).append(await bare_etcd(endpoint, checked=True))
        turns.setdefault("etcd: commits/s", []).append(await commits(kept, turn))
    figures = {name: statistics.median(values) for name, values in turns.items()}
    for name, store in (("sqlite", sqlite), ("etcd", kept)):
        figures[f"{name}: write to event, ms"], figures[f"{name}: read, ms"] = await delays(store)
        await store.close()
    figures["sqlite: commits to bare"] = figures["sqlite: commits/s"] / figures["sqlite: bare, rows/s"]
    figures["etcd: commits to puts"] = figures["etcd: commits/s"] / figures["etcd: bare, puts/s"]
    figures["etcd: commits to transactions"] = figures["etcd: commits/s"] / figures["etcd: bare, transactions/s"]
    return figures


def main() -> None:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    found: list[Figures] = []
    for _ in range(runs):
        with tempfile.TemporaryDirectory() as folder, etcd.cluster(Path(folder)) as members:
            found.append(uvloop.run(run(Path(folder), members[0].endpoint)))
    for name in found[0]:
        values = [figures[name] for figures in found]
        print(f"{name:<30} {statistics.median(values):>12,.2f}   ({min(values):,.2f} to {max(values):,.2f})")


if __name__ == "__main__":
    main()
