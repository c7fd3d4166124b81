"""Routing decisions of a lab node, and what its kernel calls addresses."""

from __future__ import annotations

import ipaddress

import pytest

from fairway.node import Interface, Node, Route
from fairway.trace.routing import Decision, Settings, Way, address_types, decide, martian

ip, net, on = ipaddress.ip_address, ipaddress.ip_network, ipaddress.ip_interface

NODE = Node(
    "node-a",
    interfaces=(
        Interface("eth0", (on("10.0.0.11/24"), on("192.168.9.1/24"))),
        Interface("cni0", (on("10.244.0.1/24"), on("fe80::1/64"), on("fd00:244::1/64"))),
        Interface("bare"),
    ),
    routes=(
        Route(net("10.0.0.0/24"), "eth0", source=ip("10.0.0.11")),
        Route(net("10.244.0.0/24"), "cni0"),
        Route(net("10.244.1.0/24"), "flannel.1", via=ip("10.244.1.0")),
        Route(net("0.0.0.0/0"), "eth0", via=ip("10.0.0.1"), metric=100),
        Route(net("0.0.0.0/0"), "eth9", via=ip("10.9.0.1"), metric=200),
    ),
)


@pytest.mark.parametrize(
    ("destination", "decision"),
    [
        ("10.244.0.7", Decision(Way.DEVICE, "cni0", "", "10.244.0.0/24 dev cni0")),
        ("10.244.1.7", Decision(Way.VIA, "flannel.1", "10.244.1.0", "10.244.1.0/24 via 10.244.1.0 dev flannel.1")),
        ("8.8.8.8", Decision(Way.VIA, "eth0", "10.0.0.1", "default via 10.0.0.1 dev eth0")),
        ("10.0.0.11", Decision(Way.LOCAL, "lo", "", "local 10.0.0.11")),
        ("127.0.0.53", Decision(Way.LOCAL, "lo", "", "local 127.0.0.53")),
        ("fd00::9", Decision(Way.UNKNOWN)),  # no IPv6 route at all: nothing is known
    ],
)
def test_decisions(destination: str, decision: Decision) -> None:
    assert decide(NODE, ip(destination)) == decision


def test_no_route_among_known_ones_is_unreachable() -> None:
    lonely = Node("n", routes=(Route(net("10.0.0.0/24"), "eth0"),))
    assert decide(lonely, ip("10.1.0.1")) == Decision(Way.UNREACHABLE)


@pytest.mark.parametrize(
    ("address", "types"),
    [
        ("10.0.0.11", frozenset({"LOCAL"})),
        ("127.9.9.9", frozenset({"LOCAL"})),
        ("10.0.0.255", frozenset({"BROADCAST"})),
        ("255.255.255.255", frozenset({"BROADCAST"})),
        ("224.0.0.251", frozenset({"MULTICAST"})),
        ("10.0.0.12", frozenset({"UNICAST"})),
        ("fd00:244::1", frozenset({"LOCAL"})),
        ("fd00:244::ffff", frozenset({"UNICAST"})),
    ],
)
def test_types_of_addresses(address: str, types: frozenset[str]) -> None:
    assert address_types(NODE, ip(address)) == types


def test_types_on_one_device() -> None:
    assert address_types(NODE, ip("10.0.0.11"), "eth0") == frozenset({"LOCAL"})
    assert address_types(NODE, ip("10.0.0.11"), "cni0") == frozenset({"UNICAST"})


def test_types_at_a_node_nothing_is_known_of() -> None:
    assert address_types(Node(""), ip("10.0.0.11")) is None
    assert address_types(Node(""), ip("127.0.0.1")) == frozenset({"LOCAL"})


def test_loopback_addresses_stay_off_the_wire() -> None:
    shut, opened = Settings(), Settings(route_localnet=True)
    assert "source 127.0.0.1" in martian(ip("127.0.0.1"), ip("10.0.0.12"), "eth0", shut)
    assert "destination 127.0.0.1" in martian(ip("10.0.0.12"), ip("127.0.0.1"), "eth0", shut)
    assert martian(ip("127.0.0.1"), ip("10.0.0.12"), "eth0", opened) == ""
    assert martian(ip("127.0.0.1"), ip("127.0.0.1"), "lo", shut) == ""
    assert "source ::1" in martian(ip("::1"), ip("fd00::2"), "eth0", opened)  # no switch for IPv6
