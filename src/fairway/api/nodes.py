"""EDGE: asks node agents over HTTPS for what only they have."""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator, Mapping
from typing import TYPE_CHECKING

from fairway.api.subresources import NodeError

if TYPE_CHECKING:
    import aiohttp


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
        return _chunks(response)

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


async def _chunks(response: aiohttp.ClientResponse) -> AsyncGenerator[bytes, None]:
    try:
        async for chunk in response.content.iter_any():
            yield chunk
    finally:
        response.close()
