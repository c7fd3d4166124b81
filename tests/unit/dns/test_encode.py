"""Replies as bytes, read back by a codec that is not ours."""

from __future__ import annotations

import dns.message
import dns.name

from fairway.dns import names, wire
from fairway.dns.encode import ANSWER, Writer
from fairway.dns.records import Address, Record, Srv, Target, Type
from fairway.dns.zone import Zone
from tests.unit.dns.cluster import endpoints, put, service


def cname(owner: str, target: str) -> Record:
    return Record(names.parse(owner), Type.CNAME, 5, Target(names.parse(target)))


def lines(raw: bytes) -> list[str]:
    return [line for rrset in dns.message.from_wire(raw).answer for line in rrset.to_text().splitlines()]


def test_names_are_written_once_and_pointed_at_after_that() -> None:
    out = Writer(512)
    out.question(names.parse("a.example.com"), Type.A, 1)
    assert out.add(ANSWER, [cname("a.example.com", "b.example.com"), cname("b.example.com", "c.b.example.com")])
    raw = out.finish(1, 0x8000)
    assert raw.count(b"\x07example\x03com\x00") == 1
    assert lines(raw) == ["a.example.com. 5 IN CNAME b.example.com.", "b.example.com. 5 IN CNAME c.b.example.com."]


def test_another_spelling_is_another_name() -> None:
    out = Writer(512)
    out.question(names.parse("A.EXAMPLE.com"), Type.A, 1)
    out.add(ANSWER, [cname("A.EXAMPLE.com", "b.example.com")])
    assert lines(out.finish(1, 0x8000)) == ["A.EXAMPLE.com. 5 IN CNAME b.example.com."]


def test_the_target_of_srv_is_never_compressed() -> None:
    out = Writer(512)
    owner = names.parse("_http._tcp.web.example.com")
    out.question(owner, Type.SRV, 1)
    out.add(ANSWER, [Record(owner, Type.SRV, 5, Srv(0, 100, 80, owner[2:]))])
    assert out.finish(1, 0x8000).endswith(b"\x03web\x07example\x03com\x00")


def test_what_is_taken_back_leaves_no_name_to_point_at() -> None:
    out = Writer(80)
    out.question(names.parse("a.example.com"), Type.A, 1)
    long = "x" * 60 + ".example.org"
    assert not out.add(ANSWER, [cname("a.example.com", "b.net"), cname("b.net", long)])
    assert out.add(ANSWER, [cname("a.example.com", "b.net")])
    assert lines(out.finish(1, 0x8000)) == ["a.example.com. 5 IN CNAME b.net."]


def test_records_are_kept_whole_or_left_out() -> None:
    out = Writer(12 + 19 + 2 * 16)
    owner = names.parse("a.example.com")
    out.question(owner, Type.A, 1)
    kept = [out.add(ANSWER, [Record(owner, Type.A, 5, Address(bytes((10, 0, 0, last))))]) for last in range(3)]
    assert kept == [True, True, False]
    assert lines(out.finish(1, 0x8000)) == [f"a.example.com. 5 IN A 10.0.0.{last}" for last in range(2)]


def test_names_beyond_the_reach_of_pointers_are_written_out() -> None:
    """A pointer has 14 bits; the targets of a few hundred SRV records stand farther on."""
    addresses = [f"10.244.{block}.{last}" for block in range(5) for last in range(1, 101)]
    zone = put(Zone(), service("many", "default", "None"), endpoints("many", *addresses, ports=["http:80/TCP"]))
    query = dns.message.make_query("_http._tcp.many.default.svc.cluster.local", "SRV")
    reply = dns.message.from_wire(wire.respond(query.to_wire(), zone, udp=False, synced=True) or b"")
    hosts = {dns.name.from_text(f"{each.replace('.', '-')}.many.default.svc.cluster.local"): each for each in addresses}
    assert {each.target for each in reply.answer[0]} == set(hosts)
    assert {rrset.name: rrset[0].to_text() for rrset in reply.additional} == hosts
