"""Ways to pods are taken from nodes only as far as nodes are trusted."""

from __future__ import annotations

from typing import Any

import pytest

from fairway.assemble.routes import wanted
from fairway.kernel.base import DeviceRoute


def node(address: str, *ranges: str) -> dict[str, Any]:
    addresses = [{"type": "Hostname", "address": "node"}, {"type": "InternalIP", "address": address}]
    return {"spec": {"podCIDRs": list(ranges)}, "status": {"addresses": addresses}}


def routes(*nodes: dict[str, Any]) -> tuple[DeviceRoute, ...]:
    return wanted(nodes, "10.244.0.0/16", "10.0.0.0/24", "eth0")


def test_every_nodes_pods_are_behind_it() -> None:
    found = routes(node("10.0.0.12", "10.244.1.0/24"), node("10.0.0.11", "10.244.0.0/24"), {"spec": {}})
    assert found == (
        DeviceRoute("10.244.0.0/24", "eth0", "10.0.0.11"),
        DeviceRoute("10.244.1.0/24", "eth0", "10.0.0.12"),
    )


@pytest.mark.parametrize(
    "liar",
    [
        node("10.0.0.11", "0.0.0.0/0"),
        node("10.0.0.11", "10.0.0.0/24"),
        node("10.0.0.11", "10.96.0.0/12"),
        node("10.0.0.11", "nonsense"),
        node("192.0.2.1", "10.244.1.0/24"),
        node("10.0.0.11", "fd00::/64"),
    ],
)
def test_a_node_that_claims_more_gets_nothing(liar: dict[str, Any]) -> None:
    assert routes(liar) == ()
