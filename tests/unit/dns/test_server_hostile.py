"""A server among enemies: whatever comes by UDP or TCP, well-formed replies or silence, and no memory for any of it."""

from __future__ import annotations

import asyncio
import gc
import random
import socket
import struct
from collections.abc import Iterator

import dns.message
import pytest

from fairway.dns.answers import Answers, Place
from fairway.dns.metrics import Metrics
from fairway.dns.zone import Zone
from tests.unit.dns.api import Api
from tests.unit.dns.cluster import endpoints, put, service
from tests.unit.dns.test_server import ONE_WEB, WEB, Running, framed, serve

HONEST = dns.message.make_query(WEB, "A", id=0x4242).to_wire()
HEADER = HONEST[:12]
WITH_EDNS = dns.message.make_query(WEB, "A", id=0x4242, use_edns=0).to_wire()

HOSTILE = {
    "a name that points at itself": HEADER + b"\xc0\x0c" + b"\x00\x01\x00\x01",
    "two pointers that point at each other": HEADER + b"\xc0\x0e\xc0\x0c" + b"\x00\x01\x00\x01",
    "a pointer beyond the end": HEADER + b"\xff\xff" + b"\x00\x01\x00\x01",
    "a label longer than the message": HEADER + b"\x3fshort",
    "a label of a reserved form": HEADER + b"\x80web\x00" + b"\x00\x01\x00\x01",
    "a name that is too long": HEADER + b"\x3f" + b"a" * 63 + (b"\x3f" + b"a" * 63) * 4 + b"\x00\x00\x01\x00\x01",
    "no question where one is counted": HEADER,
    "half a question": HONEST[:-3],
    "more questions counted than there are": HONEST[:4] + b"\x00\x09" + HONEST[6:],
    "answers counted that are not there": HONEST[:6] + b"\xff\xff" + HONEST[8:],
    "additional records counted that are not there": HONEST[:10] + b"\x00\x02" + HONEST[12:],
    "all counts at their most": HONEST[:4] + b"\xff" * 8 + HONEST[12:],
    "an OPT that is longer than the message": WITH_EDNS[:-2] + b"\xff\xff",
    "two OPTs": WITH_EDNS[:10] + b"\x00\x02" + WITH_EDNS[12:] + WITH_EDNS[len(HONEST) :],
    "octets behind the question": HONEST + b"\x00" * 100,
    "an update": HONEST[:2] + b"\x28\x00" + HONEST[4:],
}
SILENT = {"nothing": b"", "half a header": HONEST[:11], "a reply": HONEST[:2] + b"\x84\x00" + HONEST[4:]}


async def by_udp(port: int, query: bytes) -> list[bytes]:
    """The replies to a datagram: those that come before the reply to an honest one behind it."""
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.setblocking(False)
        client.connect(("127.0.0.1", port))
        client.send(query)
        client.send(b"\x77\x77" + HONEST[2:])
        replies: list[bytes] = []
        while not replies or replies[-1][:2] != b"\x77\x77":
            replies.append(await loop.sock_recv(client, 65535))
    return replies[:-1]


def check(query: bytes, replies: list[bytes]) -> None:
    (reply,) = replies
    assert reply[:2] == query[:2]
    assert reply[2] & 0x80
    dns.message.from_wire(reply)


@pytest.mark.parametrize("query", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_query_has_a_well_formed_reply(query: bytes) -> None:
    async def story(running: Running, _: Api) -> None:
        check(query, await by_udp(running.port, query))
        reader, writer = await running.connect()
        for octet in framed(query):
            writer.write(bytes((octet,)))
        (length,) = struct.unpack("!H", await reader.readexactly(2))
        check(query, [await reader.readexactly(length)])
        writer.close()

    serve(story, ONE_WEB)


@pytest.mark.parametrize("query", SILENT.values(), ids=SILENT)
def test_what_is_no_query_has_no_reply(query: bytes) -> None:
    async def story(running: Running, _: Api) -> None:
        assert await by_udp(running.port, query) == []
        reader, writer = await running.connect()
        writer.write(framed(query))
        assert await reader.read() == b""
        writer.close()

    serve(story, ONE_WEB)


def test_a_length_that_lies_only_waits_for_what_never_comes() -> None:
    async def story(running: Running, _: Api) -> None:
        _, liar = await running.connect()
        liar.write(b"\xff\xff" + HONEST)
        await liar.drain()
        assert (await running.tcp(WEB)).answer
        liar.close()

    serve(story, ONE_WEB)


def mangled(chance: random.Random, seeds: list[bytes], count: int) -> Iterator[bytes]:
    """Queries with octets changed, cut off, put in twice; and random ones."""
    for _ in range(count):
        query = bytearray(chance.choice(seeds))
        query[:2] = chance.randbytes(2)
        for _ in range(chance.randrange(4)):
            at = chance.randrange(len(query))
            match chance.randrange(4):
                case 0:
                    query[at] = chance.randrange(256)
                case 1:
                    query[at:at] = query[at : at + chance.randrange(20)]
                case 2:
                    del query[max(at, 12) :]
                case 3:
                    query += chance.randbytes(chance.randrange(30))
        yield bytes(query)


def test_a_hundred_thousand_hostile_messages_take_no_memory() -> None:
    """The table has been full many times by then: what it holds is bounded, and nothing else grows."""
    zone = put(Zone(), service("web", "default", "10.96.1.2"), service("pets", "default", "None"))
    put(zone, endpoints("pets", *(f"10.244.0.{last}" for last in range(1, 60)), ports=["http:80/TCP"]))
    answers = Answers(zone, Place("dns://:53", udp=True, v6=False), Metrics())
    answers.synced = True
    answers.table.budget = 50_000
    names = (
        WEB,
        "pets.default.svc.cluster.local",
        "_http._tcp.pets.default.svc.cluster.local",
        "2.1.96.10.in-addr.arpa",
    )
    seeds = [dns.message.make_query(name, type, use_edns=edns).to_wire()
             for name in names for type in ("A", "SRV", "PTR") for edns in (-1, 0)]  # fmt: skip
    chance = random.Random(8482)
    sizes = []
    for _ in range(5):
        for query in mangled(chance, seeds, 20_000):
            reply = answers.answer(query)
            assert reply is None or isinstance(reply, bytes)
        gc.collect()
        sizes.append(len(gc.get_objects()))
    assert max(sizes[1:]) < sizes[0] + 2000, sizes
