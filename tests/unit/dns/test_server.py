"""The server on loopback: a client of another maker asks over UDP and TCP while objects change behind it."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Awaitable, Callable
from typing import Any, cast

import dns.asyncquery
import dns.edns
import dns.exception
import dns.flags
import dns.message
import dns.rcode
import pytest

from fairway.client.base import Client
from fairway.dns import metrics
from fairway.dns.errors import CannotListen
from fairway.dns.server import DnsServer, Options
from fairway.dns.tcp import Limits
from fairway.dns.zone import Zone
from fairway.objects.kinds import ENDPOINT_SLICE, SERVICE
from tests.unit.dns.api import Api
from tests.unit.dns.cluster import Object, endpoints, service

WEB = "web.default.svc.cluster.local"


class Running:
    """A server at work, and the questions put to it."""

    def __init__(self, server: DnsServer) -> None:
        self.server = server

    @property
    def port(self) -> int:
        return self.server.bound[0][1]

    async def udp(self, name: str, type: str = "A", at: str = "127.0.0.1") -> dns.message.Message:
        return await dns.asyncquery.udp(dns.message.make_query(name, type), at, port=self.port, timeout=5)

    async def tcp(self, name: str, type: str = "A", at: str = "127.0.0.1") -> dns.message.Message:
        return await dns.asyncquery.tcp(dns.message.make_query(name, type), at, port=self.port, timeout=5)

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)


Story = Callable[[Running, Api], Awaitable[None]]


def serve(story: Story, api_objects: dict[str, list[Object]], address: str = "127.0.0.1", **options: Any) -> None:
    """Run a server on any port of `address` and tell the story to its end."""

    async def run() -> None:
        api, stop = Api(**api_objects), asyncio.Event()
        server = DnsServer(cast("Client", api), zone=Zone(), addresses=[(address, 0)], **options)
        serving = asyncio.create_task(server.run(stop))
        try:
            async with asyncio.timeout(20):
                await server.listening.wait()
                await server.complete.wait()
                await story(Running(server), api)
        finally:
            stop.set()
            await serving

    asyncio.run(run())


async def eventually(running: Running, question: str, answers: list[str]) -> None:
    """Ask until the answer is as expected; the story's deadline ends it otherwise."""
    while answers != [each.to_text() for rrset in (await running.udp(question)).answer for each in rrset]:
        await asyncio.sleep(0)


ONE_WEB = {"services": [service("web", "default", "10.96.1.2")]}


def test_the_same_answer_over_udp_and_tcp() -> None:
    async def story(running: Running, _: Api) -> None:
        for reply in (await running.udp(WEB), await running.tcp(WEB)):
            assert [each.to_text() for each in reply.answer] == [f"{WEB}. 5 IN A 10.96.1.2"]

    serve(story, ONE_WEB)


def test_a_truncated_answer_is_had_over_tcp() -> None:
    async def story(running: Running, _: Api) -> None:
        assert (await running.udp("many.default.svc.cluster.local")).flags & dns.flags.TC
        assert len((await running.tcp("many.default.svc.cluster.local")).answer[0]) == 200

    many = endpoints("many", *(f"10.244.0.{last}" for last in range(1, 201)))
    serve(story, {"services": [service("many", "default", "None")], "endpointslices": [many]})


@pytest.mark.parametrize(("wildcard", "asked"), [("0.0.0.0", "127.3.4.5"), ("::", "::1")])
def test_replies_leave_from_the_address_that_was_asked(wildcard: str, asked: str) -> None:
    """The client's socket is connected: a reply from another address would never reach it."""

    async def story(running: Running, _: Api) -> None:
        assert (await running.udp(WEB, at=asked)).answer
        assert (await running.tcp(WEB, at=asked)).answer

    serve(story, ONE_WEB, wildcard)


def test_a_change_is_answered_as_soon_as_it_is_told() -> None:
    async def story(running: Running, api: Api) -> None:
        api.tell(SERVICE, "ADDED", service("new", "default", "10.96.7.7"))
        await eventually(running, "new.default.svc.cluster.local", ["10.96.7.7"])
        api.tell(SERVICE, "MODIFIED", service("new", "default", "10.96.7.8"))
        await eventually(running, "new.default.svc.cluster.local", ["10.96.7.8"])
        api.tell(SERVICE, "DELETED", service("new", "default", "10.96.7.8"))
        await eventually(running, "new.default.svc.cluster.local", [])

    serve(story, ONE_WEB)


def test_servfail_until_every_kind_is_listed() -> None:
    async def run() -> None:
        api, stop = Api(**ONE_WEB), asyncio.Event()
        api.may_list.clear()
        server = DnsServer(cast("Client", api), zone=Zone(), addresses=[("127.0.0.1", 0)])
        serving = asyncio.create_task(server.run(stop))
        await server.listening.wait()
        running = Running(server)
        assert (server.synced, (await running.udp(WEB)).rcode()) == (False, dns.rcode.SERVFAIL)
        api.may_list.set()
        await server.complete.wait()
        assert (server.synced, (await running.udp(WEB)).rcode()) == (True, dns.rcode.NOERROR)
        stop.set()
        await serving

    asyncio.run(run())


