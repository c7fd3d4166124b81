"""EDGE. A pod's sandbox as the node agent sees it: made, found again, told what to run, waited for."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fairway.pods.errors import SandboxProblem
from fairway.pods.records import PodDir, connect, peer_pid

INIT = Path(__file__).with_name("init.py")
LINE_LIMIT = 4 * 1024 * 1024
END_SECONDS = 5.0  # a sandbox that was told to end and has not by then is killed

Record = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ExecResult:
    """What a program run beside a container said: its exit code (128 + n for signal n), the first 10 KiB of its
    output, and whether it was killed for taking too long."""

    code: int
    output: str
    expired: bool


class Sandbox:
    """A live sandbox. `records` holds each container's latest record, kept up to date by the sandbox's own messages;
    `on_change` is called after each of them and when the sandbox is lost."""

    def __init__(self, handle: socket.socket, on_change: Callable[[], None]) -> None:
        self.pid = peer_pid(handle)
        self.records: dict[str, Record] = {}
        self.alive = True
        self._pidfd = os.pidfd_open(self.pid)
        self._on_change = on_change
        self._answers: dict[int, asyncio.Future[Record]] = {}
        self._next = 0
        self._writer: asyncio.StreamWriter
        self._reading: asyncio.Task[None]
        self._handle = handle

    @property
    def network_namespace(self) -> str:
        """The file that names the pod's network namespace."""
        return f"/proc/{self.pid}/ns/net"

    @classmethod
    async def make(cls, directory: PodDir, hostname: str, host_network: bool, on_change: Callable[[], None]) -> Sandbox:
        """Start the sandbox of a directory that has none. Raises SandboxProblem."""
        with (directory.path / "sandbox.log").open("ab") as complaints:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", str(INIT), str(directory.path), hostname),
                *(["--host-network"] if host_network else []),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=complaints,
                stderr=complaints,
                start_new_session=True,
                env={},
            )
            code = await process.wait()
        found = await cls.find(directory, on_change)
        if found is None:
            raise SandboxProblem(f"the pod's sandbox did not start (exit code {code}): {_last_words(directory)}")
        return found

    @classmethod
    async def find(cls, directory: PodDir, on_change: Callable[[], None]) -> Sandbox | None:
        """The sandbox that already runs for a directory, with all its records; None when there is none."""
        handle = connect(directory)
        if handle is None:
            return None
        try:
            sandbox = cls(handle, on_change)
        except ProcessLookupError:
            handle.close()
            return None
        if await sandbox._begin():
            return sandbox
        sandbox.close()
        return None

    async def _begin(self) -> bool:
        self._handle.setblocking(False)
        reader, self._writer = await asyncio.open_unix_connection(sock=self._handle, limit=LINE_LIMIT)
        first = await reader.readline()
        if first:
            self._hear(json.loads(first))
        self._reading = asyncio.create_task(self._read(reader), name=f"sandbox {self.pid}")
        return bool(first)

    async def _read(self, reader: asyncio.StreamReader) -> None:
        try:
            while line := await reader.readline():
                self._hear(json.loads(line))
                self._on_change()
        except OSError:
            pass  # the same as an end of the stream: it is gone
        self.alive = False
        for answer in self._answers.values():
            if not answer.done():
                answer.set_exception(SandboxProblem("the pod's sandbox is gone"))
        self._on_change()

    def _hear(self, message: Record) -> None:
        event = message.get("event")
        if event == "state":
            self.records = message["containers"]
        elif event == "exited":
            self.records[message["container"]] = message["record"]
        else:
            answer = self._answers.pop(message["id"], None)
            if answer is not None and not answer.done():
                answer.set_result(message)

    async def _ask(self, request: Record) -> Record:
        if not self.alive:
            raise SandboxProblem("the pod's sandbox is gone")
        self._next += 1
        number = self._next
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        self._writer.write(json.dumps({"id": number, **request}).encode() + b"\n")
        try:
            message: Record = await answer
        finally:
            self._answers.pop(number, None)
        if "error" in message:
            raise SandboxProblem(message["error"])
        return message

    async def start(self, container: str, attempt: int, request: Mapping[str, Any]) -> Record:
        """Start an attempt of a container (see pods/init.py for `request`); its record, in which `failed` says that
        the program could not be executed. Raises SandboxProblem."""
        answer = await self._ask({"do": "start", "container": container, "attempt": attempt, **request})
        record: Record = answer["record"]
        if self.records.get(container, {}).get("attempt", -1) < attempt:
            self.records[container] = record
        return record

    async def stop(self, container: str, grace: float) -> None:
        """SIGTERM, and SIGKILL after `grace` seconds; returns at once."""
        await self._ask({"do": "stop", "container": container, "grace": grace})

    async def run(self, container: str, argv: Sequence[str], timeout: float) -> ExecResult:
        """Run a program beside a container, captured. Raises SandboxProblem when it cannot be executed."""
        answer = await self._ask(
            {"do": "exec", "container": container, "argv": list(argv), "timeout": timeout, "fds": 0}
        )
        return ExecResult(answer["code"], answer["output"], answer["expired"])

    async def end(self) -> None:
        """Kill all that is in the sandbox, and return when it is gone."""
        if self.alive:
            self._writer.write(b'{"do": "end"}\n')
        gone = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_reader(self._pidfd, gone.set)  # a pidfd is readable once its process has ended (pidfd_open(2))
        try:
            async with asyncio.timeout(END_SECONDS):
                await gone.wait()
        except TimeoutError:
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
            await gone.wait()
        finally:
            loop.remove_reader(self._pidfd)
        self.close()

    def close(self) -> None:
        """Let go of the sandbox; it goes on without us."""
        if hasattr(self, "_reading"):
            self._reading.cancel()
            self._writer.close()
        else:
            self._handle.close()
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1


def _last_words(directory: PodDir) -> str:
    text = (directory.path / "sandbox.log").read_text(errors="replace").strip()
    return text.splitlines()[-1] if text else "it said nothing"
