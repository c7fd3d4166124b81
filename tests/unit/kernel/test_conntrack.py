"""Connections as bytes: what is asked to be deleted reads as the flow it was made of."""

from __future__ import annotations

import ipaddress
import socket
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.kernel.base import Flow
from fairway.kernel.linux import conntrack, netlink
from fairway.packet import Family

PORTS = st.integers(0, 65535)
ORIGINAL, ID, ZONE = 1, 12, 18


@st.composite
def flows(draw: st.DrawFn) -> Flow:
    version: Literal[4, 6] = draw(st.sampled_from([4, 6]))
    one, other = (str(draw(st.ip_addresses(v=version))) for _ in range(2))
    icmp = 1 if version == 4 else 58
    protocol = draw(st.sampled_from([6, 17, 132, icmp]))
    family = Family.IPV4 if version == 4 else Family.IPV6
    here, there = draw(PORTS), draw(PORTS)
    return Flow(family, protocol, one, here, other, there, one, here, other, there, identity=draw(PORTS))


def entry(flow: Flow) -> bytes:
    """What the kernel would list: the tuple of our own request, as its reply too."""
    body = conntrack._delete(flow).body
    return body + netlink.attribute(2 | netlink.NESTED, netlink.attributes(body, 4)[ORIGINAL])


@given(flows())
def test_every_flow_reads_as_it_was_written(flow: Flow) -> None:
    found = conntrack._read(entry(flow), flow.family)
    assert found == flow
    assert found.identity == flow.identity


@given(flows())
def test_the_short_way_of_reading_agrees_with_the_long_one(flow: Flow) -> None:
    data = netlink.attributes(entry(flow), 4)[ORIGINAL]
    family = socket.AF_INET if flow.family is Family.IPV4 else socket.AF_INET6
    assert conntrack._read_tuple(data, family) == conntrack._read_any_tuple(data, family)


def test_another_order_of_attributes_is_read_the_long_way() -> None:
    backwards = ((2, "10.0.0.2"), (1, "10.0.0.1"))
    ip = netlink.nested(1, *(netlink.attribute(n, ipaddress.ip_address(text).packed) for n, text in backwards))
    ports = netlink.nested(2, netlink.be16(3, 53), netlink.be16(2, 4001), netlink.u8(1, 17))
    assert conntrack._read_tuple(ip + ports, socket.AF_INET) == ("10.0.0.1", 4001, "10.0.0.2", 53, 17)


def test_entries_of_other_zones_are_left_out() -> None:
    flow = Flow(Family.IPV4, 17, "10.0.0.1", 1, "10.0.0.2", 2, "10.0.0.2", 2, "10.0.0.1", 1)
    assert conntrack._read(entry(flow) + netlink.be16(ZONE, 7), Family.IPV4) is None


@pytest.mark.parametrize(("identity", "sent"), [(0, False), (7, True)])
def test_an_unknown_identity_is_not_sent(identity: int, sent: bool) -> None:
    flow = Flow(Family.IPV6, 6, "fd00::1", 1, "fd00::2", 2, "fd00::2", 2, "fd00::1", 1, identity=identity)
    request = conntrack._delete(flow)
    assert (ID in netlink.attributes(request.body, 4)) is sent
    assert request.what == "delete the connection [fd00::1]:1 to [fd00::2]:2 (protocol 6)"
