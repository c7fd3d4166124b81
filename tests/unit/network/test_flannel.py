"""The overlay as a value: what a node lays for itself, for each peer, and how peers learn of each other."""

from __future__ import annotations

from typing import Any

import pytest

from fairway.kernel.base import Bridge, DeviceAddress, DeviceRoute, ForwardingEntry, Neighbour, Vxlan
from fairway.network import flannel
from fairway.network.flannel import (
    Peer,
    address_mac,
    node_links,
    overlay_mtu,
    peer_from_node,
    vtep_mac,
)
from tests.plan import NODES

A, B, C = (Peer(name, ip, vtep_mac(name), (f"10.244.{i}.0/24",)) for i, (name, ip) in enumerate(sorted(NODES.items())))


def node_object(name: str, cidrs: list[str], notes: dict[str, str]) -> dict[str, Any]:
    return {"metadata": {"name": name, "annotations": notes}, "spec": {"podCIDR": cidrs[0], "podCIDRs": cidrs}}


def test_a_node_alone_has_its_bridge_and_its_vtep() -> None:
    links = node_links("node-a", A.pod_cidrs, A.public_ip, "eth0", [])
    assert links.bridges == (Bridge("cni0", 1450, "0a:58:0a:f4:00:01"),)
    assert links.vxlans == (Vxlan("flannel.1", 1, "eth0", "10.0.0.11", vtep_mac("node-a"), 8472, 1450),)
    assert links.addresses == (DeviceAddress("cni0", "10.244.0.1/24"), DeviceAddress("flannel.1", "10.244.0.0/32"))
    assert (links.routes, links.neighbours, links.forwarding) == ((), (), ())
    assert links.sysctls == {"net.ipv4.ip_forward": "1", "net.bridge.bridge-nf-call-iptables": "1"}


def test_each_peer_is_a_route_an_arp_entry_and_a_forwarding_entry() -> None:
    links = node_links("node-a", A.pod_cidrs, A.public_ip, "eth0", [A, C, B])
    assert links.routes == (
        DeviceRoute("10.244.1.0/24", "flannel.1", "10.244.1.0", onlink=True),
        DeviceRoute("10.244.2.0/24", "flannel.1", "10.244.2.0", onlink=True),
    )
    assert links.neighbours == (
        Neighbour("flannel.1", "10.244.1.0", vtep_mac("node-b")),
        Neighbour("flannel.1", "10.244.2.0", vtep_mac("node-c")),
    )
    assert links.forwarding == (
        ForwardingEntry("flannel.1", vtep_mac("node-b"), "10.0.0.12"),
        ForwardingEntry("flannel.1", vtep_mac("node-c"), "10.0.0.13"),
    )


def test_both_families_share_the_vtep_and_its_forwarding_entry() -> None:
    peer = Peer("node-b", "10.0.0.12", vtep_mac("node-b"), ("10.244.1.0/24", "fd00:10:244:1::/64"))
    links = node_links("node-a", ["10.244.0.0/24", "fd00:10:244::/64"], "10.0.0.11", "eth0", [peer])
    assert [r.destination for r in links.routes] == ["10.244.1.0/24", "fd00:10:244:1::/64"]
    assert [n.address for n in links.neighbours] == ["10.244.1.0", "fd00:10:244:1::"]
    assert len(links.forwarding) == 1
    assert links.sysctls["net.ipv6.conf.all.forwarding"] == "1"


def test_a_family_the_node_has_no_range_of_is_left_out() -> None:
    peer = Peer("node-b", "10.0.0.12", vtep_mac("node-b"), ("fd00:10:244:1::/64",))
    assert node_links("node-a", A.pod_cidrs, A.public_ip, "eth0", [peer]).routes == ()


