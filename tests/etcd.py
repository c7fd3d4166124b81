"""Real etcd members on loopback, for tests: started on free ports, ended by their process ids."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

# Elections within a fraction of a second: members are a loopback apart.
HEARTBEAT_MS, ELECTION_MS = 50, 500
START_SECONDS = 20.0


@dataclass
class Member:
    """One etcd process. `endpoint` is where clients reach it."""

    endpoint: str
    process: subprocess.Popen[bytes]

    def kill(self) -> None:
        """As a power cut would."""
        self.process.kill()
        self.process.wait()

    def pause(self) -> None:
        """It stands still: connections stay, nothing answers."""
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.process.send_signal(signal.SIGCONT)


@contextmanager
def cluster(directory: Path, size: int = 1, tls: Mapping[str, str] | None = None) -> Iterator[list[Member]]:
    """A fresh cluster that keeps its data under `directory`, ready to serve. With `tls`, options that name files, it
    speaks TLS with clients, and need not be ready yet."""
    program = shutil.which("etcd")
    assert program, "etcd is not on PATH; setup.sh installs Debian's etcd-server"
    ports = _free_ports(2 * size)
    peers = [f"http://127.0.0.1:{port}" for port in ports[size:]]
    everybody = ",".join(f"m{n}={url}" for n, url in enumerate(peers))
    with ExitStack() as stack:
        members = []
        for n, (port, peer) in enumerate(zip(ports[:size], peers, strict=True)):
            client = f"{'https' if tls else 'http'}://127.0.0.1:{port}"
            words = {
                "name": f"m{n}",
                "data-dir": str(directory / f"m{n}"),
                "listen-client-urls": client,
                "advertise-client-urls": client,
                "listen-peer-urls": peer,
                "initial-advertise-peer-urls": peer,
                "initial-cluster": everybody,
                "heartbeat-interval": str(HEARTBEAT_MS),
                "election-timeout": str(ELECTION_MS),
                "logger": "zap",
                "log-level": "error",
                **(tls or {}),
            }
            command = [program, *(f"--{name}={value}" for name, value in words.items())]
            log = stack.enter_context((directory / f"m{n}.log").open("wb"))
            member = Member(f"127.0.0.1:{port}", subprocess.Popen(command, stdout=log, stderr=log))
            stack.callback(member.kill)
            members.append(member)
        for member in () if tls else members:
            _await_health(member)
        yield members


def _free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago, all different."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [found.getsockname()[1] for found in sockets]


def _await_health(member: Member) -> None:
    """Until the member says that it has a leader."""
    host, _, port = member.endpoint.partition(":")
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        assert member.process.poll() is None, f"etcd at {member.endpoint} ended at its start"
        try:
            with socket.create_connection((host, int(port)), timeout=1) as asking:
                asking.sendall(b"GET /health HTTP/1.0\r\n\r\n")
                if b'"health":"true"' in asking.makefile("rb").read():
                    return
        except OSError:
            time.sleep(0.01)
    raise AssertionError(f"etcd at {member.endpoint} does not become healthy")
