"""The goldens' node laid out as a lab node is, and the goldens' rules, for tests that send packets through them."""

from __future__ import annotations

import ipaddress
from dataclasses import replace

from fairway.node import Interface, Node, Route
from fairway.packet import Family
from fairway.ruleset.iptables import Ruleset
from tests.golden import cases

_net, _ip, _interface = ipaddress.ip_network, ipaddress.ip_address, ipaddress.ip_interface


def case(number: str) -> cases.Case:
    """A golden by its number ("48"), its node with the devices of a lab node."""
    (name,) = [name for name in cases.NAMES if name.startswith(f"{number}-")]
    loaded = cases.load(name)
    return replace(loaded, node=lab_node(loaded.node))


def lab_node(node: Node) -> Node:
    """eth0 on the segment as it is, cni0 for the node's own pods in 10.244.1.0/24 (itself at .254, as a golden has an
    endpoint at .1), flannel.1 to the pods of others, and a default route; IPv6 likewise in fd00:10:244::/48."""
    return replace(
        node,
        interfaces=(
            *node.interfaces,
            Interface("cni0", (_interface("10.244.1.254/24"), _interface("fd00:10:244:1::fe/64"))),
            Interface("flannel.1", (_interface("10.244.1.0/32"), _interface("fd00:10:244:1::/128"))),
        ),
        routes=(
            *(Route(a.network, i.name, source=a.ip) for i in node.interfaces for a in i.addresses),
            Route(_net("10.244.1.0/24"), "cni0", source=_ip("10.244.1.254")),
            Route(_net("10.244.2.0/24"), "flannel.1", via=_ip("10.244.2.0")),
            Route(_net("fd00:10:244:1::/64"), "cni0", source=_ip("fd00:10:244:1::fe")),
            Route(_net("fd00:10:244:2::/64"), "flannel.1", via=_ip("fd00:10:244:2::")),
            Route(_net("0.0.0.0/0"), "eth0", via=_ip("10.0.0.1")),
            Route(_net("::/0"), "eth0", via=_ip("fd00:a::1")),
        ),
    )


def rules(golden: cases.Case, family: Family = Family.IPV4) -> Ruleset:
    """What the golden says that iptables holds."""
    found = Ruleset()
    for table, chains in golden.expected[family].items():
        for chain, specs in chains.items():
            found.table(table).chain(chain).rules = list(specs)
    return found
