"""Queries as bytes: what each kind of query gets, and how replies are cut to size."""

from __future__ import annotations

import struct

import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.tsigkeyring
import pytest

from fairway.dns import wire
from fairway.dns.zone import Zone
from tests.unit.dns.cluster import answer, endpoints, external, host, put, service

WEB = "web.default.svc.cluster.local"


@pytest.fixture(scope="module")
def zone() -> Zone:
    many = [f"10.244.{block}.{last}" for block in range(13) for last in range(1, 101)]
    return put(
        Zone(),
        service("web", "default", "10.96.1.2", ports=["http:80/TCP"]),
        service("few", "default", "None"),
        endpoints("few", "10.244.0.1", "10.244.0.2", "10.244.0.3"),
        service("many", "default", "None"),
        endpoints("many", *many, ports=["http:80/TCP"]),
        service("pets", "default", "None"),
        endpoints("pets", *(host(f"pet-{n}", f"10.244.0.{n}") for n in range(1, 11)), ports=["http:80/TCP"]),
        external("twin", "few.default.svc.cluster.local"),
    )


def query(name: str = WEB, type: str = "A", **options: object) -> dns.message.QueryMessage:
    return dns.message.make_query(name, type, id=4321, **options)


def exchange(zone: Zone, asked: dns.message.Message, *, udp: bool = True, synced: bool = True) -> dns.message.Message:
    """The reply, read by a codec that is not ours, after checking what every reply must keep."""
    reply = wire.respond(asked.to_wire(), zone, udp=udp, synced=synced)
    assert reply is not None
    read = dns.message.from_wire(reply)
    assert (read.id, read.flags & dns.flags.QR) == (asked.id, dns.flags.QR)
    return read


def header(flags: int = 0, counts: tuple[int, int, int, int] = (1, 0, 0, 0)) -> bytes:
    return struct.pack("!6H", 4321, flags, *counts)


def rcode_of(reply: bytes | None) -> str:
    assert reply is not None
    return dns.rcode.to_text(dns.message.from_wire(reply).rcode())


def test_a_reply_repeats_the_question_letter_for_letter(zone: Zone) -> None:
    reply = exchange(zone, query("wEb.Default.SVC.cluster.local"))
    assert reply.question[0].to_text() == "wEb.Default.SVC.cluster.local. IN A"
    assert [each.to_text() for each in reply.answer] == ["wEb.Default.SVC.cluster.local. 5 IN A 10.96.1.2"]


def test_a_reply_is_authoritative_and_offers_no_recursion(zone: Zone) -> None:
    assert dns.flags.to_text(exchange(zone, query()).flags) == "QR AA RD"
    assert dns.flags.to_text(exchange(zone, query(flags=dns.flags.CD)).flags) == "QR AA CD"
    assert dns.flags.to_text(exchange(zone, query("www.example.com")).flags) == "QR RD"


@pytest.mark.parametrize("type", ["A", "AAAA", "SRV", "PTR", "SOA", "NS", "TXT", "CNAME", "ANY"])
@pytest.mark.parametrize(
    "name", [WEB, f"_http._tcp.{WEB}", "cluster.local", "dns-version.cluster.local", "twin." + WEB[4:]]
)
def test_every_record_reads_back_as_the_zone_told_it(zone: Zone, name: str, type: str) -> None:
    reply, told = exchange(zone, query(name, type)), answer(zone, f"{name} {type}")
    for section, records in ((reply.answer, told.answer), (reply.authority, told.authority)):
        read = [line for rrset in section for line in rrset.to_text().splitlines()]
        assert sorted(read) == sorted(map(str, records))


def test_until_the_zone_is_complete_nothing_is_said_not_to_exist(zone: Zone) -> None:
    for name in (WEB, "none.default.svc.cluster.local", "9.9.96.10.in-addr.arpa", "cluster.local"):
        assert exchange(zone, query(name), synced=False).rcode() == dns.rcode.SERVFAIL
    assert exchange(zone, query("www.example.com"), synced=False).rcode() == dns.rcode.REFUSED


