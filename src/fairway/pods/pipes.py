"""EDGE. Upgraded connections as bytes both ways: bare, or in the binary messages of a WebSocket (KEP-4006)."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Mapping
from typing import Protocol

from fairway.kernel.linux.hangup import hung_up
from fairway.pods.messages import BINARY, CLOSE, NORMAL, PONG, Event, Intake, Left, Message, Pinged, closing, frame

FAREWELL_SECONDS = 2.0  # how long a client may take to end the connection after us
_READ_AHEAD = 64 * 1024


class Pipe(Protocol):
    """The agent's side of a connection. Writing to a client that has left is not an error: reading tells."""

    async def read(self) -> bytes:
        """What has come next; b"" once the client has left."""

    async def write(self, data: bytes) -> None:
        """Returns when the client takes more."""

    async def departed(self) -> None:
        """Returns when the client has left, seen even while what it sent before is not read."""

    async def close(self) -> None:
        """End the connection."""


def offered(headers: Mapping[str, str], name: str) -> list[str]:
    """What a client lists in a header."""
    return [value.strip() for value in headers.get(name, "").split(",") if value.strip()]


def upgrade_of(headers: Mapping[str, str]) -> str:
    """What the client wants the connection to become, in lower case; "" if nothing."""
    wishes = [value.lower() for value in offered(headers, "connection")]
    return headers.get("upgrade", "").lower() if "upgrade" in wishes else ""


class BarePipe:
    """A connection that was upgraded to something that is not HTTP."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def read(self) -> bytes:
        with contextlib.suppress(OSError):
            return await self._reader.read(_READ_AHEAD)
        return b""

    async def write(self, data: bytes) -> None:
        if self._writer.is_closing():
            return
        with contextlib.suppress(OSError):
            self._writer.write(data)
            await self._writer.drain()

    async def departed(self) -> None:
        await hung_up(self._writer.get_extra_info("socket").fileno())

    async def close(self) -> None:
        self._writer.close()


class TunnelPipe:
    """The same, of the messages of a WebSocket."""

    def __init__(self, line: Pipe) -> None:
        self._line = line
        self._intake = Intake()
        self._events: deque[Event] = deque()
        self._left = self._parting = False

    async def read(self) -> bytes:
        while (event := await self._next()) is not None:
            match event:
                case Message(data, True) if data:
                    return data
                case Pinged(data):
                    await self._say(PONG, data)
                case Left(answer):
                    await self._part(answer)
        return b""

    async def write(self, data: bytes) -> None:
        await self._say(BINARY, data)

    async def departed(self) -> None:
        await self._line.departed()

    async def close(self) -> None:
        """The client answers a CLOSE with its own; what it still says before that is for nobody (section 7.1.1)."""
        await self._part(closing(NORMAL))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FAREWELL_SECONDS):
                while await self._next() is not None:
                    pass
        await self._line.close()

    async def _next(self) -> Event | None:
        """What comes next; None once the client has left."""
        while not self._events:
            if self._left:
                return None
            data = await self._line.read()
            self._events.extend(self._intake.receive(data) if data else ())
            self._left = not data or any(isinstance(event, Left) for event in self._events)
        return self._events.popleft()

    async def _say(self, opcode: int, data: bytes) -> None:
        if not self._parting:
            await self._line.write(frame(opcode, data))

    async def _part(self, said: bytes) -> None:
        """Say CLOSE, once; nothing is said after it."""
        if not self._parting:
            self._parting = True
            await self._line.write(frame(CLOSE, said))
