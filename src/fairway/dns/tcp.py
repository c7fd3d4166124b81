"""EDGE. TCP: queries one after another on a connection (RFC 7766), with deadlines and bounds for those who linger.

Replies go out as they are made: one that has to be had from elsewhere does not hold up the next (section 6.2.1.1).
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Self

from fairway.dns import wire
from fairway.dns.answers import Answers
from fairway.dns.guard import Guard
from fairway.dns.sockets import bind
from fairway.dns.udp import Elsewhere
from fairway.dns.wire import Referral

PIPELINE = 64
"""Replies that one connection may have outstanding elsewhere; more queries are read when some have come."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds a connection may be idle between queries, take for one query or reply, and live in all; and how many
    connections there may be at once."""

    idle: float = 10.0
    message: float = 5.0
    total: float = 120.0
    connections: int = 512


DEFAULT_LIMITS = Limits()


class TcpListener:
    """Answers queries on connections to one address; a query that deserves no reply ends its connection. `guard` may
    hold queries back; `elsewhere` answers what is none of ours. `port` is the one that was bound."""

    def __init__(
        self,
        address: str,
        port: int,
        answers: Answers,
        limits: Limits,
        *,
        guard: Guard | None = None,
        elsewhere: Elsewhere | None = None,
        shared: bool = False,
    ) -> None:
        self._answers = answers
        self._limits = limits
        self._guard = guard
        self._elsewhere = elsewhere
        self._socket = bind(address, port, socket.SOCK_STREAM, shared=shared)
        self._connections: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.port: int = self._socket.getsockname()[1]

    async def start(self) -> None:
        """Accept connections from now on, in the running loop."""
        self._server = await asyncio.start_server(self._accept, sock=self._socket)

    async def close(self) -> None:
        """Accept no more, cut what is open, give the address back."""
        if self._server is not None:
            self._server.close()
        self._socket.close()
        open_now = tuple(self._connections)
        for task in open_now:
            task.cancel()
        await asyncio.gather(*open_now, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._connections) >= self._limits.connections:
            writer.transport.abort()
            return
        task = asyncio.create_task(self._serve(reader, writer))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection until its client leaves, sends what deserves no reply, or a deadline passes."""
        try:
            async with asyncio.timeout(self._limits.total), _Pipeline(writer) as pipeline:
                while await self._exchange(reader, writer, pipeline):
                    pass
            writer.close()
        except (OSError, EOFError, TimeoutError):
            pass
        finally:
            if not writer.is_closing():
                writer.transport.abort()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, pipeline: _Pipeline) -> bool:
        """One query and its reply; False when there is no reply."""
        query = await self._query(reader)
        client = writer.get_extra_info("peername")[0]
        if self._guard is not None and not self._guard.admits(query, client, udp=False):
            return False
        self._answers.settle()
        reply = self._answers.answer(query)
        if isinstance(reply, Referral):
            await pipeline.wait_for(self._referred(reply, client))
        elif reply is None:
            return False
        else:
            _write(writer, self._finished(query, reply, client))
        async with asyncio.timeout(self._limits.message):
            await writer.drain()
        return True

    async def _referred(self, referral: Referral, client: str) -> bytes:
        failed = wire.failure(referral.message)
        reply = failed if self._elsewhere is None else await self._elsewhere(referral, client)
        return self._finished(referral.message, reply, client)

    def _finished(self, query: bytes, reply: bytes, client: str) -> bytes:
        return reply if self._guard is None else self._guard.finish(query, reply, client, udp=False)

    async def _query(self, reader: asyncio.StreamReader) -> bytes:
        async with asyncio.timeout(self._limits.idle):
            first = await reader.readexactly(1)
        async with asyncio.timeout(self._limits.message):
            length = first + await reader.readexactly(1)
            return await reader.readexactly(int.from_bytes(length, "big"))


class _Pipeline:
    """The replies that a connection waits for from elsewhere; they end with it."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self._waiting: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._waiting:
            task.cancel()
        await asyncio.gather(*self._waiting, return_exceptions=True)

    async def wait_for(self, coming: Awaitable[bytes]) -> None:
        """Send a reply when it has come. Waits as long as there are too many of them."""
        while len(self._waiting) >= PIPELINE:
            await asyncio.wait(self._waiting, return_when=asyncio.FIRST_COMPLETED)
        task = asyncio.ensure_future(self._relay(coming))
        self._waiting.add(task)
        task.add_done_callback(self._waiting.discard)

    async def _relay(self, coming: Awaitable[bytes]) -> None:
        _write(self._writer, await coming)


def _write(writer: asyncio.StreamWriter, reply: bytes) -> None:
    writer.write(len(reply).to_bytes(2, "big") + reply)
