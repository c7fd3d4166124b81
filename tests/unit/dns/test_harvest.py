"""What is kept of an upstream's reply, and how it is given to clients: question -> reply -> what a client reads."""

from __future__ import annotations

import struct

import dns.flags
import dns.message
import dns.rcode
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.dns.errors import Unreadable
from fairway.dns.harvest import harvest, records
from fairway.dns.inquiry import Belief, Inquiry, ask, judge, read_query, spell, wire_name
from fairway.dns.kept import Bounds, Kept, plain, render
from fairway.dns.names import parse
from fairway.dns.records import Rcode, Type
from tests.unit.dns.elsewhere import reply

WWW = "www.example.com"
SOA = "example.com 900 SOA ns.example.com. host.example.com. 1 7200 1800 86400 60"


def inquire(name: str = WWW, type: int = Type.A, **options: bool) -> Inquiry:
    return Inquiry(wire_name(parse(name)), type, **options)


def kept(*answers: str, bounds: Bounds = Bounds(), inquiry: Inquiry | None = None, **options: str) -> Kept:  # noqa: B008
    """What is kept when a server says this to the question for the addresses of WWW."""
    inquiry = inquiry or inquire()
    asked = dns.message.from_wire(ask(inquiry, 1, 0))
    return harvest(inquiry, reply(asked, *answers, **options).to_wire(max_size=65535), bounds)


def read(kept: Kept, name: str = WWW, age: int = 0, *, udp: bool = True, **options: object) -> dns.message.Message:
    """What a client reads."""
    query = dns.message.make_query(name, "A", id=4321, **options)
    return dns.message.from_wire(render(read_query(query.to_wire(), udp=udp), kept, age=age))


def lines(message: dns.message.Message) -> list[str]:
    return [line for each in (*message.answer, *message.authority) for line in each.to_text().splitlines()]


def test_ttls_count_down() -> None:
    given = kept(f"{WWW} 300 CNAME web.example.net", "web.example.net 60 A 198.51.100.8")
    assert given.lifetime == 60
    assert lines(read(given, age=59)) == [
        f"{WWW}. 241 IN CNAME web.example.net.",
        "web.example.net. 1 IN A 198.51.100.8",
    ]


def test_ttls_are_bounded_both_ways_but_0_stays_0() -> None:
    bounds = Bounds(minimum=5, success=100)
    assert kept(f"{WWW} 1 A 198.51.100.8", bounds=bounds).lifetime == 5
    assert lines(read(kept(f"{WWW} 86400 A 198.51.100.8", bounds=bounds))) == [f"{WWW}. 100 IN A 198.51.100.8"]
    assert kept(f"{WWW} 0 A 198.51.100.8", bounds=bounds).lifetime == 0


def test_a_ttl_with_the_highest_bit_is_0() -> None:
    """RFC 2181 section 8."""
    octets = bytearray(reply(dns.message.from_wire(ask(inquire(), 1, 0)), f"{WWW} 300 A 198.51.100.8").to_wire())
    place = octets.index(struct.pack("!I", 300))
    octets[place] = 0x80
    assert harvest(inquire(), bytes(octets)).lifetime == 0


@pytest.mark.parametrize(
    ("rcode", "soa", "lifetime", "told"),
    [
        ("NXDOMAIN", SOA, 60, 60),
        ("NOERROR", SOA, 60, 60),
        ("NOERROR", SOA.replace(" 900 ", " 20 "), 20, 20),
        ("NXDOMAIN", SOA.removesuffix(" 60") + " 99999", 900, 900),
        ("NXDOMAIN", SOA.replace(" 900 ", " 99999 ").removesuffix(" 60") + " 99999", 1800, 1800),
    ],
    ids=["minimum", "NODATA", "its own TTL", "its own TTL, again", "bounded"],
)
def test_a_denial_is_kept_as_its_soa_says(rcode: str, soa: str, lifetime: int, told: int) -> None:
    """RFC 2308 section 5: the lesser of the SOA's TTL and its minimum."""
    given = kept(rcode=rcode, authority=soa)
    assert (given.lifetime, given.denial, read(given).authority[0].ttl) == (lifetime, True, told)


def test_a_denial_of_another_zone_is_not_kept() -> None:
    given = kept(rcode="NXDOMAIN", authority=SOA.replace("example.com 900", "example.org 900"))
    assert (given.lifetime, read(given).authority) == (0, [])


def test_a_denial_of_an_aliased_name_is_that_of_its_end() -> None:
    given = kept(
        f"{WWW} 30 CNAME gone.example.net", rcode="NXDOMAIN", authority=SOA.replace("example.com", "example.net")
    )
    assert (given.lifetime, given.rcode, len(lines(read(given)))) == (30, Rcode.NXDOMAIN, 2)


def test_aliases_that_go_round_are_told_once() -> None:
    given = kept(f"{WWW} 30 CNAME a.example.com", f"a.example.com 30 CNAME {WWW}")
    assert len(lines(read(given))) == 2
    assert given.lifetime == 0


