"""A pod's directory on its node: what is where, and the record that says whose it is.

<state_dir>/pods/<uid>/      0700
    pod.json                 the record below, written before the sandbox is made
    volumes/<name>/          what is in its volumes
    tools/                   programs of its containers' images, as scripts
    containers/<name>/       what its containers wrote elsewhere: the upper layers of their roots
    etc/                     resolv.conf, hosts, hostname as the pod sees them
    control, lock            of the sandbox process (pods/init.py)
    state.json               what its containers did
    logs/<container>/<attempt>.log
    sandbox.log              what the sandbox process itself had to complain of
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import socket
import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from fairway.network.hostports import Forward

_PEER = struct.Struct("3i")  # struct ucred: pid, uid, gid (unix(7))


class PodRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Whose directory this is. `addresses` are the pod's, empty on the host network, and
    `forwards` its host ports; `containers` have the init
    containers last."""

    uid: str
    namespace: str
    name: str
    host_network: bool = False
    hostname: str = ""
    addresses: tuple[str, ...] = ()
    containers: tuple[str, ...] = ()
    forwards: tuple[Forward, ...] = ()


class _State(msgspec.Struct, frozen=True):
    containers: dict[str, dict[str, Any]]


class PodDir:
    """The directory of one pod."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def etc(self) -> Path:
        return self.path / "etc"

    @property
    def volumes(self) -> Path:
        return self.path / "volumes"

    @property
    def control(self) -> Path:
        return self.path / "control"

    def log(self, container: str, attempt: int) -> Path:
        """The log of one attempt; a set-aside older part of it has `.1` behind its name."""
        return self.path / "logs" / container / f"{attempt}.log"

    def read(self) -> PodRecord | None:
        """The record; None when the directory is not a pod's (gone, or made only half)."""
        try:
            return msgspec.json.decode((self.path / "pod.json").read_bytes(), type=PodRecord)
        except (FileNotFoundError, msgspec.DecodeError):
            return None

    def state(self) -> Mapping[str, dict[str, Any]]:
        """What the containers did, as the sandbox wrote it last; empty before the first sandbox."""
        try:
            return msgspec.json.decode((self.path / "state.json").read_bytes(), type=_State).containers
        except (FileNotFoundError, msgspec.DecodeError):
            return {}

    def equip(self, name: str, argv: Sequence[str]) -> None:
        """Make a program in `tools`, to be shown to containers, that runs `argv` with its own arguments behind."""
        folder = self.path / "tools"
        folder.mkdir(exist_ok=True, mode=0o755)
        _replace(folder / name, f'#!/bin/sh\nexec {shlex.join(argv)} "$@"\n'.encode(), 0o755)

    def create(self, record: PodRecord, files: Mapping[str, str]) -> None:
        """Make the directory (or bring it up to date): `files` by name for etc/, and the record last."""
        self.etc.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.path.chmod(0o700)
        self.etc.chmod(0o755)
        for name, text in files.items():
            _replace(self.etc / name, text.encode(), 0o644)
        _replace(self.path / "pod.json", msgspec.json.encode(record), 0o600)

    def remove(self) -> None:
        """Remove all of it, the record first, so that a half removed directory is nobody's."""
        with contextlib.suppress(FileNotFoundError):
            (self.path / "pod.json").unlink()
        shutil.rmtree(self.path, ignore_errors=True)


def pod_dirs(state_dir: Path) -> Iterator[PodDir]:
    """The pods' directories of a node's state directory."""
    try:
        entries = sorted((state_dir / "pods").iterdir())
    except FileNotFoundError:
        return
    for entry in entries:
        yield PodDir(entry)


def connect(directory: PodDir) -> socket.socket | None:
    """A connection to the pod's sandbox, None when it has none. Goes through a descriptor of the directory, since a
    socket's path may have 107 characters only (unix(7))."""
    try:
        folder = os.open(directory.path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    handle = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        handle.connect(f"/proc/self/fd/{folder}/control")
    except (FileNotFoundError, ConnectionRefusedError):
        handle.close()
        return None
    finally:
        os.close(folder)
    return handle


def peer_pid(handle: socket.socket) -> int:
    """The process id of the sandbox at the other end, as seen from here; pids in files may belong to strangers by
    now, this one cannot."""
    pid, _, _ = _PEER.unpack(handle.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))
    return int(pid)


def sandbox_pids(state_dir: Path) -> list[int]:
    """The process ids of the sandboxes that live under a node's state directory."""
    pids = []
    for directory in pod_dirs(state_dir):
        handle = connect(directory)
        if handle is not None:
            with handle:
                pids.append(peer_pid(handle))
    return pids


def _replace(path: Path, content: bytes, mode: int) -> None:
    temporary = path.with_name(path.name + ".new")
    temporary.write_bytes(content)
    temporary.chmod(mode)
    temporary.replace(path)
