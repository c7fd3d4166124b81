"""Queries read by hand are what dnspython reads in them, whatever their octets are."""

from __future__ import annotations

import struct
import subprocess
import sys

import dns.edns
import dns.exception
import dns.message
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from fairway.dns.errors import Signed, Unreadable
from fairway.dns.query import NO_EDNS, Query, read

LABEL = st.binary(min_size=1, max_size=63)
NUMBER = st.integers(0, 0xFFFF)
OPT = b"\0" + struct.pack("!HHIH", 41, 1232, 0x8000, 0)


def octets(labels: list[bytes], type: int = 1, klass: int = 1, flags: int = 0x100, opt: bytes = b"") -> bytes:
    name = b"".join(bytes((len(label),)) + label for label in labels) + b"\0"
    return struct.pack("!6H", 7, flags, 1, 0, 0, bool(opt)) + name + struct.pack("!HH", type, klass) + opt


def by_dnspython(query: bytes) -> Query:
    message = dns.message.from_wire(query)
    asked = message.question[0]
    repeats = not message.options and not message.had_tsig
    return Query(
        message.flags,
        asked.name.labels[:-1],
        asked.rdtype,
        asked.rdclass,
        message.edns,
        message.payload,
        repeats,
    )


@given(st.lists(LABEL, max_size=5), NUMBER, NUMBER, st.integers(0, 0x7FF), st.sampled_from([b"", OPT]))
@settings(max_examples=300, deadline=None)
def test_plain_queries_are_what_dnspython_reads(
    labels: list[bytes], type: int, klass: int, flags: int, opt: bytes
) -> None:
    assume(sum(len(label) + 1 for label in labels) < 255)
    query = octets(labels, type, klass, flags, opt)
    assert read(query) == by_dnspython(query)


@given(st.lists(LABEL, max_size=4), st.data())
@settings(max_examples=500, deadline=None)
def test_spoilt_queries_are_refused_or_read_as_dnspython_does(labels: list[bytes], data: st.DataObject) -> None:
    assume(sum(len(label) + 1 for label in labels) < 255)
    query = bytearray(octets(labels, opt=data.draw(st.sampled_from([b"", OPT, OPT + b"x"]))))
    for _ in range(data.draw(st.integers(1, 4))):
        query[data.draw(st.integers(12, len(query) - 1))] = data.draw(st.integers(0, 255))
    spoilt = bytes(query[: data.draw(st.integers(12, len(query)))])
    try:
        expected = by_dnspython(spoilt)
    except (dns.exception.DNSException, ValueError) as error:
        with pytest.raises(Signed if isinstance(error, dns.message.UnknownTSIGKey) else Unreadable):
            read(spoilt)
    else:
        assert read(spoilt) == expected


def test_a_query_without_an_opt_record_has_no_version() -> None:
    assert read(octets([b"Web", b"default"])) == Query(0x100, (b"Web", b"default"), 1, 1, NO_EDNS, 0, repeats=True)
    assert read(octets([b"Web"], 28, opt=OPT)) == Query(0x100, (b"Web",), 28, 1, 0, 1232, repeats=True)


def test_names_of_our_own_need_no_parser_for_all_of_dns() -> None:
    """It takes 40 ms and 7 MB to load."""
    told = "import sys, fairway.assemble.naming; sys.exit('dns.message' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", told], timeout=60, check=False).returncode == 0


def test_a_query_with_options_is_not_likely_to_come_again() -> None:
    message = dns.message.make_query("web.default", "A", use_edns=0, options=[dns.edns.GenericOption(10, b"8 octets")])
    assert not read(message.to_wire()).repeats
