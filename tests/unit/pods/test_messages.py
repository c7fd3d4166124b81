"""WebSocket, byte by byte: the examples of RFC 6455, and what clients may not do."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.pods.messages import (
    BINARY,
    CLOSE,
    MESSAGE_BYTES,
    PING,
    PONG,
    TEXT,
    Event,
    Intake,
    Left,
    Message,
    Pinged,
    closing,
    frame,
    handshake,
)

HANDSHAKE = {
    "connection": "Upgrade",
    "upgrade": "websocket",
    "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
    "sec-websocket-version": "13",
    "sec-websocket-protocol": "v5.channel.k8s.io",
}
HELLO = bytes.fromhex("818537fa213d7f9f4d5158")  # section 5.7: a masked "Hello"
MASK = bytes.fromhex("37fa213d")


def spoken(opcode: int, data: bytes, *, final: bool = True) -> bytes:
    """A client's frame: masked."""
    plain = frame(opcode, data)
    head = bytearray(plain[: len(plain) - len(data)])
    head[0] &= 0xFF if final else 0x7F
    head[1] |= 0x80
    return bytes(head) + MASK + bytes(byte ^ MASK[at % 4] for at, byte in enumerate(data))


def heard(data: bytes) -> list[Event]:
    return Intake().receive(data)


def test_the_handshake_of_the_rfc() -> None:
    head = handshake(HANDSHAKE, "chat")
    assert head.startswith(b"HTTP/1.1 101 Switching Protocols\r\n") and head.endswith(b"\r\n\r\n")
    assert b"\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in head
    assert b"\r\nSec-WebSocket-Protocol: chat\r\n" in head


@pytest.mark.parametrize("wrong", [{"sec-websocket-version": "8"}, {"sec-websocket-key": "a2V5"}])
def test_a_handshake_that_is_none(wrong: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="Sec-WebSocket"):
        handshake(HANDSHAKE | wrong, "chat")


def test_the_frames_of_the_rfc() -> None:
    assert heard(HELLO) == [Message(b"Hello", binary=False)]
    assert frame(TEXT, b"Hello") == bytes.fromhex("810548656c6c6f")
    assert frame(PONG, b"Hello") == bytes.fromhex("8a0548656c6c6f")
    assert frame(BINARY, bytes(256))[:4] == bytes.fromhex("827e0100")
    assert frame(BINARY, bytes(65536))[:10] == bytes.fromhex("827f0000000000010000")


@given(st.lists(st.binary(max_size=300), max_size=5), st.lists(st.integers(1, 40), min_size=1, max_size=8))
def test_messages_arrive_whole_however_they_are_cut(messages: list[bytes], cuts: list[int]) -> None:
    data = b"".join(spoken(BINARY, message) for message in messages) + spoken(CLOSE, closing(1000))
    intake, found, at = Intake(), list[Event](), 0
    while at < len(data):
        step = cuts[len(found) % len(cuts)]
        found += intake.receive(data[at : at + step])
        at += step
    assert found == [*map(Message, messages), Left(closing(1000))]


def test_pieces_are_one_message_and_control_frames_come_between() -> None:
    pieces = spoken(BINARY, b"Hel", final=False) + spoken(PING, b"?") + spoken(PONG, b"") + spoken(0, b"lo")
    assert heard(pieces) == [Pinged(b"?"), Message(b"Hello")]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (frame(BINARY, b"unmasked"), 1002),
        (bytes((0xC2, 0x80)) + MASK, 1002),  # a reserved bit
        (spoken(3, b""), 1002),
        (spoken(0, b"goes on with nothing"), 1002),
        (spoken(BINARY, b"a", final=False) + spoken(BINARY, b"b"), 1002),
        (spoken(PING, b"", final=False), 1002),
        (spoken(PING, bytes(126)), 1002),
        (spoken(CLOSE, b"x"), 1002),
        (bytes((0x82, 0xFF)) + (MESSAGE_BYTES + 1).to_bytes(8, "big"), 1009),
    ],
)
def test_whoever_breaks_the_protocol_has_left(data: bytes, code: int) -> None:
    intake = Intake()
    assert intake.receive(data)[-1] == Left(closing(code))
    assert intake.receive(HELLO) == []


def test_a_message_in_pieces_is_bounded_too() -> None:
    intake, piece = Intake(), spoken(BINARY, bytes(MESSAGE_BYTES // 2), final=False)
    assert intake.receive(piece) == []
    assert intake.receive(spoken(0, bytes(MESSAGE_BYTES // 2 + 1))) == [Left(closing(1009))]
