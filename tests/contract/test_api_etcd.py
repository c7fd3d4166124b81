"""Several API servers on one etcd serve one cluster, and lose nothing when a member and a server die."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from fairway.api.server import Api, ApiConfig
from fairway.client.base import ApiError, Client, Unreachable
from fairway.client.http import HttpClient
from fairway.client.kubeconfig import connect, load
from fairway.objects.kinds import CONFIG_MAP, SERVICE, Kind
from fairway.store.etcd import EtcdStore
from tests import etcd
from tests.contract.session import CONFIG, Session, config_map, service

Object = dict[str, Any]

WRITES = 5000
WRITERS = 24
MEMBER_DIES, SERVER_DIES = 1500, 3000


@dataclass
class Server:
    """A `fairway api` process and the kubeconfig that leads to it."""

    process: subprocess.Popen[str]
    kubeconfig: str


@contextmanager
def server(directory: Path, members: list[etcd.Member]) -> Iterator[Server]:
    endpoints = ",".join(member.endpoint for member in members)
    words = ["--store", f"etcd://{endpoints}", "--listen", "127.0.0.1:0", "--cert-dir", str(directory)]
    process = subprocess.Popen(
        [sys.executable, "-m", "fairway", "api", *words],
        stdout=subprocess.PIPE,
        stderr=(directory / "api.log").open("a"),
        text=True,
    )
    try:
        assert process.stdout
        line = process.stdout.readline()
        assert line.startswith("serving at https://127.0.0.1:"), line
        yield Server(process, line.split()[-1])
    finally:
        process.kill()
        process.wait()


@dataclass
class Fleet:
    """The servers as a client with all their addresses sees them: when one breaks, on to the next."""

    clients: list[HttpClient]
    done: int = 0
    progress: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def create(self, kind: Kind, obj: Object, turn: int) -> None:
        """Until some server acknowledges it; a server that broke may have done it."""
        while True:
            try:
                await self.clients[turn % len(self.clients)].create(kind, obj, "default")
            except Unreachable:
                turn += 1
                await asyncio.sleep(0.02)
                continue
            except ApiError as error:
                if error.code >= 500:
                    turn += 1
                    continue
                if error.reason != "AlreadyExists":
                    raise
            break
        async with self.progress:
            self.done += 1
            self.progress.notify_all()

    async def reach(self, count: int) -> None:
        async with self.progress:
            await self.progress.wait_for(lambda: self.done >= count)

    async def follow(self, kind: Kind, revision: str, turn: int, count: int) -> list[tuple[int, str]]:
        """Revisions and names of the next `count` creations, over as many watches as it takes."""
        seen: list[tuple[int, str]] = []
        while len(seen) < count:
            with suppress(Unreachable):
                client = self.clients[turn % len(self.clients)]
                async for event in client.watch(kind, "default", resource_version=revision):
                    metadata = json.loads(event.object)["metadata"]
                    revision = metadata["resourceVersion"]
                    assert event.type == "ADDED"
                    seen.append((int(revision), metadata["name"]))
                    if len(seen) == count:
                        return seen
            turn += 1
            await asyncio.sleep(0.02)
        return seen


def written(number: int) -> tuple[Kind, Object]:
    """Nine of ten writes are small; the tenth takes an address and a port out of the common ranges."""
    if number % 10:
        return CONFIG_MAP, config_map(f"c-{number}")
    return SERVICE, service(f"s-{number}", type="NodePort")


@pytest.mark.timeout(180)
def test_a_member_and_a_server_die_during_writes_and_nothing_is_lost(tmp_path: Path) -> None:
    with etcd.cluster(tmp_path, 3) as members, ExitStack() as stack:
        servers = [stack.enter_context(server(tmp_path, members)) for _ in range(2)]
        asyncio.run(_survive(members, servers))


async def _survive(members: list[etcd.Member], servers: list[Server]) -> None:
    fleet = Fleet([connect(load(found.kubeconfig)) for found in servers])
    maps, services = WRITES - WRITES // 10, WRITES // 10
    since = (await fleet.clients[0].list(CONFIG_MAP, "default")).resource_version
    streams = [asyncio.ensure_future(fleet.follow(CONFIG_MAP, since, turn, maps)) for turn in (0, 1)]
    streams.append(asyncio.ensure_future(fleet.follow(SERVICE, since, 0, services)))

    async def write(writer: int) -> None:
        for number in range(writer, WRITES, WRITERS):
            await fleet.create(*written(number), turn=number)

    writing = asyncio.gather(*(write(writer) for writer in range(WRITERS)))
    await fleet.reach(MEMBER_DIES)
    members[0].kill()
    await fleet.reach(SERVER_DIES)
    servers[0].process.kill()
    await writing
    one, two, third = await asyncio.wait_for(asyncio.gather(*streams), 30)
    survivor = fleet.clients[1]
    _judge(one, two, third, await _items(survivor, CONFIG_MAP), await _items(survivor, SERVICE))
    for client in fleet.clients:
        await client.close()


async def _items(client: Client, kind: Kind) -> list[Object]:
    items = [json.loads(item) for item in (await client.list(kind, "default")).items]
    return [item for item in items if item["metadata"]["name"] != "kubernetes"]


def _judge(
    one: list[tuple[int, str]], two: list[tuple[int, str]], third: list[tuple[int, str]], *held: list[Object]
) -> None:
    stored = [
        sorted((int(item["metadata"]["resourceVersion"]), item["metadata"]["name"]) for item in items) for items in held
    ]
    assert [len(stored[0]), len(stored[1])] == [WRITES - WRITES // 10, WRITES // 10]
    assert one == two == stored[0] and third == stored[1]
    addresses = [item["spec"]["clusterIP"] for item in held[1]]
    ports = [item["spec"]["ports"][0]["nodePort"] for item in held[1]]
    assert len(set(addresses)) == len(addresses) and len(set(ports)) == len(ports)


Story = Callable[[Session, Session], Awaitable[None]]


@asynccontextmanager
async def serving(endpoint: str, config: ApiConfig) -> AsyncIterator[Session]:
    store = EtcdStore([endpoint])
    api = Api(store, config)
    await api.start()
    try:
        yield Session(api)
    finally:
        await api.stop()
        await store.close()


def told(tmp_path: Path, story: Story, config: ApiConfig = CONFIG) -> None:
    """Run a story against two servers on one etcd, started together."""

    async def tell(endpoint: str) -> None:
        async with serving(endpoint, config) as one, serving(endpoint, config) as two:
            await story(one, two)

    with etcd.cluster(tmp_path) as members:
        asyncio.run(tell(members[0].endpoint))


def test_what_one_server_writes_is_in_the_others_reads_and_watches(tmp_path: Path) -> None:
    async def story(one: Session, two: Session) -> None:
        maps = "/api/v1/namespaces/default/configmaps"
        since = (await two.ok("GET", maps))["metadata"]["resourceVersion"]
        async with two.watch(f"{maps}?resourceVersion={since}") as watch:
            made = await one.ok("POST", maps, config_map("a"))
            assert await two.ok("GET", f"{maps}/a") == made
            assert await watch.next() == ("ADDED", made)
            code, reason, _ = await two.refused("POST", maps, config_map("a"))
            assert (code, reason) == (409, "AlreadyExists")
            await two.ok("DELETE", f"{maps}/a")
            assert (await watch.next())[0] == "DELETED"
            assert (await one.refused("GET", f"{maps}/a"))[0] == 404

    told(tmp_path, story)


def test_the_last_address_and_the_last_port_are_given_once(tmp_path: Path) -> None:
    async def story(one: Session, two: Session) -> None:
        url = "/api/v1/namespaces/default/services"
        bodies = [service(f"s-{number}", type="NodePort") for number in range(20)]
        asked = (session.ask("POST", url, body) for session, body in zip([one, two] * 10, bodies, strict=True))
        made = [body for code, body, _ in await asyncio.gather(*asked) if code == 201]
        ports = [obj["spec"]["ports"][0]["nodePort"] for obj in made]
        addresses = [obj["spec"]["clusterIP"] for obj in made]
        assert sorted(ports) == list(range(30000, 30010))
        assert len(set(addresses)) == 10

    told(tmp_path, story, replace(CONFIG, node_ports=(30000, 30009)))


def test_both_servers_compact_and_history_stays_as_long_as_it_should(tmp_path: Path) -> None:
    kept = 0.3

    async def story(one: Session, two: Session) -> None:
        maps = "/api/v1/namespaces/default/configmaps"
        first = (await one.ok("POST", maps, config_map("a")))["metadata"]["resourceVersion"]
        began = asyncio.get_running_loop().time()
        second = (await two.ok("POST", maps, config_map("b")))["metadata"]["resourceVersion"]
        for session in (one, two):
            code = 200
            while code == 200:
                code, body, _ = await session.ask("GET", f"{maps}?resourceVersion={first}&resourceVersionMatch=Exact")
                await asyncio.sleep(0)
            assert (code, body["reason"]) == (410, "Expired")
            assert asyncio.get_running_loop().time() - began >= kept
        assert (await one.ok("GET", f"{maps}/b"))["metadata"]["resourceVersion"] == second
        async with one.watch(f"{maps}?resourceVersion={await _now(two)}") as watch:
            await two.ok("POST", maps, config_map("c"))
            assert await watch.names(1) == [("ADDED", "c")]

    told(tmp_path, story, replace(CONFIG, history_seconds=kept))


async def _now(session: Session) -> str:
    page = await session.ok("GET", "/api/v1/namespaces/default/configmaps?limit=1")
    return str(page["metadata"]["resourceVersion"])
