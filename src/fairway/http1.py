"""EDGE: HTTP/1.1 as a client speaks it, over asyncio streams and httptools: a connection, one exchange at a time.

Servers are not believed: heads are bounded, and what is no HTTP is an error like any other of a connection.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncGenerator, Iterable, Sequence
from typing import Any, cast

import httptools

from fairway.packet import host_port

CONNECT_SECONDS = 10.0
HEAD_BYTES = 256 * 1024
"""What a status line and its headers may hold."""
PIECE = 1 << 18
_LENGTHLESS = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})

Headers = Sequence[tuple[str, str]]


class Garbled(ConnectionError):
    """What the server says is no HTTP/1.1."""


def request_head(method: str, target: str, host: str, headers: Iterable[tuple[str, str]], length: int) -> bytes:
    """A request's head. `host` is the value of the line Host; lengths of nothing are told where a body is usual
    (RFC 9110, section 8.6)."""
    lines = [f"{method} {target} HTTP/1.1", f"Host: {host}", *(f"{name}: {value}" for name, value in headers)]
    if length or method not in _LENGTHLESS:
        lines.append(f"Content-Length: {length}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


class _Parsed:
    """What httptools calls back with, gathered. Interim answers (RFC 9110, section 15.2) are passed over."""

    def __init__(self, bodyless: bool) -> None:
        self.bodyless = bodyless
        self.framed = self.headed = self.complete = self.keep_alive = False
        self.reason = b""
        self.headers: list[tuple[str, str]] = []
        self.chunks: list[bytes] = []
        self.parser = httptools.HttpResponseParser(self)

    def on_message_begin(self) -> None:
        self.framed, self.reason, self.headers = False, b"", []

    def on_status(self, reason: bytes) -> None:
        self.reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.headed:
            return  # a trailer
        lower = name.lower().decode("latin-1")
        if lower in ("content-length", "transfer-encoding"):
            self.framed = True
        self.headers.append((lower, value.decode("latin-1")))

    def on_headers_complete(self) -> None:
        self.headed = self.parser.get_status_code() >= 200
        self.keep_alive = self.parser.should_keep_alive()  # the parser knows it here and forgets it at the end

    def on_body(self, body: bytes) -> None:
        self.chunks.append(body)

    def on_message_complete(self) -> None:
        self.complete = self.headed


class Connection:
    """One connection and the one exchange that goes on over it. Raises OSError when it breaks."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._parsed = _Parsed(False)
        self._head = 0
        self.heard = False

    @classmethod
    async def open(
        cls, host: str, port: int, tls: ssl.SSLContext | None, tls_name: str | None = None, seconds: float | None = None
    ) -> Connection:
        """Connect within `seconds`. With `tls` the certificate must be for `tls_name` or `host`, as the context has
        it."""
        name = (tls_name or host) if tls else None
        async with asyncio.timeout(CONNECT_SECONDS if seconds is None else seconds):
            reader, writer = await asyncio.open_connection(host, port, ssl=tls, server_hostname=name, limit=PIECE)
        _notice_silence(cast("socket.socket | None", writer.get_extra_info("socket")))
        return cls(reader, writer)

    @property
    def alive(self) -> bool:
        """Whether neither side has closed it, as far as is known."""
        return not self._reader.at_eof() and not self._writer.is_closing()

    @property
    def reusable(self) -> bool:
        """Whether the exchange is over and another may follow."""
        return self._parsed.complete and self._parsed.framed and self._parsed.keep_alive

    @property
    def headers(self) -> Headers:
        """Of the answer, once its status is known; names in lower case."""
        return self._parsed.headers

    @property
    def reason(self) -> str:
        """The phrase behind the status."""
        return self._parsed.reason.decode("latin-1")

    def close(self) -> None:
        """At once."""
        self._writer.transport.abort()

    async def send(self, head: bytes, body: bytes, *, bodyless: bool = False) -> None:
        """Begin an exchange; the answer to a `bodyless` one (HEAD) has no body, whatever its headers say."""
        self._parsed = _Parsed(bodyless)
        self._head, self.heard = 0, False
        self._writer.write(head + body)
        await self._writer.drain()

    async def status(self) -> int:
        """The final answer's status, once its headers are there."""
        while not self._parsed.headed:
            await self._read()
        return self._parsed.parser.get_status_code()

    async def chunk(self) -> bytes:
        """The next piece of the body; b"" at its end."""
        parsed = self._parsed
        while not parsed.chunks and not parsed.complete and not parsed.bodyless:
            await self._read()
        whole = b"".join(parsed.chunks)
        parsed.chunks.clear()
        return whole

    async def body(self, limit: int | None = None) -> bytes:
        """The whole body, or its first `limit` bytes and what came with them."""
        pieces, size = [], 0
        while (limit is None or size < limit) and (piece := await self.chunk()):
            pieces.append(piece)
            size += len(piece)
        return b"".join(pieces)

    def rest(self) -> AsyncGenerator[bytes, None]:
        """The body as it comes; whoever stops reading, or closes it unread, ends the connection."""
        return _Rest(self)

    async def _read(self) -> None:
        parsed = self._parsed
        data = await self._reader.read(PIECE)
        if data:
            self.heard = True
            try:
                parsed.parser.feed_data(data)
            except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
                raise Garbled(f"this is no HTTP/1.1: {error}") from error
            self._head += len(data)
            if not parsed.headed and self._head > HEAD_BYTES:
                raise Garbled(f"headers of more than {HEAD_BYTES} bytes")
        elif parsed.headed and not parsed.framed:
            parsed.complete = True  # RFC 9112 6.3: a body without a length ends with the connection
        else:
            raise ConnectionResetError("the server closed the connection")


class _Rest(AsyncGenerator[bytes, None]):
    """What is left of an answer. A generator that nobody began to read would not hear that it is closed."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def asend(self, value: None) -> bytes:
        piece = b""
        try:
            piece = await self._connection.chunk()
        finally:
            if not piece:
                self._connection.close()
        if not piece:
            raise StopAsyncIteration
        return piece

    async def athrow(self, typ: Any, val: Any = None, tb: object = None) -> bytes:
        self._connection.close()
        raise typ if val is None else val


def authority(address: str, port: int, scheme: str) -> str:
    """The value of the line Host, without the port where it is the scheme's own (RFC 9110, section 7.2)."""
    usual = {"http": 80, "https": 443}[scheme]
    return host_port(address, port) if port != usual else f"[{address}]" if ":" in address else address


def _notice_silence(sock: socket.socket | None) -> None:
    """Let the kernel find out within half a minute that the peer of an idle connection is gone without a word."""
    if sock is None:
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (("TCP_KEEPIDLE", 15), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, option):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
