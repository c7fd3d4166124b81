"""EDGE: a client's connection after an upgrade: joined to another one, or served in what it has become."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct

from fairway.api.answers import Tunnel, Upgrade
from fairway.kernel.linux.hangup import hung_up

PIECE = 256 * 1024
PART_SECONDS = 2.0
"""How long the other side may take for what was sent before the end."""


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
    reader, writer, lost = _taken_over(transport, early)
    writer.write(tunnel.head)
    tasks: list[asyncio.Future[object]] = [
        asyncio.ensure_future(_copy(reader, tunnel.writer)),
        asyncio.ensure_future(_copy(tunnel.reader, writer)),
        # While one side takes nothing the other is not read, and its end would not be seen.
        asyncio.ensure_future(lost.wait()),
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


async def serve(upgrade: Upgrade, transport: asyncio.Transport, early: bytes) -> None:
    """Talk to a client until it has been told everything, or is gone: whatever is waited for then would be in vain."""
    reader, writer, lost = _taken_over(transport, early)
    writer.write(upgrade.head)
    talking = asyncio.ensure_future(upgrade.serve(reader, writer))
    leaving = asyncio.ensure_future(lost.wait())
    transport.resume_reading()
    try:
        await asyncio.wait([talking, leaving], return_when=asyncio.FIRST_COMPLETED)
        if talking.done():
            talking.result()
    finally:
        talking.cancel()
        leaving.cancel()
        await asyncio.gather(talking, leaving, return_exceptions=True)
        await _part(writer)


def _taken_over(
    transport: asyncio.Transport, early: bytes
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, asyncio.Event]:
    """A connection as streams, and what is set when it is lost."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(loop=loop)
    protocol = _Client(reader, loop)
    transport.set_protocol(protocol)
    protocol.connection_made(transport)
    if early:
        reader.feed_data(early)
    return reader, asyncio.StreamWriter(transport, protocol, reader, loop), protocol.lost


async def _part(writer: asyncio.StreamWriter) -> None:
    """End a connection: with a reset when the other side does not take what was sent before, since the end would wait
    behind that (and, at an agent, a program for its client)."""
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
