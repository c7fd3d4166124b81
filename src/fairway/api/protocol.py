"""EDGE: one client's connection. Requests are answered in the order they came, one by one; an answer is one write."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Mapping
from contextlib import aclosing
from typing import cast

from fairway.api import heads, status, tunnels
from fairway.api.answers import Answer, Stream, Tunnel
from fairway.api.app import App
from fairway.api.intake import Exchange, Intake, Phase
from fairway.api.status import Failure

KEEP_ALIVE_SECONDS = 120.0
"""How long a connection may lie idle."""
HEAD_SECONDS = 32.0
"""How long a request's head may take from its first byte on (kube-apiserver's own bound)."""
BODY_SECONDS = 60.0
"""How long a client may pause in a body."""
LINGER_SECONDS = 1.0
LINGER_BYTES = 16 * 1024 * 1024
"""What a refused client may go on sending: closing at once would take the refusal from it (RFC 9112, section 9.6)."""

_SECONDS: Mapping[Phase, float] = {
    Phase.IDLE: KEEP_ALIVE_SECONDS,
    Phase.HEAD: HEAD_SECONDS,
    Phase.BODY: BODY_SECONDS,
}
_CLOSE = b"connection: close\r\n"
_KEEP = b"connection: keep-alive\r\n"
_TIMED_OUT = Failure(408, "Timeout", "the request did not arrive in time")

_log = logging.getLogger(__name__)


class Connection(asyncio.Protocol):
    """One connection of `app`, entered in `everyone` while it lives."""

    def __init__(self, app: App, everyone: set[Connection], loop: asyncio.AbstractEventLoop) -> None:
        self._app = app
        self._everyone = everyone
        self._loop = loop
        self._intake = Intake(app.opens, app.bound)
        self._waiting: deque[Exchange] = deque()
        self._transport: asyncio.Transport | None = None
        self._certificate: Mapping[str, object] | None = None
        self._writable: asyncio.Future[None] | None = None
        self._stuck: asyncio.TimerHandle | None = None
        self._phase = Phase.IDLE
        self._deadline = 0.0
        self._lingered = 0
        self._endless = False
        self._stopping = False
        self.task: asyncio.Task[None] | None = None

    # What the transport calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Learn the peer's certificate once per connection; only verified ones are ever given."""
        self._transport = cast("asyncio.Transport", transport)
        self._certificate = transport.get_extra_info("peercert") or None
        self._deadline = self._loop.time() + HEAD_SECONDS
        self._everyone.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """End what would go on for ever; what changes something is finished."""
        self._transport = None
        self._everyone.discard(self)
        self._waiting.clear()
        self.resume_writing()
        if self.task and self._endless:
            self.task.cancel()

    def data_received(self, data: bytes) -> None:
        """Serve the requests that are whole, and see to the one that is not."""
        intake = self._intake
        if intake.ended:
            self._overhear(data)
            return
        for exchange in intake.feed(data):
            self._take(exchange)
        if intake.phase is not Phase.IDLE:
            if intake.phase is not self._phase or intake.phase is Phase.BODY:
                self._deadline = self._loop.time() + _SECONDS[intake.phase]
            if not self.task and intake.expected():
                self._write(heads.CONTINUE)
        self._phase = intake.phase

    def pause_writing(self) -> None:
        """The reader is slow: whoever writes waits, but not for ever."""
        if self._writable is None:
            self._writable = self._loop.create_future()
            self._stuck = self._loop.call_later(self._app.write_seconds, self._give_up)

    def resume_writing(self) -> None:
        """The reader has read."""
        if self._stuck:
            self._stuck.cancel()
        if self._writable and not self._writable.done():
            self._writable.set_result(None)
        self._writable = self._stuck = None

    # What the server calls.

    def look(self, now: float) -> None:
        """Part with a client that keeps the server waiting."""
        if self._transport is None or self.task or now < self._deadline:
            return
        if self._intake.phase is Phase.IDLE or self._intake.ended:
            self._transport.close()
        else:
            self._take(self._intake.refuse(_TIMED_OUT))

    def stop(self) -> None:
        """Take no further request; what would go on for ever ends now."""
        self._stopping = True
        if self.task is None:
            self.close()
        elif self._endless:
            self.task.cancel()

    def close(self) -> None:
        """Leave once everything is written."""
        if self._transport:
            self._transport.close()

    def abort(self) -> None:
        """Leave now."""
        if self._transport:
            self._transport.abort()

    # Requests.

    def _take(self, exchange: Exchange) -> None:
        if self.task:
            # One is read ahead; more may wait where they came with it in one read.
            self._waiting.append(exchange)
            self._pause()
        else:
            self.task = self._loop.create_task(self._serve(exchange))

    def _overhear(self, data: bytes) -> None:
        self._lingered += len(data)
        if self._lingered > LINGER_BYTES:
            self.abort()

    async def _serve(self, exchange: Exchange | None) -> None:
        """Answer this request and those that came meanwhile."""
        try:
            while exchange and self._transport:
                await self._answer(exchange)
                if not exchange.keep_alive or self._stopping:
                    self._part(exchange)
                    return
                exchange = self._waiting.popleft() if self._waiting else None
        except asyncio.CancelledError:
            self.abort()
        except Exception:
            _log.exception("a connection broke off")
            self.abort()
        finally:
            self.task = None
            self._deadline = self._loop.time() + _SECONDS[self._intake.phase]
        self._resume()
        if self._intake.expected():
            self._write(heads.CONTINUE)

    async def _answer(self, exchange: Exchange) -> None:
        if exchange.refusal:
            await self._whole(exchange, self._app.refusal(exchange.refusal))
        elif exchange.opens:
            await self._open(exchange)
        else:
            method, path, query = exchange.method, exchange.path, exchange.query
            try:
                answer = await self._app.respond(
                    method, path, query, exchange.headers, exchange.body, self._certificate
                )
            except Exception:
                _log.exception("a request failed unexpectedly")
                answer = self._app.refusal(status.internal("the server failed on this request; its log says why"))
            if isinstance(answer, Answer):
                await self._whole(exchange, answer)
            else:
                await self._stream(exchange, answer)

    async def _whole(self, exchange: Exchange, answer: Answer) -> None:
        """An answer in one write, or one of many pieces in few."""
        pieces = [answer.body] if isinstance(answer.body, bytes) else heads.joined(answer.body)
        framing = b"content-length: %d\r\n" % sum(map(len, pieces)) + self._persistence(exchange)
        head = heads.head(answer.status, answer.content_type, answer.headers, int(time.time()), framing)
        if exchange.method == "HEAD":
            self._write(head)
            return
        if len(pieces[0]) < heads.LARGE:
            pieces[0] = head + pieces[0]
        else:
            self._write(head)
        for piece in pieces:
            self._write(piece)
            if self._writable:
                await self._writable

    async def _stream(self, exchange: Exchange, stream: Stream) -> None:
        """Chunks as they come, until they end, the client leaves, or it reads nothing for too long."""
        counted = any(name == "content-length" for name, _ in stream.headers) or heads.bodyless(stream.status)
        chunked = not counted and not exchange.http_1_0
        if not counted and not chunked:
            exchange.keep_alive = False  # its end is the connection's (RFC 9112, section 6.3)
        framing = self._persistence(exchange) + (heads.CHUNKED if chunked else b"")
        self._write(heads.head(stream.status, stream.content_type, stream.headers, int(time.time()), framing))
        self._endless = True
        try:
            async with aclosing(stream.chunks) as pieces:
                if exchange.method != "HEAD" and self._transport:  # a client that left before hears of no end
                    async for piece in pieces:
                        if piece:
                            self._write(heads.chunk(piece) if chunked else piece)
                        if self._writable:
                            await self._writable
            if chunked and exchange.method != "HEAD":
                self._write(heads.LAST_CHUNK)
        except OSError:
            self.abort()  # what is behind the stream broke off, and a proper end would be a lie
        except Exception:
            _log.exception("a stream broke off")
            self.abort()
        finally:
            self._endless = False

    async def _open(self, exchange: Exchange) -> None:
        """Hand the connection on to whom the request asks for."""
        self._pause()
        exchange.keep_alive = False
        answer = await self._app.connect(
            exchange.method, exchange.path, exchange.query, exchange.headers, self._certificate
        )
        if isinstance(answer, Answer):
            self._resume()
            await self._whole(exchange, answer)
        elif self._transport is None:
            if isinstance(answer, Tunnel):
                answer.writer.close()
        else:
            self._endless = True
            try:
                if isinstance(answer, Tunnel):
                    await tunnels.carry(answer, self._transport, exchange.rest)
                else:
                    await tunnels.serve(answer, self._transport, exchange.rest)
            finally:
                self.connection_lost(None)  # the transport tells somebody else

    def _persistence(self, exchange: Exchange) -> bytes:
        if not exchange.keep_alive or self._stopping:
            return _CLOSE
        return _KEEP if exchange.http_1_0 else b""

    def _part(self, exchange: Exchange) -> None:
        """The connection's end: at once, or a little later where the client still talks."""
        if exchange.refusal and self._transport:
            self._resume()
            self._loop.call_later(LINGER_SECONDS, self.close)
        else:
            self.close()

    # The transport, while there is one.

    def _write(self, data: bytes) -> None:
        if self._transport:
            self._transport.write(data)

    def _pause(self) -> None:
        if self._transport:
            self._transport.pause_reading()

    def _resume(self) -> None:
        if self._transport:
            self._transport.resume_reading()

    def _give_up(self) -> None:
        _log.warning("a client read nothing for %s seconds and was dropped", self._app.write_seconds)
        self.abort()
