"""Upgraded connections: a WebSocket's messages as bytes, and how either side parts."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from fairway.pods.messages import BINARY, CLOSE, PING, PONG, TEXT, closing, frame
from fairway.pods.pipes import TunnelPipe, offered, upgrade_of
from tests.unit.pods.test_messages import spoken


class Line:
    """A client that says what it is to say, and then waits or leaves."""

    def __init__(self, *says: bytes, leaves: bool = True) -> None:
        self._says = [*says, *([b""] if leaves else [])]
        self.heard = b""
        self.closed = False

    async def read(self) -> bytes:
        if self._says:
            return self._says.pop(0)
        await asyncio.Event().wait()
        raise AssertionError

    async def write(self, data: bytes) -> None:
        self.heard += data

    async def departed(self) -> None: ...

    async def close(self) -> None:
        self.closed = True


def played(line: Line, story: Callable[[TunnelPipe], Awaitable[None]]) -> bytes:
    async def play() -> None:
        await story(TunnelPipe(line))

    asyncio.run(play())
    return line.heard


def test_binary_messages_are_bytes_and_pings_are_answered() -> None:
    async def story(pipe: TunnelPipe) -> None:
        assert await pipe.read() == b"one"
        await pipe.write(b"two")
        assert await pipe.read() == b""

    line = Line(spoken(PING, b"?") + spoken(TEXT, b"not this") + spoken(BINARY, b"") + spoken(BINARY, b"one"))
    assert played(line, story) == frame(PONG, b"?") + frame(BINARY, b"two")


def test_a_client_that_closes_is_answered_once_and_hears_no_more() -> None:
    async def story(pipe: TunnelPipe) -> None:
        assert await pipe.read() == b""
        await pipe.write(b"too late")
        await pipe.close()

    line = Line(spoken(CLOSE, closing(1001)) + spoken(BINARY, b"after the end"), leaves=False)
    assert played(line, story) == frame(CLOSE, closing(1001)) and line.closed


def test_parting_waits_for_the_clients_word() -> None:
    async def story(pipe: TunnelPipe) -> None:
        await pipe.close()

    line = Line(spoken(BINARY, b"for nobody"), spoken(CLOSE, closing(1000)), leaves=False)
    assert played(line, story) == frame(CLOSE, closing(1000)) and line.closed


def test_what_a_client_asks_to_become() -> None:
    assert upgrade_of({"connection": "keep-alive, Upgrade", "upgrade": "WebSocket"}) == "websocket"
    assert upgrade_of({"connection": "keep-alive", "upgrade": "websocket"}) == upgrade_of({}) == ""
    assert offered({"x": "a, b,,c"}, "x") == ["a", "b", "c"]