def test_an_alias_by_dname_is_told_with_the_dname() -> None:
    given = kept(
        "example.com 60 DNAME example.net", f"{WWW} 60 CNAME www.example.net", "www.example.net 60 A 192.0.2.1"
    )
    assert len(lines(read(given))) == 3


def test_proofs_are_kept_for_those_who_want_them() -> None:
    signature = "A 8 3 300 20300101000000 20200101000000 1 example.com. AAAA"
    answers = (f"{WWW} 300 A 198.51.100.8", f"{WWW} 300 RRSIG {signature}")
    wanted = inquire(do=True)
    assert len(lines(read(kept(*answers, inquiry=wanted, authority="a.example.com 300 NSEC b.example.com. A")))) == 3
    assert len(lines(read(kept(*answers, inquiry=wanted, authority="a.evil.example 300 NSEC b.evil.example. A")))) == 2
    assert len(lines(read(kept(*answers, authority="a.example.com 300 NSEC b.example.com. A")))) == 2


def test_a_reply_repeats_id_spelling_and_flags_of_the_query() -> None:
    given = kept(f"{WWW} 300 A 198.51.100.8")
    message = read(given, "wWw.Example.COM", flags=dns.flags.RD | dns.flags.CD)
    assert (message.id, dns.flags.to_text(message.flags)) == (4321, "QR RD RA CD")
    assert message.question[0].to_text() == "wWw.Example.COM. IN A"
    assert lines(message) == ["wWw.Example.COM. 300 IN A 198.51.100.8"]


def test_a_validated_answer_says_so_to_those_who_ask() -> None:
    asked = dns.message.from_wire(ask(inquire(), 1, 0))
    assert asked.flags & dns.flags.AD
    made = reply(asked, f"{WWW} 300 A 198.51.100.8")
    made.flags |= dns.flags.AD
    given = harvest(inquire(), made.to_wire())
    assert not read(given).flags & dns.flags.AD
    assert read(given, flags=dns.flags.RD | dns.flags.AD).flags & dns.flags.AD
    assert read(given, want_dnssec=True).flags & dns.flags.AD


def test_edns_is_answered_with_edns_only() -> None:
    given = kept(f"{WWW} 300 A 198.51.100.8")
    assert (read(given).edns, read(given, use_edns=0).payload) == (-1, 1232)
    assert read(given, want_dnssec=True).ednsflags & dns.flags.DO


def test_what_does_not_fit_is_asked_again_over_tcp() -> None:
    given = kept(f"{WWW} 300 A " + ", ".join(f"198.51.100.{last}" for last in range(60)))
    for options, whole in (({}, False), ({"use_edns": 0, "payload": 1200}, True), ({"udp": False}, True)):
        message = read(given, **options)
        assert (not message.flags & dns.flags.TC, len(lines(message))) == (whole, 60 if whole else 0)


def test_nothing_but_an_rcode() -> None:
    message = read(plain(inquire(), Rcode.REFUSED), "WWW.example.com", use_edns=0)
    assert (message.rcode(), message.question[0].to_text()) == (dns.rcode.REFUSED, "WWW.example.com. IN A")


def test_a_reply_of_another_rcode_is_of_no_use() -> None:
    for rcode in ("SERVFAIL", "REFUSED", "NOTIMP", "BADVERS"):
        given = kept(f"{WWW} 300 A 198.51.100.8", rcode=rcode)
        assert (given.helpful, given.lifetime, lines(read(given))) == (False, 0, [])


@pytest.mark.parametrize(("flags", "helpful"), [("", False), ("RA", True), ("AA", True)])
def test_nothing_at_all_is_an_answer_only_from_who_can_know(flags: str, helpful: bool) -> None:
    made = dns.message.make_response(dns.message.from_wire(ask(inquire(), 1, 0)))
    made.flags |= dns.flags.from_text(flags)
    assert harvest(inquire(), made.to_wire()).helpful == helpful


def test_records_of_any_type_can_be_told_as_values() -> None:
    for type, data in (("A", "198.51.100.8"), ("SRV", "1 2 3 web.example.net."), ("CNAME", "web.example.net.")):
        given = kept(f"{WWW} 300 {type} {data}", inquiry=inquire(type=Type[type]))
        assert [str(each) for each in records(given, age=1)] == [f"{WWW}. 299 IN {type} {data}"]
    given = kept(f"{WWW} 300 MX 10 mail.example.net.", inquiry=inquire(type=15))
    assert [str(each) for each in records(given)] == [
        rf"{WWW}. 300 IN TYPE15 \# 20 000a046d61696c076578616d706c65036e657400"
    ]


# Asking and believing


