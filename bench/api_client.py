"""A small HTTP/1.1 client for `bench/api.py`: one connection per object, as little work per answer as possible."""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import Iterator
from typing import Any

CREATED = b"HTTP/1.1 201"


def request(method: str, path: str, body: bytes = b"") -> bytes:
    """A request as it travels."""
    head = f"{method} {path} HTTP/1.1\r\nHost: b\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


class Connection(asyncio.Protocol):
    """One keep-alive connection: answers by content-length, or the chunks of a stream."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._need = 0
        self._answer: asyncio.Future[bytes] | None = None
        self._mark = b""
        self._seen: asyncio.Future[float] | None = None
        self._requests: Iterator[bytes] = iter(())

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        if self._seen:
            if self._mark in data and not self._seen.done():
                self._seen.set_result(time.perf_counter())
            return
        self._buffer += data
        if not self._need:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            head = bytes(self._buffer[:end]).lower()
            at = head.find(b"content-length: ")
            if at < 0:
                self._finish()
                return
            self._need = end + 4 + int(head[at + 16 :].split(b"\r", 1)[0])
        if len(self._buffer) >= self._need:
            self._finish()

    def _finish(self) -> None:
        answer, self._buffer, self._need = bytes(self._buffer), bytearray(), 0
        if answer.startswith(CREATED) and (request := next(self._requests, None)):
            assert self._transport
            self._transport.write(request)
        elif self._answer and not self._answer.done():
            self._answer.set_result(answer)

    async def create(self, requests: Iterator[bytes]) -> None:
        """Send requests from a common stock, each when the one before it was answered with 201, until there are none.
        No task and no future for each of them: what the client spends is missing at the server."""
        assert self._transport
        if first := next(requests, None):
            self._requests, self._answer = requests, asyncio.get_running_loop().create_future()
            self._transport.write(first)
            answer = await self._answer
            self._requests = iter(())
            assert answer.startswith(CREATED), answer

    async def ask(self, method: str, path: str, body: bytes = b"") -> bytes:
        """Head and body of the answer."""
        assert self._transport
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request(method, path, body))
        return await self._answer

    async def read(self, path: str) -> Any:
        """The decoded body of a GET."""
        return json.loads((await self.ask("GET", path)).partition(b"\r\n\r\n")[2])

    def expect(self, mark: bytes) -> asyncio.Future[float]:
        """From now on the connection is a stream; the future is the time at which `mark` arrives in it."""
        self._mark, self._seen = mark, asyncio.get_running_loop().create_future()
        return self._seen

    def close(self) -> None:
        if self._transport:
            self._transport.close()


async def connect(port: int, tls: ssl.SSLContext) -> Connection:
    """A connection to the server under measurement."""
    _, protocol = await asyncio.get_running_loop().create_connection(Connection, "127.0.0.1", port, ssl=tls)
    return protocol
