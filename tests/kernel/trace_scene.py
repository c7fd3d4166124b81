"""A node between a client and a server, each in a network namespace, for the tracer's tests against the kernel."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import random
import subprocess
import sys
from collections.abc import Iterator

import pytest

from fairway.node import Interface, Node, Route
from fairway.packet import Packet, Protocol

NODE, CLIENT, SERVER = (f"fwt-{os.getpid()}-{who}" for who in ("node", "client", "server"))
_net, _ip, _on = ipaddress.ip_network, ipaddress.ip_address, ipaddress.ip_interface
DESCRIBED = Node(
    "node",
    interfaces=(Interface("eth0", (_on("10.9.0.1/24"), _on("10.9.7.1/24"))), Interface("cni0", (_on("10.8.0.1/24"),))),
    routes=(
        Route(_net("10.9.0.0/24"), "eth0"),
        Route(_net("10.9.7.0/24"), "eth0"),
        Route(_net("10.8.0.0/24"), "cni0"),
        Route(_net("0.0.0.0/0"), "eth0", via=_ip("10.9.0.2")),
    ),
)
PLACES = ("10.8.0.2", "10.9.0.1", "10.9.7.1", "10.8.0.1", "10.9.0.2", "10.96.0.1")


def run(*command: str, stdin: str = "") -> str:
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}\n{stdin}"
    return done.stdout


def inside(namespace: str, *command: str, stdin: str = "") -> str:
    return run("ip", "netns", "exec", namespace, *command, stdin=stdin)


@contextlib.contextmanager
def namespaces() -> Iterator[str]:
    """The three namespaces; the name of the one in the middle."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    try:
        for name in (NODE, CLIENT, SERVER):
            run("ip", "netns", "add", name)
            inside(name, "ip", "link", "set", "lo", "up")
        for device, peer, mine, theirs, gateway in (
            ("eth0", CLIENT, ("10.9.0.1/24", "10.9.7.1/24"), "10.9.0.2/24", "10.9.0.1"),
            ("cni0", SERVER, ("10.8.0.1/24",), "10.8.0.2/24", "10.8.0.1"),
        ):
            run("ip", "link", "add", device, "netns", NODE, "type", "veth", "peer", "name", "eth0", "netns", peer)
            for address in mine:
                inside(NODE, "ip", "address", "add", address, "dev", device)
            inside(NODE, "ip", "link", "set", device, "up")
            inside(peer, "ip", "address", "add", theirs, "dev", "eth0")
            inside(peer, "ip", "link", "set", "eth0", "up")
            inside(peer, "ip", "route", "add", "default", "via", gateway)
        inside(NODE, "ip", "route", "add", "default", "via", "10.9.0.2")
        inside(NODE, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward")
        yield NODE
    finally:
        for name in (NODE, CLIENT, SERVER):
            subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)


SEND = (
    "import socket, sys; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); "
    "s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)\n"
    "s.bind((sys.argv[1], int(sys.argv[2])))\n"
    "try: s.sendto(b'x', (sys.argv[3], int(sys.argv[4])))\n"
    "except OSError: pass"  # a rule refused or dropped it on the way out: the counters tell
)


def send(packet: Packet) -> None:
    sender = CLIENT if packet.in_interface else NODE
    where = (packet.source, str(packet.source_port), packet.destination, str(packet.destination_port))
    inside(sender, sys.executable, "-S", "-E", "-c", SEND, *where)


def random_packet(chance: random.Random, source_port: int) -> Packet:
    """A UDP packet from the client or from the node itself, to somewhere else."""
    source, device = chance.choice((("10.9.0.2", "eth0"), ("10.9.0.1", ""), ("10.8.0.1", "")))
    destination = chance.choice([place for place in PLACES if not (device and place == source)])
    return Packet(source, destination, Protocol.UDP, chance.choice((53, 80)), source_port, in_interface=device)
