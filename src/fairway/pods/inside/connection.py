"""One client of the control socket: JSON lines, and descriptors sent along with them."""

from __future__ import annotations

import _socket
import array

from fairway.pods.inside import jsontext
from fairway.pods.inside.programs import Record, Trouble

REQUEST = 4 * 1024 * 1024  # a longer request line is refused: exec's own limit on arguments is 2 MiB


class Connection:
    """One client of the control socket."""

    def __init__(self, handle: _socket.socket) -> None:
        self.handle = handle
        self.pending = b""
        self.descriptors: list[int] = []

    def receive(self) -> list[Record] | None:
        """The requests that have arrived whole; None when the client is gone."""
        room = array.array("i", [0] * 16)
        try:
            data, ancillary, _, _ = self.handle.recvmsg(
                65536, _socket.CMSG_SPACE(len(room) * room.itemsize), _socket.MSG_CMSG_CLOEXEC
            )
        except BlockingIOError:
            return []
        except OSError:
            return None
        for level, kind, payload in ancillary:
            if level == _socket.SOL_SOCKET and kind == _socket.SCM_RIGHTS:
                self.descriptors += array.array("i", payload[: len(payload) - len(payload) % room.itemsize])
        *lines, self.pending = (self.pending + data).split(b"\n")
        if not data or len(self.pending) > REQUEST:
            return None
        return [jsontext.loads(line.decode()) for line in lines]

    def send(self, message: Record, descriptors: tuple[int, ...] = ()) -> None:
        """Never waits: messages are small, and a client that stops reading them is cut off."""
        line = jsontext.dumps(message).encode() + b"\n"
        try:
            if descriptors:
                rights = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, array.array("i", descriptors))]
                line = line[self.handle.sendmsg([line], rights) :]
            self.handle.sendall(line)
        except BlockingIOError:
            self.handle.shutdown(_socket.SHUT_RDWR)
        except OSError:  # it hung up; the loop will read that
            pass

    def take(self, count: int) -> tuple[int, int, int]:
        if count != 3 or len(self.descriptors) < 3:
            raise Trouble("three descriptors must be sent along")
        first, second, third = self.descriptors[:3]
        del self.descriptors[:3]
        return first, second, third
