"""Connections as the real kernel tracks them: translated ones, and those of a protocol without ports."""

from __future__ import annotations

import os
import shutil
import socket
import struct
import subprocess
from collections.abc import Iterator

import pytest

from fairway.kernel.base import Flow
from fairway.kernel.linux import netns
from fairway.kernel.linux.conntrack import LinuxConntrack
from fairway.packet import Family

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(not shutil.which("iptables"), reason="iptables, which sets the scene, is not installed"),
]
ICMP, UDP = 1, 17


@pytest.fixture
def space() -> Iterator[str]:
    """A namespace where 10.96.0.10:53 is translated to port 5353 of the loopback address."""
    name = f"fwt-{os.getpid()}-tracked"
    path = netns.create(name)
    try:
        with netns.entered(path):
            subprocess.run(["ip", "route", "add", "local", "10.96.0.10", "dev", "lo"], check=True)
        translate(path, "-A OUTPUT", 5353)
        yield path
    finally:
        netns.delete(name)


def translate(path: str, where: str, port: int) -> None:
    rule = f"{where} -d 10.96.0.10 -p udp --dport 53 -j DNAT --to-destination 127.0.0.1:{port}"
    with netns.entered(path):
        subprocess.run(["iptables", "-t", "nat", *rule.split()], check=True, capture_output=True)


def ask(path: str, port: int) -> str:
    """Send from `port` to 10.96.0.10:53; where it arrived is who the answer came from."""
    with (
        netns.open_socket_in(path, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as server,
        netns.open_socket_in(path, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as client,
    ):
        server.bind(("127.0.0.1", 5353))
        server.settimeout(0.5)
        client.settimeout(0.5)
        client.bind(("127.0.0.1", port))
        client.sendto(b"?", ("10.96.0.10", 53))
        data, sender = server.recvfrom(10)
        server.sendto(data, sender)
        return str(client.recvfrom(10)[1][0])


def test_a_translation_shows_in_the_reply(space: str) -> None:
    assert ask(space, 4001) == "10.96.0.10"
    assert LinuxConntrack(space).flows(Family.IPV4, UDP) == [
        Flow(Family.IPV4, UDP, "127.0.0.1", 4001, "10.96.0.10", 53, "127.0.0.1", 5353, "127.0.0.1", 4001)
    ]


def test_a_translation_holds_until_its_flow_is_deleted(space: str) -> None:
    """Why stale flows must go: the rule leads elsewhere by now, and the connection still takes the old way."""
    ask(space, 4001)
    translate(space, "-R OUTPUT 1", 5354)
    assert ask(space, 4001) == "10.96.0.10"

    table = LinuxConntrack(space)
    assert table.delete(table.flows(Family.IPV4, UDP)) == 1
    with pytest.raises(TimeoutError):
        ask(space, 4001)


def test_an_echo_is_a_flow_by_its_identifier(space: str) -> None:
    with netns.open_socket_in(space, lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, ICMP)) as raw:
        message = struct.pack("!BBHHH", 8, 0, 0, 77, 1)
        checksum = 0xFFFF - (8 << 8) - 77 - 1
        raw.sendto(message[:2] + checksum.to_bytes(2, "big") + message[4:], ("127.0.0.1", 0))
    table = LinuxConntrack(space)
    flows = table.flows(Family.IPV4, ICMP)
    assert [(f.source_port, f.destination_port, f.reply_destination_port) for f in flows] == [(77, 8 * 256, 0)]
    assert table.delete(flows) == 1
    assert table.flows(Family.IPV4, ICMP) == []