def test_a_range_that_two_nodes_claim_goes_to_the_first_by_name_on_every_node() -> None:
    twice = Peer("node-z", "10.0.0.99", vtep_mac("node-z"), B.pod_cidrs)
    for others in ([B, twice], [twice, B]):
        links = node_links("node-a", A.pod_cidrs, A.public_ip, "eth0", others)
        assert [n.mac for n in links.neighbours] == [vtep_mac("node-b")]
        assert [f.destination for f in links.forwarding] == ["10.0.0.12"]


def test_an_ipv6_segment_has_its_own_device_and_a_larger_header() -> None:
    links = node_links("node-a", ["fd00:10:244::/64"], "fd00::11", "eth0", [])
    assert (links.vxlans[0].name, links.vxlans[0].mtu, overlay_mtu("fd00::11")) == ("flannel-v6.1", 1430, 1430)


def test_macs_are_local_unicast_and_always_the_same() -> None:
    for name in NODES:
        first = int(vtep_mac(name)[:2], 16)
        assert first & 0b11 == 0b10, "locally administered, unicast"
        assert vtep_mac(name) == vtep_mac(name)
    assert len({vtep_mac(name) for name in NODES}) == len(NODES)
    assert address_mac("10.244.1.7") == "0a:58:0a:f4:01:07"


def test_annotations_are_named_as_flannel_names_them() -> None:
    assert flannel.annotations("node-a", "10.0.0.11") == {
        "flannel.alpha.coreos.com/backend-data": f'{{"VNI":1,"VtepMAC":"{vtep_mac("node-a")}"}}',
        "flannel.alpha.coreos.com/backend-type": "vxlan",
        "flannel.alpha.coreos.com/public-ip": "10.0.0.11",
        "flannel.alpha.coreos.com/kube-subnet-manager": "true",
    }


@pytest.mark.parametrize("address", ["10.0.0.12", "fd00::12"])
def test_what_a_node_writes_the_others_read(address: str) -> None:
    node = node_object("node-b", ["10.244.1.0/24", "fd00:10:244:1::/64"], flannel.annotations("node-b", address))
    expected = Peer("node-b", address, vtep_mac("node-b"), ("10.244.1.0/24", "fd00:10:244:1::/64"))
    assert peer_from_node(node) == expected


def test_a_node_with_the_single_range_field_is_a_peer_too() -> None:
    node = {
        "metadata": {"name": "b", "annotations": flannel.annotations("b", "10.0.0.12")},
        "spec": {"podCIDR": "10.244.1.0/24"},
    }
    assert peer_from_node(node) == Peer("b", "10.0.0.12", vtep_mac("b"), ("10.244.1.0/24",))


@pytest.mark.parametrize(
    "change",
    [
        {"flannel.alpha.coreos.com/backend-data": "no json"},
        {"flannel.alpha.coreos.com/backend-data": '["VNI"]'},
        {"flannel.alpha.coreos.com/backend-data": '{"VNI":2,"VtepMAC":"0a:58:0a:f4:00:01"}'},
        {"flannel.alpha.coreos.com/backend-data": '{"VNI":1,"VtepMAC":"0a:58"}'},
        {"flannel.alpha.coreos.com/backend-type": "wireguard"},
        {"flannel.alpha.coreos.com/public-ip": "example.org"},
        {"flannel.alpha.coreos.com/public-ip": ""},
    ],
)
def test_a_node_with_other_annotations_is_no_peer(change: dict[str, str]) -> None:
    notes = flannel.annotations("node-b", "10.0.0.12") | change
    assert peer_from_node(node_object("node-b", ["10.244.1.0/24"], notes)) is None


def test_a_node_that_is_not_ready_to_be_one_is_no_peer() -> None:
    assert peer_from_node({"metadata": {"name": "node-b"}}) is None
    assert (
        peer_from_node({"metadata": {"name": "b", "annotations": flannel.annotations("b", "10.0.0.12")}, "spec": {}})
        is None
    )
    assert peer_from_node(node_object("node-b", ["10.244.1.0/99"], flannel.annotations("node-b", "10.0.0.12"))) is None