def test_answers_stay_when_the_api_goes_away() -> None:
    async def story(running: Running, api: Api) -> None:
        api.leave()
        for _ in range(20):
            assert (await running.udp(WEB)).answer

    serve(story, ONE_WEB)


def test_one_query_that_cannot_be_answered_does_not_stop_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(running: Running, _: Api) -> None:
        with monkeypatch.context() as patched:
            patched.setattr(Zone, "find", lambda *_: 1 / 0)
            assert (await running.udp(WEB)).rcode() == dns.rcode.SERVFAIL
        assert (await running.udp(WEB)).rcode() == dns.rcode.NOERROR

    serve(story, ONE_WEB)


def test_an_address_that_cannot_be_had_is_told_and_the_others_given_back() -> None:
    async def run() -> None:
        addresses = [("127.0.0.1", 0), ("192.0.2.1", 5353)]
        server = DnsServer(cast("Client", Api()), zone=Zone(), addresses=addresses)
        with pytest.raises(CannotListen, match=r"cannot listen on 192\.0\.2\.1 port 5353"):
            await server.run(asyncio.Event())

    asyncio.run(run())


# TCP


def framed(*queries: bytes) -> bytes:
    return b"".join(struct.pack("!H", len(query)) + query for query in queries)


async def next_reply(reader: asyncio.StreamReader) -> dns.message.Message:
    (length,) = struct.unpack("!H", await reader.readexactly(2))
    return dns.message.from_wire(await reader.readexactly(length))


def test_queries_may_be_sent_before_the_replies_to_earlier_ones() -> None:
    async def story(running: Running, _: Api) -> None:
        reader, writer = await running.connect()
        queries = [dns.message.make_query(WEB, "A", id=ident) for ident in range(50)]
        writer.write(framed(*(each.to_wire() for each in queries)))
        assert [(await next_reply(reader)).id for _ in queries] == list(range(50))
        writer.close()

    serve(story, ONE_WEB)


def test_a_query_may_arrive_octet_by_octet() -> None:
    async def story(running: Running, _: Api) -> None:
        reader, writer = await running.connect()
        for octet in framed(dns.message.make_query(WEB, "A").to_wire()):
            writer.write(bytes((octet,)))
            await writer.drain()
        assert (await next_reply(reader)).answer
        writer.close()

    serve(story, ONE_WEB)


def test_what_deserves_no_reply_ends_the_connection() -> None:
    async def story(running: Running, _: Api) -> None:
        reader, writer = await running.connect()
        writer.write(framed(b"short"))
        assert await reader.read() == b""
        writer.close()

    serve(story, ONE_WEB)


@pytest.mark.parametrize(
    ("limits", "sent"),
    [
        (Limits(idle=0.05), b""),
        (Limits(message=0.05), b"\x00"),
        (Limits(message=0.05), b"\x00\x20half"),
        (Limits(idle=60, total=0.05), b""),
    ],
    ids=["idle", "half a length", "half a query", "total"],
)
def test_who_lingers_is_cut_off(limits: Limits, sent: bytes) -> None:
    async def story(running: Running, _: Api) -> None:
        reader, writer = await running.connect()
        writer.write(sent)
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)
        writer.close()

    serve(story, ONE_WEB, options=Options(limits=limits))


def test_more_connections_than_allowed_are_cut_off_and_the_others_live() -> None:
    async def story(running: Running, _: Api) -> None:
        reader, writer = await running.connect()
        writer.write(framed(dns.message.make_query(WEB, "A").to_wire()))
        assert (await next_reply(reader)).answer
        late_reader, late_writer = await running.connect()
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await late_reader.readexactly(1)
        late_writer.close()
        writer.write(framed(dns.message.make_query(WEB, "A").to_wire()))
        assert (await next_reply(reader)).answer
        writer.close()

    serve(story, ONE_WEB, options=Options(limits=Limits(connections=1)))


def test_stopping_cuts_open_connections_and_gives_the_addresses_back() -> None:
    async def run() -> None:
        api, stop = Api(**ONE_WEB), asyncio.Event()
        server = DnsServer(cast("Client", api), zone=Zone(), addresses=[("127.0.0.1", 0)])
        serving = asyncio.create_task(server.run(stop))
        await server.complete.wait()
        reader, writer = await Running(server).connect()
        writer.write(framed(dns.message.make_query(WEB, "A").to_wire()))
        await next_reply(reader)
        stop.set()
        await serving
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(1)
        writer.close()
        again = DnsServer(cast("Client", api), zone=Zone(), addresses=list(server.bound))
        stop.clear()
        serving = asyncio.create_task(again.run(stop))
        await again.listening.wait()
        stop.set()
        await serving

    asyncio.run(run())


# limits, logs and metrics


