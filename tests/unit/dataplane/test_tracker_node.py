"""What the tracker takes from the Node and from ServiceCIDRs."""

from __future__ import annotations

import ipaddress
import json
from dataclasses import replace

from fairway.client.informer import Change
from fairway.dataplane.tracker import Tracker
from fairway.desired import view
from fairway.desired.options import PRIMARY
from fairway.node import Interface, Node
from fairway.packet import Family
from tests.unit.desired.objects import OPTIONS, node

TWO_ADDRESSES = Node(
    "node-a",
    (Interface("eth0", tuple(map(ipaddress.ip_interface, ("192.168.0.1/24", "10.0.0.11/24", "fd00::11/64")))),),
)


def internal(*addresses: str) -> Change[view.NodeView]:
    told = [{"type": "Hostname", "address": "node-a"}, *({"type": "InternalIP", "address": a} for a in addresses)]
    raw = json.dumps({"metadata": {"name": "node-a"}, "status": {"addresses": told}}).encode()
    return Change("added", ("", "node-a"), None, view.node(raw))


def cidr(name: str, *cidrs: str) -> Change[view.CidrView]:
    raw = json.dumps({"metadata": {"name": name}, "spec": {"cidrs": cidrs}}).encode()
    return Change("added", ("", name), None, view.service_cidr(raw))


def test_the_primary_address_is_the_one_the_cluster_knows() -> None:
    tracker = Tracker(replace(OPTIONS, nodeport_addresses=(PRIMARY,)))
    assert tracker.update(TWO_ADDRESSES).settings.node(Family.IPV4).node_ports_on == ("192.168.0.1",)

    tracker.node_changed([internal("10.0.0.11", "bogus")])

    settings = tracker.update(TWO_ADDRESSES).settings
    assert settings.node(Family.IPV4).node_ports_on == ("10.0.0.11",)
    assert settings.node(Family.IPV6).node_ports_on == ("fd00::11",)
    told = replace(TWO_ADDRESSES, primary=(ipaddress.ip_address("192.168.0.1"),))
    assert tracker.update(told).settings.node(Family.IPV4).node_ports_on == ("192.168.0.1",)  # by --bind-address


def test_ranges_are_guarded_where_that_is_wanted_and_none_was_given() -> None:
    found = {}
    for given in (None, (), ("10.112.0.0/12",)):
        tracker = Tracker(replace(OPTIONS, guarded_cidrs=given))
        tracker.cidrs_changed(
            [cidr("kubernetes", "10.96.0.0/12", "fd00:10:96::/112"), cidr("more", "10.200.0.0/16", "?")]
        )
        found[given] = tracker.update(node()).settings.guarded_cidrs

    assert found == {
        None: None,
        (): ("10.200.0.0/16", "10.96.0.0/12", "fd00:10:96::/112"),
        ("10.112.0.0/12",): ("10.112.0.0/12",),
    }


def test_a_range_that_goes_is_guarded_no_more() -> None:
    tracker = Tracker(replace(OPTIONS, guarded_cidrs=()))
    tracker.cidrs_changed([cidr("kubernetes", "10.96.0.0/12"), cidr("more", "10.200.0.0/16")])

    tracker.cidrs_changed([Change("deleted", ("", "more"), None, None)])

    assert tracker.update(node()).settings.guarded_cidrs == ("10.96.0.0/12",)
