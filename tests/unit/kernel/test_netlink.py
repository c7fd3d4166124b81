"""The netlink codec: attributes, messages, refusals; and that no bytes can make it stumble."""

from __future__ import annotations

import errno
import ipaddress
import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.kernel.base import Bridge, DeviceAddress, DeviceRoute, ForwardingEntry, KernelError, Neighbour, Vxlan
from fairway.kernel.linux import netlink, rtnetlink
from fairway.kernel.linux.netlink import Netlink, NetlinkError, Request

pytestmark = pytest.mark.skipif(not hasattr(socket, "AF_NETLINK"), reason="netlink is Linux' own")


def test_an_attribute_is_length_number_value_and_padding() -> None:
    assert netlink.attribute(3, b"eth0\0") == b"\x09\x00\x03\x00eth0\x00\x00\x00\x00"
    assert netlink.text(3, "eth0") == netlink.attribute(3, b"eth0\0")
    assert netlink.be16(15, 8472) == b"\x06\x00\x0f\x00\x21\x18\x00\x00"


@given(st.lists(st.tuples(st.integers(0, 0x3FFF), st.binary(max_size=40)), max_size=20))
def test_what_is_written_is_read(pairs: list[tuple[int, bytes]]) -> None:
    data = b"".join(netlink.attribute(kind, payload) for kind, payload in pairs)
    assert list(netlink.attribute_list(data)) == pairs
    assert netlink.attributes(netlink.nested(7, data))[7] == data


@given(st.binary(max_size=200))
def test_any_bytes_can_be_read(data: bytes) -> None:
    for _, payload in netlink.attribute_list(data):
        assert payload in data


