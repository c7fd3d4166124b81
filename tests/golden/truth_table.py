"""The truth table: who reaches whom through a Service, said by the oracle for every kind of sender, address and policy.

`python -m tests.golden.truth_table` prints docs/truth-table.md. tests/kernel/test_truth_table.py sends every packet of
it through the kernel, in both dialects, both families and all protocols.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from fairway.desired.build import build
from fairway.desired.decide import decide
from fairway.desired.model import Desired
from fairway.desired.options import ProxyOptions
from fairway.node import Node
from fairway.packet import Family, Outcomes, Packet, Protocol, Verdict
from tests.golden import nodes
from tests.unit.desired.objects import endpoint, endpoint_slice, service

NODE: Node = nodes.case("33").node


@dataclass(frozen=True)
class Plan:
    """One family's addresses."""

    service: str
    unknown: str
    external: str
    balancer: str
    node: str
    here: str
    there: str
    senders: dict[str, tuple[str, str]]  # address and the device it comes in by


PLANS = {
    Family.IPV4: Plan(
        "10.96.0.20",
        "10.96.7.7",
        "198.51.100.7",
        "203.0.113.7",
        "10.0.0.11",
        "10.244.1.5",
        "10.244.2.5",
        {
            "pod here": ("10.244.1.9", "cni0"),
            "pod elsewhere": ("10.244.2.9", "flannel.1"),
            "the node": ("10.0.0.11", ""),
            "outsider": ("10.0.0.100", "eth0"),
            "the endpoint here": ("10.244.1.5", "cni0"),
        },
    ),
    Family.IPV6: Plan(
        "fd00:10:96::20",
        "fd00:10:96::77",
        "2001:db8:7::7",
        "2001:db8:f::7",
        "fd00:a::11",
        "fd00:10:244:1::5",
        "fd00:10:244:2::5",
        {
            "pod here": ("fd00:10:244:1::9", "cni0"),
            "pod elsewhere": ("fd00:10:244:2::9", "flannel.1"),
            "the node": ("fd00:a::11", ""),
            "outsider": ("fd00:a::100", "eth0"),
            "the endpoint here": ("fd00:10:244:1::5", "cni0"),
        },
    ),
}
SENDERS = tuple(PLANS[Family.IPV4].senders)
ENDPOINTS = {"here and elsewhere": (True, True), "elsewhere only": (False, True), "none": (False, False)}
ADDRESSES = ("cluster IP", "external IP", "load-balancer IP", "node port")
RANGES = ("load-balancer IP, sender in the source ranges", "load-balancer IP, sender in none of them")
GUARDED = ("another port of a cluster IP", "an address of the range that no Service has")
OPTIONS = ProxyOptions(
    cluster_cidrs=("10.244.0.0/16", "fd00:10:244::/48"), guarded_cidrs=("10.96.0.0/12", "fd00:10:96::/108")
)


@dataclass(frozen=True)
class Row:
    """One line of the table. `guard`: it is so in nftables mode only, which guards cluster IPs."""

    address: str
    policy: str
    endpoints: str
    guard: bool = False


def rows() -> Iterator[Row]:
    for address in ADDRESSES:
        for policy in ("Cluster", "Local"):
            for endpoints in ENDPOINTS:
                yield Row(address, policy, endpoints)
    yield from (Row(address, "Cluster", "here and elsewhere") for address in RANGES)
    yield from (Row(address, "any", "any", guard=True) for address in GUARDED)


def state(row: Row, family: Family, protocol: Protocol) -> Desired:
    """The Service of one row."""
    plan = PLANS[family]
    here, there = ENDPOINTS.get(row.endpoints, (True, True))
    ends = [endpoint(plan.here)] * here + [endpoint(plan.there, on="node-b")] * there
    policy = "Local" if row.policy == "Local" else "Cluster"
    ranges: dict[str, Any] = {}
    if row.address in RANGES:
        inside = ["0.0.0.0/0", "::/0"] if row.address == RANGES[0] else ["192.0.2.0/24", "2001:db8:2::/48"]
        ranges = {"loadBalancerSourceRanges": inside}
    web = service(
        "web",
        plan.service,
        type="LoadBalancer",
        ports=[{"port": 80, "protocol": protocol.value, "nodePort": 30080}],
        externalIPs=[plan.external],
        status={"loadBalancer": {"ingress": [{"ip": plan.balancer}]}},
        internalTrafficPolicy=policy,
        externalTrafficPolicy=policy,
        **ranges,
    )
    piece = endpoint_slice("web", *ends, port=8080, protocol=protocol.value, family=family.value)
    return build([web], [piece], NODE, OPTIONS if row.guard else replace(OPTIONS, guarded_cidrs=None))


def packet(row: Row, sender: str, family: Family, protocol: Protocol) -> Packet:
    """What one sender of a row sends."""
    plan = PLANS[family]
    source, device = plan.senders[sender]
    to, port = {
        "cluster IP": (plan.service, 80),
        "external IP": (plan.external, 80),
        "node port": (plan.node, 30080),
        GUARDED[0]: (plan.service, 81),
        GUARDED[1]: (plan.unknown, 80),
    }.get(row.address, (plan.balancer, 80))
    return Packet(source, to, protocol, port, in_interface=device)


def word(outcomes: Outcomes, sender: Packet, family: Family) -> str:
    """One cell."""
    (verdict,) = {outcome.verdict for outcome in outcomes}
    if verdict is not Verdict.ENDPOINT:
        return verdict.value
    hidden = {outcome.masqueraded for outcome in outcomes}
    reached = "all endpoints" if len(outcomes) > 1 else _one(next(iter(outcomes)).endpoint, family)
    if hidden == {True}:
        return f"{reached}, hidden"
    return f"{reached}, hidden from itself" if True in hidden else reached


def _one(endpoint: str, family: Family) -> str:
    return "the one here" if PLANS[family].here in endpoint else "the one elsewhere"


def said(row: Row, family: Family, protocol: Protocol) -> list[str]:
    """The cells of one line."""
    desired = state(row, family, protocol)
    packets = [packet(row, sender, family, protocol) for sender in SENDERS]
    return [word(decide(desired, NODE, sent), sent, family) for sent in packets]


INTRODUCTION = """# Who reaches whom through a Service

Generated by `python -m tests.golden.truth_table` from `desired.decide`, for a Service with one endpoint on this node
and one on another. Every cell holds for IPv4 and IPv6, TCP, UDP and SCTP, in iptables and in nftables mode; the tests
send each of these packets through a real kernel in all these ways (`tests/kernel/test_truth_table.py`).

*Hidden*: the endpoint sees an address of this node as the caller's; otherwise it sees the sender's own. *rejected*: an
ICMP error at once. *dropped*: silence, so that a load balancer tries another node. Pods are told by their address
(`--cluster-cidr`). Policy is `internalTrafficPolicy` for cluster IPs, `externalTrafficPolicy` for all other addresses.
The last two lines are nftables mode's guard of cluster IPs; iptables mode leaves such packets as they are.
"""


def document() -> str:
    """docs/truth-table.md."""
    lines = [
        INTRODUCTION,
        f"| address | policy | endpoints | {' | '.join(SENDERS)} |",
        "|" + "---|" * (3 + len(SENDERS)),
    ]
    for row in rows():
        cells = said(row, Family.IPV4, Protocol.TCP)
        lines.append(f"| {row.address} | {row.policy} | {row.endpoints} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(document(), end="")
