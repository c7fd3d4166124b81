"""EDGE: asks node agents over HTTPS for what only they have."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import AsyncGenerator, Mapping
from typing import TYPE_CHECKING

from fairway.api.answers import Tunnel
from fairway.api.subresources import NodeError

if TYPE_CHECKING:
    import aiohttp


CONNECT_SECONDS = 5
AGREE_SECONDS = 15
REASON_BYTES = 4096


class HttpNodeClient:
    """`NodeClient` over HTTPS. `context` says whose certificates are believed and, with a client certificate, who asks;
    without one, those that this machine trusts."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self._context = context
        self._session: aiohttp.ClientSession | None = None

    async def logs(
        self, address: str, port: int, namespace: str, pod: str, container: str, query: Mapping[str, str]
    ) -> AsyncGenerator[bytes, None]:
        """See NodeClient."""
        import aiohttp

        host = f"[{address}]" if ":" in address else address
        url = f"https://{host}:{port}/containerLogs/{namespace}/{pod}/{container}"
        session = self._open()
        try:
            response = await session.get(url, params=dict(query), ssl=self._context or True)
        except (aiohttp.ClientError, OSError) as error:
            raise NodeError(f"{address}:{port} does not answer: {error}") from error
        if response.status != 200:
            text = (await response.text()).strip()
            response.release()
            raise NodeError(text or response.reason or "refused", response.status)
        return chunks(response)

    async def connect(self, address: str, port: int, path: str, headers: Mapping[str, str]) -> Tunnel:
        """See NodeClient."""
        host = f"[{address}]" if ":" in address else address
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                reader, writer = await asyncio.open_connection(address, port, ssl=self._context or True)
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
        """Let go of the connections."""
        if self._session:
            await self._session.close()
            self._session = None

    def _open(self) -> aiohttp.ClientSession:
        import aiohttp

        if self._session is None:
            # Following a log may last for days; only reaching the agent has a limit.
            timeout = aiohttp.ClientTimeout(total=None, sock_connect=5)
            self._session = aiohttp.ClientSession(timeout=timeout)
        return self._session


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


async def chunks(response: aiohttp.ClientResponse) -> AsyncGenerator[bytes, None]:
    """An answer's body as it comes; whoever stops reading lets go of the connection."""
    try:
        async for chunk in response.content.iter_any():
            yield chunk
    finally:
        response.close()
