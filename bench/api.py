"""What the API server costs, as ratios to a floor measured in the same run.

    python bench/api.py [RUNS]        (default 3 runs, medians; needs no root, but `etcd` on PATH)

Each run starts `bench/api_server.py` on an empty SQLite file and measures, over TLS with a client certificate: creates
by 16 clients, and what of a processor each costs the server; a list of 10,000 Services against the same bytes from
memory; memory per Service; one change told to 1,000 watchers; a write to its watch event.

Creates have two floors, both without a server and in groups of 16: rows of a fixed size, and the very rows that the
server wrote (a Service comes with its address' object), put to SQLite once more.

Then the same creates with the objects in etcd, against a bare gRPC client's puts and its checked transactions.
"""

from __future__ import annotations

import asyncio
import datetime
import json
import socket
import sqlite3
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import groupby
from operator import itemgetter
from pathlib import Path

import uvloop

sys.path.insert(0, str(Path(__file__).resolve().parent))

sys.path.insert(1, str(Path(__file__).resolve().parents[1]))

from api_client import Connection, connect, request
from store import bare_etcd

from fairway.lab.pki import Authority
from fairway.store.file import LogFile
from tests import etcd

CLIENTS = 16
OBJECTS = 10_000
FEW = 4_000
WATCHERS = 1_000
CHANGES = 20
ROUNDS = 200
LISTS = 9
SERVICES = "/api/v1/namespaces/default/services"
MAPS = "/api/v1/namespaces/default/configmaps"

Figures = dict[str, float]


def service(number: int) -> bytes:
    return json.dumps(
        {
            "kind": "Service",
            "apiVersion": "v1",
            "metadata": {"name": f"web-{number}", "labels": {"app": f"web-{number}", "tier": "front"}},
            "spec": {
                "selector": {"app": f"web-{number}"},
                "ports": [{"name": "http", "port": 80, "targetPort": 8080}, {"name": "metrics", "port": 9090}],
            },
        }
    ).encode()


def config_map(number: int) -> bytes:
    metadata = {"name": f"map-{number}", "labels": {"app": "web"}}
    return json.dumps({"kind": "ConfigMap", "apiVersion": "v1", "metadata": metadata, "data": {"a": "b"}}).encode()


def bare_sqlite(folder: Path, size: int) -> float:
    """Rows per second of `size` bytes that SQLite alone takes, 16 in a transaction, each transaction synced."""
    database = sqlite3.connect(folder / "bare.db", isolation_level=None)
    for pragma in ("journal_mode = WAL", "synchronous = FULL", "locking_mode = EXCLUSIVE"):
        database.execute(f"PRAGMA {pragma}")
    database.execute(
        "CREATE TABLE log (id INTEGER PRIMARY KEY, revision INTEGER, created INTEGER, key TEXT, value BLOB)"
    )
    database.execute("CREATE INDEX log_by_revision ON log (revision)")
    value = b"x" * size
    begun = time.perf_counter()
    for group in range(0, OBJECTS, CLIENTS):
        database.execute("BEGIN IMMEDIATE")
        rows = [(n, n, f"/registry/core/services/default/web-{n}", value) for n in range(group, group + CLIENTS)]
        database.executemany("INSERT INTO log (revision, created, key, value) VALUES (?, ?, ?, ?)", rows)
        database.execute("COMMIT")
    rate = OBJECTS / (time.perf_counter() - begun)
    database.close()
    return rate


@asynccontextmanager
async def server(folder: Path, etcd_endpoint: str = "") -> AsyncIterator[Callable[[], asyncio.Future[Connection]]]:
    """A server on an empty store, SQLite unless etcd is named; gives a way to connect to it."""
    authority = Authority("bench", datetime.datetime.now(datetime.UTC))
    authority.server("api", ["127.0.0.1"]).write(folder, "server")
    authority.client("admin", ["system:masters"]).write(folder, "client")
    (folder / "ca.crt").write_bytes(authority.certificate)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    tls = ssl.create_default_context(cafile=str(folder / "ca.crt"))
    tls.load_cert_chain(folder / "client.crt", folder / "client.key")
    program = [sys.executable, str(Path(__file__).with_name("api_server.py")), str(folder), str(port)]
    program += [etcd_endpoint] if etcd_endpoint else []
    process = subprocess.Popen(program)
    try:
        await _answering(port, tls)
        yield lambda: asyncio.ensure_future(connect(port, tls))
    finally:
        process.terminate()
        process.wait()


