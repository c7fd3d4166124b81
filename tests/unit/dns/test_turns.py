"""No turn of the event loop does much, whatever comes at once: counted in what is done, not in time."""

from __future__ import annotations

import asyncio
import itertools
import socket
from collections.abc import Awaitable, Callable
from typing import cast

import dns.message
import pytest

from fairway.client.base import Client
from fairway.client.follow import EVENTS
from fairway.dns import udp
from fairway.dns.answers import Answers, Place
from fairway.dns.metrics import Metrics
from fairway.dns.server import LOT, DnsServer
from fairway.dns.udp import UdpListener
from fairway.dns.zone import Zone
from fairway.objects.kinds import SERVICE
from tests.unit.dns.api import Api
from tests.unit.dns.cluster import Object, put, service

MANY = 1000


class Counting(Zone):
    """A zone that counts the Services it has marked and those it has grown."""

    taken = 0
    grown = 0

    def _touch(self, key: tuple[bytes, bytes]) -> None:
        self.taken += 1
        super()._touch(key)

    def settle(self) -> None:
        self.grown += self.unsettled
        super().settle()


def services(last: int) -> list[Object]:
    """Many Services; `last` is the end of their addresses, and their revision."""
    ips = [f"10.{96 + (number >> 8)}.{number & 255}.{last}" for number in range(MANY)]
    made = [service(f"s{number}", "default", ip) for number, ip in enumerate(ips)]
    for each in made:
        each["metadata"] |= {"uid": each["metadata"]["name"], "resourceVersion": str(last)}
    return made


def turns(happen: Callable[[Api], None]) -> tuple[list[int], list[int], list[int]]:
    """What a server does in each turn of the loop after something has happened, until all Services are changed: how
    many it takes, grows, and how many are marked afterwards."""
    seen: list[tuple[int, int, int]] = []

    async def run() -> None:
        api, stop, zone = Api(services=services(1)), asyncio.Event(), Counting()
        server = DnsServer(cast("Client", api), zone=zone, addresses=[("127.0.0.1", 0)])
        serving = asyncio.create_task(server.run(stop))
        try:
            async with asyncio.timeout(60):
                await server.complete.wait()
                seen.append((zone.taken, zone.grown, zone.unsettled))
                happen(api)
                while seen[-1][0] < seen[0][0] + MANY:
                    await asyncio.sleep(0)
                    seen.append((zone.taken, zone.grown, zone.unsettled))
        finally:
            stop.set()
            await serving

    asyncio.run(run())
    taken, grown, marked = map(list, zip(*seen, strict=True))
    return steps(taken), steps(grown), marked


def steps(counts: list[int]) -> list[int]:
    return [later - sooner for sooner, later in itertools.pairwise(counts)]


def test_a_new_listing_is_taken_a_lot_at_a_time() -> None:
    def history_is_lost(api: Api) -> None:
        api.objects[SERVICE] = services(2)
        api.lose_history(SERVICE)

    taken, grown, marked = turns(history_is_lost)
    assert max(taken) <= LOT
    assert max(grown) <= LOT
    assert max(marked) <= LOT


def test_events_by_the_thousand_are_taken_a_few_at_a_time() -> None:
    def all_change(api: Api) -> None:
        for each in services(2):
            api.tell(SERVICE, "MODIFIED", each)

    taken, grown, marked = turns(all_change)
    assert max(taken) <= EVENTS
    assert max(grown) <= LOT + EVENTS
    assert max(marked) <= LOT + EVENTS


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0"])
def test_of_many_questions_few_are_answered_in_one_turn_when_replies_have_to_be_made(address: str) -> None:
    questions = [dns.message.make_query(f"s{number}.default.svc.cluster.local", "A").to_wire() for number in range(100)]

    async def story(client: socket.socket) -> None:
        for most in (udp.BATCH // udp.SLOW, udp.BATCH):  # asked for the first time, and again
            for each in questions:
                client.send(each)
            left, at_once = len(questions), [0]
            while left:
                await asyncio.sleep(0)
                at_once.append(heard(client))
                left -= at_once[-1]
            assert max(at_once) <= most

    answered(story, put(Zone(), *services(1)[:100]), address)


def answered(story: Callable[[socket.socket], Awaitable[None]], zone: Zone, address: str) -> None:
    """A listener, and a client connected to it on loopback."""

    async def run() -> None:
        answers = Answers(zone, Place("dns://:53", udp=True, v6=False), Metrics())
        zone.on_change, answers.synced = answers.table.forget, True
        listener = UdpListener(address, 0, answers)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.connect(("127.0.0.1", listener._socket.getsockname()[1]))
            client.setblocking(False)
            listener.start()
            try:
                async with asyncio.timeout(60):
                    await story(client)
            finally:
                await listener.close()

    asyncio.run(run())


def heard(client: socket.socket) -> int:
    """How many replies have come."""
    count = 0
    while True:
        try:
            assert client.recv(4096)
        except BlockingIOError:
            return count
        count += 1
