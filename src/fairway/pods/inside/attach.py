"""A container's standard streams, and clients that are attached to them."""

from __future__ import annotations

import os

from fairway.pods.inside.connection import Connection
from fairway.pods.inside.programs import Record


class Stdio:
    """Both ends of a container's streams. `theirs` are for its program; ours are `outputs` by name and `input`, None
    when it reads nothing. A terminal is all of them at once."""

    def __init__(self, request: Record, null: int) -> None:
        self.tty = bool(request.get("tty"))
        self.input: int | None = None
        if self.tty:
            master, slave = os.openpty()
            self.theirs = (slave, slave, slave)
            self.outputs = {"stdout": master}
            self.input = os.dup(master)
            self._passed = {slave}
        else:
            pipes = {name: os.pipe() for name in ("stdout", "stderr")}
            self.outputs = {name: reading for name, (reading, _) in pipes.items()}
            self._passed = {writing for _, writing in pipes.values()}
            reads = null
            if request.get("stdin"):
                reads, self.input = os.pipe()
                self._passed.add(reads)
            self.theirs = (reads, pipes["stdout"][1], pipes["stderr"][1])
        for descriptor in self.outputs.values():
            os.set_blocking(descriptor, False)

    def let_go(self) -> None:
        """Close the program's ends: it has copies, and only its own are to count."""
        for descriptor in self._passed:
            os.close(descriptor)


class Attachment:
    """A client that gets what a container writes from now on, as it is written, on pipes of its own.

    What it does not take is kept here; the container's streams are not read as long as there is any.
    """

    def __init__(self, connection: Connection, request: Record, outputs: dict[str, int]) -> None:
        self.connection, self.request = connection, request
        self.outputs = outputs
        self.pending = dict.fromkeys(outputs, b"")
        self.code: int | None = None  # how the container ended, once it has
        for descriptor in outputs.values():
            os.set_blocking(descriptor, False)

    @property
    def behind(self) -> bool:
        return any(self.pending.values())

    def feed(self, name: str, data: bytes) -> None:
        """The container wrote."""
        if name in self.outputs:
            self.pending[name] += data
            self.push()

    def push(self) -> None:
        """Pass on what the client takes. One that takes no more gets no more; its connection tells that it left."""
        for name, descriptor in self.outputs.items():
            try:
                while self.pending[name]:
                    self.pending[name] = self.pending[name][os.write(descriptor, self.pending[name][:65536]) :]
            except BlockingIOError:
                continue
            except OSError:
                self.pending[name] = b""

    def end(self) -> None:
        """Close the pipes, which tells the client that all has been said, and say how the container ended."""
        for descriptor in self.outputs.values():
            os.close(descriptor)
        self.outputs = {}
        if self.code is not None:
            self.connection.send({"id": self.request.get("id"), "code": self.code})
