"""What every `Links` promises: the one in memory and the real kernel's."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from ipaddress import ip_address, ip_interface, ip_network

import pytest

from fairway.kernel.base import (
    Bridge,
    DeviceAddress,
    DeviceRoute,
    ForwardingEntry,
    KernelError,
    Links,
    LinkState,
    Neighbour,
    Veth,
    Vxlan,
)
from fairway.kernel.fake.links import FakeLinks, FakeNetwork
from fairway.kernel.linux import netns
from fairway.kernel.linux.links import LinuxLinks
from fairway.node import Route

VTEP = "0a:58:0a:f4:01:00"
OVERLAY = LinkState(
    bridges=(Bridge("cni0", 1450, "0a:58:0a:f4:00:01"),),
    vxlans=(Vxlan("flannel.1", 1, "eth0", "10.0.0.11", "0a:58:0a:f4:00:00"),),
    addresses=(
        DeviceAddress("cni0", "10.244.0.1/24"),
        DeviceAddress("cni0", "fd00:10:244::1/64"),
        DeviceAddress("flannel.1", "10.244.0.0/32"),
    ),
    routes=(DeviceRoute("10.244.1.0/24", "flannel.1", "10.244.1.0", onlink=True),),
    neighbours=(Neighbour("flannel.1", "10.244.1.0", VTEP),),
    forwarding=(ForwardingEntry("flannel.1", VTEP, "10.0.0.12"),),
    sysctls={"net.ipv4.ip_forward": "1"},
)
POD = Veth(
    "veth1",
    "eth0",
    "",
    master="cni0",
    hairpin=True,
    peer_mac="0a:58:0a:f4:00:02",
    peer_addresses=("10.244.0.2/24", "fd00:10:244::2/64"),
    peer_gateways=("10.244.0.1", "fd00:10:244::1"),
    peer_sysctls={"net.ipv4.ip_unprivileged_port_start": "0"},
)


@dataclass
class Machine:
    """A node's namespace with an `eth0` (10.0.0.11/24), and a pod's beside it; `Links` of both."""

    node: Links
    pod: Links
    pod_path: str

    def has(self) -> dict[str, set[str]]:
        return addresses(self.node)

    def wants(self, *routes: Route) -> bool:
        return set(routes) <= set(self.node.routes())


def addresses(links: Links) -> dict[str, set[str]]:
    return {interface.name: set(map(str, interface.addresses)) for interface in links.interfaces()}


@pytest.fixture(params=["fake", pytest.param("linux", marks=pytest.mark.kernel)])
def machine(request: pytest.FixtureRequest) -> Iterator[Machine]:
    if request.param == "fake":
        network = FakeNetwork()
        node, pod = network.create("node"), network.create("pod")
        node.add_device("eth0")
        node.apply(LinkState(addresses=(DeviceAddress("eth0", "10.0.0.11/24"),)))
        yield Machine(node, pod, "pod")
        return
    names = [f"fwt-{os.getpid()}-{name}" for name in ("segment", "node", "pod")]
    try:
        segment, node_path, pod_path = (netns.create(name) for name in names)
        eth0 = Veth("node", "eth0", node_path, peer_addresses=("10.0.0.11/24",), mtu=1500)
        LinuxLinks(segment).add_veth(eth0)
        yield Machine(LinuxLinks(node_path), LinuxLinks(pod_path), pod_path)
    finally:
        for name in names:
            netns.delete(name)


def test_what_is_wanted_is_made(machine: Machine) -> None:
    machine.node.apply(OVERLAY)

    assert machine.has() == {
        "eth0": {"10.0.0.11/24"},
        "cni0": {"10.244.0.1/24", "fd00:10:244::1/64"},
        "flannel.1": {"10.244.0.0/32"},
    }
    assert set(machine.node.routes()) == {
        Route(ip_network("10.0.0.0/24"), "eth0", source=ip_address("10.0.0.11")),
        Route(ip_network("10.244.0.0/24"), "cni0", source=ip_address("10.244.0.1")),
        Route(ip_network("fd00:10:244::/64"), "cni0", metric=256),
        Route(ip_network("10.244.1.0/24"), "flannel.1", via=ip_address("10.244.1.0")),
    }


def test_applying_again_is_no_error_and_changes_nothing(machine: Machine) -> None:
    machine.node.apply(OVERLAY)
    before = machine.node.interfaces(), machine.node.routes()
    machine.node.apply(OVERLAY, OVERLAY)
    assert (machine.node.interfaces(), machine.node.routes()) == before


def test_spelling_does_not_matter(machine: Machine) -> None:
    machine.node.apply(OVERLAY)
    shouted = replace(
        OVERLAY,
        vxlans=(replace(OVERLAY.vxlans[0], mac="0A:58:0A:F4:00:00"),),
        addresses=(*OVERLAY.addresses[:1], DeviceAddress("cni0", "FD00:10:0244:0::1/64"), *OVERLAY.addresses[2:]),
        neighbours=(Neighbour("flannel.1", "10.244.1.0", VTEP.upper()),),
    )
    machine.node.apply(shouted, OVERLAY)
    assert machine.has()["cni0"] == {"10.244.0.1/24", "fd00:10:244::1/64"}


def test_what_is_no_longer_wanted_goes_and_nothing_else(machine: Machine) -> None:
    theirs = DeviceRoute("192.0.2.0/24", "eth0", "10.0.0.1")
    machine.node.apply(LinkState(routes=(theirs,)))
    machine.node.apply(OVERLAY)
    machine.node.apply(LinkState(), OVERLAY)

    assert machine.has() == {"eth0": {"10.0.0.11/24"}}
    assert set(machine.node.routes()) == {
        Route(ip_network("10.0.0.0/24"), "eth0", source=ip_address("10.0.0.11")),
        Route(ip_network("192.0.2.0/24"), "eth0", via=ip_address("10.0.0.1")),
    }


def test_what_is_gone_already_need_not_be_removed(machine: Machine) -> None:
    machine.node.apply(OVERLAY)
    machine.node.delete_link("flannel.1")
    machine.node.apply(LinkState(), OVERLAY)
    assert machine.has() == {"eth0": {"10.0.0.11/24"}}


def test_an_address_that_changes_takes_its_network_with_it(machine: Machine) -> None:
    machine.node.apply(OVERLAY)
    moved = replace(OVERLAY, addresses=(DeviceAddress("cni0", "10.244.7.1/24"), *OVERLAY.addresses[1:]))
    machine.node.apply(moved, OVERLAY)

    assert machine.has()["cni0"] == {"10.244.7.1/24", "fd00:10:244::1/64"}
    assert ip_network("10.244.0.0/24") not in {route.destination for route in machine.node.routes()}


def test_a_route_that_changes_takes_the_place_of_the_old_one(machine: Machine) -> None:
    first = LinkState(routes=(DeviceRoute("192.0.2.0/24", "eth0", "10.0.0.1"),))
    second = LinkState(routes=(DeviceRoute("192.0.2.0/24", "eth0", "10.0.0.2"),))
    machine.node.apply(first)
    machine.node.apply(second, first)
    assert [str(r.via) for r in machine.node.routes() if str(r.destination) == "192.0.2.0/24"] == ["10.0.0.2"]


def test_an_overlay_on_another_address_is_made_anew_with_all_that_stood_on_it(machine: Machine) -> None:
    machine.node.apply(OVERLAY)
    moved = replace(OVERLAY, vxlans=(replace(OVERLAY.vxlans[0], local="10.0.0.99"),))
    machine.node.apply(moved, OVERLAY)

    assert machine.has()["flannel.1"] == {"10.244.0.0/32"}
    assert machine.wants(Route(ip_network("10.244.1.0/24"), "flannel.1", via=ip_address("10.244.1.0")))


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (LinkState(addresses=(DeviceAddress("no", "192.0.2.1/24"),)), "address 192.0.2.1/24 on no.*no device no"),
        (LinkState(routes=(DeviceRoute("192.0.2.0/24", "no"),)), "route 192.0.2.0/24 dev no.*no device no"),
        (LinkState(routes=(DeviceRoute("192.0.2.0/24", "eth0", "198.51.100.1"),)), "invalid gateway"),
        (LinkState(neighbours=(Neighbour("no", "192.0.2.1", VTEP),)), "neighbour 192.0.2.1 at .* on no"),
        (LinkState(forwarding=(ForwardingEntry("no", VTEP, "192.0.2.1"),)), "forwarding entry .* on no"),
        (LinkState(bridges=(Bridge("eth0"),)), "bridge eth0.*a device of that name exists"),
        (LinkState(bridges=(Bridge("a-name-far-too-long"),)), "'a-name-far-too-long' cannot name a device"),
        (LinkState(vxlans=(Vxlan("vx", 1, "no", "10.0.0.11", VTEP),)), "vxlan vx .*no device no"),
        (LinkState(addresses=(DeviceAddress("eth0", "192.0.2/24"),)), "192.0.2/24"),
        (LinkState(sysctls={"net.no.such": "1"}), "cannot set net.no.such"),
        (LinkState(sysctls={"net.ipv4../../kernel/panic": "1"}), "no sysctl's name"),
    ],
)
def test_what_cannot_be_is_refused_by_name(machine: Machine, state: LinkState, message: str) -> None:
    with pytest.raises(KernelError, match=message):
        machine.node.apply(state)
    assert machine.has() == {"eth0": {"10.0.0.11/24"}}


def test_a_bridge_does_not_take_the_place_of_a_vxlan(machine: Machine) -> None:
    machine.node.apply(OVERLAY)
    with pytest.raises(KernelError, match=r"cannot make bridge flannel\.1: there is already a vxlan flannel\.1"):
        machine.node.apply(LinkState(bridges=(Bridge("flannel.1"),)))


def test_a_pod_is_connected(machine: Machine) -> None:
    machine.node.apply(OVERLAY)
    machine.node.add_veth(replace(POD, peer_namespace=machine.pod_path))

    assert machine.has()["veth1"] == set()
    assert addresses(machine.pod) == {"eth0": {"10.244.0.2/24", "fd00:10:244::2/64"}}
    assert set(machine.pod.routes()) == {
        Route(ip_network("0.0.0.0/0"), "eth0", via=ip_address("10.244.0.1")),
        Route(ip_network("10.244.0.0/24"), "eth0", source=ip_address("10.244.0.2")),
        Route(ip_network("::/0"), "eth0", via=ip_address("fd00:10:244::1"), metric=1024),
        Route(ip_network("fd00:10:244::/64"), "eth0", metric=256),
    }


def test_a_pod_that_is_connected_is_corrected(machine: Machine) -> None:
    machine.node.apply(OVERLAY)
    pod = replace(POD, peer_namespace=machine.pod_path)
    machine.node.add_veth(pod)
    machine.node.add_veth(pod)
    machine.node.add_veth(replace(pod, peer_addresses=("10.244.0.3/24",), peer_gateways=("10.244.0.1",), mtu=1400))
    assert addresses(machine.pod) == {"eth0": {"10.244.0.3/24"}}


def test_a_gateway_outside_the_networks_of_a_pod_is_reached_on_the_link(machine: Machine) -> None:
    alone = Veth("veth1", "eth0", machine.pod_path, peer_addresses=("10.244.0.2/32",), peer_gateways=("169.254.1.1",))
    machine.node.add_veth(alone)
    assert machine.pod.routes() == [Route(ip_network("0.0.0.0/0"), "eth0", via=ip_address("169.254.1.1"))]


def test_deleting_one_end_deletes_the_other(machine: Machine) -> None:
    machine.node.add_veth(Veth("veth1", "eth0", machine.pod_path))
    machine.node.delete_link("veth1")
    machine.node.delete_link("veth1")
    assert (machine.has(), addresses(machine.pod)) == ({"eth0": {"10.0.0.11/24"}}, {})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"master": "cni9"}, "cannot make veth veth1: there is no bridge cni9"),
        ({"master": "eth0"}, "cannot make veth veth1: there is no bridge eth0"),
        (
            {"peer_namespace": "/run/netns/no-such"},
            "cannot make veth veth1: namespace /run/netns/no-such: No such file",
        ),
        ({"name": "flannel.1"}, r"cannot make veth flannel\.1: a device of that name exists and is vxlan"),
        ({"name": "v/1"}, "'v/1' cannot name a device"),
    ],
)
def test_a_pod_that_cannot_be_connected_is_refused(machine: Machine, change: dict[str, str], message: str) -> None:
    machine.node.apply(OVERLAY)
    with pytest.raises(KernelError, match=message):
        machine.node.add_veth(replace(POD, **{"peer_namespace": machine.pod_path} | change))  # type: ignore[arg-type]
    assert addresses(machine.pod) == {}


def test_a_pod_has_one_device_of_a_name(machine: Machine) -> None:
    machine.node.add_veth(Veth("veth1", "eth0", machine.pod_path, peer_addresses=("10.244.0.2/24",)))
    with pytest.raises(KernelError, match=r"cannot make veth veth2: .* has a device eth0 already"):
        machine.node.add_veth(Veth("veth2", "eth0", machine.pod_path))
    assert addresses(machine.pod) == {"eth0": {"10.244.0.2/24"}}
    assert "veth2" not in machine.has()


def test_a_device_that_was_switched_off_is_switched_on_by_the_next_apply(machine: Machine) -> None:
    machine.node.apply(OVERLAY)
    machine.node.switch("cni0", on=False)
    machine.node.apply(OVERLAY, OVERLAY)
    assert machine.wants(Route(ip_network("10.244.0.0/24"), "cni0", source=ip_address("10.244.0.1")))


@pytest.mark.parametrize("on", [True, False])
def test_only_what_is_there_can_be_switched(machine: Machine, on: bool) -> None:
    with pytest.raises(KernelError, match=f"cannot set no-such {'up' if on else 'down'}: No such device"):
        machine.node.switch("no-such", on)


def test_a_bridge_has_the_ports_that_are_up(machine: Machine) -> None:
    machine.node.apply(OVERLAY)
    assert machine.node.ports("cni0") == machine.node.ports("no-such") == frozenset()
    pod = replace(POD, peer_namespace=machine.pod_path)
    machine.node.add_veth(pod)
    assert machine.node.ports("cni0") == {"veth1"}
    machine.node.switch("veth1", on=False)
    assert machine.node.ports("cni0") == frozenset()
    machine.node.add_veth(pod)
    assert machine.node.ports("cni0") == {"veth1"}
    machine.node.delete_link("cni0")
    assert machine.node.ports("cni0") == frozenset()


def test_interfaces_carry_their_prefix_lengths(machine: Machine) -> None:
    (eth0,) = machine.node.interfaces()
    assert (eth0.name, eth0.addresses) == ("eth0", (ip_interface("10.0.0.11/24"),))


def test_memory_counts_its_changes() -> None:
    network = FakeNetwork()
    node = FakeLinks(network, "node")
    node.add_device("eth0")
    node.apply(OVERLAY)
    made = node.changes
    node.apply(OVERLAY, OVERLAY)
    assert (made, node.changes) == (9, 9)
