"""Cookies: the examples of RFC 9018, and what clients get who send one."""

from __future__ import annotations

import dns.edns
import dns.flags
import dns.message
import pytest

from fairway.dns import wire
from fairway.dns.cookies import BadCookie, Cookies, siphash
from fairway.dns.zone import Zone
from tests.unit.dns.cluster import endpoints, put, service

CLIENT = bytes.fromhex("2464c4abcf10c957")
SECRET = bytes.fromhex("e5e973e5a6b2a43f48e7dc849e37bfcf")
GIVEN = bytes.fromhex("010000005cf79f111f8130c3eee29480")
NOON = 1559731985
ADDRESS = "198.51.100.100"


class Clock:
    now: float = NOON

    def __call__(self) -> float:
        return self.now


def query(cookie: bytes, name: str = "web.default.svc.cluster.local", payload: int = 1232) -> bytes:
    options = [dns.edns.GenericOption(10, cookie)]
    return dns.message.make_query(name, "A", use_edns=0, payload=payload, options=options).to_wire()


def reply_to(asked: bytes, clock: Clock, client: str = ADDRESS, *addresses: str) -> dns.message.Message:
    zone = put(Zone(), service("web", "default", "None"), endpoints("web", *(addresses or ("10.244.0.5",))))
    plain = wire.respond(asked, zone, udp=True, synced=True)
    assert isinstance(plain, bytes)
    return dns.message.from_wire(Cookies(SECRET, clock).put(asked, plain, client, udp=True))


def cookie(reply: dns.message.Message) -> bytes:
    (option,) = reply.options
    return bytes(option.to_wire() or b"")


def test_siphash_is_the_one_of_its_authors() -> None:
    assert siphash(bytes(range(16)), bytes(range(15))) == bytes.fromhex("e545be4961ca29a1")


def test_a_new_client_gets_the_cookie_of_the_rfcs_example() -> None:
    assert cookie(reply_to(query(CLIENT), Clock())) == CLIENT + GIVEN


def test_a_cookie_is_kept_for_half_an_hour_and_then_renewed() -> None:
    clock = Clock()
    for age, same in ((0, True), (1800, True), (1801, False), (-300, True), (-301, False)):
        clock.now = NOON + age
        assert (cookie(reply_to(query(CLIENT + GIVEN), clock)) == CLIENT + GIVEN) == same, age


def test_a_cookie_is_worth_nothing_from_another_address() -> None:
    clock = Clock()
    clock.now += 60
    assert cookie(reply_to(query(CLIENT + GIVEN), clock, "198.51.100.101")) != CLIENT + GIVEN
    assert cookie(reply_to(query(CLIENT + GIVEN), clock)) == CLIENT + GIVEN


@pytest.mark.parametrize("length", [1, 7, 9, 15, 41])
def test_a_cookie_of_a_length_that_none_has_is_malformed(length: int) -> None:
    with pytest.raises(BadCookie):
        Cookies(SECRET, Clock()).put(query(bytes(length)), b"", ADDRESS, udp=True)


def test_replies_without_edns_or_to_queries_without_cookies_stay_as_they_are() -> None:
    zone = put(Zone(), service("web", "default", "10.96.1.2"))
    for asked in (
        dns.message.make_query("web.default.svc.cluster.local", "A").to_wire(),
        dns.message.make_query("web.default.svc.cluster.local", "A", use_edns=0).to_wire(),
    ):
        reply = wire.respond(asked, zone, udp=True, synced=True)
        assert isinstance(reply, bytes)
        assert Cookies(SECRET, Clock()).put(asked, reply, ADDRESS, udp=True) == reply


def test_where_there_is_no_room_for_it_the_client_is_sent_to_tcp() -> None:
    addresses = [f"10.244.0.{number}" for number in range(1, 28)]
    reply = reply_to(query(CLIENT, payload=512), Clock(), ADDRESS, *addresses)
    assert cookie(reply) == CLIENT + GIVEN
    assert (bool(reply.flags & dns.flags.TC), reply.answer) == (True, [])
