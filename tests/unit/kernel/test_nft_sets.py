"""Elements to netlink attributes and back, without a kernel."""

from __future__ import annotations

import struct
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.kernel.linux.netlink import NESTED, attribute
from fairway.kernel.linux.nft_sets import Shape, Unsayable, element_lists, element_message, key_at, read_elements
from fairway.ruleset.nft import Element, Field, Set, Type, Verdict

PLACE = (Field(Type.IPV4), Field(Type.PROTOCOL), Field(Type.SERVICE))
ENDPOINT = (Field(Type.IPV4), Field(Type.SERVICE))
PLACES, ENDPOINTS = Set("places", PLACE), Set("endpoints", PLACE, ENDPOINT)
VERDICTS = Set("verdicts", PLACE, "verdict")
SOURCES = Set("sources", (*PLACE, Field(Type.IPV4)), flags=frozenset({"interval"}))
RANGES = Set("ranges", (Field(Type.IPV4),), flags=frozenset({"interval"}))
PORTS = Set("ports", (Field(Type.SERVICE),), (Field(Type.PROTOCOL),))
HEADER = b"\2\0\0\0"

bare = st.builds(Element, st.binary(min_size=8, max_size=8))
timed = st.builds(
    Element,
    st.binary(min_size=8, max_size=8),
    timeout_ms=st.integers(1, 2**40),
    expires_ms=st.integers(1, 2**40),
    packets=st.integers(0, 2**60),
    bytes=st.integers(1, 2**60),
    comment=st.text(st.characters(codec="ascii", categories=("L", "N")), max_size=100),
)
keys = st.binary(min_size=12, max_size=12)


def messages(kept: Set, elements: list[tuple[bytes, Element]]) -> list[bytes]:
    """What would go to the kernel, behind the messages' headers."""
    return [element_message("fairway", kept.name, piece) for piece in element_lists(Shape(kept), elements)]


def as_the_kernel_says(message: bytes) -> bytes:
    """The same without the flag that marks nested attributes, which the kernel leaves out."""
    said, at = b"", 0
    while at < len(message):
        size, kind = struct.unpack_from("=HH", message, at)
        inner = message[at + 4 : at + size]
        said += attribute(kind & ~NESTED, as_the_kernel_says(inner) if kind & NESTED else inner)
        at += size + 3 & ~3
    return said


@given(st.dictionaries(keys, bare | timed, max_size=20))
def test_elements_make_the_round(elements: dict[bytes, Element]) -> None:
    said = messages(ENDPOINTS, list(elements.items()))
    assert dict(read_elements(Shape(ENDPOINTS), said)) == elements
    assert dict(read_elements(Shape(ENDPOINTS), map(as_the_kernel_says, said))) == elements


@given(st.dictionaries(keys, st.just(Element()), min_size=1, max_size=5))
def test_bare_elements_are_the_same_bytes_as_any(elements: dict[bytes, Element]) -> None:
    """Those with constant headers, against those put together attribute by attribute."""
    (fast,) = element_lists(Shape(PLACES), list(elements.items()))
    catch_all = (b"", Element())  # an element that needs the general form, and with it all others
    (slow,) = element_lists(Shape(PLACES), [*elements.items(), catch_all])
    assert slow.startswith(fast)


@pytest.mark.parametrize("data", [Verdict("accept"), Verdict("goto", "chain"), Verdict("return")])
def test_verdicts_make_the_round(data: Verdict) -> None:
    pair = (b"k" * 12, Element(data))
    assert read_elements(Shape(VERDICTS), messages(VERDICTS, [pair])) == [pair]


def test_the_catch_all_has_no_key() -> None:
    pair = (b"", Element(Verdict("drop")))
    assert read_elements(Shape(VERDICTS), messages(VERDICTS, [pair])) == [pair]


def test_single_fields_are_sent_without_padding() -> None:
    pair = (b"\x00\x50\0\0", Element(b"\6\0\0\0"))
    (message,) = messages(PORTS, [pair])
    assert b"\x06\x00\x01\x00\x00\x50" in message
    assert b"\x05\x00\x01\x00\x06" in message
    assert read_elements(Shape(PORTS), [message]) == [pair]


def test_intervals_of_concatenations_have_both_ends() -> None:
    start, end = b"placeplace12" + b"\x0a\0\0\0", b"placeplace12" + b"\x0a\xff\xff\xff"
    pairs = [(start, Element(end=end)), (end[:-1] + b"\0", Element())]
    assert read_elements(Shape(SOURCES), messages(SOURCES, pairs)) == pairs


interval = st.tuples(st.integers(0, 2**32 - 1), st.integers(0, 2**16))


@given(st.lists(interval, max_size=10))
def test_plain_intervals_are_starts_and_what_follows_their_ends(wanted: list[tuple[int, int]]) -> None:
    pairs, free = [], 0
    for start, length in sorted(wanted):
        last = min(start + length, 2**32 - 1)
        if start >= free:
            end = last.to_bytes(4, "big") if last != start else b""
            pairs.append((start.to_bytes(4, "big"), Element(end=end)))
            free = last + 1
    assert read_elements(Shape(RANGES), messages(RANGES, pairs)) == pairs


def test_a_list_never_outgrows_its_attribute() -> None:
    many = [(struct.pack("!III", number, 6, 80), Element(b"endpoint")) for number in range(5000)]
    sizes = [len(piece) for piece in element_lists(Shape(ENDPOINTS), many)]
    assert len(sizes) > 1
    assert max(sizes) < 65536 - 4


def test_deleting_names_keys_alone() -> None:
    pair = (b"k" * 12, Element(b"endpoint", timeout_ms=5, comment="gone"))
    (piece,) = element_lists(Shape(ENDPOINTS), [pair], deleting=True)
    assert read_elements(Shape(PLACES), [attribute(3 | NESTED, piece)]) == [(pair[0], Element())]


def test_the_kernel_s_finger_is_followed_to_the_key() -> None:
    pairs = [(struct.pack("!III", number, 6, 80), Element(b"endpoint")) for number in range(3)]
    (message,) = messages(ENDPOINTS, pairs)
    body = HEADER + message
    found = [key_at(body, offset) for offset in range(len(body))]
    assert [key for key in dict.fromkeys(found) if key] == [key for key, _ in pairs]
    assert key_at(body, 0) == b""
    assert key_at(body, len(body) + 1) == b""


@pytest.mark.parametrize("type_", [Type.MARK, Type.INTEGER, Type.CT_STATE])
def test_numbers_of_the_machine_s_order_have_no_ranges(type_: Type) -> None:
    with pytest.raises(Unsayable, match="ranges of the type"):
        Shape(replace(RANGES, key=(Field(type_),)))


def test_devices_are_kept_by_name() -> None:
    with pytest.raises(Unsayable, match="use their names"):
        Shape(Set("devices", (Field(Type.INTERFACE),)))
