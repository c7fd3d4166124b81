"""A way out of the lab for its API server: sockets in the lab's directory that lead to the members of an etcd cluster.

The API server lives in a network namespace that reaches only the lab. A socket in the file system belongs to no network
namespace, so one process of the host's can answer there and pass bytes on; TLS, if any, goes through untouched.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterable, Sequence
from pathlib import Path

PIECE = 64 * 1024
CONNECT_SECONDS = 2.0


def sockets(directory: Path, endpoints: Sequence[str]) -> list[Path]:
    """Where each endpoint is found in the lab's directory."""
    return [directory / f"etcd-{number}.sock" for number in range(len(endpoints))]


def parse_endpoint(endpoint: str) -> tuple[str, int]:
    """Host and port of `HOST:PORT`."""
    host, _, port = endpoint.rpartition(":")
    return host.strip("[]"), int(port)


def unreachable(endpoints: Iterable[str]) -> str:
    """Why none of them can be connected to; "" when one can."""
    why = []
    for endpoint in endpoints:
        try:
            socket.create_connection(parse_endpoint(endpoint), timeout=CONNECT_SECONDS).close()
            return ""
        except OSError as error:
            why.append(f"{endpoint}: {error.strerror or error}")
    return "; ".join(why)


async def relay(directory: Path, endpoints: Sequence[str], stop: asyncio.Event) -> None:
    """Pass connections on until `stop`."""
    servers = []
    for path, endpoint in zip(sockets(directory, endpoints), endpoints, strict=True):
        path.unlink(missing_ok=True)  # of a relay that was killed
        line = _Line(*parse_endpoint(endpoint))
        servers.append(await asyncio.start_unix_server(line.serve, path))
    await stop.wait()
    for server in servers:
        server.close()


class _Line:
    """Connections to one endpoint."""

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Both directions of one connection, until either end closes it or the far end cannot be had."""
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                far_reader, far_writer = await asyncio.open_connection(self._host, self._port)
        except OSError:
            writer.transport.abort()
            return
        passing = [asyncio.ensure_future(_pass(reader, far_writer)), asyncio.ensure_future(_pass(far_reader, writer))]
        await asyncio.wait(passing, return_when=asyncio.FIRST_COMPLETED)
        for side in (writer, far_writer):
            side.close()
        for task in passing:
            task.cancel()


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(PIECE):
            writer.write(data)
            await writer.drain()
