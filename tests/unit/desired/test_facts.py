"""What rules must know of the node: where node ports are served, who counts as a pod."""

from __future__ import annotations

import pytest

from fairway.desired.facts import node_facts
from fairway.desired.model import PodTraffic
from fairway.desired.options import DetectLocal, OptionError, ProxyOptions
from fairway.packet import Family
from tests.unit.desired.objects import node


@pytest.mark.parametrize(
    ("wanted", "localhost", "served", "loopback"),
    [
        ((), False, None, False),
        ((), True, None, True),
        (("primary",), True, ("10.0.0.11",), False),
        (("10.0.0.0/24",), True, ("10.0.0.11",), False),
        (("10.0.0.0/8",), False, ("10.0.0.11", "10.244.0.1"), False),
        (("127.0.0.0/8", "10.0.0.0/24"), True, ("10.0.0.11", "127.0.0.1"), True),
        (("127.0.0.0/8",), False, (), False),
        (("192.0.2.0/24",), False, (), False),
        (("0.0.0.0/0",), True, None, True),
        (("fd00::/8",), False, None, False),
    ],
)
def test_where_node_ports_are_served(
    wanted: tuple[str, ...], localhost: bool, served: tuple[str, ...] | None, loopback: bool
) -> None:
    options = ProxyOptions(nodeport_addresses=wanted, localhost_nodeports=localhost)

    facts = node_facts(Family.IPV4, node(), options)

    assert facts.node_ports_on == served
    assert facts.localhost_node_ports is loopback


def test_ipv6_has_no_node_ports_on_loopback() -> None:
    assert not node_facts(Family.IPV6, node(), ProxyOptions(localhost_nodeports=True)).localhost_node_ports


@pytest.mark.parametrize(
    ("options", "told_by"),
    [
        (ProxyOptions(), PodTraffic()),
        (ProxyOptions(cluster_cidrs=("fd00:244::/48", "10.244.0.0/16")), PodTraffic(source="10.244.0.0/16")),
        (ProxyOptions(detect_local=DetectLocal.NODE_CIDR), PodTraffic(source="10.244.0.0/24")),
        (
            ProxyOptions(detect_local=DetectLocal.BRIDGE_INTERFACE, bridge_interface="cni0"),
            PodTraffic(interface="cni0"),
        ),
        (
            ProxyOptions(detect_local=DetectLocal.INTERFACE_NAME_PREFIX, interface_prefix="veth"),
            PodTraffic(interface="veth+"),
        ),
    ],
)
def test_who_counts_as_a_pod(options: ProxyOptions, told_by: PodTraffic) -> None:
    assert node_facts(Family.IPV4, node(), options).pods == told_by


@pytest.mark.parametrize("mode", [DetectLocal.BRIDGE_INTERFACE, DetectLocal.INTERFACE_NAME_PREFIX])
def test_a_mode_without_its_setting_is_refused(mode: DetectLocal) -> None:
    with pytest.raises(OptionError, match=f"{mode} needs"):
        ProxyOptions(detect_local=mode)
