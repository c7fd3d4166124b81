"""On which of a node's devices an address is answered for."""

from __future__ import annotations

import ipaddress

from fairway.announce.bulletin import reaches
from fairway.announce.responder import macs, places, reach, speakers
from fairway.node import Interface

ETH0 = Interface("eth0", (ipaddress.ip_interface("10.0.0.11/24"), ipaddress.ip_interface("fd00:a::11/64")))
ETH1 = Interface("eth1", (ipaddress.ip_interface("192.0.2.11/24"),))
TUNNEL = Interface("flannel.1", (ipaddress.ip_interface("10.244.0.0/32"),))
BARE = Interface("eth2")
NODE = (ETH0, ETH1, TUNNEL, BARE)


def test_an_address_is_answered_for_where_it_lies() -> None:
    found = places(NODE, (), ["10.0.0.200", "fd00:a::200", "192.0.2.7", "198.51.100.7"])
    assert found == {"10.0.0.200": ("eth0",), "fd00:a::200": ("eth0",), "192.0.2.7": ("eth1",), "198.51.100.7": ()}


def test_on_chosen_devices_any_address_is_answered_for() -> None:
    assert places(NODE, ("eth2",), ["10.0.0.200", "198.51.100.7"]) == {
        "10.0.0.200": ("eth2",),
        "198.51.100.7": ("eth2",),
    }


def test_a_node_reaches_the_networks_of_its_segments() -> None:
    far = reach(NODE, ())
    assert far == ("10.0.0.0/24", "192.0.2.0/24", "fd00:a::/64")
    assert reaches(far, ipaddress.ip_address("fd00:a::200")) and not reaches(far, ipaddress.ip_address("198.51.100.7"))
    assert speakers(NODE, ()) == ("eth0", "eth1")


def test_with_chosen_devices_it_reaches_everything_while_they_are_there() -> None:
    assert reaches(reach(NODE, ("eth1",)), ipaddress.ip_address("198.51.100.7"))
    assert reach(NODE, ("eth9",)) == () and speakers(NODE, ("eth1", "eth9")) == ("eth1",)


def test_devices_that_are_gone_have_no_mac() -> None:
    assert macs(["none0"]) == ()