def test_a_question_keeps_its_meaning_in_any_letters() -> None:
    inquiry = inquire("a-1.Example.COM", do=True, cd=True)
    for chance in (0, 2**200 - 1, 0x5555):
        read_back = read_query(ask(inquiry, 7, chance), udp=True)
        assert (read_back.ident, read_back.inquiry, read_back.recursive) == (7, inquiry, True)
    assert spell(inquiry.name, 2**200 - 1) == b"\3A-1\7EXAMPLE\3COM\0"


@given(octets=st.binary(max_size=40), place=st.integers(0, 60))
def test_no_octet_of_header_or_question_may_be_wrong(octets: bytes, place: int) -> None:
    query = ask(inquire(), 0xBEEF, 0x3A5A5A5A)
    good = dns.message.make_response(dns.message.from_wire(query)).to_wire()
    assert judge(query, good) is Belief.OURS
    bad = (good[:place] + octets)[: len(good)] + good[place + len(octets) :]
    # The octets of flags but QR and opcode, and of the other sections' counts, are nothing to tell liars by.
    told = [*range(2), 2, 4, 5, *range(12, 12 + len(query) - 12 - 11)]
    same = len(bad) >= len(good) and all(
        bad[each] & (0xF8 if each == 2 else 0xFF) == good[each] & (0xF8 if each == 2 else 0xFF) for each in told
    )
    assert (judge(query, bad) is Belief.OURS) == same


@given(octets=st.binary(max_size=120))
def test_any_octets_are_read_or_refused(octets: bytes) -> None:
    header = struct.pack("!6H", 7, 0x8180, 1, 1, 1, 1)
    question = wire_name(parse(WWW)) + b"\0\1\0\1"
    for message in (octets, header + octets, header + question + octets):
        try:
            harvest(inquire(), message)
        except Unreadable:
            pass
        try:
            query = read_query(message, udp=True)
        except Unreadable:
            continue
        assert query.inquiry.name[-1:] == b"\0"
        assert render(query, plain(query.inquiry, Rcode.SERVFAIL))


GOOD = ask(inquire(), 7, 0)


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        GOOD[:11],
        GOOD[:-1],
        GOOD + b"\0",
        ask(inquire(), 7, 0, edns=False) + b"\0",
        GOOD[:2] + b"\x81" + GOOD[3:],
        GOOD[:2] + b"\x29" + GOOD[3:],
        GOOD[:5] + b"\2" + GOOD[6:],
        GOOD[:7] + b"\1" + GOOD[8:],
        GOOD[:11] + b"\2" + GOOD[12:] + GOOD[-11:],
        GOOD[:-11] + b"\0" + struct.pack("!HHIH", Type.A, 1, 0, 0),
        GOOD[:-11] + b"\0" + struct.pack("!HHIH", 41, 1232, 1 << 16, 0),
        GOOD[:12] + b"\xc0\x0c" + GOOD[-15:],
        GOOD[:12] + b"\x7f" + GOOD[13:],
    ],
    ids=[
        "nothing",
        "cut header",
        "cut OPT",
        "octets after OPT",
        "octets after the question",
        "a reply",
        "a NOTIFY",
        "two questions",
        "an answer",
        "two OPT",
        "another record",
        "EDNS version 1",
        "a pointer",
        "a long label",
    ],
)
def test_only_plain_queries_are_answered_from_the_cache(octets: bytes) -> None:
    assert read_query(GOOD, udp=True).inquiry == inquire()
    with pytest.raises(Unreadable):
        read_query(octets, udp=True)


@given(
    sort=st.sampled_from([Type.A, Type.CNAME, Type.SOA, Type.SRV, Type.ANY]),
    do=st.booleans(),
    spoils=st.lists(
        st.tuples(st.integers(2, 200), st.sampled_from([0, 1, 5, 6, 12, 39, 41, 46, 192, 255])), min_size=1
    ),
    cut=st.integers(0, 250),
)
def test_a_spoiled_reply_is_refused_or_gives_a_whole_one(
    sort: Type, do: bool, spoils: list[tuple[int, int]], cut: int
) -> None:
    inquiry = inquire(type=sort, do=do)
    asked = dns.message.from_wire(ask(inquiry, 1, 0))
    made = bytearray(
        reply(
            asked,
            f"{WWW} 300 CNAME web.example.net",
            "web.example.net 60 A 198.51.100.8, 198.51.100.9",
            f"{WWW} 300 SRV 1 2 3 web.example.net",
            "example.com 60 DNAME example.net",
            authority=SOA,
        ).to_wire()
    )
    for place, octet in spoils:
        made[place % len(made)] = octet
    try:
        given = harvest(inquiry, bytes(made[: max(cut, 12)] if cut < 200 else made))
    except Unreadable:
        return
    message = dns.message.from_wire(render(read_query(ask(inquiry, 9, 0x3333), udp=True), given, age=1))
    assert (message.id, message.question[0].rdtype) == (9, sort)
    assert len(records(given)) == sum(len(each) for each in dns.message.from_wire(given.wire).answer)
