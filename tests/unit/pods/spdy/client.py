"""A SPDY client without a network: what it says the agent reads, what the agent writes it hears."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from fairway.pods.spdy.frames import Data, Decoder, Encoder, Frame


class Client:
    """Both a client and the pipe to it."""

    def __init__(self) -> None:
        self.heard: list[Frame] = []
        self._encoder, self._decoder = Encoder(), Decoder()
        self._said: asyncio.Queue[bytes] = asyncio.Queue()
        self._news = asyncio.Event()
        self.gone = asyncio.Event()
        self.closed = False

    def says(self, *frames: Frame) -> None:
        self._said.put_nowait(b"".join(self._encoder.encode(frame) for frame in frames))

    def leaves(self) -> None:
        self._said.put_nowait(b"")

    async def hears(self, holds: Callable[[list[Frame]], bool]) -> None:
        async with asyncio.timeout(10):
            while not holds(self.heard):
                self._news.clear()
                await self._news.wait()

    def data(self, stream: int) -> bytes:
        return b"".join(frame.data for frame in self.heard if isinstance(frame, Data) and frame.stream == stream)

    def ended(self, stream: int) -> bool:
        return Data(stream, b"", fin=True) in self.heard

    # - the pipe

    async def read(self) -> bytes:
        return await self._said.get()

    async def write(self, data: bytes) -> None:
        self.heard += self._decoder.feed(data)
        self._news.set()

    async def departed(self) -> None:
        await self.gone.wait()

    async def close(self) -> None:
        self.closed = True
        self.leaves()
