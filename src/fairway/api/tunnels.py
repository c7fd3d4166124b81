"""EDGE: a client's connection joined to another one, once both sides agreed to an upgrade."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct

from fairway.api.answers import Tunnel
from fairway.kernel.linux.hangup import hung_up

PIECE = 256 * 1024
PART_SECONDS = 2.0
"""How long the node's agent may take for what a client that has left sent before."""


class _Client(asyncio.StreamReaderProtocol):
    """A client's end of a tunnel; `lost` is set when its connection is."""

    def __init__(self, reader: asyncio.StreamReader, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(reader, loop=loop)
        self.lost = asyncio.Event()

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set()
        super().connection_lost(exc)


async def carry(tunnel: Tunnel, transport: asyncio.Transport, early: bytes) -> None:
    """Let bytes flow both ways until either side leaves; `early` is what the client sent before it was answered."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(loop=loop)
    protocol = _Client(reader, loop)
    transport.set_protocol(protocol)
    protocol.connection_made(transport)
    if early:
        reader.feed_data(early)
    writer = asyncio.StreamWriter(transport, protocol, reader, loop)
    writer.write(tunnel.head)
    tasks: list[asyncio.Future[object]] = [
        asyncio.ensure_future(_copy(reader, tunnel.writer)),
        asyncio.ensure_future(_copy(tunnel.reader, writer)),
        # While one side takes nothing the other is not read, and its end would not be seen.
        asyncio.ensure_future(protocol.lost.wait()),
        asyncio.ensure_future(hung_up(transport.get_extra_info("socket").fileno())),
    ]
    transport.resume_reading()
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        writer.close()
        await _part(tunnel.writer)


async def _part(writer: asyncio.StreamWriter) -> None:
    """End the connection to the agent: with a reset when it does not take what was sent before, since the end would
    wait behind that, and a program for its client."""
    handle = writer.get_extra_info("socket")
    writer.close()
    try:
        async with asyncio.timeout(PART_SECONDS):
            await writer.wait_closed()
    except OSError:  # broken already, or (TimeoutError) not done
        if handle.fileno() >= 0:
            _reset_at_end(handle.fileno())
        writer.transport.abort()


def _reset_at_end(descriptor: int) -> None:
    """Whatever a connection still holds is dropped when it is closed (SO_LINGER, socket(7))."""
    with socket.socket(fileno=os.dup(descriptor)) as handle:
        handle.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Everything from one connection to another, no faster than the other takes it."""
    with contextlib.suppress(OSError):
        while data := await reader.read(PIECE):
            writer.write(data)
            await writer.drain()
