"""SPDY/3.1's frames as values, and as bytes (draft, sections 2.2 and 2.6)."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import TypeAlias

from fairway.pods.spdy.errors import Violation
from fairway.pods.spdy.headers import Deflater, Headers, Inflater

VERSION = 3
MAX_FRAME_BYTES = 1024 * 1024
"""The longest frame that is accepted; the format has room for 16 MiB."""
_HEAD = struct.Struct(">II")
_PAIR = struct.Struct(">II")
_SINGLE = struct.Struct(">I")
_SYN = struct.Struct(">IIBx")
_CONTROL = 0x8000_0000
_NUMBER = 0x7FFF_FFFF
_FIN, _UNIDIRECTIONAL, _CLEAR = 0x01, 0x02, 0x01


class Status(IntEnum):
    """Why a stream is reset (section 2.6.3)."""

    PROTOCOL_ERROR = 1
    INVALID_STREAM = 2
    REFUSED_STREAM = 3
    UNSUPPORTED_VERSION = 4
    CANCEL = 5
    INTERNAL_ERROR = 6
    FLOW_CONTROL_ERROR = 7
    STREAM_IN_USE = 8
    STREAM_ALREADY_CLOSED = 9
    FRAME_TOO_LARGE = 11


@dataclass(frozen=True, slots=True)
class Data:
    """A piece of a stream; `fin`: its last."""

    stream: int
    data: bytes
    fin: bool = False


@dataclass(frozen=True, slots=True)
class SynStream:
    """A stream begins. `priority` is 0 (highest) to 7; one that is `unidirectional` is not written to by who gets
    it."""

    stream: int
    headers: Headers = ()
    fin: bool = False
    unidirectional: bool = False
    associated: int = 0
    priority: int = 0


@dataclass(frozen=True, slots=True)
class SynReply:
    """A stream is accepted."""

    stream: int
    headers: Headers = ()
    fin: bool = False


@dataclass(frozen=True, slots=True)
class RstStream:
    """A stream ends at once; `status` is a Status, or a number that is not known here."""

    stream: int
    status: int


@dataclass(frozen=True, slots=True)
class Settings:
    """(flags, id, value) each; `clear` forgets those persisted before."""

    entries: tuple[tuple[int, int, int], ...] = ()
    clear: bool = False


@dataclass(frozen=True, slots=True)
class Ping:
    """To be sent back as it is, if its number is odd and a client sent it."""

    number: int


@dataclass(frozen=True, slots=True)
class GoAway:
    """No stream after `last` is served; `status` is 0 (fine), 1 (protocol error) or 2 (internal error)."""

    last: int
    status: int = 0


@dataclass(frozen=True, slots=True)
class MoreHeaders:
    """Further headers of a stream (HEADERS)."""

    stream: int
    headers: Headers = ()
    fin: bool = False


@dataclass(frozen=True, slots=True)
class WindowUpdate:
    """`delta` more bytes may be sent on a stream; on stream 0, on all of them together."""

    stream: int
    delta: int


Frame: TypeAlias = Data | SynStream | SynReply | RstStream | Settings | Ping | GoAway | MoreHeaders | WindowUpdate


class Encoder:
    """Frames to bytes, which must be sent in this order."""

    def __init__(self) -> None:
        self._deflater = Deflater()

    def encode(self, frame: Frame) -> bytes:
        """A frame as it is sent."""
        match frame:
            case Data():
                return _HEAD.pack(frame.stream, _FIN * frame.fin << 24 | len(frame.data)) + frame.data
            case SynStream():
                flags = _FIN * frame.fin | _UNIDIRECTIONAL * frame.unidirectional
                head = _SYN.pack(frame.stream, frame.associated, frame.priority << 5)
                return _control(1, head + self._deflater.block(frame.headers), flags)
            case SynReply():
                return _control(2, self._headed(frame.stream, frame.headers), _FIN * frame.fin)
            case RstStream():
                return _control(3, _PAIR.pack(frame.stream, frame.status))
            case Settings():
                entries = b"".join(_PAIR.pack(flags << 24 | name, value) for flags, name, value in frame.entries)
                return _control(4, _SINGLE.pack(len(frame.entries)) + entries, _CLEAR * frame.clear)
            case Ping():
                return _control(6, _SINGLE.pack(frame.number))
            case GoAway():
                return _control(7, _PAIR.pack(frame.last, frame.status))
            case MoreHeaders():
                return _control(8, self._headed(frame.stream, frame.headers), _FIN * frame.fin)
            case WindowUpdate():
                return _control(9, _PAIR.pack(frame.stream, frame.delta))

    def _headed(self, stream: int, headers: Headers) -> bytes:
        return _SINGLE.pack(stream) + self._deflater.block(headers)


def _control(kind: int, payload: bytes, flags: int = 0) -> bytes:
    return _HEAD.pack(_CONTROL | VERSION << 16 | kind, flags << 24 | len(payload)) + payload


class Decoder:
    """Bytes to frames, however they are cut. Holds one frame at the most, but what it is fed."""

    def __init__(self) -> None:
        self._pending = bytearray()
        self._inflater = Inflater()
        self._kinds: Mapping[int, Callable[[int, bytes], Frame]] = {
            1: self._syn_stream,
            2: self._syn_reply,
            3: lambda _, payload: RstStream(*_pair(payload, "RST_STREAM")),
            4: _settings,
            6: lambda _, payload: Ping(_single(payload, "PING")),
            7: lambda _, payload: GoAway(*_pair(payload, "GOAWAY")),
            8: self._more_headers,
            9: _window_update,
        }

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that are whole now; control frames of unknown kinds are passed over, as section 2.2.1 asks.
        Raises Violation, after which it must not be fed again."""
        self._pending += data
        frames: list[Frame] = []
        position = 0
        while len(self._pending) - position >= _HEAD.size:
            first, second = _HEAD.unpack_from(self._pending, position)
            flags, length = second >> 24, second & 0xFF_FFFF
            if length > MAX_FRAME_BYTES:
                raise Violation(f"a frame of {length} bytes is longer than {MAX_FRAME_BYTES}")
            begin = position + _HEAD.size
            if len(self._pending) < begin + length:
                break
            position = begin + length
            frames += self._frame(first, flags, bytes(self._pending[begin:position]))
        del self._pending[:position]
        return frames

    def _frame(self, first: int, flags: int, payload: bytes) -> list[Frame]:
        if not first & _CONTROL:
            return [Data(first, payload, bool(flags & _FIN))]
        version, kind = first >> 16 & 0x7FFF, first & 0xFFFF
        if version != VERSION:
            raise Violation(f"a frame of SPDY/{version}; this is SPDY/{VERSION}.1")
        read = self._kinds.get(kind)
        return [read(flags, payload)] if read else []

    def _syn_stream(self, flags: int, payload: bytes) -> Frame:
        if len(payload) < _SYN.size:
            raise Violation("a SYN_STREAM frame is too short")
        stream, associated, priority = _SYN.unpack_from(payload)
        headers = self._inflater.headers(payload[_SYN.size :])
        fin, one_way = bool(flags & _FIN), bool(flags & _UNIDIRECTIONAL)
        return SynStream(stream & _NUMBER, headers, fin, one_way, associated & _NUMBER, priority >> 5)

    def _syn_reply(self, flags: int, payload: bytes) -> Frame:
        return SynReply(*self._headed(payload, "SYN_REPLY"), bool(flags & _FIN))

    def _more_headers(self, flags: int, payload: bytes) -> Frame:
        return MoreHeaders(*self._headed(payload, "HEADERS"), bool(flags & _FIN))

    def _headed(self, payload: bytes, name: str) -> tuple[int, Headers]:
        if len(payload) < _SINGLE.size:
            raise Violation(f"a {name} frame is too short")
        (stream,) = _SINGLE.unpack_from(payload)
        return stream & _NUMBER, self._inflater.headers(payload[_SINGLE.size :])


def _single(payload: bytes, name: str) -> int:
    if len(payload) != _SINGLE.size:
        raise Violation(f"a {name} frame holds {len(payload)} bytes, not {_SINGLE.size}")
    (value,) = _SINGLE.unpack(payload)
    return int(value)


def _pair(payload: bytes, name: str) -> tuple[int, int]:
    if len(payload) != _PAIR.size:
        raise Violation(f"a {name} frame holds {len(payload)} bytes, not {_PAIR.size}")
    stream, value = _PAIR.unpack(payload)
    return stream & _NUMBER, value


def _window_update(_: int, payload: bytes) -> Frame:
    stream, delta = _pair(payload, "WINDOW_UPDATE")
    return WindowUpdate(stream, delta & _NUMBER)


def _settings(flags: int, payload: bytes) -> Frame:
    if len(payload) < _SINGLE.size or len(payload) != _SINGLE.size + _PAIR.size * _SINGLE.unpack_from(payload)[0]:
        raise Violation("a SETTINGS frame is not as long as its entries")
    pairs = _PAIR.iter_unpack(payload[_SINGLE.size :])
    entries = tuple((first >> 24, first & 0xFF_FFFF, value) for first, value in pairs)
    return Settings(entries, bool(flags & _CLEAR))
