"""EDGE. Several streams over one WebSocket: the sub-protocols of Kubernetes' remote commands (KEP-4006).

Every binary message is one byte, the channel, and that channel's bytes. v5 adds to v4 that a client can end its stdin.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

from aiohttp import ClientConnectionResetError, WSMsgType, web

STDIN, STDOUT, STDERR, ERROR, RESIZE, CLOSE = 0, 1, 2, 3, 4, 255
PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io")
SETTLE_SECONDS = 0.05
"""What a client is given after the upgrade before anything is sent. kubectl up to 1.33 reads before it has made its
streams, and throws away what comes for one that is not there yet (kubernetes/kubernetes#131189)."""
FAREWELL_SECONDS = 2.0  # how long the client may take to answer the closing handshake

SUCCESS: Mapping[str, Any] = {"metadata": {}, "status": "Success"}


class NoProtocol(Exception):
    """The client does not speak any of the sub-protocols, or not WebSocket at all."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a client asked for: the program (empty for attach) and which streams it wants to have."""

    command: tuple[str, ...] = ()
    stdin: bool = False
    stdout: bool = False
    stderr: bool = False
    tty: bool = False

    @classmethod
    def of(cls, query: Any) -> Wanted:
        """From the query of a request, in which `command` repeats."""
        on = {name: query.get(name) == "1" for name in ("input", "output", "error", "tty")}
        return cls(tuple(query.getall("command", ())), on["input"], on["output"], on["error"], on["tty"])


def exit_status(code: int) -> Mapping[str, Any]:
    """How a program ended, as the error channel tells it."""
    if code == 0:
        return SUCCESS
    return {
        "metadata": {},
        "status": "Failure",
        "message": f"command terminated with non-zero exit code: exit status {code}",
        "reason": "NonZeroExitCode",
        "details": {"causes": [{"reason": "ExitCode", "message": str(code)}]},
    }


def failure_status(message: str) -> Mapping[str, Any]:
    """Why there was no program to end."""
    return {
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": "InternalError",
        "details": {"causes": [{"message": message}]},
        "code": 500,
    }


class Channels:
    """The agent's side of one connection. Sending to a client that has left is not an error: receiving tells."""

    def __init__(self, response: web.WebSocketResponse) -> None:
        self.response = response

    @classmethod
    async def accept(cls, request: web.Request) -> Channels:
        """Agree to the upgrade. Raises NoProtocol."""
        response = web.WebSocketResponse(protocols=PROTOCOLS, compress=False, timeout=FAREWELL_SECONDS)
        ready = response.can_prepare(request)
        if not ready.ok or ready.protocol is None:
            spoken = " and ".join(PROTOCOLS)
            raise NoProtocol(
                f"this is served to WebSocket clients (sub-protocols {spoken}, as kubectl 1.31 and newer speak them); "
                "an upgrade to SPDY is not"
            )
        await response.prepare(request)
        return cls(response)

    async def greet(self, wanted: Wanted) -> None:
        """An empty message, by which clients know that the streams are there, once the client has made its own."""
        await asyncio.sleep(SETTLE_SECONDS)
        await self.send(STDOUT if wanted.stdout else STDERR if wanted.stderr else ERROR, b"")

    async def send(self, channel: int, data: bytes) -> None:
        """Returns when the client takes more."""
        with contextlib.suppress(ClientConnectionResetError, ConnectionError):
            await self.response.send_bytes(bytes((channel,)) + data)

    async def received(self) -> AsyncIterator[tuple[int, bytes]]:
        """The client's messages with their channels, until it leaves."""
        async for message in self.response:
            if message.type is WSMsgType.BINARY and message.data:
                yield message.data[0], message.data[1:]

    async def finish(self, status: Mapping[str, Any]) -> None:
        """Tell how it ended, and end."""
        await self.send(ERROR, json.dumps(status).encode())
        await self.response.close()
