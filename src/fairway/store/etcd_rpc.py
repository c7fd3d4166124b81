"""EDGE: the members of an etcd cluster over gRPC. Calls move on to the next member until one answers.

grpcio carries bytes; what they mean is `etcd_wire`'s. It is imported when a cluster is opened, so that nobody else pays
for it: it comes with the extra `fairway[etcd]`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fairway.store.base import StoreError, Unusable

ATTEMPT_SECONDS = 3.0
"""What one member is given: an election takes one to two seconds with etcd's own timings."""
PATIENCE_SECONDS = 20.0
"""What a call is given over all its attempts."""
FIRST_DELAY, LAST_DELAY = 0.02, 0.5

# Members that have lost the others end their streams instead of standing still (etcd's `WithRequireLeader`).
REQUIRE_LEADER = (("hasleader", "true"),)

_OPTIONS = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.keepalive_time_ms", 10_000),  # etcd refuses more than one ping in five seconds
    ("grpc.keepalive_timeout_ms", 3_000),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.use_local_subchannel_pool", 1),
]


class Silent(StoreError):
    """No member answered in time: what was asked for may or may not have been done."""


class Lost(Exception):
    """A stream ended; another member, or the same one later, may continue it."""


class Refused(StoreError):
    """The cluster understood and said no; nothing was done."""


class AlreadyCompacted(Refused):
    """The revision is not, or no longer, in etcd's history."""


@dataclass(frozen=True, slots=True)
class Tls:
    """Files: the authority that signed the members' certificates, and the client certificate to show them, if any."""

    ca: Path
    certificate: Path | None = None
    key: Path | None = None


class Cluster:
    """Connections to all members. One member at a time is asked; a member that fails is left for the next."""

    def __init__(self, endpoints: Sequence[str], tls: Tls | None = None) -> None:
        """`endpoints` are `host:port` or `unix:/path`. Raises Unusable without grpcio, or for TLS files that cannot
        be read. Needs a running event loop."""
        try:
            import grpc
        except ImportError as error:
            raise Unusable("the etcd store needs grpcio: install fairway[etcd]") from error
        self._grpc = grpc
        self.endpoints = tuple(endpoints)
        self._channels = [_channel(grpc, endpoint, tls) for endpoint in endpoints]
        self._current = 0
        self._calls: dict[tuple[int, str], Any] = {}

    async def call(self, method: str, request: bytes) -> tuple[bytes, bool]:
        """The answer of the first member that gives one, and whether earlier attempts may have been heard too: a
        request that changes something must be one that changes it only once. Raises Silent, Refused, Unusable."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + PATIENCE_SECONDS
        attempt, why = 0, "no time was left"
        while (left := deadline - loop.time()) > 0:
            member = self._current
            try:
                answer = await self._unary(member, method)(request, timeout=min(left, ATTEMPT_SECONDS))
                return bytes(answer), attempt > 0
            except self._grpc.aio.AioRpcError as error:
                self._judge(error)
                why = f"{self.endpoints[member]}: {error.details()}"
            self.leave(member)
            attempt += 1
            if attempt % len(self._channels) == 0:
                await asyncio.sleep(_delay(attempt // len(self._channels)))
        raise Silent(f"no member of the etcd cluster answered within {PATIENCE_SECONDS:.0f} s (last: {why})")

    async def stream(self, method: str, request: bytes) -> AsyncGenerator[bytes, None]:
        """Answers to one request on a stream, from the current member. Raises Lost when it ends."""
        member = self._current
        call = self._channels[member].stream_stream(method)(metadata=REQUIRE_LEADER)
        try:
            await call.write(request)
            async for answer in call:
                yield bytes(answer)
            raise Lost(f"{self.endpoints[member]} ended the stream")
        except self._grpc.RpcError as error:
            self.leave(member)
            why = error.details() if isinstance(error, self._grpc.aio.AioRpcError) else str(error)
            raise Lost(f"{self.endpoints[member]}: {why}") from error
        except asyncio.InvalidStateError as error:  # written to a call that had just failed
            self.leave(member)
            raise Lost(f"{self.endpoints[member]}: {error}") from error
        finally:
            call.cancel()

    def leave(self, member: int | None = None) -> None:
        """Go on to the next member, unless somebody did so already."""
        if member is None or member == self._current:
            self._current = (self._current + 1) % len(self._channels)

    async def close(self) -> None:
        """Let go of every connection."""
        for channel in self._channels:
            await channel.close()

    def _unary(self, member: int, method: str) -> Any:
        call = self._calls.get((member, method))
        if call is None:
            call = self._calls[member, method] = self._channels[member].unary_unary(method)
        return call

    def _judge(self, error: Any) -> None:
        """Raise what asking another member would not change."""
        code, grpc = error.code(), self._grpc
        match code:
            case grpc.StatusCode.OUT_OF_RANGE:
                raise AlreadyCompacted(error.details()) from error
            case grpc.StatusCode.INVALID_ARGUMENT | grpc.StatusCode.FAILED_PRECONDITION:
                raise Refused(f"etcd refuses: {error.details()}") from error
            case grpc.StatusCode.RESOURCE_EXHAUSTED if "space" in error.details():
                raise Unusable(
                    f"etcd is full ({error.details()}); compact, defragment, and disarm the alarm"
                ) from error
            case grpc.StatusCode.PERMISSION_DENIED | grpc.StatusCode.UNAUTHENTICATED | grpc.StatusCode.UNIMPLEMENTED:
                raise Unusable(f"etcd does not let us in: {error.details()}") from error


def _delay(turn: int) -> float:
    """Seconds to wait after a turn in which nobody answered."""
    return min(LAST_DELAY, FIRST_DELAY * 2.0 ** min(turn - 1, 10))


def _channel(grpc: Any, endpoint: str, tls: Tls | None) -> Any:
    if tls is None:
        return grpc.aio.insecure_channel(endpoint, options=_OPTIONS)
    try:
        pair = [path.read_bytes() if path else None for path in (tls.key, tls.certificate)]
        credentials = grpc.ssl_channel_credentials(tls.ca.read_bytes(), *pair)
    except OSError as error:
        raise Unusable(f"cannot read {error.filename} for the connection to etcd: {error.strerror}") from error
    return grpc.aio.secure_channel(endpoint, credentials, options=_OPTIONS)