@given(st.ip_addresses())
def test_addresses_are_spelled_in_one_way(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    assert netlink.read_address(address.packed) == str(address)


def test_an_address_within_an_address_is_spelled_that_way_too() -> None:
    packed = ipaddress.ip_address("::ffff:10.0.0.1").packed
    assert netlink.read_address(packed) == str(ipaddress.ip_address(packed)) == "::ffff:a00:1"


def test_a_message_carries_its_length_and_flags() -> None:
    request = Request(16, netlink.CREATE | netlink.EXCLUSIVE, b"12345", "make something")
    assert netlink.encode(request, 7, 0x4) == struct.pack("=IHHII", 21, 16, 0x605, 7, 0) + b"12345\0\0\0"


def test_a_refusal_says_what_was_asked_and_what_to_do() -> None:
    assert str(NetlinkError("make bridge cni0", errno.EPERM)) == (
        "cannot make bridge cni0: Operation not permitted (EPERM; root, or CAP_NET_ADMIN, is needed)"
    )
    assert str(NetlinkError("add route", errno.ENETUNREACH, "Nexthop has invalid gateway")) == (
        "cannot add route: Nexthop has invalid gateway (ENETUNREACH)"
    )


def test_addresses_of_ipv6_can_be_used_at_once() -> None:
    """IFA_F_NODAD, or the address would be tentative for a second."""
    request = rtnetlink.change(True, DeviceAddress("eth0", "fd00::1/64"), 2)
    assert netlink.attributes(request.body, 8)[8] == struct.pack("=I", 0x02)
    assert request.what == "add address fd00::1/64 on eth0"


def test_a_flannel_route_is_on_the_link_through_its_gateway() -> None:
    entry = DeviceRoute("10.244.1.0/24", "flannel.1", "10.244.1.0", onlink=True)
    (found,) = rtnetlink.read_routes(rtnetlink.change(True, entry, 4).body + netlink.u32(15, 254))
    assert (found.destination, found.via, found.ifindex, found.onlink) == ("10.244.1.0/24", "10.244.1.0", 4, True)


def test_several_next_hops_are_several_routes() -> None:
    def hop(index: int, via: str) -> bytes:
        gateway = netlink.attribute(5, socket.inet_aton(via))
        return struct.pack("=HBBi", 8 + len(gateway), 0, 0, index) + gateway

    hops = netlink.attribute(9, hop(2, "10.0.0.1") + hop(3, "10.1.0.1"))
    body = struct.pack("=BBBBBBBBI", socket.AF_INET, 0, 0, 0, 254, 3, 0, 1, 0) + netlink.u32(15, 254) + hops
    assert [(r.destination, r.ifindex, r.via) for r in rtnetlink.read_routes(body)] == [
        ("0.0.0.0/0", 2, "10.0.0.1"),
        ("0.0.0.0/0", 3, "10.1.0.1"),
    ]


def test_a_gateway_of_the_other_family_is_read() -> None:
    via = netlink.attribute(18, struct.pack("=H", socket.AF_INET6) + socket.inet_pton(socket.AF_INET6, "fe80::1"))
    body = struct.pack("=BBBBBBBBI", socket.AF_INET, 0, 0, 0, 254, 3, 0, 1, 0)
    (route,) = rtnetlink.read_routes(body + netlink.u32(15, 254) + netlink.u32(4, 2) + via)
    assert route.via == "fe80::1"


def test_routes_of_other_tables_and_kinds_are_left_out() -> None:
    blackhole = struct.pack("=BBBBBBBBI", socket.AF_INET, 0, 0, 0, 254, 3, 0, 6, 0) + netlink.u32(15, 254)
    local = struct.pack("=BBBBBBBBI", socket.AF_INET, 0, 0, 0, 255, 2, 0, 1, 0) + netlink.u32(15, 255)
    assert rtnetlink.read_routes(blackhole) == rtnetlink.read_routes(local + netlink.u32(4, 1)) == []


@pytest.mark.parametrize(
    "entry",
    [
        Neighbour("flannel.1", "10.244.1.0", "0a:58:0a:f4:01:00"),
        Neighbour("flannel.1", "fd00:10:244:1::", "0a:58:0a:f4:01:00"),
        ForwardingEntry("flannel.1", "0a:58:0a:f4:01:00", "10.0.0.12"),
    ],
)
def test_a_permanent_entry_reads_as_it_was_written(entry: Neighbour | ForwardingEntry) -> None:
    body = rtnetlink.change(True, entry, 4).body
    assert rtnetlink.read_neighbour(body, "flannel.1") == entry
    assert rtnetlink.neighbour_index(body) == 4


def test_a_vxlan_reads_as_it_was_written() -> None:
    vxlan = Vxlan("flannel.1", 1, "eth0", "10.0.0.11", "0a:58:0a:f4:00:00")
    link = rtnetlink.read_link(rtnetlink.new_vxlan(vxlan, 2).body)
    assert (rtnetlink.read_vxlan(link, "eth0"), rtnetlink.vxlan_below(link), link.up) == (vxlan, 2, False)


def test_a_bridge_reads_as_it_was_written_but_for_its_mtu() -> None:
    """That comes in a message of its own, so that it stays."""
    link = rtnetlink.read_link(rtnetlink.new_bridge(Bridge("cni0", 1450, "0a:58:0a:f4:00:01")).body)
    assert (link.name, link.kind, link.mac, link.mtu, link.up) == ("cni0", "bridge", "0a:58:0a:f4:00:01", 0, False)
    link = rtnetlink.read_link(rtnetlink.set_link("cni0", "set", mtu=1450).body)
    assert (link.name, link.mtu, link.up) == ("cni0", 1450, True)


def test_the_kernels_own_words_are_kept_and_the_rest_goes_on() -> None:
    """A device that is not there, between two questions that are answered: in one call, each with its result."""
    missing, fine = (
        rtnetlink.delete_link("no-such"),
        Request(rtnetlink.GET_LINK, 0, rtnetlink.get_link("lo").body, "ask"),
    )
    with Netlink(netlink.ROUTE) as kernel:
        first, second, third = kernel.send([fine, missing, fine])
    assert (first, third) == (None, None)
    assert second is not None
    assert second.number in (errno.ENODEV, errno.EPERM)
    assert str(second).startswith("cannot delete device no-such: ")


def test_more_requests_than_fit_one_call_are_all_answered() -> None:
    with Netlink(netlink.ROUTE) as kernel:
        results = kernel.send([rtnetlink.get_link("lo" if i % 2 else "no-such") for i in range(300)])
    assert [error.number if error else 0 for error in results] == [errno.ENODEV, 0] * 150


def test_one_object_is_asked_for_by_name() -> None:
    with Netlink(netlink.ROUTE) as kernel:
        assert rtnetlink.read_link(kernel.ask(rtnetlink.get_link("lo")).body).ifindex == 1
        with pytest.raises(NetlinkError, match="cannot look at device no-such: No such device"):
            kernel.ask(rtnetlink.get_link("no-such"))


def test_a_list_is_read_to_its_end() -> None:
    with Netlink(netlink.ROUTE) as kernel:
        names = [rtnetlink.read_link(reply.body).name for reply in kernel.dump(rtnetlink.list_links())]
        assert names[0] == "lo"
        with pytest.raises(NetlinkError):
            kernel.dump(Request(rtnetlink.GET_ADDRESS, 0, b"\xff" * 8, "list nonsense"))
        assert [rtnetlink.read_link(r.body).name for r in kernel.dump(rtnetlink.list_links())] == names


def test_a_protocol_the_kernel_has_not_is_named() -> None:
    with pytest.raises(KernelError, match="cannot open a netlink socket"):
        Netlink(31)
