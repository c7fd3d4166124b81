"""The server asked for names outside its zone: passed on, cached, and aliases that lead outside followed."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import cast

import dns.flags
import dns.message
import dns.rcode
import pytest

from fairway.client.base import Client
from fairway.dns import metrics as told
from fairway.dns.forward import Forwarder
from fairway.dns.metrics import Metrics
from fairway.dns.server import DnsServer
from fairway.dns.settings import Settings
from fairway.dns.zone import Zone
from tests.unit.dns.api import Api
from tests.unit.dns.cluster import external, service
from tests.unit.dns.elsewhere import Elsewhere, Manner, elsewhere, reply
from tests.unit.dns.test_server import Running

OBJECTS = {
    "services": [
        service("web", "default", "10.96.1.2"),
        external("db", "db.example.com"),
        external("hop", "db.default.svc.cluster.local"),
        external("away", "back.example.com"),
    ]
}
Story = Callable[[Running, Elsewhere], Awaitable[None]]


def outside(story: Story, manner: Manner) -> None:
    """A server of the zone above that forwards the rest to one that answers in this manner."""

    async def run() -> None:
        stop, metrics = asyncio.Event(), Metrics()
        async with elsewhere(manner) as world, asyncio.timeout(20):
            forwarder = Forwarder(Settings(servers=(world.endpoint,), per_try=0.1, total=0.3), metrics)
            server = DnsServer(
                cast("Client", Api(**OBJECTS)),
                zone=Zone(),
                addresses=[("127.0.0.1", 0)],
                upstream=forwarder,
                metrics=metrics,
            )
            serving = asyncio.create_task(server.run(stop))
            try:
                await server.complete.wait()
                await server.listening.wait()
                await story(Running(server), world)
            finally:
                stop.set()
                await serving

    asyncio.run(run())


def world(asked: dns.message.Message) -> dns.message.Message:
    name = str(asked.question[0].name)
    match name.lower(), asked.question[0].rdtype.name:
        case "db.example.com.", "A":
            return reply(asked, "db.example.com 300 CNAME db-1.example.com", "db-1.example.com 60 A 198.51.100.9")
        case "db-1.example.com." | "www.example.com.", "A":
            return reply(asked, f"{name} 60 A 198.51.100.9")
        case "back.example.com.", _:
            return reply(asked, "back.example.com 60 CNAME web.default.svc.cluster.local")
    return reply(asked, authority="example.com 900 SOA ns.example.com. host.example.com. 1 7200 1800 86400 60")


def lines(message: dns.message.Message) -> list[str]:
    return [line for each in message.answer for line in each.to_text().splitlines()]


def test_a_name_outside_is_asked_of_others_over_udp_and_tcp() -> None:
    async def story(running: Running, world: Elsewhere) -> None:
        replies = [await ask("www.example.com") for ask in (running.udp, running.udp, running.tcp)]
        for message in replies:
            assert lines(message) == ["www.example.com. 60 IN A 198.51.100.9"]
            assert dns.flags.to_text(message.flags) == "QR RD RA"
        assert world.asked == ["www.example.com."]
        counted = running.server.metrics.value
        assert counted(told.CACHE_HITS, "success") == 2
        assert counted(told.REQUESTS, f"dns://:{running.port}", ".", "A", "udp", "1") == 2

    outside(story, world)


def test_our_own_names_are_never_asked_of_others() -> None:
    async def story(running: Running, world: Elsewhere) -> None:
        for name in ("web.default.svc.cluster.local", "gone.default.svc.cluster.local", "1.0.96.10.in-addr.arpa"):
            await running.udp(name)
        assert world.asked == []

    outside(story, world)


def test_an_external_name_is_followed_to_its_addresses() -> None:
    async def story(running: Running, world: Elsewhere) -> None:
        assert lines(await running.udp("db.default.svc.cluster.local")) == [
            "db.default.svc.cluster.local. 5 IN CNAME db.example.com.",
            "db.example.com. 300 IN CNAME db-1.example.com.",
            "db-1.example.com. 60 IN A 198.51.100.9",
        ]
        over_tcp = lines(await running.tcp("hop.default.svc.cluster.local"))
        assert over_tcp[0] == "hop.default.svc.cluster.local. 5 IN CNAME db.default.svc.cluster.local."
        assert over_tcp[-1] == "db-1.example.com. 60 IN A 198.51.100.9"
        assert world.asked == ["db.example.com."]

    outside(story, world)


def test_an_external_name_without_the_asked_family_is_an_alias_alone() -> None:
    async def story(running: Running, _: Elsewhere) -> None:
        message = await running.udp("db.default.svc.cluster.local", "AAAA")
        assert (message.rcode(), lines(message)) == (
            dns.rcode.NOERROR,
            ["db.default.svc.cluster.local. 5 IN CNAME db.example.com."],
        )

    outside(story, world)


@pytest.mark.parametrize(
    ("manner", "rcode"),
    [(lambda _: None, "SERVFAIL"), (lambda asked: reply(asked, rcode="NXDOMAIN"), "NXDOMAIN")],
    ids=["nobody answers", "there is no such name"],
)
def test_an_external_name_is_told_with_how_its_target_ends(manner: Manner, rcode: str) -> None:
    """RFC 6604 section 3: the last name decides. A client must not take silence for a name without addresses."""

    async def story(running: Running, _: Elsewhere) -> None:
        message = await running.udp("db.default.svc.cluster.local")
        alias = "db.default.svc.cluster.local. 5 IN CNAME db.example.com."
        assert (dns.rcode.to_text(message.rcode()), lines(message)) == (rcode, [alias])
        assert (await running.udp("www.example.com")).rcode() == message.rcode()

    outside(story, manner)


@pytest.mark.parametrize("rcode", ["NXDOMAIN", "NOERROR"])
def test_an_external_name_that_ends_in_nothing_says_for_how_long(rcode: str) -> None:
    """RFC 2308 section 2.1: without the SOA of the target's zone nobody may keep the denial."""
    soa = "example.com 900 SOA ns.example.com. host.example.com. 1 7200 1800 86400 60"

    async def story(running: Running, _: Elsewhere) -> None:
        for ask in (running.udp, running.tcp):
            message = await ask("db.default.svc.cluster.local")
            assert dns.rcode.to_text(message.rcode()) == rcode
            assert [each.to_text() for each in message.authority] == [
                "example.com. 60 IN SOA ns.example.com. host.example.com. 1 7200 1800 86400 60"
            ]

    outside(story, lambda asked: reply(asked, rcode=rcode, authority=soa))


