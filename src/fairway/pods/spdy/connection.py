"""The accepting side of a SPDY/3.1 connection as a state machine: bytes in; events, and bytes to send, out.

Only what the clients of Kubernetes need: they open the streams. Windows are granted for what is taken, so that a client
that keeps to them goes on; ours are not kept to, as the clients in use (Go's spdystream) never grant any: TCP's own
back-pressure does that work.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from fairway.pods.spdy.errors import Violation
from fairway.pods.spdy.frames import (
    Data,
    Decoder,
    Encoder,
    Frame,
    GoAway,
    MoreHeaders,
    Ping,
    RstStream,
    Status,
    SynReply,
    SynStream,
    WindowUpdate,
)
from fairway.pods.spdy.headers import Headers

MAX_STREAMS = 256
"""How many streams a client may have open at once."""
PIECE = 32 * 1024
"""The longest piece of data that is sent in one frame."""


@dataclass(frozen=True, slots=True)
class Opened:
    """The client opened a stream; it is accepted already."""

    stream: int
    headers: Headers


@dataclass(frozen=True, slots=True)
class Received:
    """Data for a stream, not empty. It must be `taken`."""

    stream: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Finished:
    """The client sends no more on a stream."""

    stream: int


@dataclass(frozen=True, slots=True)
class Broken:
    """The client gave a stream up."""

    stream: int


Event: TypeAlias = Opened | Received | Finished | Broken


@dataclass(slots=True)
class _Ends:
    """Which directions of a stream are open."""

    theirs: bool = True
    ours: bool = True


class Connection:
    """One connection. What its methods leave in `outgoing` must be sent, in order."""

    def __init__(self) -> None:
        self.outgoing = bytearray()
        self._decoder = Decoder()
        self._encoder = Encoder()
        self._streams: dict[int, _Ends] = {}
        self._last = 0

    def receive(self, data: bytes) -> list[Event]:
        """What the client's bytes mean. Raises Violation once a GOAWAY that says so is in `outgoing`: the connection
        is then over."""
        try:
            return [event for frame in self._decoder.feed(data) for event in self._take_in(frame)]
        except Violation:
            self._say(GoAway(self._last, status=1))
            raise

    def _take_in(self, frame: Frame) -> list[Event]:
        match frame:
            case SynStream():
                return self._open(frame)
            case Data():
                return self._data(frame)
            case MoreHeaders(stream=stream, fin=True):
                return self._half_close(stream)
            case RstStream(stream=stream) if self._streams.pop(stream, None):
                return [Broken(stream)]
            case Ping(number=number) if number % 2:
                self._say(frame)
        return []

    def _open(self, frame: SynStream) -> list[Event]:
        if frame.stream % 2 == 0 or frame.stream <= self._last:
            raise Violation(f"stream {frame.stream} cannot be opened by a client after {self._last}")
        self._last = frame.stream
        if len(self._streams) >= MAX_STREAMS:
            self._say(RstStream(frame.stream, Status.REFUSED_STREAM))
            return []
        self._streams[frame.stream] = _Ends(ours=not frame.unidirectional)
        if not frame.unidirectional:
            self._say(SynReply(frame.stream))
        return [Opened(frame.stream, frame.headers), *(self._half_close(frame.stream) if frame.fin else [])]

    def _data(self, frame: Data) -> list[Event]:
        ends = self._streams.get(frame.stream)
        if ends is None:
            self._return_window(len(frame.data))
            if frame.stream > self._last or frame.stream % 2 == 0:  # else: reset or over, and not yet known to be
                self._say(RstStream(frame.stream, Status.INVALID_STREAM))
                if frame.stream % 2:
                    self._last = frame.stream  # refused, so the number is used up: nobody opens it any more
            return []
        if not ends.theirs:
            del self._streams[frame.stream]
            self._return_window(len(frame.data))
            self._say(RstStream(frame.stream, Status.STREAM_ALREADY_CLOSED))
            return [Broken(frame.stream)]
        events: list[Event] = [Received(frame.stream, frame.data)] if frame.data else []
        return events + (self._half_close(frame.stream) if frame.fin else [])

    def _half_close(self, stream: int) -> list[Event]:
        ends = self._streams.get(stream)
        if ends is None or not ends.theirs:
            return []
        ends.theirs = False
        self._forget_if_over(stream, ends)
        return [Finished(stream)]

    def _forget_if_over(self, stream: int, ends: _Ends) -> None:
        if not ends.theirs and not ends.ours:
            del self._streams[stream]

    def taken(self, stream: int, count: int) -> None:
        """As many bytes of a stream have been used up: the client may send as many more."""
        if (ends := self._streams.get(stream)) is not None and ends.theirs and count:
            self._say(WindowUpdate(stream, count))
        self._return_window(count)

    def _return_window(self, count: int) -> None:
        if count:
            self._say(WindowUpdate(0, count))

    def send(self, stream: int, data: bytes) -> None:
        """Say something on a stream; on one that is over it is lost."""
        if (ends := self._streams.get(stream)) is None or not ends.ours:
            return
        for start in range(0, len(data), PIECE):
            self._say(Data(stream, data[start : start + PIECE]))

    def finish(self, stream: int) -> None:
        """Say no more on a stream."""
        if (ends := self._streams.get(stream)) is not None and ends.ours:
            ends.ours = False
            self._say(Data(stream, b"", fin=True))
            self._forget_if_over(stream, ends)

    def reset(self, stream: int, status: Status = Status.CANCEL) -> None:
        """Give a stream up."""
        if self._streams.pop(stream, None) is not None:
            self._say(RstStream(stream, status))

    def leave(self) -> None:
        """Announce the end of the connection."""
        self._say(GoAway(self._last))

    def _say(self, frame: Frame) -> None:
        self.outgoing += self._encoder.encode(frame)
