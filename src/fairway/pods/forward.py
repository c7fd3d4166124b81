"""EDGE. Port-forward: connections from a far client to ports of a pod, each a pair of streams.

The client opens a stream `error` and then one `data` for each connection, both with the headers `port` and `requestid`.
What goes wrong is told on the first; the second carries the bytes. Connections are made to the pod's loopback, from
inside its network namespace, so that programs that listen only there are reached too.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Awaitable, Callable
from typing import Protocol

from fairway.kernel.base import KernelError
from fairway.kernel.linux import netns
from fairway.pods.errors import NotFound
from fairway.pods.multiplex import Session, Stream
from fairway.pods.pipes import Pipe
from fairway.pods.records import PodDir, connect, peer_pid

PROTOCOL = "portforward.k8s.io"
DIAL_SECONDS = 10.0
PIECE = 32 * 1024
_LOOPBACKS = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Dial = Callable[[int], Awaitable[Connection]]
"""Connects to a port of the pod. Raises OSError with a reason to tell."""


class Lane(Protocol):
    """One connection as the client sees it."""

    @property
    def gone(self) -> bool:
        """Whether the client has given it up."""

    async def broken(self) -> None:
        """Returns when the client gives it up."""

    async def read(self) -> bytes:
        """What the client sends next; b"" once it has finished. Raises ConnectionResetError when it gave up."""

    async def write(self, data: bytes) -> None:
        """Returns when the client takes more. Raises ConnectionResetError when it gave up."""

    async def finish(self) -> None:
        """Nothing more is written."""

    def discard(self) -> None:
        """Nothing more is read: what comes is dropped."""

    async def tell(self, reason: str) -> None:
        """What went wrong, "" for nothing. The last thing said."""


class Pair:
    """A lane of two SPDY streams."""

    def __init__(self, data: Stream, error: Stream) -> None:
        self._error = error
        self.read, self.write, self.finish = data.read, data.write, data.finish
        self.discard, self.broken = data.discard, data.broken
        self._data = data

    @property
    def gone(self) -> bool:
        return self._data.gone

    async def tell(self, reason: str) -> None:
        with contextlib.suppress(ConnectionResetError):
            await self._error.write(reason.encode())
        await self._error.finish()
        self._error.discard()


def dialer(directory: PodDir) -> Dial:
    """How the ports of a pod that runs here are connected to. Raises NotFound."""
    if (handle := connect(directory)) is None:
        raise NotFound("the pod does not run (now)")
    handle.close()
    return lambda port: dial(directory, port)


async def dial(directory: PodDir, port: int) -> Connection:
    """A connection to the pod's loopback, of IPv4 or else IPv6. Raises OSError."""
    reasons = []
    for family, address in _LOOPBACKS:
        handle = _socket_in(directory, family)
        handle.setblocking(False)
        try:
            async with asyncio.timeout(DIAL_SECONDS):
                await asyncio.get_running_loop().sock_connect(handle, (address, port))
            return await asyncio.open_connection(sock=handle)
        except OSError as error:  # a TimeoutError is one
            handle.close()
            reasons.append(f"{address}: {os.strerror(error.errno) if error.errno else 'no answer'}")
        except BaseException:
            handle.close()
            raise
    raise OSError(f"nothing accepts connections there ({', '.join(reasons)})")


def _socket_in(directory: PodDir, family: int) -> socket.socket:
    """A socket in the pod's network namespace, which while we talk to its process 1 is no other's."""
    if (sandbox := connect(directory)) is None:
        raise OSError("the pod does not run (now)")
    with sandbox:
        namespace = f"/proc/{peer_pid(sandbox)}/ns/net"
        try:
            return netns.open_socket_in(namespace, lambda: socket.socket(family, socket.SOCK_STREAM))
        except KernelError as error:
            raise OSError(str(error)) from error


async def carry(lane: Lane, port: int, dial: Dial) -> None:
    """Connect a lane to a port and carry its bytes, until the pod has closed the connection or the client gave up."""
    try:
        reader, writer = await dial(port)
    except OSError as error:
        await _end(lane, f"error forwarding port {port} to the pod: {error}")
        return
    upwards = asyncio.ensure_future(_upwards(lane, writer))
    ways = [upwards, asyncio.ensure_future(_downwards(lane, reader)), asyncio.ensure_future(lane.broken())]
    try:
        # What the client sends may end first. Once what the pod sends has ended it is over: programs that only close
        # their side of a connection are rare, and clients wait for the end of both streams.
        done, _ = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        if done == {upwards} and upwards.result():
            await asyncio.wait(ways[1:], return_when=asyncio.FIRST_COMPLETED)
    finally:
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
        if lane.gone or writer.transport.get_write_buffer_size():  # what the pod does not take would hold it open
            writer.transport.abort()
        writer.close()
    await _end(lane)


async def _end(lane: Lane, reason: str = "") -> None:
    lane.discard()
    await lane.finish()
    await lane.tell(reason)


async def _upwards(lane: Lane, writer: asyncio.StreamWriter) -> bool:
    """From the client to the pod; False when either gave up before the end."""
    try:
        while data := await lane.read():
            writer.write(data)
            await writer.drain()
        writer.write_eof()
    except OSError:
        return False
    return True


async def _downwards(lane: Lane, reader: asyncio.StreamReader) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(PIECE):
            await lane.write(data)


async def serve(pipe: Pipe, dial: Dial) -> None:
    """Serve a client until it leaves."""
    session = Session(pipe)
    running = asyncio.ensure_future(session.run())
    accepting = asyncio.ensure_future(_accept(session, dial))
    leaving = asyncio.ensure_future(session.departed())
    try:
        await asyncio.wait([accepting, leaving], return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (accepting, leaving, running):
            task.cancel()
        await asyncio.gather(accepting, leaving, running, return_exceptions=True)
        await pipe.close()


async def _accept(session: Session, dial: Dial) -> None:
    """Carry each pair of streams once it is one."""
    halves: dict[str, Stream] = {}
    async with asyncio.TaskGroup() as lanes:
        while stream := await session.accept():
            port, request, kind = _port(stream), stream.headers.get("requestid", ""), stream.headers.get("streamtype")
            if port is None or not request or kind not in ("data", "error"):
                await stream.reset()
            elif (other := halves.pop(request, None)) is None:
                halves[request] = stream
            elif other.headers["streamtype"] == kind:
                await other.reset()
                await stream.reset()
            else:
                data, error = (stream, other) if kind == "data" else (other, stream)
                lanes.create_task(carry(Pair(data, error), port, dial))


def _port(stream: Stream) -> int | None:
    """The port in a stream's headers; None when it is none."""
    text = stream.headers.get("port", "")
    number = int(text) if text.isascii() and text.isdigit() and len(text) <= 5 else 0
    return number if 0 < number < 65536 else None
