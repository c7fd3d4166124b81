"""EDGE: asks node agents over HTTPS for what only they have."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import AsyncGenerator, Mapping
from functools import cached_property
from urllib.parse import urlencode

from fairway.api.answers import Tunnel
from fairway.api.subresources import NodeError
from fairway.http1 import Connection, request_head
from fairway.packet import host_port

CONNECT_SECONDS = 5
AGREE_SECONDS = 15
REASON_BYTES = 4096


class HttpNodeClient:
    """`NodeClient` over HTTPS. `context` says whose certificates are believed and, with a client certificate, who asks;
    without one, those that this machine trusts."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self._given = context

    async def logs(
        self, address: str, port: int, namespace: str, pod: str, container: str, query: Mapping[str, str]
    ) -> AsyncGenerator[bytes, None]:
        """See NodeClient."""
        where = host_port(address, port)
        path = f"/containerLogs/{namespace}/{pod}/{container}" + (f"?{urlencode(query)}" if query else "")
        connection: Connection | None = None
        try:
            connection = await Connection.open(address, port, self._context, seconds=CONNECT_SECONDS)
            # Following a log may last for days; only reaching the agent has a limit.
            await connection.send(request_head("GET", path, where, [("Connection", "close")], 0), b"")
            if (code := await connection.status()) == 200:
                found, connection = connection.rest(), None
                return found
            text = (await connection.body(REASON_BYTES)).decode(errors="replace").strip()
            raise NodeError(text or connection.reason or "refused", code)
        except OSError as error:
            raise NodeError(f"{where} does not answer: {error}") from error
        finally:
            if connection:
                connection.close()

    async def connect(self, address: str, port: int, path: str, headers: Mapping[str, str]) -> Tunnel:
        """See NodeClient."""
        host = f"[{address}]" if ":" in address else address
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                reader, writer = await asyncio.open_connection(address, port, ssl=self._context)
        except OSError as error:
            raise NodeError(f"{address}:{port} does not answer: {error}") from error
        lines = [f"GET {path} HTTP/1.1", f"host: {host}:{port}", *(f"{name}: {headers[name]}" for name in headers)]
        try:
            async with asyncio.timeout(AGREE_SECONDS):
                writer.write("\r\n".join([*lines, "", ""]).encode("latin-1"))
                return Tunnel(await _agreement(reader), reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
            writer.close()
            raise NodeError(f"{address}:{port} broke off: {error}") from error
        except NodeError:
            writer.close()
            raise

    async def close(self) -> None:
        """Each connection ends with whoever it was made for."""

    @cached_property
    def _context(self) -> ssl.SSLContext:
        return self._given or ssl.create_default_context()


async def _agreement(reader: asyncio.StreamReader) -> bytes:
    """The head that agrees to the upgrade. Raises NodeError with the reason when it is another."""
    head = await reader.readuntil(b"\r\n\r\n")
    code = re.match(rb"HTTP/1\.1 (\d{3}) ", head)
    if code is None:
        raise NodeError("the agent does not speak HTTP/1.1")
    if code[1] == b"101":
        return head
    length = re.search(rb"\r\ncontent-length: *(\d+)", head, re.IGNORECASE)
    text = await reader.readexactly(min(int(length[1]), REASON_BYTES)) if length else b""
    raise NodeError(text.decode(errors="replace").strip() or "refused", int(code[1]))
