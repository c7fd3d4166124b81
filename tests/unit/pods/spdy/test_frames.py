"""SPDY's frames: against bytes of the draft and of a real client, and through every way of cutting them."""

from __future__ import annotations

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.pods.spdy import headers as blocks
from fairway.pods.spdy.errors import Violation
from fairway.pods.spdy.frames import (
    MAX_FRAME_BYTES,
    Data,
    Decoder,
    Encoder,
    Frame,
    GoAway,
    MoreHeaders,
    Ping,
    RstStream,
    Settings,
    Status,
    SynReply,
    SynStream,
    WindowUpdate,
)

KUBECTL = bytes.fromhex(
    "80030001000000290000000100000000000078f9e3c6a7c2"
    "6260606004a7b392a2d4c45c6851c29a0a0a6800000000ffff"
    "800300010000001900000003000000000000c22ac5565c92925f5a02000000ffff"
)
NUMBERS = st.integers(0, 2**31 - 1)
WORDS = st.binary(max_size=40).map(lambda data: data.decode("latin-1"))
HEADERS = st.dictionaries(WORDS.map(str.lower).filter(bool), WORDS, max_size=5).map(lambda pairs: tuple(pairs.items()))
FRAMES: st.SearchStrategy[Frame] = st.one_of(
    st.builds(Data, NUMBERS, st.binary(max_size=100), st.booleans()),
    st.builds(SynStream, NUMBERS, HEADERS, st.booleans(), st.booleans(), NUMBERS, st.integers(0, 7)),
    st.builds(SynReply, NUMBERS, HEADERS, st.booleans()),
    st.builds(RstStream, NUMBERS, st.integers(0, 2**32 - 1)),
    st.builds(
        Settings,
        st.lists(st.tuples(st.integers(0, 255), st.integers(0, 2**24 - 1), st.integers(0, 2**32 - 1))).map(tuple),
        st.booleans(),
    ),
    st.builds(Ping, st.integers(0, 2**32 - 1)),
    st.builds(GoAway, NUMBERS, st.integers(0, 2**32 - 1)),
    st.builds(MoreHeaders, NUMBERS, HEADERS, st.booleans()),
    st.builds(WindowUpdate, NUMBERS, NUMBERS),
)


def test_the_dictionary_is_the_drafts() -> None:
    assert len(blocks.DICTIONARY) == 1423
    # What each zlib stream of SPDY/3 names its dictionary by (RFC 1950, section 2.2).
    assert zlib.adler32(blocks.DICTIONARY) == 0xE3C6A7C2


def test_frames_as_the_draft_lays_them_out() -> None:
    encoder = Encoder()
    assert encoder.encode(Data(5, b"hi", fin=True)) == bytes.fromhex("00000005 01000002") + b"hi"
    assert encoder.encode(RstStream(1, Status.CANCEL)) == bytes.fromhex("80030003 00000008 00000001 00000005")
    assert encoder.encode(Ping(7)) == bytes.fromhex("80030006 00000004 00000007")
    assert encoder.encode(GoAway(3, 1)) == bytes.fromhex("80030007 00000008 00000003 00000001")
    assert encoder.encode(WindowUpdate(0, 256)) == bytes.fromhex("80030009 00000008 00000000 00000100")
    assert encoder.encode(Settings(((1, 4, 100),))) == bytes.fromhex("80030004 0000000c 00000001 01000004 00000064")
    first = encoder.encode(SynStream(1, (("streamtype", "error"),), priority=2))
    assert first[:4] == bytes.fromhex("80030001") and first[8:18] == bytes.fromhex("00000001 00000000 4000")
    assert first[18:24] == bytes.fromhex("78 bb e3c6a7c2"), "a zlib stream that asks for the dictionary"


def test_the_streams_of_a_real_client_are_read() -> None:
    """What kubectl 1.20 sends first for `exec POD -- true`."""
    [error, stdout] = Decoder().feed(KUBECTL)
    assert error == SynStream(1, (("streamtype", "error"),))
    assert stdout == SynStream(3, (("streamtype", "stdout"),))


@given(st.lists(FRAMES, max_size=6), st.lists(st.integers(1, 30), min_size=1))
def test_what_is_sent_is_read_however_it_is_cut(frames: list[Frame], cuts: list[int]) -> None:
    encoder, decoder = Encoder(), Decoder()
    sent = b"".join(encoder.encode(frame) for frame in frames)
    seen: list[Frame] = []
    while sent:
        length = cuts[len(seen) % len(cuts)]
        seen += decoder.feed(sent[:length])
        sent = sent[length:]
    assert seen == frames


@given(st.binary(max_size=300))
def test_nonsense_is_refused_or_waited_for(data: bytes) -> None:
    try:
        Decoder().feed(data)
    except Violation:
        pass


@given(st.lists(FRAMES, min_size=1, max_size=4), st.data())
def test_a_changed_byte_breaks_nothing_but_the_connection(frames: list[Frame], data: st.DataObject) -> None:
    encoder, decoder = Encoder(), Decoder()
    sent = bytearray(b"".join(encoder.encode(frame) for frame in frames))
    sent[data.draw(st.integers(0, len(sent) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        decoder.feed(bytes(sent))
    except Violation:
        pass


def test_frames_of_unknown_kinds_are_passed_over() -> None:
    assert Decoder().feed(bytes.fromhex("800300ff 00000003 010203 80030006 00000004 00000001")) == [Ping(1)]


@pytest.mark.parametrize(
    ("sent", "why"),
    [
        ("80020006 00000004 00000001", "SPDY/2"),
        (f"00000001 00{MAX_FRAME_BYTES + 1:06x}", "longer than"),
        ("80030003 00000004 00000001", "RST_STREAM"),
        ("80030006 00000005 0000000100", "PING"),
        ("80030004 00000008 00000001 00000000", "SETTINGS"),
        ("80030001 00000004 00000001", "SYN_STREAM"),
        ("80030002 00000002 0000", "SYN_REPLY"),
        ("80030002 00000008 00000001 01020304", "cannot be unpacked"),
    ],
)
def test_what_cannot_be_a_frame_is_named(sent: str, why: str) -> None:
    with pytest.raises(Violation, match=why):
        Decoder().feed(bytes.fromhex(sent))


def test_a_header_block_that_unpacks_to_much_is_refused_before_it_does() -> None:
    bomb = Encoder().encode(SynStream(1, (("a", "x" * 10_000_000),)))
    assert len(bomb) < 20_000
    with pytest.raises(Violation, match="larger than"):
        Decoder().feed(bomb)


@pytest.mark.parametrize(
    "headers", [(("Upper", "x"),), (("", "x"),), (("a", "1"), ("a", "2"))], ids=["upper case", "no name", "twice"]
)
def test_names_of_headers_are_held_to_the_draft(headers: blocks.Headers) -> None:
    with pytest.raises(Violation, match="names of headers"):
        Decoder().feed(Encoder().encode(SynStream(1, headers)))


@pytest.mark.parametrize("block", [b"", b"\0\0\0\1\0\0\0\5ab", b"\0\0\0\0x", b"\xff\xff\xff\xff"])
def test_a_block_is_as_long_as_its_headers(block: bytes) -> None:
    with pytest.raises(Violation, match="header block"):
        blocks.unpack(block)
