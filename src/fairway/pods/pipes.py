"""EDGE. Upgraded connections as bytes both ways: bare, or in the binary messages of a WebSocket (KEP-4006)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any, Protocol

from aiohttp import ClientConnectionResetError, WSMsgType, web

from fairway.kernel.linux.hangup import hung_up

FAREWELL_SECONDS = 2.0  # how long a client may take to end the connection after us
_READ_AHEAD = 64 * 1024
_GONE = (ClientConnectionResetError, ConnectionError)


class Pipe(Protocol):
    """The agent's side of a connection. Writing to a client that has left is not an error: reading tells."""

    response: web.StreamResponse

    async def read(self) -> bytes:
        """What has come next; b"" once the client has left."""

    async def write(self, data: bytes) -> None:
        """Returns when the client takes more."""

    async def departed(self) -> None:
        """Returns when the client has left, seen even while what it sent before is not read."""

    async def close(self) -> None:
        """End the connection."""


def offered(request: web.Request, header: str) -> list[str]:
    """What a client lists in a header, over all lines of that name."""
    values = (value for line in request.headers.getall(header, ()) for value in line.split(","))
    return [value.strip() for value in values if value.strip()]


def upgrade_of(request: web.Request) -> str:
    """What the client wants the connection to become, in lower case; "" if nothing."""
    wishes = [value.lower() for value in offered(request, "connection")]
    return request.headers.get("upgrade", "").lower() if "upgrade" in wishes else ""


async def departed(request: web.Request) -> None:
    """Returns when the client behind a request has left."""
    handle = request.transport.get_extra_info("socket") if request.transport is not None else None
    if handle is not None:
        await hung_up(handle.fileno())


class _Incoming:
    """What the HTTP server hands the connection's bytes to from now on."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self.reader = asyncio.StreamReader(limit=_READ_AHEAD)
        self.reader.set_transport(transport)

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        self.reader.feed_data(data)
        return False, b""

    def feed_eof(self) -> None:
        self.reader.feed_eof()


class BarePipe:
    """A connection that was upgraded to something that is not HTTP."""

    def __init__(self, request: web.Request, response: web.StreamResponse, reader: asyncio.StreamReader) -> None:
        self.response = response
        self._request = request
        self._reader = reader

    @classmethod
    async def accept(cls, request: web.Request, protocol: str, headers: dict[str, str]) -> BarePipe:
        """Agree to become `protocol`."""
        transport = request.transport
        if transport is None:
            raise ConnectionResetError("the client left before the upgrade")
        incoming: Any = _Incoming(transport)
        request.protocol.set_parser(incoming)
        request.protocol.keep_alive(False)
        response = web.StreamResponse(status=101, headers={"Connection": "Upgrade", "Upgrade": protocol, **headers})
        await response.prepare(request)
        return cls(request, response, incoming.reader)

    async def read(self) -> bytes:
        with contextlib.suppress(ConnectionError):
            return await self._reader.read(_READ_AHEAD)
        return b""

    async def write(self, data: bytes) -> None:
        with contextlib.suppress(*_GONE):
            await self.response.write(data)

    async def departed(self) -> None:
        await departed(self._request)

    async def close(self) -> None:
        if self._request.transport is not None:
            self._request.transport.close()


class TunnelPipe:
    """The same, of the messages of a WebSocket."""

    def __init__(self, request: web.Request, response: web.WebSocketResponse) -> None:
        self.response: web.StreamResponse = response
        self._socket = response
        self._request = request

    @classmethod
    async def accept(cls, request: web.Request, protocols: Sequence[str]) -> TunnelPipe:
        """Agree to the first of the client's sub-protocols that is among `protocols`."""
        response = web.WebSocketResponse(protocols=protocols, compress=False, timeout=FAREWELL_SECONDS)
        await response.prepare(request)
        return cls(request, response)

    async def read(self) -> bytes:
        async for message in self._socket:
            if message.type is WSMsgType.BINARY and message.data:
                return bytes(message.data)
        return b""

    async def write(self, data: bytes) -> None:
        with contextlib.suppress(*_GONE):
            await self._socket.send_bytes(data)

    async def departed(self) -> None:
        await departed(self._request)

    async def close(self) -> None:
        await self._socket.close()
