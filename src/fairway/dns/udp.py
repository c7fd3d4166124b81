"""EDGE. UDP: datagrams in, datagrams out, from the very address they were sent to.

Plain sockets driven by readiness instead of asyncio's datagram transports: one wake-up drains what has come. A socket
of one address needs no more; one of all addresses is told by control messages which one was asked, and tells it back.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import Any

from fairway.dns import wire
from fairway.dns.answers import Answers
from fairway.dns.guard import Guard
from fairway.dns.sockets import bind
from fairway.dns.wire import Referral

BATCH = 64
"""Datagrams answered in one turn when their replies are ready, so that TCP and the watches have theirs."""
SLOW = 4
"""How many more of those each counts for whose reply has to be made."""
MAX_DATAGRAM = 4096
MAX_WAITING = 4096
"""Queries that may wait for a reply from elsewhere; further ones fail at once."""
RECEIVE_BUFFER = 1 << 20
"""Octets of datagrams the kernel keeps while we are busy (it may grant less)."""

Peer = tuple[Any, ...]
Elsewhere = Callable[[Referral, str], Awaitable[bytes]]
"""Gets from somebody else the reply to a question of a client (its address)."""

_WILDCARDS = ("0.0.0.0", "::")
_IP_PKTINFO = 8  # linux/in.h; the socket module names it from Python 3.14 on
_PKTINFO4 = struct.Struct("=I4s4s")  # struct in_pktinfo: interface, local address, destination in the header
_PKTINFO6 = struct.Struct("=16sI")  # struct in6_pktinfo: destination, interface
_CONTROL = socket.CMSG_SPACE(_PKTINFO6.size)

_log = logging.getLogger(__name__)

_Control = list[tuple[int, int, bytes]]


class UdpListener:
    """Answers datagrams on one address. `guard` may hold queries back; `elsewhere` answers what is none of ours."""

    def __init__(
        self,
        address: str,
        port: int,
        answers: Answers,
        *,
        guard: Guard | None = None,
        elsewhere: Elsewhere | None = None,
        shared: bool = False,
    ) -> None:
        self._answers = answers
        self._guard = guard
        self._elsewhere = elsewhere
        self._waiting: set[asyncio.Task[None]] = set()
        self._socket = bind(address, port, socket.SOCK_DGRAM, shared=shared)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        self._anywhere = address in _WILDCARDS
        if not self._anywhere:
            return
        if self._socket.family == socket.AF_INET6:
            self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        else:
            self._socket.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)

    def start(self) -> None:
        """Answer from now on, in the running loop."""
        drain = self._drain_anywhere if self._anywhere else self._drain
        asyncio.get_running_loop().add_reader(self._socket.fileno(), drain)

    async def close(self) -> None:
        """Answer no more and give the address back."""
        asyncio.get_running_loop().remove_reader(self._socket.fileno())
        waiting = tuple(self._waiting)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        self._socket.close()

    def _drain(self) -> None:
        """Answer what has come to our one address. The ready replies are taken here without a further call: at a
        hundred thousand queries a second each call counts."""
        receive, send, guarded = self._socket.recvfrom, self._socket.sendto, self._guard is not None
        begun, done, made = perf_counter(), 0, 0
        self._answers.settle()
        ready = self._answers.table.ready
        try:
            while done + made * SLOW < BATCH:
                query, peer = receive(MAX_DATAGRAM)
                done += 1
                kept = ready.get(query[2:])
                if kept is None or guarded:
                    made += 1
                    self._answer(query, [], peer)
                    continue
                kept.tally.given += 1
                if kept.turning is None:
                    send(query[:2] + kept.front + query[12 : kept.end] + kept.rest, peer)
                else:
                    send(kept.octets(query), peer)
        except BlockingIOError:
            pass
        except OSError as error:
            _log.debug("a datagram could not be received or sent: %s", error)
        if done:
            self._answers.duration.add((perf_counter() - begun) / done, done)

    def _drain_anywhere(self) -> None:
        """Answer what has come to any of the host's addresses, from that address."""
        begun, done, made = perf_counter(), 0, 0
        self._answers.settle()
        ready = self._answers.table.ready
        try:
            while done + made * SLOW < BATCH:
                query, control, _, peer = self._socket.recvmsg(MAX_DATAGRAM, _CONTROL)
                done += 1
                made += query[2:] not in ready
                self._answer(query, control, peer)
        except BlockingIOError:
            pass
        except OSError as error:
            _log.debug("a datagram could not be received: %s", error)
        if done:
            self._answers.duration.add((perf_counter() - begun) / done, done)

    def _answer(self, query: bytes, control: _Control, peer: Peer) -> None:
        if self._guard is not None and not self._guard.admits(query, peer[0], udp=True):
            refusal = self._guard.refusal(query)
            if refusal is not None:
                self._send(refusal, control, peer)
            return
        reply = self._answers.answer(query)
        if isinstance(reply, Referral):
            self._refer(reply, control, peer)
            return
        if reply is not None:
            self._finish(query, reply, control, peer)
        elif self._guard is not None:
            self._guard.silent(query, peer[0])

    def _refer(self, referral: Referral, control: _Control, peer: Peer) -> None:
        if self._elsewhere is None or len(self._waiting) >= MAX_WAITING:
            self._finish(referral.message, wire.failure(referral.message), control, peer)
            return
        task = asyncio.ensure_future(self._relay(referral, self._elsewhere(referral, peer[0]), control, peer))
        self._waiting.add(task)
        task.add_done_callback(self._waiting.discard)

    async def _relay(self, referral: Referral, coming: Awaitable[bytes], control: _Control, peer: Peer) -> None:
        self._finish(referral.message, await coming, control, peer)

    def _finish(self, query: bytes, reply: bytes, control: _Control, peer: Peer) -> None:
        if self._guard is not None:
            reply = self._guard.finish(query, reply, peer[0], udp=True)
        self._send(reply, control, peer)

    def _send(self, reply: bytes, control: _Control, peer: Peer) -> None:
        """A reply that cannot leave now is lost, as any datagram may be; the client asks again."""
        try:
            if control:
                self._socket.sendmsg([reply], _same_address(control), 0, peer)
            else:
                self._socket.sendto(reply, peer)
        except OSError as error:
            _log.debug("a reply to %s could not be sent: %s", peer, error)


def _same_address(control: _Control) -> _Control:
    """The control messages that make a reply leave from the address its query came to. The interface is left to
    routing, but for link-local addresses, which mean nothing without one."""
    for level, kind, data in control:
        if level == socket.IPPROTO_IP and kind == _IP_PKTINFO:
            _, local, _ = _PKTINFO4.unpack(data)
            return [(level, kind, _PKTINFO4.pack(0, local, bytes(4)))]
        if level == socket.IPPROTO_IPV6 and kind == socket.IPV6_PKTINFO:
            local, interface = _PKTINFO6.unpack(data)
            link_local = local[0] == 0xFE and local[1] & 0xC0 == 0x80
            return [(level, kind, _PKTINFO6.pack(local, interface if link_local else 0))]
    return []
