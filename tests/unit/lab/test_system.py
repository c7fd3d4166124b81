"""What a lab's cluster holds of itself."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

from fairway.lab.system import dns_deployment
from fairway.lab.topology import Topology, plan


def dns_flags(topology: Topology) -> list[tuple[str, str]]:
    (container,) = dns_deployment(topology)["spec"]["template"]["spec"]["containers"]
    return [(flag, value) for flag, value in pairwise(container["args"]) if flag.startswith("--")]


def test_cluster_dns_asks_nobody_outside_unless_told_whom() -> None:
    topology = plan("lab", 1, 0)
    assert ("--resolv-conf", "") in dns_flags(topology)
    assert "--forward" not in dict(dns_flags(topology))
    told = dns_flags(replace(topology, dns_forward=("10.0.0.100", "10.0.0.100:5300")))
    assert [value for flag, value in told if flag == "--forward"] == ["10.0.0.100", "10.0.0.100:5300"]
