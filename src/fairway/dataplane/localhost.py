"""Node ports at 127.0.0.1 and ::1 without `route_localnet` (EDGE): connections are accepted here and led on.

Endpoints see the node's own address, as they do where rules serve loopback. A client is led to one endpoint for the
whole of a TCP connection, or as long as its UDP packets follow each other within `IDLE_SECONDS`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from fairway.desired.model import Endpoint

IDLE_SECONDS = 30.0
"""As long as the kernel remembers a UDP flow by default."""
MOST_CONNECTIONS = 1024
"""Through all listeners of one kind at once; further ones are turned away."""
CONNECT_SECONDS = 10.0
_CHUNK = 65536
_LARGEST_DATAGRAM = 65535


class Forwarder(Protocol):
    """Leads what comes to a socket on to endpoints."""

    def serve(self, near: socket.socket, choose: Choose) -> None:
        """Until `leave`."""

    def leave(self, near: socket.socket) -> None:
        """Take nothing new from this socket."""

    async def close(self) -> None:
        """Break what stands."""


Choose = Callable[[], Endpoint | None]
"""Says who serves the next client."""

_log = logging.getLogger(__name__)


class TcpForwarder:
    """Accepts at any number of listening sockets and leads each connection to the endpoint of its own choice."""

    def __init__(self) -> None:
        self._connections: set[asyncio.Task[None]] = set()

    def serve(self, near: socket.socket, choose: Choose) -> None:
        """Accept until `leave`."""
        loop = asyncio.get_running_loop()
        loop.add_reader(near.fileno(), self._accept, near, choose)

    def leave(self, near: socket.socket) -> None:
        """Accept no more; connections that stand go on."""
        asyncio.get_running_loop().remove_reader(near.fileno())

    async def close(self) -> None:
        """Break what stands."""
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def _accept(self, listening: socket.socket, choose: Choose) -> None:
        try:
            accepted, _ = listening.accept()
        except OSError:
            return  # the client has gone, or files have run out: it is tried again
        endpoint = choose()
        if endpoint is None or len(self._connections) >= MOST_CONNECTIONS:
            _reset(accepted)
            return
        accepted.setblocking(False)
        task = asyncio.get_running_loop().create_task(_lead(accepted, endpoint))
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)


async def _lead(accepted: socket.socket, endpoint: Endpoint) -> None:
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            reader, writer = await asyncio.open_connection(endpoint.address, endpoint.port)
    except OSError as error:
        _log.info("endpoint %s, asked at a node port on localhost: %s", endpoint, error)
        _reset(accepted)
        return
    near_reader, near_writer = await asyncio.open_connection(sock=accepted)
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(_pass(near_reader, writer))
            group.create_task(_pass(reader, near_writer))
    except* OSError:
        pass  # one side broke; the other is closed below
    finally:
        for each in (writer, near_writer):
            each.close()


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One direction, its end included."""
    while data := await reader.read(_CHUNK):
        writer.write(data)
        await writer.drain()
    writer.write_eof()


def _reset(connection: socket.socket) -> None:
    """Close as a port would that nobody serves."""
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    connection.close()


class UdpForwarder:
    """Passes datagrams on from bound sockets, and the answers back."""

    def __init__(self) -> None:
        self._flows: dict[tuple[int, Any], _Flow] = {}

    def serve(self, near: socket.socket, choose: Choose) -> None:
        """Take datagrams until `leave`."""
        asyncio.get_running_loop().add_reader(near.fileno(), self._arrived, near, choose)

    def leave(self, near: socket.socket) -> None:
        """Take no more, and forget the clients."""
        number = near.fileno()
        asyncio.get_running_loop().remove_reader(number)
        for key in [key for key in self._flows if key[0] == number]:
            self._flows.pop(key).end()

    async def close(self) -> None:
        """Forget all clients."""
        while self._flows:
            self._flows.popitem()[1].end()

    def _arrived(self, bound: socket.socket, choose: Choose) -> None:
        try:
            data, client = bound.recvfrom(_LARGEST_DATAGRAM)
        except OSError:
            return
        key = (bound.fileno(), client)
        flow = self._flows.get(key)
        if flow is None:
            endpoint = choose()
            if endpoint is None or len(self._flows) >= MOST_CONNECTIONS:
                return
            try:
                flow = self._flows[key] = _Flow(bound, client, endpoint, lambda: self._flows.pop(key, None))
            except OSError as error:
                _log.info("endpoint %s, asked at a node port on localhost: %s", endpoint, error)
                return
        flow.send(data)


class _Flow:
    """One client's datagrams at one endpoint."""

    def __init__(self, near: socket.socket, client: Any, endpoint: Endpoint, forget: Callable[[], object]) -> None:
        self._near, self._client, self._forget = near, client, forget
        kind = socket.AF_INET6 if ":" in endpoint.address else socket.AF_INET
        self._far = socket.socket(kind, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            self._far.connect((endpoint.address, endpoint.port))
        except OSError:
            self._far.close()
            raise
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._far.fileno(), self._answered)
        self._used = self._loop.time()
        self._timer = self._loop.call_later(IDLE_SECONDS, self._look)

    def send(self, data: bytes) -> None:
        self._used = self._loop.time()
        with contextlib.suppress(OSError):
            self._far.send(data)

    def end(self) -> None:
        self._timer.cancel()
        self._loop.remove_reader(self._far.fileno())
        self._far.close()
        self._forget()

    def _answered(self) -> None:
        self._used = self._loop.time()
        try:
            self._near.sendto(self._far.recv(_LARGEST_DATAGRAM), self._client)
        except BlockingIOError:
            pass
        except OSError:
            self.end()  # refused: the next datagram may find another endpoint

    def _look(self) -> None:
        rest = self._used + IDLE_SECONDS - self._loop.time()
        if rest <= 0:
            self.end()
        else:
            self._timer = self._loop.call_later(rest, self._look)


def chooser(endpoints: Callable[[], Sequence[Endpoint]], draw: Callable[[Sequence[Endpoint]], Endpoint]) -> Choose:
    """Every endpoint of the moment with the same chance."""

    def choose() -> Endpoint | None:
        found = endpoints()
        return draw(found) if found else None

    return choose
