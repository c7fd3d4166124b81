"""Announcers beside an API server, without a segment: their device is not there, which they bear."""

from __future__ import annotations

import asyncio
import ipaddress
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from fairway.announce import bulletin
from fairway.announce.announcer import Announcer, Observer, Place
from fairway.announce.bulletin import Bulletin
from fairway.announce.election import Wish
from fairway.announce.member import Mine, Timing
from fairway.api.server import Api, ApiConfig
from fairway.api.users import ANNOUNCER, User
from fairway.client.local import LocalClient
from fairway.control.times import micro_stamp
from fairway.node import Interface
from fairway.objects.kinds import LEASE
from fairway.store.memory import MemoryStore

V4 = "10.0.0.200"
WISHES = {V4: Wish(V4, ("default/web",), (frozenset({"node-a", "node-b"}),))}
DEVICE = Interface("none0", (ipaddress.ip_interface("10.0.0.11/24"),))
SECONDS = 30.0


class Told(Observer):
    """Notes what an announcer does."""

    def __init__(self) -> None:
        self.why: list[str] = []
        self.errors: list[str] = []
        self.writes = 0

    def began(self, address: str, claim: Mine) -> None:
        self.why.append(claim.why)

    def renewed(self, seconds: float, error: str) -> None:
        self.errors += [error] if error else []
        self.writes += not error


class Cluster:
    """A server, and announcers of it with the rights that theirs have."""

    def __init__(self, api: Api) -> None:
        self.client = LocalClient(api.handlers)
        self.unplugged: set[str] = set()
        self._asked = LocalClient(api.handlers, User(ANNOUNCER, ("system:authenticated",)))

    @asynccontextmanager
    async def announcer(self, node: str, host: str = "") -> AsyncIterator[tuple[Announcer, Told, asyncio.Event]]:
        """One that runs. Left as it is it is killed; with its event set before, it ends in order."""
        told, stop = Told(), asyncio.Event()
        made = Announcer(
            self._asked,
            Place(node, host or node),
            lambda: [DEVICE],
            lambda: "",
            stamp=lambda: micro_stamp(time.time()),  # a write that changes nothing is no sign of life
            observer=told,
            timing=Timing.of(2.0),
            carries=lambda device: device == DEVICE.name and node not in self.unplugged,
        )
        made.wish(WISHES)
        task = asyncio.create_task(made.run(stop))
        try:
            yield made, told, stop
            if stop.is_set():
                await task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def said(self, node: str) -> Bulletin:
        return bulletin.read(await self.client.get(LEASE, bulletin.name_of(node), bulletin.NAMESPACE))


def play(scene: Callable[[Cluster], Awaitable[None]]) -> None:
    async def whole() -> None:
        api = Api(MemoryStore(), ApiConfig(("10.96.0.0/12",), advertise_address="10.0.0.10", advertise_port=6443))
        await api.start()
        try:
            await scene(Cluster(api))
        finally:
            await api.stop()

    asyncio.run(whole())


async def until(holds: Callable[[], object]) -> None:
    async with asyncio.timeout(SECONDS):
        while not holds():
            await asyncio.sleep(0.01)


def test_one_announces_and_hands_over_when_it_ends() -> None:
    async def scene(cluster: Cluster) -> None:
        async with cluster.announcer("node-a") as (first, _, stop):
            await until(lambda: V4 in first.answering)
            async with cluster.announcer("node-b") as (second, told, _):
                await until(lambda: "node-a" in second.member.others)
                assert V4 not in second.answering
                stop.set()
                await until(lambda: V4 in second.answering)
                assert V4 not in first.answering
                assert told.why == ["node-a should not any more"]
        assert (await cluster.said("node-a")).leaving

    play(scene)


def test_a_node_that_loses_its_cable_and_not_the_server_hands_over() -> None:
    async def scene(cluster: Cluster) -> None:
        async with cluster.announcer("node-a") as (first, _, _):
            await until(lambda: V4 in first.answering)
            async with cluster.announcer("node-b") as (second, _, _):
                await until(lambda: "node-b" in first.member.others)
                cluster.unplugged.add("node-a")
                await until(lambda: V4 in second.answering and V4 not in first.answering)

    play(scene)


def test_a_process_that_is_killed_and_started_again_goes_on() -> None:
    async def scene(cluster: Cluster) -> None:
        async with cluster.announcer("node-a") as (first, _, _):
            await until(lambda: V4 in first.answering)
        assert V4 in (await cluster.said("node-a")).claims  # it could not say anything
        async with cluster.announcer("node-a") as (second, told, _):
            await until(lambda: V4 in second.answering)
            assert told.why == ["it did before its restart"]

    play(scene)


def test_another_machine_of_the_same_name_waits_for_the_end_of_the_first() -> None:
    async def scene(cluster: Cluster) -> None:
        async with cluster.announcer("node-a", "one") as (first, told, _):
            await until(lambda: V4 in first.answering)
            async with cluster.announcer("node-a", "two") as (second, _, _):
                writes = told.writes
                await until(lambda: told.writes >= writes + 3)
                assert V4 not in second.answering and V4 in first.answering
                assert (await cluster.said("node-a")).host == "one"
        async with cluster.announcer("node-a", "two") as (second, _, _):
            await until(lambda: V4 in second.answering)

    play(scene)


def test_a_lease_that_somebody_edits_or_deletes_is_written_again() -> None:
    async def scene(cluster: Cluster) -> None:
        async with cluster.announcer("node-a") as (made, told, _):
            await until(lambda: V4 in made.answering)
            name, namespace = bulletin.name_of("node-a"), bulletin.NAMESPACE
            await cluster.client.patch(LEASE, name, {"metadata": {"annotations": {"note": "x"}}}, namespace)
            await until(lambda: len(told.errors) == 1)
            await cluster.client.delete(LEASE, name, namespace)
            await until(lambda: len(told.errors) > 1)
            writes = told.writes
            await until(lambda: told.writes > writes)
            assert V4 in (await cluster.said("node-a")).claims and V4 in made.answering and len(told.why) == 1

    play(scene)
