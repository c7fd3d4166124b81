"""The goldens' node, and rule sets as the goldens hold them, for tests that send packets through them."""

from __future__ import annotations

import ipaddress
import json
from pathlib import Path
from typing import Any

from fairway.node import Interface, Node, Route
from fairway.packet import Family
from fairway.ruleset.iptables import Ruleset

HERE = Path(__file__).parent
CASES = sorted(path.stem for path in HERE.glob("*.json"))


def load(case: str) -> dict[str, Any]:
    """A golden by its full name or its number ("48")."""
    (path,) = [HERE / f"{name}.json" for name in CASES if case in (name, name.partition("-")[0])]
    loaded: dict[str, Any] = json.loads(path.read_text())
    return loaded


def rules(case: str, family: Family = Family.IPV4) -> Ruleset:
    """What the golden expects iptables to hold for a family."""
    found = Ruleset()
    tables = load(case)["expected"]["iptables"][family.value.lower()]
    for table, chains in tables.items():
        for chain, lines in chains.items():
            found.table(table).chain(chain).rules = [line.removeprefix(f"-A {chain}").strip() for line in lines]
    return found


def node(case: str) -> Node:
    """The golden's node, laid out as a lab node is: eth0 on the segment, cni0 for its own pods 10.244.1.0/24,
    flannel.1 to the other nodes' pods, and a default route."""
    described = load(case)["node"]
    addresses = tuple(ipaddress.ip_interface(a) for a in described["addresses"])
    network = ipaddress.ip_network
    address = ipaddress.ip_address
    return Node(
        described["name"],
        interfaces=(
            Interface("eth0", addresses),
            Interface("cni0", (ipaddress.ip_interface("10.244.1.1/24"), ipaddress.ip_interface("fd00:10:244:1::1/64"))),
            Interface(
                "flannel.1", (ipaddress.ip_interface("10.244.1.0/32"), ipaddress.ip_interface("fd00:10:244:1::/128"))
            ),
        ),
        routes=(
            *(Route(a.network, "eth0", source=a.ip) for a in addresses),
            Route(network("10.244.1.0/24"), "cni0", source=address("10.244.1.1")),
            Route(network("10.244.2.0/24"), "flannel.1", via=address("10.244.2.0")),
            Route(network("fd00:10:244:1::/64"), "cni0", source=address("fd00:10:244:1::1")),
            Route(network("fd00:10:244:2::/64"), "flannel.1", via=address("fd00:10:244:2::")),
            Route(network("0.0.0.0/0"), "eth0", via=address("10.0.0.1")),
            Route(network("::/0"), "eth0", via=address("fd00:a::1")),
        ),
        pod_cidrs=(network("10.244.1.0/24"), network("fd00:10:244:1::/64")),
        labels=described.get("labels", {}),
    )