def test_a_client_beyond_its_rate_hears_nothing_or_is_sent_to_tcp() -> None:
    """The address of a datagram may be forged: its owner's TCP has a limit of its own."""

    async def story(running: Running, _: Api) -> None:
        assert (await running.udp(WEB)).answer
        assert (await running.udp(WEB)).answer
        with pytest.raises(dns.exception.Timeout):
            await dns.asyncquery.udp(dns.message.make_query(WEB, "A"), "127.0.0.1", port=running.port, timeout=0.3)
        slipped = await running.udp(WEB)
        assert (bool(slipped.flags & dns.flags.TC), slipped.answer) == (True, [])
        assert (await running.tcp(WEB)).answer
        assert (await running.tcp(WEB)).answer
        reader, writer = await running.connect()
        writer.write(framed(dns.message.make_query(WEB, "A").to_wire()))
        assert await reader.read() == b""
        writer.close()

    serve(story, ONE_WEB, options=Options(rate=2, now=lambda: 0.0))


def test_a_client_with_a_cookie_of_ours_is_no_forger() -> None:
    async def ask(running: Running, cookie: bytes) -> dns.message.Message:
        asked = dns.message.make_query(WEB, "A", use_edns=0, options=[dns.edns.GenericOption(10, cookie)])
        return await dns.asyncquery.udp(asked, "127.0.0.1", port=running.port, timeout=0.3)

    async def story(running: Running, _: Api) -> None:
        first = await ask(running, b"8 octets")
        (given,) = first.options
        cookie = bytes(given.to_wire() or b"")
        assert first.answer
        assert (cookie[:8], len(cookie)) == (b"8 octets", 24)
        with pytest.raises(dns.exception.Timeout):
            await ask(running, b"8 octets")
        assert (await ask(running, cookie)).answer

    serve(story, ONE_WEB, options=Options(rate=1, now=lambda: 0.0, cookie_secret=bytes(16)))


def test_a_malformed_cookie_is_a_malformed_query() -> None:
    async def story(running: Running, _: Api) -> None:
        asked = dns.message.make_query(WEB, "A", use_edns=0, options=[dns.edns.GenericOption(10, b"short")])
        for way in (dns.asyncquery.udp, dns.asyncquery.tcp):
            reply = await way(asked, "127.0.0.1", port=running.port, timeout=5)  # type: ignore[operator]
            assert reply.rcode() == dns.rcode.FORMERR

    serve(story, ONE_WEB, options=Options(cookie_secret=bytes(16)))


def test_each_query_has_its_line_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "fairway.dns.guard")

    async def story(running: Running, _: Api) -> None:
        for ask in (running.udp, running.udp, running.tcp):
            await ask(WEB)

    serve(story, ONE_WEB, options=Options(log_queries=True))
    lines = [each.getMessage() for each in caplog.records if each.name == "fairway.dns.guard"]
    assert lines == [f"127.0.0.1 A {WEB}. 47 -> NOERROR 1+0+0 63"] * 3


def test_metrics_tell_how_old_a_change_is_when_it_is_answered() -> None:
    def piece(revision: str, triggered: str, of: str = "pets") -> Object:
        made = endpoints(of, "10.244.0.1", name=f"{of}-1")
        key = "endpoints.kubernetes.io/last-change-trigger-time"
        made["metadata"] |= {"resourceVersion": revision, "annotations": {key: triggered}}
        return made

    async def story(running: Running, api: Api) -> None:
        api.tell(ENDPOINT_SLICE, "ADDED", piece("7", "2026-01-01T00:00:00Z", of="web"))
        api.tell(ENDPOINT_SLICE, "ADDED", piece("8", "no time"))
        api.tell(ENDPOINT_SLICE, "MODIFIED", piece("9", "2026-01-01T00:00:00Z"))
        api.tell(ENDPOINT_SLICE, "ADDED", endpoints("pets", "10.244.0.9", name="last"))
        await eventually(running, "10-244-0-9.pets.default.svc.cluster.local", ["10.244.0.9"])
        assert running.server.metrics.value(metrics.PROGRAMMING, "headless_with_selector") == 1

    objects = {"services": [service("web", "default", "10.96.1.2"), service("pets", "default", "None")]}
    serve(story, objects)


@pytest.mark.parametrize("shared", [True, False])
def test_workers_share_an_address_and_strangers_do_not(shared: bool) -> None:
    async def story(running: Running, api: Api) -> None:
        stop, at = asyncio.Event(), list(running.server.bound)
        other = DnsServer(cast("Client", api), zone=Zone(), addresses=at, options=Options(shared=shared))
        if not shared:
            with pytest.raises(CannotListen):
                await other.run(stop)
            return
        serving = asyncio.create_task(other.run(stop))
        await other.complete.wait()
        replies = [await running.udp(WEB) for _ in range(32)]  # from 32 ports: the kernel deals them out
        assert all(each.answer for each in replies)
        parts = [each.metrics.value(metrics.DURATION, f"dns://:{running.port}") for each in (running.server, other)]
        assert sum(parts) == 32
        assert all(parts)
        stop.set()
        await serving

    serve(story, ONE_WEB, options=Options(shared=shared))
