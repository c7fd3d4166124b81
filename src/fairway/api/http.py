"""EDGE: serves an application on listening sockets, over TLS (on loopback also without); who is at the other end comes
with every request."""

from __future__ import annotations

import asyncio
import socket
import ssl
from asyncio import sslproto
from typing import TYPE_CHECKING

from fairway.api.app import App
from fairway.api.protocol import Connection

if TYPE_CHECKING:
    from fairway.api.server import Api

# The buffer asyncio keeps per TLS connection: its own 256 KiB would make a thousand watchers weigh 278 MB.
TLS_BUFFER_BYTES = 16384
BACKLOG = 2048
GRACEFUL_SECONDS = 2.0
HANDSHAKE_SECONDS = 10.0
PROBE_AFTER_SECONDS, PROBE_SECONDS, PROBES = 60, 15, 3
"""After which silence TCP asks whether the client is still there, how often, and how often in vain."""
LOOK_SECONDS = 5.0
"""How often is looked for clients that keep the server waiting."""


class Site:
    """An application on its sockets; `tls` None: as it is, which is for loopback alone."""

    def __init__(self, app: App, tls: ssl.SSLContext | None) -> None:
        self._app = app
        self._tls = tls
        self._connections: set[Connection] = set()
        self._servers: list[asyncio.Server] = []
        self._looking: asyncio.TimerHandle | None = None

    async def open(self, sockets: list[socket.socket]) -> None:
        """Begin to serve."""
        sslproto.SSLProtocol.max_size = TLS_BUFFER_BYTES
        loop = asyncio.get_running_loop()
        for listener in sockets:
            if listener.family in (socket.AF_INET, socket.AF_INET6):
                _prepare(listener)
            server = await loop.create_server(
                lambda: Connection(self._app, self._connections, loop),
                sock=listener,
                ssl=self._tls,
                backlog=BACKLOG,
                ssl_handshake_timeout=HANDSHAKE_SECONDS if self._tls else None,
                ssl_shutdown_timeout=GRACEFUL_SECONDS if self._tls else None,
            )
            self._servers.append(server)
        self._look()

    async def close(self) -> None:
        """Take no further connection, end what would go on for ever, and finish the rest within GRACEFUL_SECONDS."""
        for server in self._servers:
            server.close()
        if self._looking:
            self._looking.cancel()
        for connection in tuple(self._connections):
            connection.stop()
        if busy := [connection.task for connection in self._connections if connection.task]:
            await asyncio.wait(busy, timeout=GRACEFUL_SECONDS)
        await asyncio.sleep(0)  # what is closing says so to its client
        for connection in tuple(self._connections):
            connection.abort()

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        for connection in tuple(self._connections):
            connection.look(now)
        self._looking = loop.call_later(LOOK_SECONDS, self._look)


def _prepare(listener: socket.socket) -> None:
    """Set what its connections inherit (Linux)."""
    # asyncio sets it only on sockets made with the protocol's number; without it what is written in two pieces waits
    # 40 ms for the client's delayed acknowledgement of the first.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    # A client whose machine died says no good-bye, and a watch may have nothing to tell it for an hour.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, PROBE_AFTER_SECONDS)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, PROBE_SECONDS)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, PROBES)


def context(certfile: str, keyfile: str, client_ca: str | None, *, required: bool = False) -> ssl.SSLContext:
    """TLS as a server: `client_ca` is the file of the authority whose client certificates are believed (and
    `required`); without one nobody is asked for a certificate. Raises OSError and ssl.SSLError for files that cannot
    be read."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    made.set_alpn_protocols(["http/1.1"])
    made.load_cert_chain(certfile, keyfile)
    if client_ca:
        made.load_verify_locations(client_ca)
        made.verify_mode = ssl.CERT_REQUIRED if required else ssl.CERT_OPTIONAL
    return made


async def serve(
    api: Api,
    sockets: list[socket.socket],
    *,
    certfile: str,
    keyfile: str,
    client_ca: str | None,
    stop: asyncio.Event,
) -> None:
    """Serve `api` on listening sockets until `stop` is set; the rest as for `context`."""
    site = Site(api.app, context(certfile, keyfile, client_ca))
    await site.open(sockets)
    await stop.wait()
    await site.close()
