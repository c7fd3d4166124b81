"""EDGE. The streams of a SPDY connection, each read and written by a task of its own."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Mapping
from typing import Protocol

from fairway.pods.spdy.connection import Broken, Connection, Event, Finished, Opened, Received
from fairway.pods.spdy.errors import Violation

AHEAD_BYTES = 256 * 1024
"""What is kept of a stream that nobody reads. With more the whole connection waits: clients do not keep to windows."""
FAREWELL_SECONDS = 2.0


class Bytes(Protocol):
    """What a session runs on (see `pipes.Pipe`)."""

    async def read(self) -> bytes: ...
    async def write(self, data: bytes) -> None: ...
    async def departed(self) -> None: ...
    async def close(self) -> None: ...


class Stream:
    """One stream that the client opened."""

    def __init__(self, session: Session, number: int, headers: Mapping[str, str]) -> None:
        self.headers = headers
        self._session = session
        self._number = number
        self._ahead: deque[bytes] = deque()
        self._held = 0
        self._finished = self._discarding = False
        self._broken = asyncio.Event()
        self._news = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()

    async def read(self) -> bytes:
        """What has come next; b"" once the client has finished. Raises ConnectionResetError when the stream was
        given up, or its connection is gone."""
        while not (self._ahead or self._finished or self._broken.is_set()):
            self._news.clear()
            await self._news.wait()
        if self._ahead:
            data = self._ahead.popleft()
            self._held -= len(data)
            if self._held < AHEAD_BYTES:
                self._room.set()
            await self._session.took(self._number, len(data))
            return data
        self._check()
        return b""

    def _check(self) -> None:
        if self._broken.is_set():
            raise ConnectionResetError("the client gave the stream up")

    async def write(self, data: bytes) -> None:
        """Returns when the client takes more. Raises ConnectionResetError as `read`."""
        self._check()
        await self._session.write(self._number, data)

    async def finish(self) -> None:
        """Write no more."""
        await self._session.finish(self._number, both=self._finished)

    async def reset(self) -> None:
        """Give the stream up in both directions."""
        self.end(broken=True)
        await self._session.reset(self._number)

    def discard(self) -> None:
        """Read no more: what comes is dropped and holds nobody up."""
        self._discarding = True
        self._drop()

    @property
    def gone(self) -> bool:
        """Whether the client has given the stream up, or its connection is gone."""
        return self._broken.is_set()

    async def broken(self) -> None:
        """Returns when it is gone."""
        await self._broken.wait()

    async def take_in(self, data: bytes) -> None:
        """Called by the session: data has come. Returns when more may."""
        if self._discarding:
            await self._session.took(self._number, len(data))
            return
        self._ahead.append(data)
        self._held += len(data)
        self._news.set()
        if self._held >= AHEAD_BYTES:
            self._room.clear()
            await self._room.wait()

    def end(self, *, broken: bool) -> None:
        """Called by the session: nothing more will come; when `broken`, what is kept is of no use either."""
        self._finished = True
        if broken:
            self._broken.set()
            self._drop()
        self._news.set()

    def _drop(self) -> None:
        self._ahead.clear()
        self._held = 0
        self._room.set()


class Session:
    """One connection: `run` must run for its streams to live."""

    def __init__(self, pipe: Bytes) -> None:
        self._pipe = pipe
        self._connection = Connection()
        self._streams: dict[int, Stream] = {}
        self._fresh: asyncio.Queue[Stream | None] = asyncio.Queue()
        self._sending = asyncio.Lock()
        self._over = asyncio.Event()

    async def run(self) -> None:
        """Take in what the client sends until it leaves or breaks the protocol; its streams are broken then."""
        try:
            while data := await self._pipe.read():
                for event in self._connection.receive(data):
                    await self._take_in(event)
                await self._flush()
        except Violation:
            await self._flush()
        finally:
            self._over.set()
            self._fresh.put_nowait(None)
            for stream in self._streams.values():
                stream.end(broken=True)

    async def _take_in(self, event: Event) -> None:
        match event:
            case Opened(number, headers):
                fresh = self._streams[number] = Stream(self, number, dict(headers))
                await self._flush()
                self._fresh.put_nowait(fresh)
            case Received(number, data):
                if number in self._streams:  # else: given up meanwhile
                    await self._streams[number].take_in(data)
            case Finished(number):
                if number in self._streams:
                    self._streams[number].end(broken=False)
            case Broken(number):
                if number in self._streams:
                    self._streams.pop(number).end(broken=True)

    async def accept(self) -> Stream | None:
        """The next stream that the client opens; None once it has left."""
        return None if self._over.is_set() and self._fresh.empty() else await self._fresh.get()

    async def departed(self) -> None:
        """Returns when the client has left, even while a stream that nobody reads holds the connection up."""
        ways = [asyncio.ensure_future(self._over.wait()), asyncio.ensure_future(self._pipe.departed())]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)

    async def write(self, number: int, data: bytes) -> None:
        """Send on a stream."""
        self._connection.send(number, data)
        await self._flush()

    async def finish(self, number: int, *, both: bool) -> None:
        """Send no more on a stream; `both`: the client has finished, too."""
        if both:
            self._streams.pop(number, None)
        self._connection.finish(number)
        await self._flush()

    async def reset(self, number: int) -> None:
        """Give a stream up."""
        self._streams.pop(number, None)
        self._connection.reset(number)
        await self._flush()

    async def took(self, number: int, count: int) -> None:
        """As much of a stream has been used up."""
        self._connection.taken(number, count)
        await self._flush()

    async def farewell(self) -> None:
        """Let the client, which has been told everything, end the connection; end it if it does not soon."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FAREWELL_SECONDS):
                await self.departed()
        self._connection.leave()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FAREWELL_SECONDS):
                await self._flush()
                await self._pipe.close()

    async def _flush(self) -> None:
        async with self._sending:
            if self._connection.outgoing:
                data = bytes(self._connection.outgoing)
                self._connection.outgoing.clear()
                await self._pipe.write(data)
