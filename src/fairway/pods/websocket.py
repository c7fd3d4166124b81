"""EDGE. Remote commands over one WebSocket: the sub-protocols v4 and v5.channel.k8s.io (KEP-4006).

Every binary message is one byte, the channel, and that channel's bytes. v5 adds to v4 that a client can end its stdin.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

from fairway.pods.channels import ERROR, STDERR, STDOUT, Wanted
from fairway.pods.pipes import TunnelPipe

PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io")
SETTLE_SECONDS = 0.05
"""What a client is given after the upgrade before anything is sent. kubectl up to 1.33 reads before it has made its
streams, and throws away what comes for one that is not there yet (kubernetes/kubernetes#131189)."""


class WebSocketChannels:
    """`Channels` over a WebSocket."""

    def __init__(self, pipe: TunnelPipe) -> None:
        self._pipe = pipe

    async def greet(self, wanted: Wanted) -> bool:
        """An empty message, by which clients know that the streams are there, once the client has made its own."""
        await asyncio.sleep(SETTLE_SECONDS)
        await self.send(STDOUT if wanted.stdout else STDERR if wanted.stderr else ERROR, b"")
        return True

    async def send(self, channel: int, data: bytes) -> None:
        await self._pipe.write(bytes((channel,)) + data)

    async def received(self) -> AsyncIterator[tuple[int, bytes]]:
        while message := await self._pipe.read():
            yield message[0], message[1:]

    async def departed(self) -> None:
        await self._pipe.departed()

    async def finish(self, status: Mapping[str, Any]) -> None:
        await self.send(ERROR, json.dumps(status).encode())
        await self._pipe.close()

    async def end(self) -> None:
        """The server ends the connection when the handler does."""
