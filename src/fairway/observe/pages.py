"""EDGE. Pages for those who look after a program: health checks and Prometheus.

They answer GET requests of a few bytes and close the connection; a peer that is slow or talkative is cut off.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import NoReturn

from fairway.observe.answer import Answer
from fairway.packet import host_port

_REQUEST_BYTES = 8192
_REQUEST_SECONDS = 5.0
_AGAIN_SECONDS = 5.0
_REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed", 503: "Service Unavailable"}

_log = logging.getLogger(__name__)

Respond = Callable[[str], Answer | Awaitable[Answer]]
"""From a path to an answer, now or a little later."""


async def listen(respond: Respond, port: int, addresses: Sequence[str] | None = None) -> asyncio.Server:
    """Serve `respond` on `port` of these addresses (None: all, both families). Raises OSError when it is taken."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.TimeoutError, asyncio.IncompleteReadError):
            async with asyncio.timeout(_REQUEST_SECONDS):
                writer.write(_encode(await _answer(reader, respond)))
                await writer.drain()
        writer.close()

    return await asyncio.start_server(serve, addresses, port, limit=_REQUEST_BYTES)


async def keep_listening(respond: Respond, address: str, port: int, what: str) -> NoReturn:
    """Serve there until cancelled; while somebody else has the place, say so once and try again."""
    told = False
    while True:
        try:
            server = await listen(respond, port, [address])
        except OSError as error:
            if not told:
                _log.warning("%s is not served: %s: %s", what, host_port(address, port), error.strerror or error)
            told = True
            await asyncio.sleep(_AGAIN_SECONDS)
            continue
        async with server:
            await server.serve_forever()


async def _answer(reader: asyncio.StreamReader, respond: Respond) -> Answer:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        method, target, _ = head.split(b"\r\n", 1)[0].decode("ascii").split(" ")
    except (asyncio.LimitOverrunError, ValueError):
        return Answer(400, b"not a request this server understands\n")
    if method not in ("GET", "HEAD"):
        return Answer(405, b"only GET\n")
    answer = respond(target.partition("?")[0])
    return answer if isinstance(answer, Answer) else await answer


def _encode(answer: Answer) -> bytes:
    headers = {
        "Content-Type": "application/json",
        "X-Content-Type-Options": "nosniff",
        **answer.headers,
        "Content-Length": str(len(answer.body)),
        "Connection": "close",
    }
    lines = [f"HTTP/1.1 {answer.status} {_REASONS[answer.status]}", *(f"{k}: {v}" for k, v in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + answer.body
