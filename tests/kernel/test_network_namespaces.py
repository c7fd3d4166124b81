"""Named network namespaces on the real kernel: made and removed as ip-netns(8) does, entered by one thread alone."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from fairway.kernel.base import KernelError
from fairway.kernel.linux import netns

pytestmark = pytest.mark.kernel
NAME = f"fwt-{os.getpid()}-space"


def here() -> int:
    """The inode of the calling thread's network namespace: what tells two apart."""
    return Path("/proc/thread-self/ns/net").stat().st_ino


def devices() -> list[str]:
    return [name for _, name in socket.if_nameindex()]


@pytest.fixture
def space() -> Iterator[str]:
    path = netns.create(NAME)
    try:
        yield path
    finally:
        netns.delete(NAME)


def test_a_namespace_is_made_with_lo_up_and_the_maker_stays_outside(space: str) -> None:
    home = here()
    assert space == f"/run/netns/{NAME}"
    assert NAME in netns.names()
    with netns.entered(space):
        assert here() == Path(space).stat().st_ino != home
        assert devices()[0] == "lo"
        with socket.create_server(("127.0.0.1", 0)) as server:
            socket.create_connection(server.getsockname(), timeout=2).close()
    assert here() == home


def test_nothing_is_left_when_it_is_deleted() -> None:
    mounts = Path("/proc/self/mountinfo").read_text().count(NAME)
    netns.create(NAME)
    netns.delete(NAME)
    netns.delete(NAME)
    assert NAME not in netns.names()
    assert Path("/proc/self/mountinfo").read_text().count(NAME) == mounts == 0


def test_a_name_is_given_once(space: str) -> None:
    inode = Path(space).stat().st_ino
    with pytest.raises(KernelError, match=f"network namespace {NAME} exists already"):
        netns.create(NAME)
    assert Path(space).stat().st_ino == inode, "and the one that has it is untouched"


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\0b", "x" * 256])
def test_what_is_no_file_name_is_no_name(name: str) -> None:
    with pytest.raises(KernelError, match="cannot name a network namespace"):
        netns.create(name)


def test_a_leftover_file_can_be_deleted() -> None:
    Path(netns.path(NAME)).touch()
    netns.delete(NAME)
    assert NAME not in netns.names()


def test_an_error_inside_leads_back_home(space: str) -> None:
    home = here()
    with pytest.raises(ZeroDivisionError), netns.entered(space):
        raise ZeroDivisionError
    assert here() == home


def test_blocks_nest(space: str) -> None:
    home, way_back = here(), os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    with netns.entered(space):
        inside = here()
        with netns.entered(way_back):
            assert here() == home != inside
        assert here() == inside
    assert here() == home
    os.close(way_back)


def test_other_threads_stay_where_they_are(space: str) -> None:
    home, seen = here(), []
    go, done = threading.Event(), threading.Event()

    def look() -> None:
        go.wait(5)
        seen.append(here())
        done.set()

    thread = threading.Thread(target=look)
    thread.start()
    with netns.entered(space):
        go.set()
        assert done.wait(5)
    thread.join()
    assert seen == [home]


def test_who_joins_stays(space: str) -> None:
    seen = []

    def move() -> None:
        descriptor = os.open(space, os.O_RDONLY)
        netns.join(descriptor)
        os.close(descriptor)
        seen.append(here())

    thread = threading.Thread(target=move)
    thread.start()
    thread.join()
    assert seen == [Path(space).stat().st_ino]


def test_a_socket_opened_inside_lives_there(space: str) -> None:
    with (
        netns.open_socket_in(space, lambda: socket.create_server(("127.0.0.1", 0))) as server,
        netns.open_socket_in(space, socket.socket) as inside,
        socket.socket() as outside,
    ):
        inside.connect(server.getsockname())
        with pytest.raises(ConnectionRefusedError):
            outside.connect(server.getsockname())


@pytest.mark.parametrize("path", ["/run/netns/no-such-space", "/etc/hostname", "/proc/self/ns/mnt"])
def test_what_is_no_network_namespace_cannot_be_entered(path: str) -> None:
    home = here()
    with pytest.raises(KernelError, match=f"cannot enter network namespace {path}"), netns.entered(path):
        pass
    assert here() == home


def test_wrong_calls_raise_the_kernels_error() -> None:
    with pytest.raises(OSError, match="Invalid argument"):
        netns.unshare(0x1)
    with pytest.raises(OSError, match="Bad file descriptor"):
        netns.setns(-1, netns.CLONE_NEWNET)


@pytest.mark.skipif(not shutil.which("ip"), reason="iproute2 is not installed")
def test_ip_netns_sees_what_we_make_and_we_see_what_it_makes(space: str) -> None:
    run = subprocess.run(["ip", "netns", "exec", NAME, "readlink", "/proc/self/ns/net"], capture_output=True, text=True)
    assert run.stdout.strip() == f"net:[{Path(space).stat().st_ino}]"
    theirs = f"{NAME}-ip"
    subprocess.run(["ip", "netns", "add", theirs], check=True)
    assert theirs in netns.names()
    netns.delete(theirs)
    assert theirs not in subprocess.run(["ip", "netns", "list"], capture_output=True, text=True).stdout
