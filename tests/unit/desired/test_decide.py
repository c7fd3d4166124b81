"""The oracle: a table of who sends what where, and what becomes of it.

Two endpoints, one here (10.244.0.5) and one on node-b (10.244.1.5). "own" is a process of the node, "pod" a pod of
this node, "outside" a machine on the segment.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.desired.build import build
from fairway.desired.decide import decide
from fairway.desired.model import Desired
from fairway.desired.options import ProxyOptions
from fairway.packet import Outcome, Outcomes, Packet, Protocol, Verdict
from tests import plan
from tests.unit.desired.objects import endpoint, endpoint_slice, node, service

SENDERS = {
    "own": (plan.NODES["node-a"], ""),
    "pod": ("10.244.0.9", "cni0"),
    "outside": (plan.OUTSIDE_CLIENT, "eth0"),
    "endpoint": ("10.244.0.5", "cni0"),
    "far pod": ("10.244.1.9", "flannel.1"),
}
BOTH = (endpoint("10.244.0.5"), endpoint("10.244.1.5", on="node-b"))
HERE = (BOTH[0],)
ELSEWHERE = (BOTH[1],)

CLUSTER_IP, NODE_PORT, VIP, EXTERNAL = "10.96.0.20", plan.NODES["node-a"], "203.0.113.10", "198.51.100.7"
OPTIONS = ProxyOptions(cluster_cidrs=(plan.POD_RANGE,), localhost_nodeports=True)


def desired(*endpoints: dict[str, Any], options: ProxyOptions = OPTIONS, **spec: Any) -> Desired:
    full = service(
        type="LoadBalancer",
        ports=[{"port": 80, "nodePort": 30080}],
        externalIPs=[EXTERNAL],
        status={"loadBalancer": {"ingress": [{"ip": VIP}]}},
        **spec,
    )
    return build([full], [endpoint_slice("web", *endpoints)], node(), options)


def send(state: Desired, sender: str, to: str, port: int | None = None) -> Outcomes:
    source, interface = SENDERS[sender]
    port = port or (30080 if to in (NODE_PORT, "127.0.0.1") else 80)
    return decide(state, node(), Packet(source, to, Protocol.TCP, port, in_interface=interface))


def summary(outcomes: Outcomes) -> str:
    """`5 6m`: endpoints by the last number of their node's range, m: masqueraded. Or the verdict."""
    words = []
    for outcome in sorted(outcomes):
        if outcome.verdict is not Verdict.ENDPOINT:
            return str(outcome.verdict)
        words.append(("here" if "10.244.0." in outcome.endpoint else "there") + ("*" if outcome.masqueraded else ""))
    return " ".join(words)


TABLE = [
    # (policies, endpoints, sender, destination, fate; * means that the node's address hides the sender's)
    ({}, BOTH, "pod", CLUSTER_IP, "here there"),
    ({}, BOTH, "far pod", CLUSTER_IP, "here there"),
    ({}, BOTH, "own", CLUSTER_IP, "here* there*"),
    ({}, BOTH, "outside", CLUSTER_IP, "here* there*"),
    ({}, BOTH, "endpoint", CLUSTER_IP, "here* there"),
    ({}, BOTH, "pod", NODE_PORT, "here* there*"),
    ({}, BOTH, "outside", NODE_PORT, "here* there*"),
    ({}, BOTH, "own", NODE_PORT, "here* there*"),
    ({}, BOTH, "own", "127.0.0.1", "here* there*"),
    ({}, BOTH, "outside", VIP, "here* there*"),
    ({}, BOTH, "outside", EXTERNAL, "here* there*"),
    ({}, (), "pod", CLUSTER_IP, "rejected"),
    ({}, (), "own", CLUSTER_IP, "rejected"),
    ({}, (), "outside", NODE_PORT, "rejected"),
    ({}, (), "own", NODE_PORT, "rejected"),
    ({}, (), "outside", VIP, "rejected"),
    ({}, (), "own", VIP, "untranslated"),  # outsiders' addresses are not refused on the way out
    ({"external": "Local"}, BOTH, "outside", NODE_PORT, "here"),
    ({"external": "Local"}, BOTH, "outside", VIP, "here"),
    ({"external": "Local"}, BOTH, "endpoint", VIP, "here* there"),
    ({"external": "Local"}, BOTH, "pod", VIP, "here there"),
    ({"external": "Local"}, BOTH, "own", VIP, "here* there*"),
    ({"external": "Local"}, ELSEWHERE, "outside", VIP, "dropped"),
    ({"external": "Local"}, ELSEWHERE, "outside", NODE_PORT, "dropped"),
    ({"external": "Local"}, ELSEWHERE, "pod", VIP, "there"),
    ({"external": "Local"}, ELSEWHERE, "pod", CLUSTER_IP, "there"),
    ({"internal": "Local"}, BOTH, "pod", CLUSTER_IP, "here"),
    ({"internal": "Local"}, ELSEWHERE, "pod", CLUSTER_IP, "dropped"),
    ({"internal": "Local"}, ELSEWHERE, "outside", VIP, "there*"),
    ({"ranges": ["192.0.2.0/24"]}, BOTH, "outside", VIP, "dropped"),
    ({"ranges": ["10.0.0.100/32"]}, BOTH, "outside", VIP, "here* there*"),
    ({"ranges": ["192.0.2.0/24"]}, BOTH, "outside", NODE_PORT, "here* there*"),
    ({"ranges": ["192.0.2.0/24"]}, (), "outside", VIP, "rejected"),
]


