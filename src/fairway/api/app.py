"""The ASGI face: bodies in within bounds, answers and streams out. Knows ASGI messages, no sockets."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from contextlib import aclosing
from http import HTTPStatus
from typing import Any, Protocol

from fairway.api import status
from fairway.api.answers import Answer, Stream, Tunnel
from fairway.api.handlers import failed
from fairway.objects.codec import MAX_BYTES

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

CERTIFICATE = "fairway.certificate"
"""Where `api.http` leaves the client's verified certificate in the scope."""

PIECE = 256 * 1024
LARGE = PIECE // 2
WRITE_SECONDS = 60.0
"""How long a reader may stand still before its stream is dropped."""

_log = logging.getLogger(__name__)


class Respond(Protocol):
    """From the parts of a request to its answer."""

    async def __call__(
        self,
        method: str,
        path: str,
        query: str,
        headers: Mapping[str, str],
        body: bytes,
        certificate: Mapping[str, object] | None = None,
    ) -> Answer | Stream: ...


class Connect(Protocol):
    """From the parts of a request for an upgrade to its answer."""

    async def __call__(
        self,
        method: str,
        path: str,
        query: str,
        headers: Mapping[str, str],
        certificate: Mapping[str, object] | None = None,
    ) -> Answer | Tunnel: ...


class App:
    """ASGI 3 application for HTTP; upgraded connections, for which ASGI has no words, come by `upgrade`."""

    def __init__(self, respond: Respond, connect: Connect, write_seconds: float = WRITE_SECONDS) -> None:
        self._respond = respond
        self._connect = connect
        self._write_seconds = write_seconds
        self._closing = asyncio.Event()

    def close(self) -> None:
        """End every stream: the server stops, and clients will ask another or again."""
        self._closing.set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            return
        headers = _merged(scope["headers"])
        body = await _body(receive)
        if body is None:
            answer: Answer | Stream = failed(status.too_large(MAX_BYTES))
        else:
            answer = await self._respond(
                scope["method"],
                scope["raw_path"].decode("ascii"),
                scope["query_string"].decode("latin-1"),
                headers,
                body,
                scope.get(CERTIFICATE),
            )
        if isinstance(answer, Answer):
            await self._send_answer(answer, send, head=scope["method"] == "HEAD", whole=body is not None)
        else:
            await self._send_stream(answer, receive, send)

    async def upgrade(self, scope: Scope, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry a connection whose client asks for an upgrade to whoever serves it, until either leaves. `scope` is
        as for HTTP."""
        headers = _merged(scope["headers"])
        path, query = scope["raw_path"].decode("ascii"), scope["query_string"].decode("latin-1")
        answer = await self._connect(scope["method"], path, query, headers, scope.get(CERTIFICATE))
        try:
            if isinstance(answer, Answer):
                writer.write(_refusal(answer))
            else:
                await self._carry(answer, reader, writer)
        finally:
            writer.close()

    async def _carry(self, tunnel: Tunnel, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(tunnel.head)
        tasks = [
            asyncio.ensure_future(_copy(reader, tunnel.writer)),
            asyncio.ensure_future(_copy(tunnel.reader, writer)),
            asyncio.ensure_future(self._closing.wait()),
        ]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            tunnel.writer.close()

    async def _send_answer(self, answer: Answer, send: Send, head: bool, whole: bool) -> None:
        pieces = [answer.body] if isinstance(answer.body, bytes) else _joined(answer.body)
        headers = _headers(answer.content_type, answer.headers)
        headers.append((b"content-length", b"%d" % sum(map(len, pieces))))
        if not whole:
            # What is left of the body would be read as the next request.
            headers.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        for piece in () if head else pieces[:-1]:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"" if head else pieces[-1]})

    async def _send_stream(self, stream: Stream, receive: Receive, send: Send) -> None:
        """Chunks as they come, until they end, the client leaves, or it reads nothing for too long."""
        headers = _headers(stream.content_type, stream.headers)
        await send({"type": "http.response.start", "status": stream.status, "headers": headers})
        # The start is only written with the first body: clients wait for it before they trust the watch.
        await send({"type": "http.response.body", "body": b"", "more_body": True})
        tasks = [
            asyncio.ensure_future(_disconnected(receive)),
            asyncio.ensure_future(self._closing.wait()),
            asyncio.ensure_future(self._pump(stream, send)),
        ]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _pump(self, stream: Stream, send: Send) -> None:
        async with aclosing(stream.chunks) as chunks:
            try:
                async for chunk in chunks:
                    message = {"type": "http.response.body", "body": chunk, "more_body": True}
                    async with asyncio.timeout(self._write_seconds):
                        await send(message)
                await send({"type": "http.response.body", "body": b""})
            except TimeoutError:
                _log.warning("a client read nothing of its stream for %s seconds and was dropped", self._write_seconds)
            except OSError:
                return
            except Exception:
                _log.exception("a stream broke off")


def _merged(pairs: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Headers by name. Lines of one name are one list (RFC 9110, section 5.3); whom to impersonate may have commas in
    it, so there each line stays one."""
    headers: dict[str, str] = {}
    for raw_name, raw_value in pairs:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        if name in headers:
            value = headers[name] + ("\n" if name.startswith("impersonate-") else ", ") + value
        headers[name] = value
    return headers


async def _body(receive: Receive) -> bytes | None:
    """The whole body; None when it is larger than allowed."""
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return b"".join(parts)
        part = message.get("body", b"")
        size += len(part)
        if size > MAX_BYTES:
            return None
        parts.append(part)
        if not message.get("more_body"):
            return b"".join(parts)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Everything from one connection to another, no faster than the other takes it."""
    with contextlib.suppress(OSError):
        while data := await reader.read(PIECE):
            writer.write(data)
            await writer.drain()


def _refusal(answer: Answer) -> bytes:
    """A whole HTTP response, after which the connection ends."""
    body = answer.bytes()
    headers = [*_headers(answer.content_type, answer.headers), (b"connection", b"close")]
    lines = [b"%s: %s" % header for header in headers] + [b"content-length: %d" % len(body)]
    first = f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}".encode()
    return b"\r\n".join([first, *lines, b"", body])


def _headers(content_type: str, others: tuple[tuple[str, str], ...]) -> list[tuple[bytes, bytes]]:
    headers = []
    if content_type:  # without one the headers are somebody else's and complete
        headers = [(b"content-type", content_type.encode("latin-1")), (b"cache-control", b"no-cache, private")]
    # Texts in warnings may hold any character; header lines hold latin-1 (RFC 9110, section 5.5).
    headers += [(name.encode("latin-1"), value.encode("latin-1", "replace")) for name, value in others]
    return headers


def _joined(pieces: Any) -> list[bytes]:
    """Many small pieces as few large ones: a send costs more than a copy."""
    joined: list[bytes] = []
    current: list[bytes] = []
    size = 0
    for piece in pieces:
        if len(piece) < LARGE:
            current.append(piece)
            size += len(piece)
        if current and (size >= PIECE or len(piece) >= LARGE):
            joined.append(b"".join(current))
            current, size = [], 0
        if len(piece) >= LARGE:
            joined.append(piece)
    return [*joined, b"".join(current)] if current or not joined else joined
