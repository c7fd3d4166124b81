"""EDGE. Programs and containers of a pod for clients far away: exec and attach.

A program runs as for `fairway exec`: the pod's process 1 starts it on descriptors of ours, pipes or a terminal. It is
killed when its client leaves. When it ends, what it has written is sent; what it left running is not waited for.
Who is attached to a container gets what it writes from then on, as it is written, and may have its input.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import socket
import struct
import termios
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fairway.pods.channels import (
    CLOSE,
    RESIZE,
    STDERR,
    STDIN,
    STDOUT,
    SUCCESS,
    Channels,
    Wanted,
    exit_status,
    failure_status,
)
from fairway.pods.errors import NotFound, SandboxProblem
from fairway.pods.records import PodDir, connect

PIECE = 32 * 1024
LINE_LIMIT = 1024 * 1024
ATTACH_SECONDS = 5.0
_REQUEST = 1

Session = Callable[[Channels, PodDir, str, Wanted], Awaitable[Mapping[str, Any]]]
"""What is done on a connection, and how it ended as the error channel tells it."""


def check_runs(directory: PodDir, container: str) -> None:
    """Raises NotFound unless the container runs now."""
    record = directory.state().get(container)
    if record is None or record["exited"] is not None:
        raise NotFound(f"container {container} does not run (now)")


async def attach_container(channels: Channels, directory: PodDir, container: str, wanted: Wanted) -> Mapping[str, Any]:
    """Send what the container writes until it ends or the client leaves, and give it the client's input, if it has
    any (`stdin` in its pod)."""
    handle = connect(directory)
    if handle is None:
        return failure_status("the pod does not run (now)")
    streams = Streams.make(Wanted(stdout=wanted.stdout, stderr=wanted.stderr))
    try:
        attached = await asyncio.to_thread(_attach, handle, container, wanted, streams)
        reader, writer = await attached.talk()
    except (OSError, SandboxProblem) as error:
        handle.close()
        streams.close()
        return failure_status(f"cannot attach to container {container}: {error}")
    streams.adopt(attached.descriptor, attached.tty, wanted.stdin)

    def ended() -> None:
        writer.write(json.dumps({"do": "end_input", "container": container}).encode() + b"\n")

    outputs = [Output(descriptor, channel, channels) for channel, descriptor in streams.outputs.items()]
    telling = [asyncio.ensure_future(output.run()) for output in outputs]
    try:
        if await _first(_ended(reader), _hear(channels, streams, ended), channels.departed()) is not None:
            await asyncio.gather(*telling)
    finally:
        await _let_go(telling, writer, streams)
    return SUCCESS


async def _ended(reader: asyncio.StreamReader) -> int:
    """Returns when the container has ended; that its pod is gone is an end like any other."""
    try:
        return await _end(reader)
    except SandboxProblem:
        return 0


@dataclass(frozen=True, slots=True)
class _Attached:
    """An agreement to attach: whether the container has a terminal; its input or terminal, if it has either; and what
    was heard already of what comes next."""

    handle: socket.socket
    tty: bool
    descriptor: int | None
    heard: bytes

    async def talk(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        self.handle.setblocking(False)
        reader, writer = await asyncio.open_unix_connection(sock=self.handle, limit=LINE_LIMIT)
        if self.heard:
            reader.feed_data(self.heard)
        return reader, writer


def _attach(handle: socket.socket, container: str, wanted: Wanted, streams: Streams) -> _Attached:
    """Ask to be attached. Blocks for the moment that takes. Raises OSError, SandboxProblem."""
    request = {"id": _REQUEST, "do": "attach", "container": container, "stdin": wanted.stdin, "fds": 3}
    socket.send_fds(handle, [json.dumps(request).encode() + b"\n"], list(streams.theirs))
    streams.let_go()
    handle.settimeout(ATTACH_SECONDS)
    heard, received = b"", list[int]()
    while True:
        while b"\n" not in heard:
            data, descriptors, _, _ = socket.recv_fds(handle, PIECE, 1)
            received += descriptors
            if not data:
                raise SandboxProblem("the pod ended meanwhile")
            heard += data
        line, _, heard = heard.partition(b"\n")
        message = json.loads(line)
        if message.get("id") == _REQUEST:
            if "error" in message:
                raise SandboxProblem(str(message["error"]))
            return _Attached(handle, message["tty"], received[0] if received else None, heard)


async def run_program(channels: Channels, directory: PodDir, container: str, wanted: Wanted) -> Mapping[str, Any]:
    """Run the command on the connection's streams until it ends; it is killed when the client leaves."""
    handle = connect(directory)
    if handle is None:
        return failure_status("the pod does not run (now)")
    streams = Streams.make(wanted)
    try:
        reader, writer = await _begin(handle, container, wanted, streams)
    except OSError as error:
        handle.close()
        streams.close()
        return failure_status(f"the pod's sandbox is gone: {error}")
    outputs = [Output(descriptor, channel, channels) for channel, descriptor in streams.outputs.items()]
    telling = [asyncio.ensure_future(output.run()) for output in outputs]
    try:
        code = await _first(_end(reader), _hear(channels, streams), channels.departed())
        for output in outputs:
            output.finish()
        await asyncio.gather(*telling)
        return exit_status(0 if code is None else code)
    except SandboxProblem as error:
        return failure_status(f"error executing command in container: {error}")
    finally:
        await _let_go(telling, writer, streams)


