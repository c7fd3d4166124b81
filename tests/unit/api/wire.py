"""A connection without a network: what a client sends, and what it gets, as bytes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from itertools import pairwise
from typing import Any

from fairway.api.answers import Answer, Stream, Tunnel, json_answer
from fairway.api.app import App
from fairway.api.protocol import Connection


class Line(asyncio.Transport):
    """A transport that keeps what is written, and can be slow."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = bytearray()
        self.closed = False
        self.reading = True
        self.protocol: asyncio.Protocol | None = None

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return {"subject": "whoever"} if name == "peercert" else default

    def write(self, data: bytes) -> None:  # type: ignore[override]
        assert not self.closed, data
        self.sent += data

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            assert self.protocol
            asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)

    abort = close

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True


async def echo(
    method: str,
    path: str,
    query: str,
    headers: Mapping[str, str],
    body: bytes,
    certificate: Mapping[str, object] | None = None,
) -> Answer | Stream:
    """Says what it was asked; waits a little when asked for /slow, so that others catch up with it."""
    if path == "/slow":
        for _ in range(20):
            await asyncio.sleep(0)
    return json_answer([method, path, query, body.decode("latin-1"), dict(headers)])


async def no_upgrades(*_: Any) -> Answer | Tunnel:
    """For applications without doors."""
    raise AssertionError("nobody asked for an upgrade")


def app(respond: Any = echo, connect: Any = no_upgrades, write_seconds: float = 60.0) -> App:
    return App(respond, connect, write_seconds)


class Talk:
    """One connection of an application; `say` gives it bytes and lets it work."""

    def __init__(self, served: App) -> None:
        self.line = Line()
        self.everyone: set[Connection] = set()
        self.connection = Connection(served, self.everyone, asyncio.get_running_loop())
        self.line.protocol = self.connection
        self.connection.connection_made(self.line)

    async def say(self, *parts: bytes) -> bytes:
        """What comes back for these reads, until the connection has nothing to do."""
        before = len(self.line.sent)
        for part in parts:
            if not self.line.closed:
                self.connection.data_received(part)
            await asyncio.sleep(0)
        await self.settle()
        return without_dates(bytes(self.line.sent[before:]))

    async def settle(self) -> None:
        while (task := self.connection.task) and not task.done():
            await asyncio.wait([task], timeout=0.01)


def talk(*parts: bytes, served: Callable[[], App] = app) -> tuple[bytes, bool]:
    """What a connection answers to these reads, without dates, and whether it was then closed."""

    async def story() -> tuple[bytes, bool]:
        one = Talk(served())
        answer = await one.say(*parts)
        return answer, one.line.closed or not answered_on(answer)

    return asyncio.run(story())


def answered_on(answer: bytes) -> bool:
    """Whether the last answer leaves the connection open."""
    return b"connection: close" not in answer


def without_dates(text: bytes) -> bytes:
    return b"\r\n".join(line for line in text.split(b"\r\n") if not line.startswith(b"date: "))


def codes(answer: bytes) -> list[int]:
    """The statuses of the answers in a row of them."""
    return [int(rest[1:4]) for rest in answer.split(b"HTTP/1.1")[1:]]


def split(data: bytes, places: Iterable[int]) -> list[bytes]:
    """The data in pieces, cut at these places."""
    cuts = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[a:b] for a, b in pairwise(cuts) if a < b]
