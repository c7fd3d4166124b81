"""An API server on SQLite in a process of its own, that a test may kill at any moment and start again.

python -m tests.contract.killable FOLDER PORT HISTORY_SECONDS
"""

from __future__ import annotations

import asyncio
import http.client
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from fairway.api.http import serve
from fairway.api.server import Api
from fairway.store.sqlite import SqliteStore
from tests.contract.served import issue
from tests.contract.session import CONFIG

ROOT = Path(__file__).resolve().parents[2]
HISTORY_SECONDS = 0.25
"""Short, so that whoever is away for a moment finds the past compacted."""


@dataclass
class Killable:
    """The server's files, its port, and the process that is it at the moment."""

    folder: Path
    port: int
    tls: ssl.SSLContext
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start, and wait until it listens."""
        program = [sys.executable, "-m", "tests.contract.killable"]
        words = [str(self.folder), str(self.port), str(HISTORY_SECONDS)]
        self.process = subprocess.Popen([*program, *words], cwd=ROOT, stdout=subprocess.PIPE)
        assert self.process.stdout and self.process.stdout.readline() == b"listening\n"

    def kill(self) -> None:
        """SIGKILL: nothing is finished, nothing is flushed."""
        if self.process and self.process.stdout:
            self.process.kill()
            self.process.wait()
            self.process.stdout.close()
            self.process = None

    def connect(self, seconds: float = 5) -> http.client.HTTPSConnection:
        """A connection, opened at its first request."""
        return http.client.HTTPSConnection("127.0.0.1", self.port, context=self.tls, timeout=seconds)


@contextmanager
def killable(folder: Path) -> Iterator[Killable]:
    """A running server; gone when the block ends."""
    authority = issue("ca")
    authority.save(folder, "ca")
    issue("server", authority).save(folder, "server")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    server = Killable(folder, port, ssl.create_default_context(cafile=str(folder / "ca.crt")))
    server.start()
    try:
        yield server
    finally:
        server.kill()


async def _live(folder: Path, port: int, history: float) -> None:
    store = SqliteStore(folder / "store.db")
    api = Api(store, replace(CONFIG, advertise_port=port, history_seconds=history, bookmark_seconds=0.2))
    await api.start()
    listener = socket.create_server(("127.0.0.1", port))
    print("listening", flush=True)
    files = {"certfile": str(folder / "server.crt"), "keyfile": str(folder / "server.key")}
    await serve(api, [listener], **files, client_ca=None, stop=asyncio.Event())


if __name__ == "__main__":
    asyncio.run(_live(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
