"""The crown property: what the model says should become of a packet, and what either dialect's rules do to it, are the
same. (tests/kernel/test_crown_packets.py asks the kernel.)

`decide` reads the desired model and knows no rule; `trace` reads rules and knows no Service. The packets are all
sources that matter (pods here and elsewhere, the node, outsiders, each endpoint itself) to all addresses that any
Service of the case claims, and to some that none does.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import replace

import pytest

from fairway.dataplane import iptables, nft
from fairway.desired.decide import decide
from fairway.desired.model import Desired, claims
from fairway.node import Node
from fairway.packet import Family, Outcomes, Packet, Protocol, family_of
from fairway.ruleset.iptables import Ruleset as IptablesRuleset
from fairway.ruleset.nft import Ruleset as NftRuleset
from fairway.ruleset.nft import TableName
from fairway.trace.routing import Settings
from fairway.trace.walk import trace
from tests.golden import cases, nodes

FOREIGN = {Family.IPV4: ("10.0.0.100", "192.0.2.5", "203.0.113.77"), Family.IPV6: ("fd00:a::100", "2001:db8::5")}
PODS = {
    Family.IPV4: (("10.244.1.5", "cni0"), ("10.244.1.77", "veth12345"), ("10.244.2.9", "flannel.1")),
    Family.IPV6: (("fd00:10:244:1::5", "cni0"), ("fd00:10:244:2::9", "flannel.1")),
}
GUARDED = ("10.96.0.0/12", "fd00:10:96::/108")
NOBODY = {Family.IPV4: ("10.96.77.77", "198.51.100.99"), Family.IPV6: ("fd00:10:96::77", "2001:db8::99")}


def sources(node: Node, desired: Desired, family: Family) -> Iterator[tuple[str, str]]:
    """(address, device it comes in by) pairs; "" for the node's own processes."""
    yield from PODS[family]
    yield from ((address, "eth0") for address in FOREIGN[family])
    yield from ((str(a), "") for a in node.addresses() if family_of(str(a)) is family)
    for balancer in sorted({address for port in desired.of(family) for address in port.load_balancer_ips}):
        yield balancer, ""  # a node that has the balancer's address on a device talks to it with that source
    for endpoint in sorted({e.address for port in desired.of(family) for e in (*port.cluster, *port.local)}):
        if not node.is_local(nodes._ip(endpoint)):
            yield endpoint, "cni0" if endpoint.startswith(("10.244.1.", "fd00:10:244:1:")) else "flannel.1"


def destinations(node: Node, desired: Desired, family: Family) -> Iterator[tuple[str, Protocol, int]]:
    """Every claimed address and port, neighbours of them, and the node's addresses for node ports."""
    own = [str(a) for a in node.addresses() if family_of(str(a)) is family]
    for port in desired.of(family):
        for claim in claims(port):
            for address in [claim.address] if claim.address else own:
                yield address, claim.protocol, claim.port
                yield address, claim.protocol, claim.port + 1
        yield from ((address, port.protocol, port.port) for address in (*NOBODY[family], own[0]))
        if port.health_check_node_port:
            yield own[0], Protocol.TCP, port.health_check_node_port


def packets(node: Node, desired: Desired, family: Family) -> Iterator[Packet]:
    pairs = itertools.product(
        dict.fromkeys(sources(node, desired, family)), dict.fromkeys(destinations(node, desired, family))
    )
    for (source, device), (destination, protocol, port) in pairs:
        yield Packet(source, destination, protocol, port, in_interface=device)
    loopback = "::1" if family is Family.IPV6 else "127.0.0.1"
    for destination, protocol, port in dict.fromkeys(destinations(node, desired, family)):
        if node.is_local(nodes._ip(destination)):
            yield Packet(loopback, loopback, protocol, port)


def disagreements(
    desired: Desired, node: Node, rules: IptablesRuleset | NftRuleset, sent: Iterable[Packet]
) -> list[tuple[Packet, Outcomes, Outcomes]]:
    """The packets of which the oracle says one thing and the rules do another."""
    # the proxy that serves node ports on loopback addresses switches route_localnet on
    settings = Settings(route_localnet=any(facts.localhost_node_ports for facts in desired.facts.values()))
    asked = (
        (packet, decide(desired, node, packet), trace(rules, node, packet, settings=settings).outcomes())
        for packet in sent
    )
    return [(packet, said, done) for packet, said, done in asked if said != done]


def nft_rules(desired: Desired, family: Family) -> NftRuleset:
    """The rules of nftables mode."""
    table = nft.render(desired, family)
    return NftRuleset({TableName(table.family, table.name): table})


def guarding(desired: Desired) -> Desired:
    """The same with the ranges of cluster IPs guarded, as only nftables mode does."""
    return replace(desired, settings=replace(desired.settings, guarded_cidrs=GUARDED))


@pytest.mark.parametrize("family", list(Family))
@pytest.mark.parametrize("name", cases.NAMES)
def test_the_oracle_and_the_tracer_agree(name: str, family: Family) -> None:
    case = nodes.case(name.partition("-")[0])
    desired, node = case.desired, case.node
    sent = list(packets(node, desired, family))

    assert disagreements(desired, node, iptables.render(desired, family), sent) == []
    assert disagreements(desired, node, nft_rules(desired, family), sent) == []
    assert disagreements(guarding(desired), node, nft_rules(guarding(desired), family), sent) == []
    assert len(sent) >= 2 or not list(desired.of(family))
