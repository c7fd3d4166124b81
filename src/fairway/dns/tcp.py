"""EDGE. TCP: queries one after another on a connection (RFC 7766), with deadlines and bounds for those who linger."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from dataclasses import dataclass

from fairway.dns.sockets import bind


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
    """Answers queries on connections to one address: `answer` gets a query and gives the reply, or None, which ends
    the connection. `port` is the one that was bound."""

    def __init__(self, address: str, port: int, answer: Callable[[bytes], bytes | None], limits: Limits) -> None:
        self._answer = answer
        self._limits = limits
        self._socket = bind(address, port, socket.SOCK_STREAM)
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
            async with asyncio.timeout(self._limits.total):
                while await self._exchange(reader, writer):
                    pass
            writer.close()
        except (OSError, EOFError, TimeoutError):
            pass
        finally:
            if not writer.is_closing():
                writer.transport.abort()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One query and its reply; False when there is no reply."""
        async with asyncio.timeout(self._limits.idle):
            first = await reader.readexactly(1)
        async with asyncio.timeout(self._limits.message):
            length = first + await reader.readexactly(1)
            query = await reader.readexactly(int.from_bytes(length, "big"))
        reply = self._answer(query)
        if reply is None:
            return False
        writer.write(len(reply).to_bytes(2, "big") + reply)
        async with asyncio.timeout(self._limits.message):
            await writer.drain()
        return True
