"""EDGE: a client's connection joined to another one, once both sides agreed to an upgrade."""

from __future__ import annotations

import asyncio
import contextlib

from fairway.api.answers import Tunnel

PIECE = 256 * 1024


async def carry(tunnel: Tunnel, transport: asyncio.Transport, early: bytes) -> None:
    """Let bytes flow both ways until either side leaves; `early` is what the client sent before it was answered."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(loop=loop)
    protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
    transport.set_protocol(protocol)
    protocol.connection_made(transport)
    if early:
        reader.feed_data(early)
    writer = asyncio.StreamWriter(transport, protocol, reader, loop)
    writer.write(tunnel.head)
    tasks = [asyncio.ensure_future(_copy(reader, tunnel.writer)), asyncio.ensure_future(_copy(tunnel.reader, writer))]
    transport.resume_reading()
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        tunnel.writer.close()
        writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Everything from one connection to another, no faster than the other takes it."""
    with contextlib.suppress(OSError):
        while data := await reader.read(PIECE):
            writer.write(data)
            await writer.drain()
