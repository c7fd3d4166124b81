"""Bytes from anyone: every input is silence or a well-formed reply, never an exception, never longer than allowed."""

from __future__ import annotations

import dns.message
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fairway.dns import wire
from fairway.dns.zone import Zone
from tests.unit.dns.cluster import endpoints, external, put, service

ZONE = put(
    Zone(),
    service("web", "default", "10.96.1.2", "fd00::2", ports=["http:80/TCP"]),
    service("pets", "default", "None"),
    endpoints("pets", *(f"10.244.0.{last}" for last in range(1, 60)), ports=["http:80/TCP"]),
    external("loop", "loop.default.svc.cluster.local"),
)
NAMES = [
    "web.default.svc.cluster.local",
    "_http._tcp.pets.default.svc.cluster.local",
    "pets.default.svc.cluster.local",
    "loop.default.svc.cluster.local",
    "2.1.96.10.in-addr.arpa",
    "cluster.local",
    ".",
    "a\\.b.default.svc.cluster.local",
]


def well_formed(query: bytes) -> None:
    for udp in (True, False):
        reply = wire.respond(query, ZONE, udp=udp, synced=True)
        if reply is None:
            assert len(query) < 12 or query[2] & 0x80
            continue
        read = dns.message.from_wire(reply)
        assert (reply[:2], reply[2] & 0xF8) == (query[:2], 0x80 | query[2] & 0x78)
        assert len(reply) <= (1232 if udp else 65535)
        assert read.edns in (-1, 0)


@st.composite
def queries(draw: st.DrawFn) -> bytes:
    edns = draw(st.sampled_from((-1, 0, 1)))
    type = draw(st.sampled_from(("A", "AAAA", "SRV", "PTR", "ANY", "SOA", "AXFR", "TYPE999")))
    made = dns.message.make_query(
        draw(st.sampled_from(NAMES)), type, use_edns=edns, payload=draw(st.integers(0, 65535))
    )
    made.id = draw(st.integers(0, 65535))
    return made.to_wire()


@given(st.binary(max_size=600))
@example(b"\x00" * 12)
def test_random_bytes(query: bytes) -> None:
    well_formed(query)


@given(st.binary(max_size=300))
def test_random_bytes_behind_an_honest_header(rest: bytes) -> None:
    well_formed(b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x01" + rest)


@given(queries(), st.data())
@settings(max_examples=400)
def test_queries_with_a_few_octets_changed(query: bytes, data: st.DataObject) -> None:
    changed = bytearray(query)
    for _ in range(data.draw(st.integers(0, 4))):
        changed[data.draw(st.integers(0, len(query) - 1))] = data.draw(st.integers(0, 255))
    well_formed(bytes(changed))


@given(queries(), st.data())
def test_queries_cut_short_or_continued(query: bytes, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(query)))
    well_formed(query[:cut] + data.draw(st.binary(max_size=40)))


@given(st.lists(st.binary(min_size=1, max_size=63), max_size=5), st.integers(0, 65535), st.sampled_from(NAMES[:6]))
def test_any_octets_may_be_in_labels(labels: list[bytes], type: int, below: str) -> None:
    name = b"".join(bytes((len(label),)) + label for label in (*labels, *(part.encode() for part in below.split("."))))
    well_formed(
        b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00" + name + b"\x00" + type.to_bytes(2, "big") + b"\x00\x01"
    )