def test_an_alias_that_comes_back_from_outside_is_not_followed_for_ever() -> None:
    async def story(running: Running, world: Elsewhere) -> None:
        assert lines(await running.udp("away.default.svc.cluster.local")) == [
            "away.default.svc.cluster.local. 5 IN CNAME back.example.com.",
            "back.example.com. 60 IN CNAME web.default.svc.cluster.local.",
        ]
        assert world.asked == ["back.example.com."]

    outside(story, world)


def test_our_own_names_are_answered_while_others_are_waited_for() -> None:
    async def story(running: Running, _: Elsewhere) -> None:
        waiting = [asyncio.create_task(running.udp(f"{each}.example.com")) for each in range(20)]
        assert lines(await running.udp("web.default.svc.cluster.local"))
        assert not any(each.done() for each in waiting)
        for each in waiting:
            assert (await each).rcode() == dns.rcode.SERVFAIL

    outside(story, lambda _: None)


def test_replicas_that_forward_to_one_another_find_it_out_and_ask_no_more() -> None:
    """As when the resolv.conf of the nodes names the cluster's own DNS Service."""

    async def run() -> None:
        stop = asyncio.Event()
        ports = [_free_port() for _ in range(2)]
        metrics = [Metrics() for _ in ports]
        servers = [
            DnsServer(
                cast("Client", Api(**OBJECTS)),
                zone=Zone(),
                addresses=[("127.0.0.1", own)],
                upstream=Forwarder(Settings(servers=(("127.0.0.1", other),), per_try=0.1, total=0.3), told_to),
                metrics=told_to,
            )
            for own, other, told_to in zip(ports, reversed(ports), metrics, strict=True)
        ]
        serving = [asyncio.create_task(each.run(stop)) for each in servers]

        def up(number: int) -> float:
            return metrics[number].value(told.FORWARD_UP, f"127.0.0.1:{ports[1 - number]}")

        try:
            async with asyncio.timeout(20):
                for each in servers:
                    await each.complete.wait()
                while up(0) and up(1):
                    await asyncio.sleep(0.01)
                for each in servers:
                    assert (await Running(each).udp("www.example.com")).rcode() == dns.rcode.SERVFAIL
                    assert lines(await Running(each).udp("web.default.svc.cluster.local"))
                sent = sum(each.value(told.FORWARD_REQUESTS, f"127.0.0.1:{port}") for each in metrics for port in ports)
                assert sent <= 3
        finally:
            stop.set()
            await asyncio.gather(*serving)

    asyncio.run(run())


def _free_port() -> int:
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        port: int = opened.getsockname()[1]
        return port
