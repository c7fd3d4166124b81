"""EDGE. The sockets that queries come in by."""

from __future__ import annotations

import socket

from fairway.dns.errors import CannotListen


def bind(address: str, port: int, type: socket.SocketKind, *, shared: bool = False) -> socket.socket:
    """A non-blocking socket of the address's family. A v6 wildcard takes v6 only, so that the v4 one can stand beside
    it. `shared` lets other processes of this user bind the same, and the kernel deals clients out to them
    (SO_REUSEPORT). Raises CannotListen."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    opened = socket.socket(family, type)
    try:
        opened.setblocking(False)
        if type == socket.SOCK_STREAM:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        opened.bind((address, port))
    except (OSError, OverflowError) as error:
        opened.close()
        raise CannotListen(address, port, str(error)) from error
    return opened
