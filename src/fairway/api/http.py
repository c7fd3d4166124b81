"""EDGE: serves the application over TLS with uvicorn; the client's certificate travels in the request's scope."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from asyncio import sslproto
from typing import TYPE_CHECKING, Any

import httptools
import msgspec
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from fairway.api import status
from fairway.api.app import CERTIFICATE, App
from fairway.api.requests import DOORS, UPGRADES

if TYPE_CHECKING:
    from fairway.api.server import Api

# The buffer asyncio keeps per TLS connection: its own 256 KiB would make a thousand watchers weigh 278 MB.
TLS_BUFFER_BYTES = 16384
HEAD_BYTES = 65536
"""What a request line and its headers may hold (one network read more, to be exact)."""
_DOORS = tuple(f"/{door}".encode() for door in DOORS)
_UPGRADES = frozenset(name.encode() for name in UPGRADES)
KEEP_ALIVE_SECONDS = 120
GRACEFUL_SECONDS = 2


class GuardedProtocol(HttpToolsProtocol):
    """uvicorn's protocol, telling the application who is at the other end, and bounding what comes before a body."""

    _certificate: Any = None
    _in_head = True
    _head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Learn the peer's certificate once per connection; only verified ones are ever given."""
        super().connection_made(transport)
        self._certificate = transport.get_extra_info("peercert")

    def data_received(self, data: bytes) -> None:
        """Give up on a request whose head does not end; the parser itself would collect it for ever."""
        if self._in_head and self._head_bytes > HEAD_BYTES:
            self._refuse_head()
            return
        self._head_bytes += len(data)
        super().data_received(data)

    def _refuse_head(self) -> None:
        """431 (RFC 6585, section 5); what follows cannot be told from the head, so the connection ends."""
        failure = status.head_too_large(HEAD_BYTES)
        body = msgspec.json.encode(failure.status())
        lines = ["HTTP/1.1 431 Request Header Fields Too Large", "content-type: application/json"]
        lines += [f"content-length: {len(body)}", "connection: close", "", ""]
        self.transport.write("\r\n".join(lines).encode("ascii") + body)
        self.transport.close()

    def on_headers_complete(self) -> None:
        """What follows is the body: the application bounds that."""
        self._in_head = False
        super().on_headers_complete()

    def _should_upgrade(self) -> bool:
        """Only for what is a connection: anything else may be answered as if no upgrade was asked for
        (RFC 9110, section 7.8)."""
        return self._get_upgrade() in _UPGRADES and self.url.partition(b"?")[0].endswith(_DOORS)

    def _unsupported_upgrade_warning(self) -> None:
        """It is answered like any request; the answer says what is not served."""

    def handle_websocket_upgrade(self) -> None:
        """Hand the connection to the application, as streams."""
        app = self.config.app
        if not isinstance(app, App):
            raise TypeError("upgrades are for the API's own application")
        url = httptools.parse_url(self.url)
        scope = {**self.scope, "raw_path": url.path, "query_string": url.query or b""}
        self.connections.discard(self)
        reader = asyncio.StreamReader(loop=self.loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=self.loop)
        self.transport.set_protocol(protocol)
        protocol.connection_made(self.transport)
        writer = asyncio.StreamWriter(self.transport, protocol, reader, self.loop)
        task = self.loop.create_task(app.upgrade(scope, reader, writer))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def on_message_complete(self) -> None:
        """What follows is the next head."""
        self._in_head, self._head_bytes = True, 0
        super().on_message_complete()

    def on_message_begin(self) -> None:
        """Hand the certificate to every request."""
        super().on_message_begin()
        if self._certificate:
            self.scope[CERTIFICATE] = self._certificate  # type: ignore[literal-required]


class _Server(uvicorn.Server):
    """uvicorn without its own signal handling: the process it lives in has one."""

    @contextlib.contextmanager
    def capture_signals(self) -> Any:
        yield


async def serve(
    api: Api,
    sockets: list[socket.socket],
    *,
    certfile: str,
    keyfile: str,
    client_ca: str | None,
    stop: asyncio.Event,
) -> None:
    """Serve `api` on listening sockets until `stop` is set. `client_ca` is the file of the authority whose client
    certificates are believed; without one nobody is asked for a certificate. Raises OSError and ssl.SSLError for
    files that cannot be read."""
    sslproto.SSLProtocol.max_size = TLS_BUFFER_BYTES
    for listener in sockets:
        if listener.family in (socket.AF_INET, socket.AF_INET6):
            # Connections inherit it. asyncio sets it only on sockets made with the protocol's number; without it each
            # answer's body waits 40 ms for the client's delayed acknowledgement of its head.
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    config = uvicorn.Config(
        api.app,
        http=GuardedProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        date_header=True,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=GRACEFUL_SECONDS,
        ssl_certfile=certfile,
        ssl_keyfile=keyfile,
        ssl_ca_certs=client_ca,
        ssl_cert_reqs=ssl.CERT_OPTIONAL if client_ca else ssl.CERT_NONE,
    )
    server = _Server(config)
    serving = asyncio.ensure_future(server.serve(sockets))
    stopping = asyncio.ensure_future(stop.wait())
    await asyncio.wait([serving, stopping], return_when=asyncio.FIRST_COMPLETED)
    api.app.close()
    server.should_exit = True
    stopping.cancel()
    await serving
