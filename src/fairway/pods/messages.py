"""WebSocket as the server speaks it (RFC 6455): bytes of a client to messages, and messages to bytes. Pure."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

MESSAGE_BYTES = 4 * 1024 * 1024
"""What a client may say at once."""
CONTROL_BYTES = 125
NORMAL, PROTOCOL_ERROR, TOO_BIG = 1000, 1002, 1009

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
_GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # section 1.3
_FINAL, _RESERVED, _MASKED = 0x80, 0x70, 0x80


@dataclass(frozen=True, slots=True)
class Message:
    """What the client says, whole."""

    data: bytes
    binary: bool = True


@dataclass(frozen=True, slots=True)
class Pinged:
    """The client wants these bytes back in a PONG."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Left:
    """The client closes, or has broken the protocol: nothing more comes. `answer` is what a CLOSE in turn says."""

    answer: bytes


Event = Message | Pinged | Left


class Fault(Exception):
    """The client breaks the protocol; `code` is what a CLOSE calls that (section 7.4.1)."""

    def __init__(self, code: int) -> None:
        super().__init__(f"closed with {code}")
        self.code = code


def handshake(headers: Mapping[str, str], protocol: str) -> bytes:
    """The head that agrees to a WebSocket with a sub-protocol (section 4.2.2). `headers` are the request's, with
    names in lower case. Raises ValueError with what is wrong with them."""
    key = headers.get("sec-websocket-key", "")
    try:
        nonce = base64.b64decode(key, validate=True)
    except (binascii.Error, ValueError):
        nonce = b""
    if len(nonce) != 16:
        raise ValueError("Sec-WebSocket-Key: 16 bytes in base64 are needed")
    if headers.get("sec-websocket-version") != "13":
        raise ValueError("Sec-WebSocket-Version: only 13 is spoken")
    digest = hashlib.sha1((key + _GUID).encode(), usedforsecurity=False).digest()
    accepted = {"Sec-WebSocket-Accept": base64.b64encode(digest).decode(), "Sec-WebSocket-Protocol": protocol}
    return switching("websocket", accepted)


def switching(protocol: str, headers: Mapping[str, str]) -> bytes:
    """The head that agrees to become `protocol` (RFC 9110, section 15.2.2)."""
    lines = ["HTTP/1.1 101 Switching Protocols", f"Upgrade: {protocol}", "Connection: Upgrade"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def frame(opcode: int, data: bytes) -> bytes:
    """One unmasked, final frame (section 5.2)."""
    size = len(data)
    if size <= CONTROL_BYTES:
        head = bytes((_FINAL | opcode, size))
    elif size < 1 << 16:
        head = bytes((_FINAL | opcode, 126)) + size.to_bytes(2, "big")
    else:
        head = bytes((_FINAL | opcode, 127)) + size.to_bytes(8, "big")
    return head + data


def closing(code: int) -> bytes:
    """What a CLOSE with this code and no words says."""
    return code.to_bytes(2, "big")


class Intake:
    """Collects what a client says from what a connection receives, until it leaves."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._parts: list[bytes] = []
        self._kind: int | None = None
        self._over = False

    def receive(self, data: bytes) -> list[Event]:
        """What became complete with `data`."""
        found: list[Event] = []
        self._buffer += data
        try:
            while not self._over and (piece := self._next()) is not None:
                if (event := self._take(*piece)) is not None:
                    found.append(event)
                    self._over = isinstance(event, Left)
        except Fault as fault:
            self._over = True
            found.append(Left(closing(fault.code)))
        if self._over:
            self._buffer.clear()
        return found

    def _next(self) -> tuple[int, bool, bytes] | None:
        """The next frame that is whole: its opcode, whether it is a message's last, its bytes."""
        buffer = self._buffer
        if len(buffer) < 2:
            return None
        opcode, final, size = buffer[0] & 0x0F, bool(buffer[0] & _FINAL), buffer[1] & 0x7F
        if buffer[0] & _RESERVED or not buffer[1] & _MASKED:
            raise Fault(PROTOCOL_ERROR)  # no extension was agreed to; clients mask (section 5.1)
        if opcode >= CLOSE and (not final or size > CONTROL_BYTES):
            raise Fault(PROTOCOL_ERROR)  # section 5.5
        at = 2
        if size > CONTROL_BYTES:
            at += 2 if size == 126 else 8
            size = int.from_bytes(buffer[2:at], "big")
        if len(buffer) < at:
            return None
        if size + sum(map(len, self._parts)) > MESSAGE_BYTES:
            raise Fault(TOO_BIG)
        end = at + 4 + size
        if len(buffer) < end:
            return None
        data = _unmasked(bytes(buffer[at + 4 : end]), bytes(buffer[at : at + 4]))
        del buffer[:end]
        return opcode, final, data

    def _take(self, opcode: int, final: bool, data: bytes) -> Event | None:
        match opcode:
            case 0x9:
                return Pinged(data)
            case 0xA:
                return None
            case 0x8:
                if len(data) == 1:
                    raise Fault(PROTOCOL_ERROR)
                return Left(data[:2])
            case 0x0 | 0x1 | 0x2:
                return self._part(opcode, final, data)
        raise Fault(PROTOCOL_ERROR)

    def _part(self, opcode: int, final: bool, data: bytes) -> Message | None:
        """A message's piece (section 5.4)."""
        if (opcode == CONTINUATION) == (self._kind is None):
            raise Fault(PROTOCOL_ERROR)
        if opcode != CONTINUATION:
            self._kind = opcode
        self._parts.append(data)
        if not final:
            return None
        whole, kind = b"".join(self._parts), self._kind
        self._parts, self._kind = [], None
        return Message(whole, kind == BINARY)


def _unmasked(data: bytes, mask: bytes) -> bytes:
    """Section 5.3, as one number: byte by byte would take Python a second for ten megabytes."""
    if not data:
        return b""
    size = len(data)
    stream = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(data, "little") ^ int.from_bytes(stream, "little")).to_bytes(size, "little")