async def _let_go(telling: Sequence[asyncio.Future[None]], writer: asyncio.StreamWriter, streams: Streams) -> None:
    for task in telling:
        task.cancel()
    await asyncio.gather(*telling, return_exceptions=True)
    writer.close()
    streams.close()


async def _begin(
    handle: socket.socket, container: str, wanted: Wanted, streams: Streams
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Send the request with the program's ends of the streams, which are then only the program's."""
    env = {"TERM": "xterm"} if wanted.tty else {}
    request = {"id": _REQUEST, "do": "exec", "container": container, "argv": wanted.command, "env": env}
    line = json.dumps({**request, "fds": 3, "tty": wanted.tty}).encode() + b"\n"
    socket.send_fds(handle, [line], list(streams.theirs))
    streams.let_go()
    handle.setblocking(False)
    return await asyncio.open_unix_connection(sock=handle, limit=LINE_LIMIT)


async def _end(reader: asyncio.StreamReader) -> int:
    """The program's exit code. Raises SandboxProblem when it could not be run or was lost with its pod."""
    while line := await reader.readline():
        message = json.loads(line)
        if message.get("id") == _REQUEST:
            if "error" in message:
                raise SandboxProblem(str(message["error"]))
            return int(message["code"])
    raise SandboxProblem("the pod ended while the program ran")


async def _hear(channels: Channels, streams: Streams, ended: Callable[[], None] = lambda: None) -> None:
    """Carry out what the client sends, until it leaves; `ended` is called at the end of its input."""
    async for channel, data in channels.received():
        if channel == STDIN:
            await streams.feed(data)
        elif channel == RESIZE:
            streams.resize(data)
        elif channel == CLOSE and data == bytes((STDIN,)):
            streams.end_input()
            ended()


@dataclass(slots=True)
class Streams:
    """Both ends of a program's standard streams: `theirs` for the program; ours is `input` (None when there is none to
    write to) and `outputs` by channel. With a terminal all of ours is its one master side, `terminal`."""

    theirs: tuple[int, int, int]
    input: int | None
    outputs: dict[int, int]
    terminal: int | None = None
    _held: set[int] = field(default_factory=set)

    @classmethod
    def make(cls, wanted: Wanted) -> Streams:
        """What is not wanted is /dev/null."""
        if wanted.tty:
            master, slave = os.openpty()
            os.set_blocking(master, False)
            outputs = {STDOUT: master} if wanted.stdout else {}
            return cls((slave, slave, slave), master if wanted.stdin else None, outputs, master, {master, slave})
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        theirs, held, outputs, ours = [null, null, null], {null}, {}, None
        if wanted.stdin:
            theirs[0], ours = os.pipe()
            held |= {theirs[0], ours}
        for channel, asked in ((STDOUT, wanted.stdout), (STDERR, wanted.stderr)):
            if asked:
                outputs[channel], theirs[channel] = os.pipe()
                held |= {outputs[channel], theirs[channel]}
        for descriptor in (*outputs.values(), *([ours] if ours is not None else [])):
            os.set_blocking(descriptor, False)
        return cls((theirs[0], theirs[1], theirs[2]), ours, outputs, None, held)

    def adopt(self, descriptor: int | None, tty: bool, typed: bool) -> None:
        """Take over the way to a container's input, which is its terminal's master side with `tty`; it is written to
        only if something is to be `typed`."""
        if descriptor is not None:
            os.set_blocking(descriptor, False)
            self._held.add(descriptor)
            self.input = descriptor if typed else None
            self.terminal = descriptor if tty else None

    def let_go(self) -> None:
        """Close the program's ends: only then is the end of its output seen."""
        for descriptor in set(self.theirs):
            self._close(descriptor)

    def close(self) -> None:
        """Close what is still open."""
        for descriptor in list(self._held):
            self._close(descriptor)

    def _close(self, descriptor: int) -> None:
        self._held.discard(descriptor)
        os.close(descriptor)

    async def feed(self, data: bytes) -> None:
        """Give the program input, no faster than it reads. One that has closed its input reads nothing more."""
        while data and self.input is not None:
            try:
                data = data[os.write(self.input, data) :]
            except BlockingIOError:
                await _writable(self.input)
            except OSError:
                self.end_input()

    def end_input(self) -> None:
        """The program reads an end. A terminal has none: its client types it."""
        if self.input is not None and self.terminal is None:
            self._close(self.input)
            self.input = None

    def resize(self, data: bytes) -> None:
        """Set the terminal's size; the kernel tells the program (SIGWINCH)."""
        with contextlib.suppress(ValueError, KeyError, TypeError, struct.error):
            size = json.loads(data)
            winsize = struct.pack("4H", size["Height"], size["Width"], 0, 0)
            if self.terminal is not None:
                fcntl.ioctl(self.terminal, termios.TIOCSWINSZ, winsize)


class Output:
    """One stream of a program on its way to the client."""

    def __init__(self, descriptor: int, channel: int, channels: Channels) -> None:
        self._descriptor = descriptor
        self._channel = channel
        self._channels = channels
        self._over = False
        self._waiting: asyncio.Future[None] | None = None

    def finish(self) -> None:
        """The program has ended: send what is there, and wait for no more."""
        self._over = True
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    async def run(self) -> None:
        """Until everybody who could write has gone, or the program has ended."""
        while True:
            try:
                data = os.read(self._descriptor, PIECE)
            except BlockingIOError:
                if self._over:
                    return
                await self._readable()
                continue
            except OSError:  # EIO: nobody has the terminal any more
                return
            if not data:
                return
            await self._channels.send(self._channel, data)

    async def _readable(self) -> None:
        loop = asyncio.get_running_loop()
        self._waiting = loop.create_future()
        loop.add_reader(self._descriptor, _resolve, self._waiting)
        try:
            await self._waiting
        finally:
            loop.remove_reader(self._descriptor)


async def _writable(descriptor: int) -> None:
    loop = asyncio.get_running_loop()
    waiting: asyncio.Future[None] = loop.create_future()
    loop.add_writer(descriptor, _resolve, waiting)
    try:
        await waiting
    finally:
        loop.remove_writer(descriptor)


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


async def _first(*works: Awaitable[int | None]) -> int | None:
    """The result of the one that ends first; the others are cancelled."""
    tasks: Sequence[asyncio.Future[int | None]] = [asyncio.ensure_future(work) for work in works]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return next(task for task in tasks if task in done).result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
