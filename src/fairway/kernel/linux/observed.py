"""What a node's kernel holds, as the texts of the programs that people use to look at it (EDGE). Only reads."""

from __future__ import annotations

import shutil
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from fairway.kernel.linux import netns, recent
from fairway.kernel.linux.netfilter import LinuxNetfilter

MAX_BYTES = 128 * 1024 * 1024
"""What is kept of one program's output."""

SECONDS = 60.0

RULES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("iptables-save.txt", ("iptables-save",)),
    ("ip6tables-save.txt", ("ip6tables-save",)),
    ("nft.txt", ("nft", "list", "ruleset")),
)
SURROUNDINGS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("ip-addr.txt", ("ip", "addr")),
    ("ip-route-4.txt", ("ip", "-4", "route", "show", "table", "all")),
    ("ip-route-6.txt", ("ip", "-6", "route", "show", "table", "all")),
    ("ip-rule-4.txt", ("ip", "-4", "rule")),
    ("ip-rule-6.txt", ("ip", "-6", "rule")),
)
SETS = ("ipset.txt", ("ipset", "save"))
_SETS_LOADED = Path("/sys/module/ip_set")
CONNECTIONS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("conntrack-4.txt", ("conntrack", "-L", "-f", "ipv4")),
    ("conntrack-6.txt", ("conntrack", "-L", "-f", "ipv6")),
)

SWITCHES = (
    "net/ipv4/ip_forward",
    "net/ipv6/conf/all/forwarding",
    "net/ipv4/conf/all/route_localnet",
    "net/bridge/bridge-nf-call-iptables",
    "net/bridge/bridge-nf-call-ip6tables",
    "net/netfilter/nf_conntrack_max",
    "net/netfilter/nf_conntrack_count",
)
"""Settings that decide about a packet's way, below /proc/sys; each device's rp_filter beside them."""


@dataclass(frozen=True, slots=True)
class Piece:
    """One text. `failure` says why there is none, or what is wrong with it."""

    name: str
    command: str
    text: bytes = b""
    failure: str = ""


def observe(namespace: str | None = None, *, connections: bool = False) -> list[Piece]:
    """Rules, addresses, routes and settings of the namespace at a path (None: of the calling thread's own)."""
    inside: AbstractContextManager[object] = nullcontext() if namespace is None else netns.entered(namespace)
    with inside:
        backend = LinuxNetfilter().backend
        commands = [*RULES, *SURROUNDINGS, *(CONNECTIONS if connections else ())]
        found = []
        for name, command in commands:
            if name.endswith("tables-save.txt"):
                command = (command[0].replace("-save", f"{backend}-save"),)
            found.append(_ask(name, command))
        return [*found, switches(), clients(), *sets()]


def shows_connections() -> bool:
    """Whether the program is there that prints what the kernel knows of connections."""
    return _installed(CONNECTIONS[0][1][0])


def sets() -> Iterator[Piece]:
    """The sets of ipset; nothing where that program is not installed, or would have to load its kernel module."""
    name, command = SETS
    if _installed(command[0]) and _SETS_LOADED.exists():
        yield _ask(name, command)


def switches() -> Piece:
    """The settings, as `sysctl` prints them."""
    lines = sorted(_settings())
    return Piece("sysctl.txt", "sysctl", "".join(f"{name} = {value}\n" for name, value in lines).encode())


def clients() -> Piece:
    """The lists of `-m recent`: list, address, and the seconds since it was seen."""
    lists = recent.lists()
    lines = [f"{name} {address} {ago:.3f}\n" for name, seen in lists.items() for address, ago in seen.items()]
    return Piece("recent.txt", "/proc/net/xt_recent", "".join(lines).encode())


def _settings() -> Iterator[tuple[str, str]]:
    root = Path("/proc/sys")
    paths = [root / name for name in SWITCHES]
    paths += sorted(root.glob("net/ipv4/conf/*/rp_filter"))
    for path in paths:
        try:
            value = path.read_text().strip()
        except OSError:
            continue  # a switch that this kernel has not
        parts = path.relative_to(root).parts
        yield ".".join(part.replace(".", "/") for part in parts), value


def _ask(name: str, command: Sequence[str]) -> Piece:
    """What a program prints, up to MAX_BYTES and for SECONDS."""
    line = " ".join(command)
    try:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=_environment()
        )
    except FileNotFoundError:
        return Piece(name, line, failure=f"{command[0]} is not installed")
    except OSError as error:
        return Piece(name, line, failure=f"cannot run {command[0]}: {error.strerror}")
    complaints: list[bytes] = []
    assert process.stdout is not None and process.stderr is not None
    listener = threading.Thread(target=_drain, args=(process.stderr, complaints), daemon=True)
    watch = threading.Timer(SECONDS, process.kill)
    listener.start()
    watch.start()
    try:
        text = process.stdout.read(MAX_BYTES + 1)
        if len(text) > MAX_BYTES:
            process.kill()
        code = process.wait()
    finally:
        watch.cancel()
        process.stdout.close()
    listener.join()
    process.stderr.close()
    return Piece(name, line, text[:MAX_BYTES], _failure(text, code, b"".join(complaints)))


def _failure(text: bytes, code: int, complaint: bytes) -> str:
    if len(text) > MAX_BYTES:
        return f"more than {MAX_BYTES} bytes: the rest is cut off"
    if code < 0:
        return f"stopped after {SECONDS:.0f} s"
    reason = complaint.decode(errors="replace").strip().replace("\n", "; ")[:400]
    return f"exit code {code}: {reason}" if code else ""


def _drain(stream: IO[bytes], into: list[bytes]) -> None:
    into.append(stream.read(65536))
    while stream.read(65536):
        continue


def _installed(program: str) -> bool:
    return shutil.which(program, path=_environment()["PATH"]) is not None


def _environment() -> dict[str, str]:
    return {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}
