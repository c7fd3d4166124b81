"""EDGE. Port-forward in the channels of a plain WebSocket, as clients in Python speak it.

The ports are in the query. Each has two channels, 2i for its bytes and 2i+1 for what goes wrong, and is one connection,
made at once. The first message on each channel is the port, in two bytes, the lower first. There is no half-close.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Sequence

from fairway.pods.forward import Dial, carry
from fairway.pods.pipes import TunnelPipe

PROTOCOL = "v4.channel.k8s.io"
MAX_PORTS = 100
_AHEAD = 16  # messages that are kept for a connection; with more all wait


def ports_of(values: Sequence[str]) -> list[int]:
    """The ports in a query: several values, each perhaps several with commas between. Raises ValueError."""
    words = [word for value in values for word in value.split(",")]
    ports = [int(word) for word in words if word.isascii() and word.isdigit() and len(word) <= 5]
    if len(ports) < len(words) or not all(0 < port < 65536 for port in ports) or not 0 < len(ports) <= MAX_PORTS:
        raise ValueError(f"ports: {', '.join(values) or 'none'}: 1 to {MAX_PORTS} numbers from 1 to 65535 are needed")
    return ports


class ChannelLane:
    """A lane of two channels."""

    def __init__(self, pipe: TunnelPipe, index: int) -> None:
        self._pipe = pipe
        self._channel = 2 * index
        self._ahead: asyncio.Queue[bytes] = asyncio.Queue(_AHEAD)
        self._discarding = False

    @property
    def gone(self) -> bool:
        """There is no giving up but by leaving, which ends all lanes."""
        return False

    async def broken(self) -> None:
        await asyncio.Event().wait()

    async def read(self) -> bytes:
        return await self._ahead.get()

    async def take_in(self, data: bytes) -> None:
        """The client sent something; returns when it may send more."""
        if data and not self._discarding:
            await self._ahead.put(data)

    async def write(self, data: bytes) -> None:
        await self._pipe.write(bytes((self._channel,)) + data)

    async def finish(self) -> None:
        """There is no way to say it."""

    def discard(self) -> None:
        self._discarding = True
        while not self._ahead.empty():
            self._ahead.get_nowait()

    async def tell(self, reason: str) -> None:
        if reason:
            await self._pipe.write(bytes((self._channel + 1,)) + reason.encode())

    async def begin(self, port: int) -> None:
        """The first messages of both channels."""
        for channel in (self._channel, self._channel + 1):
            await self._pipe.write(bytes((channel,)) + struct.pack("<H", port))


async def serve(pipe: TunnelPipe, ports: Sequence[int], dial: Dial) -> None:
    """Serve a client until it leaves, or all its connections have ended."""
    lanes = [ChannelLane(pipe, index) for index in range(len(ports))]
    for lane, port in zip(lanes, ports, strict=True):
        await lane.begin(port)
    carrying = asyncio.gather(*(carry(lane, port, dial) for lane, port in zip(lanes, ports, strict=True)))
    ways: list[asyncio.Future[object]] = [
        asyncio.ensure_future(_hear(pipe, lanes)),
        asyncio.ensure_future(pipe.departed()),
        asyncio.ensure_future(carrying),
    ]
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
        await pipe.close()


async def _hear(pipe: TunnelPipe, lanes: Sequence[ChannelLane]) -> None:
    while message := await pipe.read():
        index, errors = divmod(message[0], 2)
        if not errors and index < len(lanes):
            await lanes[index].take_in(message[1:])
