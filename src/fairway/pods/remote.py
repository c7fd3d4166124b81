"""EDGE. Remote commands over SPDY: a stream for each channel, named by its header `streamtype`.

Of the protocols v3 adds the size of a terminal to v2, and v4 an end that is a Status. The first has no name of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

from fairway.pods.channels import CLOSE, ERROR, RESIZE, STDERR, STDIN, STDOUT, Wanted
from fairway.pods.multiplex import Session, Stream
from fairway.pods.pipes import Pipe

PROTOCOLS = ("v4.channel.k8s.io", "v3.channel.k8s.io", "v2.channel.k8s.io", "channel.k8s.io")
STREAMS_SECONDS = 30.0  # how long a client may take to make its streams, as kubelets grant
SIZE_BYTES = 1024  # a longer size of a terminal is none
_RESIZES, _TELLS_STATUS = PROTOCOLS[:2], PROTOCOLS[:1]
_CHANNELS = {"stdin": STDIN, "stdout": STDOUT, "stderr": STDERR, "error": ERROR, "resize": RESIZE}


def expected(wanted: Wanted, protocol: str) -> set[int]:
    """The channels a client makes streams for."""
    asked = {STDIN: wanted.stdin, STDOUT: wanted.stdout, STDERR: wanted.stderr}
    resize = {RESIZE} if wanted.tty and protocol in _RESIZES else set()
    return {ERROR} | resize | {channel for channel, wish in asked.items() if wish}


class SpdyChannels:
    """`Channels` over SPDY."""

    def __init__(self, pipe: Pipe, protocol: str) -> None:
        self._protocol = protocol
        self._session = Session(pipe)
        self._running = asyncio.ensure_future(self._session.run())
        self._streams: dict[int, Stream] = {}

    async def greet(self, wanted: Wanted) -> bool:
        awaited = expected(wanted, self._protocol)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STREAMS_SECONDS):
                while awaited - self._streams.keys() and (stream := await self._session.accept()):
                    channel = _CHANNELS.get(stream.headers.get("streamtype", ""))
                    if channel in awaited and channel not in self._streams:
                        self._streams[channel] = stream
                    else:
                        await stream.reset()
        return awaited <= self._streams.keys()

    async def send(self, channel: int, data: bytes) -> None:
        if channel in self._streams:
            with contextlib.suppress(ConnectionResetError):
                await self._streams[channel].write(data)

    async def received(self) -> AsyncIterator[tuple[int, bytes]]:
        messages: asyncio.Queue[tuple[int, bytes] | None] = asyncio.Queue(1)
        tasks = [asyncio.ensure_future(self._leave(messages))]
        for channel, read in ((STDIN, self._input), (RESIZE, self._sizes)):
            if channel in self._streams:
                tasks.append(asyncio.ensure_future(read(self._streams[channel], messages)))
        try:
            while (message := await messages.get()) is not None:
                yield message
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _leave(self, messages: asyncio.Queue[tuple[int, bytes] | None]) -> None:
        await self._session.departed()
        await messages.put(None)

    async def _input(self, stream: Stream, messages: asyncio.Queue[tuple[int, bytes] | None]) -> None:
        with contextlib.suppress(ConnectionResetError):
            while data := await stream.read():
                await messages.put((STDIN, data))
        await messages.put((CLOSE, bytes((STDIN,))))

    async def _sizes(self, stream: Stream, messages: asyncio.Queue[tuple[int, bytes] | None]) -> None:
        """Sizes are JSON documents, a line each, however the stream is cut."""
        pending = b""
        with contextlib.suppress(ConnectionResetError):
            while data := await stream.read():
                *lines, pending = (pending + data).split(b"\n")
                for line in lines:
                    await messages.put((RESIZE, line))
                pending = pending[:SIZE_BYTES]

    async def departed(self) -> None:
        await self._session.departed()

    async def finish(self, status: Mapping[str, Any]) -> None:
        if self._protocol in _TELLS_STATUS:
            await self.send(ERROR, json.dumps(status).encode())
        elif status["status"] != "Success":
            await self.send(ERROR, status["message"].encode())
        for stream in self._streams.values():
            await stream.finish()
        await self._session.farewell()

    async def end(self) -> None:
        self._running.cancel()
        await asyncio.gather(self._running, return_exceptions=True)