@pytest.mark.parametrize(("policies", "endpoints", "sender", "destination", "fate"), TABLE)
def test_table(
    policies: dict[str, Any], endpoints: tuple[dict[str, Any], ...], sender: str, destination: str, fate: str
) -> None:
    spec = {
        "internalTrafficPolicy": policies.get("internal", "Cluster"),
        "externalTrafficPolicy": policies.get("external", "Cluster"),
        "loadBalancerSourceRanges": policies.get("ranges", []),
    }

    assert summary(send(desired(*endpoints, **spec), sender, destination)) == fate


def test_shares_are_equal() -> None:
    three = [endpoint(f"10.244.1.{n}", on="node-b") for n in (1, 2, 3)]

    outcomes = send(desired(*three), "pod", CLUSTER_IP)

    assert set(outcomes.values()) == {Fraction(1, 3)}


def test_an_endpoint_on_the_node_itself_sees_who_came_from_outside() -> None:
    """Such a packet is delivered and never leaves the node: nothing rewrites its source."""
    own = endpoint(plan.NODES["node-a"])

    assert send(desired(own), "outside", NODE_PORT) == {
        Outcome(Verdict.ENDPOINT, "10.0.0.11:8080", masqueraded=False): Fraction(1)
    }


@pytest.mark.parametrize(
    ("to", "port"), [(CLUSTER_IP, 81), ("10.96.0.21", 80), (NODE_PORT, 80), (VIP, 30080), ("8.8.8.8", 80)]
)
def test_what_nobody_claims_is_left_alone(to: str, port: int) -> None:
    assert summary(send(desired(*BOTH), "pod", to, port)) == "untranslated"


def test_loopback_is_guarded_while_it_serves_node_ports() -> None:
    """CVE-2020-8558: with route_localnet a neighbour could otherwise reach what listens on loopback only."""
    assert summary(send(desired(*BOTH), "outside", "127.0.0.1", 10248)) == "dropped"
    assert summary(send(desired(*BOTH, options=ProxyOptions()), "own", "127.0.0.1")) == "untranslated"


def test_the_load_balancer_s_own_address_passes_where_a_range_holds_the_node() -> None:
    state = desired(*BOTH, loadBalancerSourceRanges=["10.0.0.0/24"])
    packet = Packet(VIP, VIP, Protocol.TCP, 80)

    assert summary(decide(state, node(), packet)) == "here* there*"


def claiming(name: str, ip: str, *ranges: str, external: str = "", **spec: Any) -> Any:
    """A Service with the load balancer's address, or with an external one."""
    status = {"loadBalancer": {"ingress": [{"ip": address} for address in (VIP, "203.0.113.11") if not external]}}
    spec = {"status": status, "loadBalancerSourceRanges": list(ranges), **spec}
    return service(name, ip, type="LoadBalancer", externalIPs=[external] if external else [], **spec)


@pytest.mark.parametrize(
    ("first", "source", "fate"),
    [
        (claiming("a", "10.96.0.21", "192.0.2.0/24"), "192.0.2.5", "here*"),
        (claiming("a", "10.96.0.21", "192.0.2.0/24"), "198.51.100.1", "there*"),
        (claiming("a", "10.96.0.21", "10.0.0.0/24"), "203.0.113.11", "here*"),  # the balancer's other address
        (claiming("a", "10.96.0.21", external=VIP), "198.51.100.1", "here*"),
    ],
)
def test_whom_the_first_that_claims_an_address_does_not_let_in_the_second_may(
    first: Any, source: str, fate: str
) -> None:
    second = claiming("b", "10.96.0.22", "198.51.100.0/24")
    pieces = [endpoint_slice("a", *HERE), endpoint_slice("b", *ELSEWHERE)]
    state = build([second, first], pieces, node(), OPTIONS)

    def sent(address: str) -> str:
        return summary(decide(state, node(), Packet(address, VIP, Protocol.TCP, 80, in_interface="eth0")))

    assert sent(source) == fate
    assert first.spec.external_ips or sent("8.8.8.8") == "dropped"


def test_a_service_may_claim_its_own_cluster_ip_for_outsiders() -> None:
    state = desired(*ELSEWHERE, internalTrafficPolicy="Local")
    both = build(
        [service(type="ClusterIP", internalTrafficPolicy="Local", externalIPs=["10.96.0.20"])],
        [endpoint_slice("web", *ELSEWHERE)],
        node(),
        OPTIONS,
    )

    assert summary(send(state, "outside", CLUSTER_IP)) == "dropped"
    assert summary(send(both, "outside", CLUSTER_IP)) == "there*"


def test_masquerade_all_hides_pods_too() -> None:
    everything = ProxyOptions(cluster_cidrs=(plan.POD_RANGE,), masquerade_all=True)

    assert summary(send(desired(*BOTH, options=everything), "pod", CLUSTER_IP)) == "here* there*"


@given(
    st.sampled_from(sorted(SENDERS)),
    st.sampled_from([CLUSTER_IP, NODE_PORT, VIP, EXTERNAL, "127.0.0.1"]),
    st.sampled_from([(), HERE, ELSEWHERE, BOTH]),
    st.sampled_from(["Cluster", "Local"]),
    st.sampled_from(["Cluster", "Local"]),
)
def test_fates_are_complete(
    sender: str, to: str, endpoints: tuple[dict[str, Any], ...], internal: str, external: str
) -> None:
    state = desired(*endpoints, internalTrafficPolicy=internal, externalTrafficPolicy=external)

    outcomes = send(state, sender, to)

    assert sum(outcomes.values()) == 1
    assert all(share > 0 for share in outcomes.values())
