"""Container output as log files in the CRI format: `TIME STREAM TAG LINE`."""

from __future__ import annotations

import os
import sys
import time

LINE = 16 * 1024  # longer lines are written in parts (tag P), as CRI runtimes do
SIZE = 10 * 1024 * 1024  # then the file is set aside as .1 (the kubelet's containerLogMaxSize)


def split_lines(pending: bytes, data: bytes) -> tuple[list[tuple[str, bytes]], bytes]:
    """Cut output into log entries: ("F", line) for whole lines, ("P", part) for pieces of lines over LINE bytes;
    and what is left waiting for its newline."""
    *whole, rest = (pending + data).split(b"\n")
    entries: list[tuple[str, bytes]] = []
    for line in whole:
        while len(line) > LINE:
            entries.append(("P", line[:LINE]))
            line = line[LINE:]
        entries.append(("F", line))
    while len(rest) > LINE:
        entries.append(("P", rest[:LINE]))
        rest = rest[LINE:]
    return entries, rest


def stamp(nanoseconds: int) -> str:
    """RFC 3339 with nanoseconds, UTC: the first word of a CRI log line."""
    seconds, fraction = divmod(nanoseconds, 1_000_000_000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{fraction:09d}Z"


class Log:
    """The log file of one attempt of one container."""

    def __init__(self, container: str, attempt: int) -> None:
        folder = f"logs/{container}"
        os.makedirs(folder, exist_ok=True)
        for gone in (f"{folder}/{attempt - 2}.log", f"{folder}/{attempt - 2}.log.1"):  # only one previous is kept
            if os.path.exists(gone):
                os.unlink(gone)
        self.path = f"{folder}/{attempt}.log"
        self._open()

    def _open(self) -> None:
        self.descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self.size = os.fstat(self.descriptor).st_size

    def write(self, stream: str, entries: list[tuple[str, bytes]]) -> None:
        """Append entries. A full disk loses output; it never stops the pod."""
        now = stamp(time.time_ns())
        text = b"".join(f"{now} {stream} {tag} ".encode() + line + b"\n" for tag, line in entries)
        try:
            if self.size and self.size + len(text) > SIZE:
                os.close(self.descriptor)
                os.replace(self.path, self.path + ".1")
                self._open()
            self.size += os.write(self.descriptor, text)
        except OSError as error:
            sys.stderr.write(f"log {self.path}: {error}\n")

    def close(self) -> None:
        os.close(self.descriptor)


class Output:
    """One stream of a container on its way into the log."""

    def __init__(self, log: Log, stream: str, descriptor: int) -> None:
        self.log, self.stream, self.descriptor = log, stream, descriptor
        self.pending = b""

    def feed(self, data: bytes) -> None:
        entries, self.pending = split_lines(self.pending, data)
        if entries:
            self.log.write(self.stream, entries)

    def flush(self) -> None:
        """Write a last line without newline: as a part, so that a reader gets the bytes as they were."""
        if self.pending:
            self.log.write(self.stream, [("P", self.pending)])
            self.pending = b""
