"""What handlers give back: a finished answer, or a stream that goes on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec

JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer. `body` is bytes, or pieces that are sent one after the other."""

    status: int
    body: bytes | Sequence[bytes]
    content_type: str = JSON
    headers: tuple[tuple[str, str], ...] = ()

    def bytes(self) -> bytes:
        """The body in one piece."""
        return self.body if isinstance(self.body, bytes) else b"".join(self.body)


@dataclass(frozen=True, slots=True)
class Stream:
    """An answer without a known end. Whoever takes it closes `chunks`."""

    chunks: AsyncGenerator[bytes, None]
    content_type: str = JSON
    status: int = 200
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Tunnel:
    """An answer that is a connection: `head` is how its other end agreed to the upgrade; what is read and written then
    belongs to the client. Whoever takes it closes `writer`."""

    head: bytes
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


@dataclass(frozen=True, slots=True)
class Upgrade:
    """An answer that makes the connection something else: `head` agrees to that, and `serve` is who talks on it then,
    until it returns or the client is gone."""

    head: bytes
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def json_answer(value: Any, status: int = 200, headers: tuple[tuple[str, str], ...] = ()) -> Answer:
    """A value as JSON."""
    return Answer(status, msgspec.json.encode(value), JSON, headers)


def indented(answer: Answer) -> Answer:
    """The answer as people read it, if it is JSON."""
    return replace(answer, body=msgspec.json.format(answer.bytes())) if answer.content_type == JSON else answer
