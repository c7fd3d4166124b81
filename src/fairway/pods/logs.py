"""EDGE. Container logs read back: CRI log files, from the end, since a time, and followed as they grow."""

from __future__ import annotations

import asyncio
import ctypes
import os
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fairway.pods.errors import NotFound
from fairway.pods.records import PodDir
from fairway.pods.view import seconds_of

PIECE = 64 * 1024
IN_MODIFY, IN_MOVED_TO, IN_CREATE = 0x2, 0x80, 0x100  # linux/inotify.h

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Query:
    """What part of a log is wanted. `since` is in seconds since 1970; None means no limit."""

    follow: bool = False
    previous: bool = False
    timestamps: bool = False
    tail: int | None = None
    since: float | None = None
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """The log of one attempt of a container of a pod."""

    directory: PodDir
    container: str
    attempt: int

    @property
    def path(self) -> Path:
        return self.directory.log(self.container, self.attempt)

    def ended(self) -> bool:
        """Whether nothing more will be written."""
        record = self.directory.state().get(self.container)
        return record is None or record["attempt"] != self.attempt or record["exited"] is not None


def source(directory: PodDir, container: str, previous: bool, waiting: str = "ContainerCreating") -> Source:
    """Where to read; `waiting` is why the container has not started, if it has not. Raises NotFound, worded for the
    user who asked."""
    record = directory.state().get(container)
    whose = directory.read()
    pod = whose.name if whose is not None else directory.path.name
    if previous:
        if record is None or record["previous"] is None:
            raise NotFound(f'previous terminated container "{container}" in pod "{pod}" not found')
        return Source(directory, container, record["previous"]["attempt"])
    if record is None:
        raise NotFound(f'container "{container}" in pod "{pod}" is waiting to start: {waiting}')
    return Source(directory, container, record["attempt"])


def render(line: bytes, query: Query) -> bytes:
    """One log line as the user sees it: b"" when it is too old or no log line. A part of a line has no newline."""
    time, _, rest = line.partition(b" ")
    _, _, rest = rest.partition(b" ")
    tag, _, text = rest.partition(b" ")
    if tag not in (b"F", b"P") or (query.since is not None and _older(time, query.since)):
        return b""
    stamp = time + b" " if query.timestamps else b""
    return stamp + text + (b"\n" if tag == b"F" else b"")


def _older(time: bytes, since: float) -> bool:
    try:
        return seconds_of(time.decode("ascii", "replace")) < since
    except ValueError:
        return True


def _last(lines: Iterable[bytes], count: int | None) -> Iterable[bytes]:
    return lines if count is None else deque(lines, maxlen=count)


async def read(source: Source, query: Query) -> AsyncGenerator[bytes, None]:
    """The wanted part of a log in pieces; with `follow`, on until the attempt has ended."""
    left = query.limit
    async for piece in _pieces(source, query):
        if left is not None:
            piece = piece[:left]
            left -= len(piece)
        if piece:
            yield piece
        if left == 0:
            return


async def _pieces(source: Source, query: Query) -> AsyncIterator[bytes]:
    with _changes(source) as changed:
        follower = _Follower(source.path)
        old = await asyncio.to_thread(lambda: list(_last(follower.skip(), query.tail)))
        waiting = bytearray()
        for line in old:
            waiting += render(line, query)
            if len(waiting) >= PIECE:
                yield bytes(waiting)
                waiting.clear()
        yield bytes(waiting)
        while query.follow:
            changed.clear()
            ended = source.ended()
            yield b"".join(render(line, query) for line in follower.fresh())
            if ended:
                return
            await changed.wait()


class _Follower:
    """Reads a growing log: first what is there, then what has come since. When the file was set aside, the rest of the
    old one is read before the new."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._aside = path.with_name(path.name + ".1")
        self._inode = -1
        self._offset = 0

    def skip(self) -> Iterator[bytes]:
        """What is there now; `fresh` goes on behind it."""
        yield from self._rest(self._aside, 0)
        yield from self.fresh()

    def fresh(self) -> Iterator[bytes]:
        """Whole lines that came since the last call."""
        try:
            inode = self._path.stat().st_ino
        except FileNotFoundError:
            return
        if self._inode not in (-1, inode):
            yield from self._rest(self._aside, self._offset)
            self._offset = 0
        self._inode = inode
        yield from self._rest(self._path, self._offset)

    def _rest(self, path: Path, offset: int) -> Iterator[bytes]:
        try:
            with path.open("rb") as file:
                file.seek(offset)
                for line in file:
                    if not line.endswith(b"\n"):
                        return
                    offset += len(line)
                    if path == self._path:
                        self._offset = offset
                    yield line[:-1]
        except FileNotFoundError:
            return


@contextmanager
def _changes(source: Source) -> Iterator[asyncio.Event]:
    """An event that is set whenever the log has grown or the container's state has changed."""
    event = asyncio.Event()
    descriptor = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    if descriptor < 0:
        raise OSError(ctypes.get_errno(), "inotify: " + os.strerror(ctypes.get_errno()))
    loop = asyncio.get_running_loop()

    def read() -> None:
        try:
            os.read(descriptor, PIECE)
        except BlockingIOError:
            return
        event.set()

    try:
        _libc.inotify_add_watch(descriptor, os.fsencode(source.path.parent), IN_MODIFY | IN_CREATE | IN_MOVED_TO)
        _libc.inotify_add_watch(descriptor, os.fsencode(source.directory.path), IN_MOVED_TO)
        loop.add_reader(descriptor, read)
        yield event
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)
