"""What the reference's nftables rules do to packets is what the model says should become of them.

The packets are those of the crown property. The reference's nftables mode has options of its own: it guards the
ranges of cluster IPs, serves node ports at the node's main address unless told otherwise, and never at loopback. Where
it goes a way of its own beyond that, the table below says which and why; everything else is equal.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import pytest

from fairway.desired.decide import decide
from fairway.desired.model import Desired
from fairway.desired.options import PRIMARY
from fairway.packet import Family, Outcomes, Packet, Verdict
from fairway.ruleset.nft_parse import parse
from fairway.trace.walk import trace
from tests.golden import cases, nodes
from tests.golden.test_crown import packets
from tests.golden.test_nft_text import NAMES, reference

RANGES = ("10.96.0.0/12", "fd00:10:96::/108")
REFUSALS = (Verdict.REJECTED, Verdict.DROPPED)


class Sent(NamedTuple):
    """A packet, what the model says of it, and what the reference's rules do."""

    desired: Desired
    packet: Packet
    said: Outcomes
    done: Outcomes


def visits_itself(sent: Sent) -> bool:
    """Only the masquerade of the endpoint's own way to itself differs."""

    def but_for_it(outcomes: Outcomes) -> dict[object, object]:
        own = sent.packet.source
        return {
            replace(o, masqueraded=False) if o.endpoint.rpartition(":")[0].strip("[]") == own else o: share
            for o, share in outcomes.items()
        }

    local = {e.address for port in sent.desired.ports for e in (*port.cluster, *port.local) if e.local}
    return sent.packet.source not in local and but_for_it(sent.said) == but_for_it(sent.done)


def other_address_of_the_node(sent: Sent) -> bool:
    """A node port that nobody serves, at an address of the node where node ports are not served."""
    served = sent.desired.node(sent.packet.family).node_ports_on or ()
    claimed = any(port.node_port == sent.packet.destination_port for port in sent.desired.ports)
    return claimed and sent.packet.destination not in served and only(sent.said, *REFUSALS) and passes(sent.done)


def own_process_to_external(sent: Sent) -> bool:
    """An external or load-balancer address that nobody serves, from a process of the node."""
    claimed = any(
        sent.packet.destination in (*port.external_ips, *port.load_balancer_ips) for port in sent.desired.ports
    )
    return claimed and not sent.packet.in_interface and passes(sent.said) and only(sent.done, *REFUSALS)


def only(outcomes: Outcomes, *verdicts: Verdict) -> bool:
    return all(outcome.verdict in verdicts for outcome in outcomes)


def passes(outcomes: Outcomes) -> bool:
    return only(outcomes, Verdict.UNTRANSLATED)


@dataclass(frozen=True)
class Way:
    """A way of the reference's own in this mode: when, why, and a case that shows it."""

    applies: Callable[[Sent], bool]
    why: str
    seen_in: str


WAYS: Mapping[str, Way] = {
    "hairpin": Way(
        visits_itself,
        "it lists only its own node's endpoints as possible hairpins: one that is elsewhere and yet comes by this node "
        "keeps its source",
        "02-clusterip-one-endpoint",
    ),
    "refused node ports": Way(
        other_address_of_the_node,
        "it refuses node ports without endpoints only at addresses where node ports are served; in iptables mode at "
        "every address of the node",
        "05-nodeport-no-endpoints",
    ),
    "refused to the node": Way(
        own_process_to_external,
        "it refuses external addresses without endpoints on the way out of the node's processes too; in iptables mode "
        "on the way in and through only",
        "48-mixed-bag",
    ),
}


def as_in_nftables_mode(case: cases.Case) -> cases.Case:
    options = replace(
        case.options,
        localhost_nodeports=False,
        nodeport_addresses=case.options.nodeport_addresses or (PRIMARY,),
        guarded_cidrs=RANGES,
    )
    return replace(case, options=options)


def sent_by(name: str, family: Family) -> list[Sent]:
    case = as_in_nftables_mode(nodes.case(name.partition("-")[0]))
    desired, node, rules = case.desired, case.node, parse(reference(name))
    return [
        Sent(desired, packet, decide(desired, node, packet), trace(rules, node, packet).outcomes())
        for packet in packets(node, desired, family)
    ]


@pytest.mark.parametrize("family", list(Family))
@pytest.mark.parametrize("name", NAMES)
def test_the_reference_does_what_the_model_says(name: str, family: Family) -> None:
    different = [sent for sent in sent_by(name, family) if sent.said != sent.done]

    unexplained = [sent[1:] for sent in different if not any(way.applies(sent) for way in WAYS.values())]
    assert unexplained == []


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
def test_each_way_of_the_references_own_is_there(way: Way) -> None:
    different = [sent for sent in sent_by(way.seen_in, Family.IPV4) if sent.said != sent.done]

    assert any(way.applies(sent) for sent in different)
