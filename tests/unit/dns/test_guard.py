"""Limits per client, and the line that the log of queries has for each."""

from __future__ import annotations

import dns.message

from fairway.dns import guard, wire
from fairway.dns.guard import RateLimit, described
from fairway.dns.zone import Zone
from tests.unit.dns.cluster import put, service


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_client_has_its_rate_and_a_burst_of_one_second() -> None:
    clock = Clock()
    limit = RateLimit(3, clock)
    assert [limit.admits("10.0.0.1") for _ in range(5)] == [True, True, True, False, False]
    assert limit.admits("10.0.0.2")
    clock.now = 0.4
    assert [limit.admits("10.0.0.1") for _ in range(2)] == [True, False]
    clock.now = 100
    assert [limit.admits("10.0.0.1") for _ in range(4)] == [True, True, True, False]


def test_ipv6_addresses_of_one_subscriber_are_one_client() -> None:
    limit = RateLimit(1, Clock())
    assert [limit.admits(each) for each in ("2001:db8:0:1::1", "2001:db8:0:2::2", "2001:db8:0:100::1")] == [
        True,
        False,
        True,
    ]


def test_memory_is_bounded() -> None:
    limit = RateLimit(1, Clock())
    for number in range(guard.CLIENTS + 100):
        limit.admits(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
    assert len(limit._buckets) == guard.CLIENTS


def test_the_line_of_a_query() -> None:
    zone = put(Zone(), service("web", "default", "10.96.1.2"))
    asked = dns.message.make_query("web.default.svc.cluster.local", "A").to_wire()
    reply = wire.respond(asked, zone, udp=True, synced=True)
    assert isinstance(reply, bytes)
    assert described(asked, reply) == "A web.default.svc.cluster.local. 47 -> NOERROR 1+0+0 63"
    assert described(asked, None) == "A web.default.svc.cluster.local. 47 -> silence"
    assert described(b"short", None) == "(no question) 5 -> silence"
    assert described(b"\x00" * 12, wire.failure(b"\x00" * 12)) == "(no question) 12 -> SERVFAIL 0+0+0 12"
