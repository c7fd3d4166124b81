"""EDGE: HTTP/1.1 over asyncio streams and httptools, as little of it as an API client needs.

Connections are kept and used again; a stream (a watch) has one of its own. aiohttp would do, but its import alone
costs 13 MB and 130 ms in each of a node's processes.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncGenerator, Coroutine, Sequence
from typing import TypeVar, cast

import httptools

from fairway.client.base import Unreachable

T = TypeVar("T")

CONNECT_SECONDS = 10.0
ANSWER_SECONDS = 60.0
IDLE_SECONDS = 4.0
"""An idle connection older than this is not used again: servers close theirs after 5 s or more, and a
write that meets the close would leave its fate unknown."""
AT_ONCE = 32
"""Requests in flight per client; watches do not count."""
_CHUNK = 1 << 18

Headers = Sequence[tuple[str, str]]


class _Parsed:
    """What httptools calls back with, gathered."""

    def __init__(self) -> None:
        self.framed = False
        self.headed = False
        self.complete = False
        self.keep_alive = False
        self.chunks: list[bytes] = []
        self.parser = httptools.HttpResponseParser(self)

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() in (b"content-length", b"transfer-encoding"):
            self.framed = True

    def on_headers_complete(self) -> None:
        self.headed = True
        self.keep_alive = self.parser.should_keep_alive()  # the parser knows it here and forgets it at the end

    def on_body(self, body: bytes) -> None:
        self.chunks.append(body)

    def on_message_complete(self) -> None:
        self.complete = True


class _Connection:
    """One connection and the one exchange that goes on over it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._parsed = _Parsed()
        self.heard = False
        self.idle_since = 0.0

    def usable(self, now: float) -> bool:
        return now - self.idle_since < IDLE_SECONDS and not self._reader.at_eof() and not self._writer.is_closing()

    def close(self) -> None:
        self._writer.transport.abort()

    async def send(self, head: bytes, body: bytes) -> None:
        self._parsed = _Parsed()
        self.heard = False
        self._writer.write(head + body)
        await self._writer.drain()

    async def status(self) -> int:
        while not self._parsed.headed:
            await self._read()
        return self._parsed.parser.get_status_code()

    async def chunk(self) -> bytes:
        """The next piece of the body; b"" at its end."""
        while not self._parsed.chunks and not self._parsed.complete:
            await self._read()
        whole = b"".join(self._parsed.chunks)
        self._parsed.chunks.clear()
        return whole

    async def body(self) -> bytes:
        pieces = []
        while piece := await self.chunk():
            pieces.append(piece)
        return b"".join(pieces)

    @property
    def reusable(self) -> bool:
        return self._parsed.complete and self._parsed.framed and self._parsed.keep_alive

    async def _read(self) -> None:
        data = await self._reader.read(_CHUNK)
        if data:
            self.heard = True
            self._parsed.parser.feed_data(data)
        elif self._parsed.headed and not self._parsed.framed:
            self._parsed.complete = True  # RFC 9112 6.3: a body without a length ends with the connection
        else:
            raise ConnectionResetError("the server closed the connection")


class Connections:
    """The way to one server: `host`, `port`, TLS when `tls` is given, whose certificate is for `tls_name` or `host`.
    `name` stands in errors."""

    def __init__(self, name: str, host: str, port: int, tls: ssl.SSLContext | None, tls_name: str = "") -> None:
        self._name = name
        self._host = host
        self._port = port
        self._tls = tls
        self._tls_name = (tls_name or host) if tls else None
        self._idle: list[_Connection] = []
        self._open: set[_Connection] = set()
        self._slots = asyncio.Semaphore(AT_ONCE)

    async def request(self, method: str, target: str, headers: Headers, body: bytes = b"") -> tuple[int, bytes]:
        """One exchange: (status, body). A read that meets a connection which the server had closed is asked again.

        Raises Unreachable.
        """
        head = self._head(method, target, headers, len(body))
        async with self._slots:
            while True:
                connection, fresh = await self._connection()
                try:
                    async with asyncio.timeout(ANSWER_SECONDS):
                        await connection.send(head, body)
                        answer = await connection.status(), await connection.body()
                    self._keep(connection)
                    return answer
                except (OSError, httptools.HttpParserError) as error:
                    if fresh or connection.heard or method != "GET":
                        raise self._unreachable(error) from error
                finally:
                    if connection not in self._idle:
                        self._drop(connection)

    async def stream(
        self, target: str, headers: Headers, seconds: float | None
    ) -> AsyncGenerator[tuple[int, bytes], None]:
        """A GET whose answer is told as it comes: pairs of (status, piece), each waited for at most `seconds`; the
        first piece is empty and comes with the headers. Raises Unreachable."""
        connection = await self._connect()
        try:
            await self._timed(connection.send(self._head("GET", target, headers, 0), b""), seconds)
            status = await self._timed(connection.status(), seconds)
            yield status, b""
            while piece := await self._timed(connection.chunk(), seconds):
                yield status, piece
        finally:
            self._drop(connection)

    async def close(self) -> None:
        """End every connection, those in use too."""
        for connection in tuple(self._open):
            self._drop(connection)
        self._idle.clear()

    async def _timed(self, step: Coroutine[None, None, T], seconds: float | None) -> T:
        try:
            async with asyncio.timeout(seconds):
                return await step
        except (OSError, httptools.HttpParserError) as error:
            raise self._unreachable(error) from error

    async def _connection(self) -> tuple[_Connection, bool]:
        now = asyncio.get_running_loop().time()
        while self._idle:
            connection = self._idle.pop()
            if connection.usable(now):
                return connection, False
            self._drop(connection)
        return await self._connect(), True

    async def _connect(self) -> _Connection:
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                reader, writer = await asyncio.open_connection(
                    self._host, self._port, ssl=self._tls, server_hostname=self._tls_name, limit=_CHUNK
                )
        except OSError as error:
            raise self._unreachable(error) from error
        _notice_silence(cast("socket.socket | None", writer.get_extra_info("socket")))
        connection = _Connection(reader, writer)
        self._open.add(connection)
        return connection

    def _keep(self, connection: _Connection) -> None:
        if connection.reusable:
            connection.idle_since = asyncio.get_running_loop().time()
            self._idle.append(connection)

    def _drop(self, connection: _Connection) -> None:
        self._open.discard(connection)
        connection.close()

    def _head(self, method: str, target: str, headers: Headers, length: int) -> bytes:
        host = f"[{self._host}]" if ":" in self._host else self._host
        lines = [f"{method} {target} HTTP/1.1", f"Host: {host}:{self._port}"]
        lines += [f"{name}: {value}" for name, value in headers]
        if length or method != "GET":
            lines.append(f"Content-Length: {length}")
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")

    def _unreachable(self, error: BaseException) -> Unreachable:
        return Unreachable(f"{self._name} does not answer: {str(error) or type(error).__name__}")


def _notice_silence(sock: socket.socket | None) -> None:
    """Let the kernel find out within half a minute that the peer of an idle connection is gone without a word."""
    if sock is None:
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (("TCP_KEEPIDLE", 15), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, option):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
