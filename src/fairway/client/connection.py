"""EDGE: the connections to one API server: kept and used again; a stream (a watch) has one of its own."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator, Coroutine
from typing import TypeVar

from fairway.client.base import Unreachable
from fairway.http1 import Connection, Headers, request_head
from fairway.packet import host_port

T = TypeVar("T")

ANSWER_SECONDS = 60.0
IDLE_SECONDS = 4.0
"""An idle connection older than this is not used again: servers close theirs after 5 s or more, and a
write that meets the close would leave its fate unknown."""
AT_ONCE = 32
"""Requests in flight per client; watches do not count."""


class Connections:
    """The way to one server: `host`, `port`, TLS when `tls` is given, whose certificate is for `tls_name` or `host`.
    `name` stands in errors."""

    def __init__(self, name: str, host: str, port: int, tls: ssl.SSLContext | None, tls_name: str = "") -> None:
        self._name = name
        self._host = host
        self._port = port
        self._tls = tls
        self._tls_name = tls_name
        self._idle: list[tuple[Connection, float]] = []
        self._open: set[Connection] = set()
        self._slots = asyncio.Semaphore(AT_ONCE)

    async def request(self, method: str, target: str, headers: Headers, body: bytes = b"") -> tuple[int, bytes]:
        """One exchange: (status, body). A read that meets a connection which the server had closed is asked again.

        Raises Unreachable.
        """
        head = self._head(method, target, headers, len(body))
        async with self._slots:
            while True:
                connection, fresh = await self._connection()
                kept = False
                try:
                    async with asyncio.timeout(ANSWER_SECONDS):
                        await connection.send(head, body)
                        answer = await connection.status(), await connection.body()
                    kept = self._keep(connection)
                    return answer
                except OSError as error:
                    if fresh or connection.heard or method != "GET":
                        raise self._unreachable(error) from error
                finally:
                    if not kept:
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
        except OSError as error:
            raise self._unreachable(error) from error

    async def _connection(self) -> tuple[Connection, bool]:
        now = asyncio.get_running_loop().time()
        while self._idle:
            connection, since = self._idle.pop()
            if now - since < IDLE_SECONDS and connection.alive:
                return connection, False
            self._drop(connection)
        return await self._connect(), True

    async def _connect(self) -> Connection:
        try:
            connection = await Connection.open(self._host, self._port, self._tls, self._tls_name)
        except OSError as error:
            raise self._unreachable(error) from error
        self._open.add(connection)
        return connection

    def _keep(self, connection: Connection) -> bool:
        if connection.reusable:
            self._idle.append((connection, asyncio.get_running_loop().time()))
        return connection.reusable

    def _drop(self, connection: Connection) -> None:
        self._open.discard(connection)
        connection.close()

    def _head(self, method: str, target: str, headers: Headers, length: int) -> bytes:
        return request_head(method, target, host_port(self._host, self._port), headers, length)

    def _unreachable(self, error: BaseException) -> Unreachable:
        return Unreachable(f"{self._name} does not answer: {str(error) or type(error).__name__}")