async def _answering(port: int, tls: ssl.SSLContext) -> None:
    for _ in range(500):
        try:
            (await connect(port, tls)).close()
            return
        except OSError:
            await asyncio.sleep(0.02)
    raise SystemExit("the server does not start")


async def creates(clients: list[Connection], path: str, bodies: list[bytes]) -> tuple[float, float]:
    """Creates per second, each client waiting for its answer before its next; the server's CPU for each, in us."""
    waiting = iter([request("POST", path, body) for body in bodies])
    before = (await clients[0].read("/bench/self"))["cpu"]
    begun = time.perf_counter()
    await asyncio.gather(*(client.create(waiting) for client in clients))
    rate = len(bodies) / (time.perf_counter() - begun)
    return rate, ((await clients[0].read("/bench/self"))["cpu"] - before) / len(bodies) * 1e6


def replayed(folder: Path, plural: str) -> float:
    """Transactions per second that SQLite takes when it is given once more what the server in `folder` wrote for
    objects of a kind: the same statements, 16 transactions in each, each statement synced."""
    source = sqlite3.connect(folder / "store.db")
    rows = source.execute("SELECT revision, created, key, value FROM log ORDER BY id").fetchall()
    source.close()
    wanted = {revision for revision, _, key, value in rows if value and f"/{plural}/default/" in key}
    found = [list(group) for revision, group in groupby(rows, itemgetter(0)) if revision in wanted]
    path = folder / f"replayed-{plural}.db"
    LogFile(path).close()
    database = sqlite3.connect(path, isolation_level=None)
    for pragma in ("locking_mode = EXCLUSIVE", "journal_mode = WAL", "synchronous = FULL"):
        database.execute(f"PRAGMA {pragma}")
    begun = time.perf_counter()
    for start in range(0, len(found), CLIENTS):
        values = [row for group in found[start : start + CLIENTS] for row in group]
        places = ", ".join(["(?, ?, ?, ?)"] * len(values))
        statement = f"INSERT INTO log (revision, created, key, value) VALUES {places}"
        database.execute(statement, [part for row in values for part in row])
    rate = len(found) / (time.perf_counter() - begun)
    database.close()
    return rate


async def lists(client: Connection) -> Figures:
    """Seconds per list, and per answer of the same bytes from memory, taken in turns."""
    times: dict[str, list[float]] = {"/api/v1/services": [], "/bench/memory": []}
    for _ in range(LISTS):
        for path, taken in times.items():
            begun = time.perf_counter()
            size = len(await client.ask("GET", path))
            taken.append(time.perf_counter() - begun)
    listed, copied = (statistics.median(taken) for taken in times.values())
    return {
        "list: MB": size / 1e6,
        "list: ms": listed * 1e3,
        "list: ms, same bytes from memory": copied * 1e3,
        "list: ratio (goal <= 1.5)": listed / copied,
    }


async def watch(open_connection: Callable[[], asyncio.Future[Connection]], path: str) -> Connection:
    """A watch from now on whose head has arrived."""
    connection = await open_connection()
    now = (await connection.read(f"{path}?limit=1"))["metadata"]["resourceVersion"]
    answer = await connection.ask("GET", f"{path}?watch=true&resourceVersion={now}&labelSelector=none%3Dnone")
    assert answer.startswith(b"HTTP/1.1 200"), answer
    return connection


async def fan_out(client: Connection, watchers: list[Connection]) -> Figures:
    """One change to every watcher: seconds to the last, CPU of the server per told watcher."""
    before = await client.read("/bench/self")
    last: list[float] = []
    for change in range(CHANGES):
        mark = f"told-{change}-x".encode()
        arrivals = [watcher.expect(mark) for watcher in watchers]
        body = b'{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"%b","labels":{"none":"none"}}}' % mark
        begun = time.perf_counter()
        await client.ask("POST", MAPS, body)
        last.append(max(await asyncio.gather(*arrivals)) - begun)
    used = (await client.read("/bench/self"))["cpu"] - before["cpu"]
    return {
        f"watch: ms to the last of {len(watchers)}": statistics.median(last) * 1e3,
        "watch: server CPU us per watcher and event": used / CHANGES / len(watchers) * 1e6,
    }


