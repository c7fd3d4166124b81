"""Network namespaces: made, named, entered and removed with the calls `ip netns` uses, without starting a program.

A namespace is a file: a bind mount at /run/netns/NAME for named ones (ip-netns(8) reads the same place), or
/proc/PID/ns/net for that of a process. A *thread* is in a namespace, and threads started later inherit it; `entered`
therefore changes nothing for the rest of the process, and no `await` may stand inside its block.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from fairway.kernel.base import KernelError

T = TypeVar("T")

CLONE_NEWNS = 0x0002_0000
CLONE_NEWUTS = 0x0400_0000
CLONE_NEWIPC = 0x0800_0000
CLONE_NEWPID = 0x2000_0000
CLONE_NEWNET = 0x4000_0000

DIRECTORY = Path("/run/netns")
_OWN = "/proc/thread-self/ns/net"  # /proc/self would name the namespace of the main thread

_MS_BIND = 4096
_MS_REC = 16384
_MS_SHARED = 1 << 20
_MNT_DETACH = 2

_SIOCGIFFLAGS = 0x8913
_SIOCSIFFLAGS = 0x8914
_IFF_UP = 1
_IFREQ = struct.Struct("16sh14x")

_libc = ctypes.CDLL(None, use_errno=True)


def unshare(flags: int) -> None:
    """unshare(2) for the calling thread: CLONE_NEW* flags. Raises OSError."""
    _checked(_libc.unshare(flags))


def setns(descriptor: int, kind: int = 0) -> None:
    """setns(2) for the calling thread; `kind` is the CLONE_NEW* flag the file must be of (0: any). Raises OSError."""
    _checked(_libc.setns(descriptor, kind))


def path(name: str) -> str:
    """The file of the namespace `name`, whether or not it exists. Raises KernelError for a name that is no name."""
    if not name or name in (".", "..") or "/" in name or "\0" in name or len(name.encode()) > 255:
        raise KernelError(f"{name!r} cannot name a network namespace: it must be one file name")
    return str(DIRECTORY / name)


def names() -> list[str]:
    """The named namespaces, sorted."""
    return sorted(entry.name for entry in DIRECTORY.iterdir()) if DIRECTORY.is_dir() else []


def create(name: str) -> str:
    """Make a namespace with `lo` up and return its path. Raises KernelError: the name is taken, or no privilege."""
    target = path(name)
    try:
        _prepare_directory()
        os.close(os.open(target, os.O_RDONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444))
    except FileExistsError:
        raise KernelError(f"network namespace {name} exists already") from None
    except OSError as e:
        raise KernelError(f"cannot make network namespace {name}: {e.strerror}{_advice(e)}") from e
    try:
        with _home():
            unshare(CLONE_NEWNET)
            _mount(_OWN, target, _MS_BIND)
            raise_loopback()
    except OSError as e:
        delete(name)
        raise KernelError(f"cannot make network namespace {name}: {e.strerror}{_advice(e)}") from e
    return target


def delete(name: str) -> None:
    """Take the name away: the namespace ends with the last process, socket or file that holds it. A name that is not
    there is no error."""
    target = path(name)
    try:
        _checked(_libc.umount2(os.fsencode(target), _MNT_DETACH))
    except OSError as e:
        if e.errno not in (errno.EINVAL, errno.ENOENT):  # EINVAL: a file that nothing is mounted on
            raise KernelError(f"cannot remove network namespace {name}: {e.strerror}{_advice(e)}") from e
    try:
        Path(target).unlink(missing_ok=True)
    except OSError as e:
        raise KernelError(f"cannot remove network namespace {name}: {e.strerror}") from e


def join(namespace: str | int) -> None:
    """Put the calling thread into `namespace` (a path or an open descriptor) for good. Raises KernelError."""
    try:
        if isinstance(namespace, int):
            setns(namespace, CLONE_NEWNET)
            return
        descriptor = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
        try:
            setns(descriptor, CLONE_NEWNET)
        finally:
            os.close(descriptor)
    except OSError as e:
        reason = "it is not a network namespace" if e.errno == errno.EINVAL else e.strerror
        raise KernelError(f"cannot enter network namespace {namespace}: {reason}{_advice(e)}") from e


@contextmanager
def entered(namespace: str | int) -> Iterator[None]:
    """The calling thread is in `namespace` (a path or an open descriptor) inside the block and back after it.

    Sockets opened inside stay in that namespace for their whole life. Raises KernelError."""
    with _home():
        join(namespace)
        yield


def open_socket_in(namespace: str | int, factory: Callable[[], T]) -> T:
    """What `factory` returns when it is called inside `namespace`: usually a socket that then lives there."""
    with entered(namespace):
        return factory()


def raise_loopback() -> None:
    """Set `lo` up in the namespace of the calling thread: a fresh namespace has it down. Raises OSError."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as handle:
        _, flags = _IFREQ.unpack(fcntl.ioctl(handle, _SIOCGIFFLAGS, _IFREQ.pack(b"lo", 0)))
        fcntl.ioctl(handle, _SIOCSIFFLAGS, _IFREQ.pack(b"lo", flags | _IFF_UP))


@contextmanager
def _home() -> Iterator[None]:
    """Whatever the block does to the thread's network namespace is undone after it."""
    own = os.open(_OWN, os.O_RDONLY | os.O_CLOEXEC)
    try:
        try:
            yield
        finally:
            setns(own, CLONE_NEWNET)
    finally:
        os.close(own)


def _prepare_directory() -> None:
    """/run/netns as ip-netns(8) leaves it: a shared mount of its own, so that names made or taken away here are seen
    in every mount namespace, and removing one is not blocked by a copy of its mount somewhere else."""
    DIRECTORY.mkdir(mode=0o755, parents=True, exist_ok=True)
    descriptor = os.open(DIRECTORY, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)  # or two first users would stack two mounts
        try:
            _mount("", str(DIRECTORY), _MS_SHARED | _MS_REC)
        except OSError as e:
            if e.errno != errno.EINVAL:
                raise
            _mount(str(DIRECTORY), str(DIRECTORY), _MS_BIND | _MS_REC)  # no mount point yet
            _mount("", str(DIRECTORY), _MS_SHARED | _MS_REC)
    finally:
        os.close(descriptor)


def _mount(source: str, target: str, flags: int) -> None:
    _checked(_libc.mount(os.fsencode(source), os.fsencode(target), b"none", ctypes.c_ulong(flags), None))


def _checked(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _advice(error: OSError) -> str:
    return " (root, or CAP_SYS_ADMIN, is needed)" if error.errno in (errno.EPERM, errno.EACCES) else ""