@pytest.mark.parametrize(
    ("type", "klass", "rcode"),
    [
        ("AXFR", "IN", "REFUSED"),
        ("IXFR", "IN", "REFUSED"),
        ("A", "CH", "REFUSED"),
        ("A", "ANY", "REFUSED"),
        ("OPT", "IN", "FORMERR"),
        ("TYPE0", "IN", "FORMERR"),
        ("TKEY", "IN", "NOTIMP"),
        ("MAILB", "IN", "NOTIMP"),
        ("TYPE65280", "IN", "NOERROR"),
    ],
)
def test_types_and_classes_that_are_not_for_us(zone: Zone, type: str, klass: str, rcode: str) -> None:
    asked = struct.pack("!HH", dns.rdatatype.from_text(type), dns.rdataclass.from_text(klass))
    name = b"\x03web\x07default\x03svc\x07cluster\x05local\x00"
    assert rcode_of(wire.respond(header() + name + asked, zone, udp=True, synced=True)) == rcode


@pytest.mark.parametrize("opcode", ["IQUERY", "STATUS", "NOTIFY", "UPDATE", "15"])
def test_other_operations_are_not_implemented(zone: Zone, opcode: str) -> None:
    flags = dns.opcode.to_flags(dns.opcode.from_text(opcode))
    reply = wire.respond(header(flags), zone, udp=True, synced=True)
    assert reply == header(0x8000 | flags | dns.rcode.NOTIMP, (0, 0, 0, 0))


QUESTION = b"\x03web\x07default\x03svc\x07cluster\x05local\x00\x00\x01\x00\x01"
OPT = b"\x00\x00\x29\x04\xd0\x00\x00\x00\x00\x00\x00"

MALFORMED = {
    "no question": header(counts=(0, 0, 0, 0)),
    "two questions": header(counts=(2, 0, 0, 0)) + QUESTION * 2,
    "fewer questions than said": header(),
    "an answer in a query": header(counts=(1, 1, 0, 0))
    + QUESTION
    + QUESTION
    + b"\x00\x00\x00\x05\x00\x04\x0a\x00\x00\x01",
    "three additional records": header(counts=(1, 0, 0, 3)) + QUESTION + OPT * 3,
    "two OPT records": header(counts=(1, 0, 0, 2)) + QUESTION + OPT * 2,
    "an OPT record of another name": header(counts=(1, 0, 0, 1)) + QUESTION + b"\x01x" + OPT,
    "an OPT record cut short": header(counts=(1, 0, 0, 1)) + QUESTION + OPT[:-1],
    "octets after the end": header() + QUESTION + b"\x00",
    "a name that points at itself": header() + b"\xc0\x0c\x00\x01\x00\x01",
    "a name that points ahead": header() + b"\xc0\x20" + bytes(40),
    "a label of a reserved kind": header() + b"\x43web" + QUESTION,
    "a name without an end": header() + b"\x3f" + b"x" * 63,
    "a name of more than 255 octets": header() + (b"\x3f" + b"x" * 63) * 4 + b"\x00\x00\x01\x00\x01",
    "more octets than any query needs": header() + QUESTION + bytes(wire.MAX_QUERY),
}


@pytest.mark.parametrize("bad", MALFORMED.values(), ids=MALFORMED.keys())
def test_what_cannot_be_read_is_a_format_error(zone: Zone, bad: bytes) -> None:
    assert wire.respond(bad, zone, udp=True, synced=True) == header(0x8000 | dns.rcode.FORMERR, (0, 0, 0, 0))


@pytest.mark.parametrize(
    "bad", [b"", header()[:11], header(0x8000) + QUESTION], ids=["nothing", "half a header", "a reply"]
)
def test_what_is_no_query_gets_no_reply(zone: Zone, bad: bytes) -> None:
    assert wire.respond(bad, zone, udp=True, synced=True) is None


