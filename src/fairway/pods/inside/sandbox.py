"""Making a sandbox: fresh namespaces, furnished, with process 1 in them."""

from __future__ import annotations

import _socket
import fcntl
import os
import struct
import sys

from fairway.pods.inside.libc import checked, libc
from fairway.pods.inside.loop import Init
from fairway.pods.inside.mounting import MS_NODEV, MS_NOEXEC, MS_NOSUID, MS_REC, MS_SLAVE, mount

LOCK, SHM = "lock", "/dev/shm"
CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC = 0x00020000, 0x04000000, 0x08000000
CLONE_NEWPID, CLONE_NEWNET = 0x20000000, 0x40000000
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 0x1


def _raise_loopback() -> None:
    handle = _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM)
    request = struct.pack("16sH14x", b"lo", 0)
    (flags,) = struct.unpack("16xH14x", fcntl.ioctl(handle, SIOCGIFFLAGS, request))
    fcntl.ioctl(handle, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", flags | IFF_UP))
    handle.close()


def _furnish(hostname: str, host_network: bool) -> None:
    """Make the fresh namespaces livable. Mounts of the host still come and go in ours (slave), ours never in its."""
    mount("none", "/", "", MS_REC | MS_SLAVE)
    mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    mount("tmpfs", SHM, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=1777,size=64m")  # shared by its containers
    _socket.sethostname(hostname)
    if not host_network:
        _raise_loopback()


def _lock() -> None:
    """Held until the sandbox's end, so that a pod never has two."""
    descriptor = os.open(LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise OSError("this pod's sandbox is there already") from None


def _sandbox(hostname: str, host_network: bool, telling: int) -> None:
    try:
        _furnish(hostname, host_network)
        init = Init()
    except Exception as error:
        os.write(telling, str(error).encode())
        os._exit(1)
    os.write(telling, b"ready")
    os.close(telling)
    init.run()
    os._exit(0)


def main(argv: list[str]) -> int:
    """Make the namespaces, leave process 1 in them, and return once it listens."""
    directory, hostname, host_network = argv[1], argv[2], "--host-network" in argv[3:]
    try:
        os.umask(0o077)
        os.chdir(directory)
        _lock()
        flags = CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWPID | (0 if host_network else CLONE_NEWNET)
        checked(libc.unshare(flags), "unshare")
    except OSError as error:
        sys.stderr.write(f"{error.strerror or error}\n")
        return 1
    listening, telling = os.pipe()
    if os.fork() == 0:
        os.close(listening)
        _sandbox(hostname, host_network, telling)
    os.close(telling)
    with open(listening, "rb") as pipe:
        said = pipe.read()
    if said == b"ready":
        return 0
    sys.stderr.write(said.decode(errors="replace") + "\n")
    return 1
