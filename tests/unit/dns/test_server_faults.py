"""The server when things go wrong around it: the API goes away, events pour in, it is started again under queries."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import dns.message

from fairway.client.base import Client
from fairway.dns.answers import Answers, Place
from fairway.dns.metrics import Metrics
from fairway.dns.server import DnsServer
from fairway.dns.zone import Zone
from fairway.objects.kinds import ENDPOINT_SLICE, SERVICE
from tests.unit.dns.api import Api
from tests.unit.dns.cluster import Object, endpoints, pod, put, service
from tests.unit.dns.test_server import Running, serve
from tests.unit.dns.test_server_model import Asker

WEB = "web.default.svc.cluster.local"
EVENTS = 3000
STEADY = {
    "services": [service("web", "default", "10.96.1.2"), service("pets", "default", "None")],
    "endpointslices": [endpoints("pets", "10.244.0.5")],
}


@asynccontextmanager
async def asking(running: Running) -> AsyncIterator[Asker]:
    asker = Asker(running.port)
    try:
        yield asker
    finally:
        asker.close()


def moved(number: int) -> tuple[Object, Object]:
    """A Service and a slice as they are after so many events."""
    end = f"{number // 250}.{number % 250}"
    return service("moving", "default", f"10.100.{end}"), endpoints("pets", f"10.244.{end}")


def test_when_the_api_is_gone_answers_stay_ready_or_not() -> None:
    async def story(running: Running, api: Api) -> None:
        async with asking(running) as asker:
            assert await asker.ask(WEB, "A") == ("NOERROR", {"10.96.1.2"})
            api.leave()
            for _ in range(3):
                assert await asker.ask(WEB, "A") == ("NOERROR", {"10.96.1.2"})
                assert await asker.ask("pets.default.svc.cluster.local", "A") == ("NOERROR", {"10.244.0.5"})
                assert await asker.ask("none.default.svc.cluster.local", "A") == ("NXDOMAIN", set())
                assert await asker.ask("5.0.244.10.in-addr.arpa", "PTR") == (
                    "NOERROR",
                    {"10-244-0-5.pets.default.svc.cluster.local."},
                )

    serve(story, STEADY)


def test_while_events_pour_in_queries_are_answered_and_what_stays_stays() -> None:
    """All events are there at once, more than any second has. Between them queries get their turn, a name that does
    not change never fails, and the last state is what remains."""

    async def story(running: Running, api: Api) -> None:
        for number in range(EVENTS):
            last, last_slice = moved(number)
            api.tell(SERVICE, "MODIFIED", last)
            api.tell(ENDPOINT_SLICE, "MODIFIED", last_slice)
        async with asking(running) as asker:
            seen: list[str] = []
            while not seen or seen[-1] != last["spec"]["clusterIP"]:
                assert await asker.ask(WEB, "A") == ("NOERROR", {"10.96.1.2"})
                rcode, data = await asker.ask("moving.default.svc.cluster.local", "A")
                assert (rcode, len(data)) in (("NOERROR", 1), ("NXDOMAIN", 0))
                seen += data
            places = [tuple(int(part) for part in each.split(".")) for each in seen]
            assert places == sorted(places)
            final = set(last_slice["endpoints"][0]["addresses"])
            while (await asker.ask("pets.default.svc.cluster.local", "A"))[1] != final:
                pass
            assert await asker.ask("7.0.244.10.in-addr.arpa", "PTR") == ("NXDOMAIN", set())

    serve(story, STEADY)


def test_events_and_queries_by_the_ten_thousand_take_no_memory() -> None:
    """Each event makes replies untrue, each query makes some ready; what has gone leaves nothing behind."""
    zone = put(Zone(reverse=("10.0.0.0/8",)), *STEADY["services"], *STEADY["endpointslices"])
    answers = Answers(zone, Place("dns://:53", udp=True, v6=False), Metrics(), budget=50_000)
    zone.on_change = answers.table.forget
    answers.synced = True
    sizes = []
    for number in range(6_000):
        moving, pets = moved(number)
        put(zone, moving, pets, pod(f"pod-{number % 50}", f"10.244.{number // 250}.{number % 250}"))
        answers.settle()
        for name, type in (
            ("moving.default.svc.cluster.local", "A"),
            ("pets.default.svc.cluster.local", "A"),
            (f"{number % 250}.{number // 250}.100.10.in-addr.arpa", "PTR"),
            (f"10-244-{number // 250}-{number % 250}.default.pod.cluster.local", "A"),
        ):
            reply = answers.answer(dns.message.make_query(name, type).to_wire())
            assert isinstance(reply, bytes)
            assert reply[7] == 1, f"{name} {type} has its answer at once"
        if number % 1500 == 1499:
            gc.collect()
            sizes.append(len(gc.get_objects()))
    assert max(sizes[1:]) < sizes[0] + 1000, sizes


def test_a_server_started_again_under_queries_says_nothing_wrong() -> None:
    """Its clients hear the truth, SERVFAIL until the first lists are there, or nothing while nobody listens; after the
    restart they hear what has changed meanwhile."""

    async def run() -> None:
        address = ("127.0.0.1", 0)
        heard: list[tuple[str, set[str]]] = []
        for start, ip in enumerate(("10.96.1.2", "10.96.1.3", "10.96.1.4")):
            api = Api(services=[service("web", "default", ip)])
            api.may_list.clear()
            stop = asyncio.Event()
            server = DnsServer(cast("Client", api), zone=Zone(), addresses=[address])
            serving = asyncio.create_task(server.run(stop))
            await server.listening.wait()
            address = server.bound[0]
            asker = Asker(address[1])
            heard.append(await asker.ask(WEB, "A"))
            api.may_list.set()
            await server.complete.wait()
            heard.append(await asker.ask(WEB, "A"))
            assert heard[start * 2 :] == [("SERVFAIL", set()), ("NOERROR", {ip})]
            questions = asyncio.create_task(ask_until_refused(asker, ip))
            await asyncio.sleep(0)
            stop.set()
            await serving
            assert await questions > 0
            asker.close()

    asyncio.run(run())


async def ask_until_refused(asker: Asker, ip: str) -> int:
    """Ask until nobody listens any more; how many answers came, all of them right."""
    count = 0
    while True:
        try:
            async with asyncio.timeout(0.5):  # what was asked in the last moment is answered by nobody
                said = await asker.ask(WEB, "A")
        except (ConnectionRefusedError, TimeoutError):
            return count
        assert said == ("NOERROR", {ip})
        count += 1