def test_a_signed_query_is_told_that_its_key_is_unknown(zone: Zone) -> None:
    asked = query()
    asked.use_tsig(dns.tsigkeyring.from_text({"key.": "c2VjcmV0IHNlY3JldA=="}))
    assert rcode_of(wire.respond(asked.to_wire(), zone, udp=True, synced=True)) == "NOTAUTH"


def test_when_answering_fails_the_client_hears_so(zone: Zone) -> None:
    assert rcode_of(wire.failure(query().to_wire())) == "SERVFAIL"


# EDNS and size


def test_a_reply_has_an_opt_record_exactly_when_the_query_has(zone: Zone) -> None:
    plain, extended = exchange(zone, query()), exchange(zone, query(use_edns=0, payload=4096))
    assert (plain.edns, extended.edns, extended.payload) == (-1, 0, 1232)


def test_options_we_do_not_know_are_passed_over(zone: Zone) -> None:
    cookie = dns.edns.GenericOption(10, b"12345678")
    reply = exchange(zone, query(use_edns=0, options=[cookie]))
    assert (reply.rcode(), reply.options) == (dns.rcode.NOERROR, ())


def test_a_later_version_of_edns_is_told_ours(zone: Zone) -> None:
    reply = exchange(zone, query(use_edns=1))
    assert (reply.rcode(), reply.edns, reply.answer) == (dns.rcode.BADVERS, 0, [])


@pytest.mark.parametrize(
    ("payload", "limit"), [(None, 512), (0, 512), (512, 512), (800, 800), (1232, 1232), (4096, 1232), (65535, 1232)]
)
def test_a_udp_reply_is_cut_to_what_the_client_takes(zone: Zone, payload: int | None, limit: int) -> None:
    asked = query("many.default.svc.cluster.local")
    if payload is not None:
        asked.use_edns(0, payload=payload)
    raw = wire.respond(asked.to_wire(), zone, udp=True, synced=True)
    assert raw is not None
    reply = dns.message.from_wire(raw)
    assert limit - 16 < len(raw) <= limit, "as many records as fit"
    assert reply.flags & dns.flags.TC
    assert (reply.edns >= 0) == (payload is not None)


def test_over_tcp_the_answer_is_whole(zone: Zone) -> None:
    reply = exchange(zone, query("many.default.svc.cluster.local"), udp=False)
    assert len(reply.answer[0]) == 1300
    assert not reply.flags & dns.flags.TC


def test_even_tcp_has_an_end(zone: Zone) -> None:
    asked = query("_http._tcp.many.default.svc.cluster.local", "SRV", use_edns=0)
    raw = wire.respond(asked.to_wire(), zone, udp=False, synced=True)
    assert raw is not None
    assert 65000 < len(raw) <= 65535
    assert dns.message.from_wire(raw).flags & dns.flags.TC


def test_additional_records_that_do_not_fit_are_left_out_silently(zone: Zone) -> None:
    asked = query("_http._tcp.pets.default.svc.cluster.local", "SRV")
    cut, whole = exchange(zone, asked), exchange(zone, asked, udp=False)
    assert (len(cut.answer[0]), len(whole.answer[0])) == (8, 10)
    assert cut.flags & dns.flags.TC and not cut.additional
    assert len(whole.additional) == 10
    asked.use_edns(0, payload=700)
    middle = exchange(zone, asked)
    assert not middle.flags & dns.flags.TC
    assert (len(middle.answer[0]), 0 < len(middle.additional) < 10) == (10, True)


def test_addresses_begin_at_another_one_for_each_query(zone: Zone) -> None:
    firsts = set()
    for ident in range(3):
        asked = query("twin.default.svc.cluster.local")
        asked.id = ident
        reply = exchange(zone, asked)
        assert [each.rdtype for each in reply.answer] == [dns.rdatatype.CNAME, dns.rdatatype.A]
        assert len(reply.answer[1]) == 3
        firsts.add(reply.answer[1][0].to_text())
    assert firsts == {"10.244.0.1", "10.244.0.2", "10.244.0.3"}