async def latency(client: Connection, watcher: Connection) -> Figures:
    """From the first byte of a write to its event at a watcher."""
    taken = []
    for number in range(ROUNDS):
        mark = f"seen-{number}-x".encode()
        arrival = watcher.expect(mark)
        body = b'{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"%b","labels":{"none":"none"}}}' % mark
        begun = time.perf_counter()
        await client.ask("POST", MAPS, body)
        taken.append(await arrival - begun)
    return {
        "write to its event: ms, median (goal < 3)": statistics.median(taken) * 1e3,
        "write to its event: ms, 99th percentile": statistics.quantiles(taken, n=100)[98] * 1e3,
    }


async def measure(folder: Path) -> Figures:
    figures: Figures = {}
    async with server(folder) as open_connection:
        clients = [await open_connection() for _ in range(CLIENTS)]
        first = clients[0]
        await creates(clients, MAPS, [config_map(n) for n in range(500)])
        base = (await first.read("/bench/self"))["rss"]
        figures |= told("Services", await creates(clients, SERVICES, [service(n) for n in range(OBJECTS)]))
        grown = (await first.read("/bench/self"))["rss"] - base
        figures["memory: kB per Service (goal < 20)"] = grown / OBJECTS
        figures |= told("ConfigMaps", await creates(clients, MAPS, [config_map(n) for n in range(500, FEW)]))
        figures |= await lists(first)
        figures |= await latency(first, await watch(open_connection, MAPS))
        before = (await first.read("/bench/self"))["rss"]
        watchers = [await watch(open_connection, MAPS) for _ in range(WATCHERS)]
        figures["watch: kB per watcher"] = ((await first.read("/bench/self"))["rss"] - before) / WATCHERS
        figures |= await fan_out(first, watchers)
        for connection in (*watchers, *clients):
            connection.close()
    bare = figures["creates/s: rows, SQLite alone in groups of 16"] = bare_sqlite(folder, 700)
    for what in ("Services", "ConfigMaps"):
        rate, again = figures[f"creates/s: {what}"], replayed(folder, what.lower())
        figures[f"creates/s: {what}, the same rows to SQLite alone"] = again
        figures[f"creates/s: {what} against rows (goal >= 0.5)"] = rate / bare
        figures[f"creates/s: {what} against the same rows"] = rate / again
    return figures


def told(what: str, found: tuple[float, float]) -> Figures:
    return {f"creates/s: {what}": found[0], f"creates: server CPU us, {what}": found[1]}


async def measure_etcd(folder: Path, endpoint: str) -> Figures:
    """Creates with the objects in etcd, between two measurements of the floors."""
    figures: Figures = {}
    value = b"x" * 600

    async def floors() -> tuple[float, float]:
        puts = await bare_etcd(endpoint, checked=False, value=value)
        return puts, await bare_etcd(endpoint, checked=True, value=value)

    before = await floors()
    async with server(folder, endpoint) as open_connection:
        clients = [await open_connection() for _ in range(CLIENTS)]
        await creates(clients, MAPS, [config_map(n) for n in range(500)])
        figures |= told("ConfigMaps on etcd", await creates(clients, MAPS, [config_map(n) for n in range(500, FEW)]))
        figures |= told("Services on etcd", await creates(clients, SERVICES, [service(n) for n in range(FEW)]))
        for connection in clients:
            connection.close()
    puts, checked = (statistics.mean(pair) for pair in zip(before, await floors(), strict=True))
    figures |= {"creates/s: bare etcd client, puts": puts, "creates/s: bare etcd client, transactions": checked}
    for what in ("ConfigMaps", "Services"):
        rate = figures[f"creates/s: {what} on etcd"]
        figures[f"creates/s: {what} on etcd against puts (goal >= 0.5)"] = rate / puts
        figures[f"creates/s: {what} on etcd against transactions"] = rate / checked
    return figures


def main(runs: int) -> None:
    results = []
    for _ in range(runs):
        with tempfile.TemporaryDirectory() as folder:
            figures = uvloop.run(measure(Path(folder)))
        with tempfile.TemporaryDirectory() as folder, etcd.cluster(Path(folder)) as members:
            results.append(figures | uvloop.run(measure_etcd(Path(folder), members[0].endpoint)))
    print(f"{'median of ' + str(runs):<64} {'median':>10} {'worst':>10}")
    for name in results[0]:
        values = [result[name] for result in results]
        worst = min(values) if name.startswith("creates/s") else max(values)
        print(f"{name:<64} {statistics.median(values):10.2f} {worst:10.2f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
