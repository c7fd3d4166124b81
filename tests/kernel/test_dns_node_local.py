"""The addresses of `--node-local`: they answer, no connection is tracked for it, and nothing stays behind."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import dns.message
import dns.rcode
import pytest

from fairway.assemble import nodelocal
from fairway.kernel.linux import netns
from fairway.kernel.linux.conntrack import LinuxConntrack
from fairway.kernel.linux.links import LinuxLinks
from fairway.kernel.linux.nftables import LinuxNftables
from fairway.packet import Family
from fairway.ruleset import nft

pytestmark = pytest.mark.kernel

ADDRESSES = ("169.254.20.10", "fd00:10:96::a")
KUBECONFIG = """{"clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:1"}}], "users": [],
"contexts": [{"name": "c", "context": {"cluster": "c", "user": ""}}], "current-context": "c"}"""
TRACKING = """table inet tracking {
	chain output {
		type filter hook output priority 0; policy accept;
		ct state established accept
	}
}
"""


@pytest.fixture
def space() -> Iterator[str]:
    """A namespace whose kernel tracks connections, as that of a node with a proxy does."""
    name = f"fwt-{os.getpid()}-dns"
    path = netns.create(name)
    try:
        with netns.entered(path):
            subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        tables = LinuxNftables(path)
        tables.apply(nodelocal.replacing(TRACKING))
        tables.close()
        yield path
    finally:
        netns.delete(name)


def ask(path: str, address: str) -> dns.message.Message:
    """The reply to a query from the namespace; asked again until somebody listens."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    query = dns.message.make_query("kubernetes.default.svc.cluster.local", "A")
    with netns.open_socket_in(path, lambda: socket.socket(family, socket.SOCK_DGRAM)) as client:
        client.settimeout(1)
        for _ in range(100):
            try:
                client.connect((address, 53))
                client.send(query.to_wire())
                return dns.message.from_wire(client.recv(4096))
            except OSError:
                time.sleep(0.1)
    raise AssertionError(f"nobody answers at {address}")


def tracked(path: str) -> int:
    kernel = LinuxConntrack(path)
    return sum(len(kernel.flows(family, socket.IPPROTO_UDP)) for family in Family)


def devices(path: str) -> list[str]:
    return [each.name for each in LinuxLinks(path).interfaces()]


def test_it_answers_untracked_and_leaves_nothing_behind(space: str, tmp_path: Path) -> None:
    config = tmp_path / "kubeconfig"
    config.write_text(KUBECONFIG)
    words = [sys.executable, "-m", "fairway", "dns", "--kubeconfig", str(config), "--resolv-conf", ""]
    words += [word for address in ADDRESSES for word in ("--node-local", address)]
    with netns.entered(space):
        server = subprocess.Popen(words)
    try:
        for address in ADDRESSES:
            assert ask(space, address).rcode() == dns.rcode.SERVFAIL  # no API has been listed
        assert tracked(space) == 0
        assert nodelocal.DEVICE in devices(space)
    finally:
        server.terminate()
        assert server.wait(20) == 0
    assert nodelocal.DEVICE not in devices(space)
    assert LinuxNftables(space).read(nodelocal.TABLE) is None
    assert LinuxNftables(space).read(nft.TableName("inet", "tracking")) is not None


def test_without_the_rules_the_same_question_is_tracked(space: str) -> None:
    """What the other test must not find is found here."""
    with (
        netns.open_socket_in(space, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as server,
        netns.open_socket_in(space, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as client,
    ):
        server.bind(("127.0.0.1", 53))
        client.sendto(b"?", ("127.0.0.1", 53))
        server.recvfrom(10)
    assert tracked(space) == 1
