"""EDGE. UDP: datagrams in, datagrams out, from the very address they were sent to.

Plain sockets driven by readiness instead of asyncio's datagram transports: one wake-up drains what has come, and the
control messages that tell (and set) the local address are at hand.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from collections.abc import Callable

from fairway.dns.sockets import bind

BATCH = 64
"""Datagrams answered in one turn, so that TCP and the watches have theirs."""
MAX_DATAGRAM = 4096
RECEIVE_BUFFER = 1 << 20
"""Octets of datagrams the kernel keeps while we are busy (it may grant less)."""

_IP_PKTINFO = 8  # linux/in.h; the socket module names it from Python 3.14 on
_PKTINFO4 = struct.Struct("=I4s4s")  # struct in_pktinfo: interface, local address, destination in the header
_PKTINFO6 = struct.Struct("=16sI")  # struct in6_pktinfo: destination, interface
_CONTROL = socket.CMSG_SPACE(_PKTINFO6.size)

_log = logging.getLogger(__name__)

_Control = list[tuple[int, int, bytes]]


class UdpListener:
    """Answers datagrams on one address: `answer` gets a query and gives the reply, or None for silence."""

    def __init__(self, address: str, port: int, answer: Callable[[bytes], bytes | None]) -> None:
        self._answer = answer
        self._socket = bind(address, port, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        if self._socket.family == socket.AF_INET6:
            self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        else:
            self._socket.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)

    def start(self) -> None:
        """Answer from now on, in the running loop."""
        asyncio.get_running_loop().add_reader(self._socket.fileno(), self._drain)

    def close(self) -> None:
        """Answer no more and give the address back."""
        asyncio.get_running_loop().remove_reader(self._socket.fileno())
        self._socket.close()

    def _drain(self) -> None:
        for _ in range(BATCH):
            try:
                query, control, _, peer = self._socket.recvmsg(MAX_DATAGRAM, _CONTROL)
            except BlockingIOError:
                return
            except OSError as error:
                _log.warning("receiving a query failed: %s", error)
                return
            reply = self._answer(query)
            if reply is not None:
                self._send(reply, control, peer)

    def _send(self, reply: bytes, control: _Control, peer: tuple[object, ...]) -> None:
        """A reply that cannot leave now is lost, as any datagram may be; the client asks again."""
        try:
            self._socket.sendmsg([reply], _same_address(control), 0, peer)
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
