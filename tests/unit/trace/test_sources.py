"""Which of its addresses a node takes as the source."""

from __future__ import annotations

import ipaddress

import pytest

from fairway.node import Interface, Node
from fairway.trace.sources import own_source, source_address
from tests.unit.trace.test_routing import NODE

on = ipaddress.ip_interface
DUAL = Node(
    "node-a",
    interfaces=(
        Interface("eth0", (on("fd00:b::11/64"), on("fd00:a::11/64"), on("fe80::11/64"))),
        Interface("cni0", (on("fd00:10:244:1::fe/64"), on("2001:db8::1/64"))),
        Interface("flannel.1"),
    ),
)


@pytest.mark.parametrize(
    ("device", "next_hop", "address"),
    [
        ("cni0", "10.244.0.7", "10.244.0.1"),
        ("eth0", "192.168.9.77", "192.168.9.1"),  # the address whose network holds the next hop
        ("eth0", "8.8.8.8", "10.0.0.11"),  # else the device's first
        ("bare", "10.3.3.3", "10.0.0.11"),  # else the node's first
        ("lo", "10.0.0.11", "10.0.0.11"),  # loopback addresses never qualify
        ("", "10.3.3.3", ""),
    ],
)
def test_of_ipv4(device: str, next_hop: str, address: str) -> None:
    assert source_address(NODE, device, next_hop, "10.9.9.9") == address


def test_without_a_next_hop_the_destination_is_the_neighbour() -> None:
    assert source_address(NODE, "eth0", "", "192.168.9.77") == "192.168.9.1"


@pytest.mark.parametrize(
    ("device", "destination", "address"),
    [
        ("eth0", "fd00:a::99", "fd00:a::11"),  # the longest prefix in common, of the device's
        ("eth0", "fd00:10:244:1::9", "fd00:b::11"),  # the device before the prefix
        ("flannel.1", "fd00:10:244:2::9", "fd00:10:244:1::fe"),  # a device without any: the node's nearest
        ("flannel.1", "2001:db8:7::7", "2001:db8::1"),  # local addresses and others do not go together
        ("eth0", "fe80::99", "fe80::11"),
        ("lo", "fd00:a::11", "fd00:a::11"),
        ("lo", "::1", "::1"),
        ("", "fd00:a::99", ""),
    ],
)
def test_of_ipv6(device: str, destination: str, address: str) -> None:
    assert source_address(DUAL, device, "", destination) == address


def test_of_a_family_the_node_has_none_of_nothing_is_known() -> None:
    assert source_address(Node("n", interfaces=(Interface("eth0", (on("10.0.0.1/24"),)),)), "eth0", "", "fd00::1") == ""


@pytest.mark.parametrize(
    ("destination", "source"),
    [
        ("127.0.0.53", "127.0.0.1"),
        ("192.168.9.1", "192.168.9.1"),  # itself
        ("10.0.0.77", "10.0.0.11"),  # the route's
        ("10.244.0.7", "10.244.0.1"),  # the device's
        ("8.8.8.8", "10.0.0.11"),
    ],
)
def test_of_a_process_that_chose_none(destination: str, source: str) -> None:
    assert own_source(NODE, destination) == source
