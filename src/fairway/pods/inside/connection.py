"""One client of the control socket: JSON lines, and descriptors sent along with them."""

from __future__ import annotations

import array
import json
import socket

from fairway.pods.inside.programs import Record, Trouble

REQUEST = 4 * 1024 * 1024  # a longer request line is refused: exec's own limit on arguments is 2 MiB


class Connection:
    """One client of the control socket."""

    def __init__(self, handle: socket.socket) -> None:
        self.handle = handle
        self.pending = b""
        self.descriptors: list[int] = []

    def receive(self) -> list[Record] | None:
        """The requests that have arrived whole; None when the client is gone."""
        room = array.array("i", [0] * 16)
        try:
            data, ancillary, _, _ = self.handle.recvmsg(
                65536, socket.CMSG_SPACE(len(room) * room.itemsize), socket.MSG_CMSG_CLOEXEC
            )
        except BlockingIOError:
            return []
        except OSError:
            return None
        for level, kind, payload in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                self.descriptors += array.array("i", payload[: len(payload) - len(payload) % room.itemsize])
        *lines, self.pending = (self.pending + data).split(b"\n")
        if not data or len(self.pending) > REQUEST:
            return None
        return [json.loads(line) for line in lines]

    def send(self, message: Record) -> None:
        """Never waits: messages are small, and a client that stops reading them is cut off."""
        try:
            self.handle.sendall(json.dumps(message).encode() + b"\n")
        except BlockingIOError:
            self.handle.shutdown(socket.SHUT_RDWR)
        except OSError:  # it hung up; the loop will read that
            pass

    def take(self, count: int) -> tuple[int, int, int]:
        if count != 3 or len(self.descriptors) < 3:
            raise Trouble("exec needs three descriptors sent along, or none")
        first, second, third = self.descriptors[:3]
        del self.descriptors[:3]
        return first, second, third
