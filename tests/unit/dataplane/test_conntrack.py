"""Which flows the kernel must forget, on every transition."""

from __future__ import annotations

from typing import Any

import pytest

from fairway.dataplane.conntrack import lasting_claims, stale
from fairway.desired.build import build
from fairway.desired.model import Desired
from fairway.desired.options import ProxyOptions
from fairway.kernel.base import Flow
from fairway.packet import Family
from tests import plan
from tests.unit.desired.objects import endpoint, endpoint_slice, node, service

DNS, VIP, NODE = plan.DNS_IP, "203.0.113.10", plan.NODES["node-a"]
HERE, THERE = "10.244.0.5", "10.244.1.5"
NOTHING = Desired()


def dns(*addresses: str, protocol: str = "UDP", **over: Any) -> Desired:
    spec: dict[str, Any] = {
        "type": "LoadBalancer",
        "ports": [{"port": 53, "protocol": protocol, "nodePort": 30053}],
        "status": {"loadBalancer": {"ingress": [{"ip": VIP}]}},
    }
    full = service("dns", DNS, **{**spec, **over})
    endpoints = [endpoint(a, on="node-a" if a == HERE else "node-b") for a in addresses]
    options = ProxyOptions(cluster_cidrs=(plan.POD_RANGE,))
    return build([full], [endpoint_slice("dns", *endpoints, protocol=protocol, port=5353)], node(), options)


def flow(to: str, port: int, reply: str, reply_port: int = 5353, protocol: int = 17) -> Flow:
    client = "10.244.0.9"
    return Flow(Family.IPV4, protocol, client, 40000, to, port, reply, reply_port, client, 40000)


def to_service(reply: str, reply_port: int = 5353, protocol: int = 17) -> Flow:
    return flow(DNS, 53, reply, reply_port, protocol)


STAYS, GOES = False, True
TRANSITIONS = [
    ("a live flow", dns(HERE, THERE), to_service(HERE), STAYS),
    ("its endpoint is gone", dns(THERE), to_service(HERE), GOES),
    ("its endpoint has another port now", dns(HERE), to_service(HERE, 53), GOES),
    ("scaled to zero", dns(), to_service(HERE), GOES),
    ("sent before anybody served", dns(HERE), to_service(DNS, 53), GOES),
    ("sent while nobody serves", dns(), to_service(DNS, 53), STAYS),
    ("another port of the address", dns(HERE), flow(DNS, 54, "10.9.9.9"), STAYS),
    ("another protocol on the port", dns(HERE), to_service("10.9.9.9", protocol=6), STAYS),
    ("TCP finds out by itself", dns(protocol="TCP"), to_service(HERE, protocol=6), STAYS),
    ("SCTP does not", dns(protocol="SCTP"), to_service(HERE, protocol=132), GOES),
    ("a live flow through the node port", dns(HERE), flow(NODE, 30053, HERE), STAYS),
    ("a stale one", dns(THERE), flow(NODE, 30053, HERE), GOES),
    ("the node port before anybody served", dns(HERE), flow(NODE, 30053, NODE, 30053), GOES),
    ("the same port of a stranger", dns(HERE), flow("8.8.8.8", 30053, "8.8.8.8", 30053), STAYS),
    ("a stranger's translation at that port", dns(HERE), flow("8.8.8.8", 30053, "10.9.9.9"), STAYS),
    ("a live flow through the balancer", dns(THERE), flow(VIP, 53, THERE), STAYS),
    ("a stale one", dns(THERE), flow(VIP, 53, HERE), GOES),
    ("policy Local, a pod's short way", dns(HERE, THERE, externalTrafficPolicy="Local"), flow(VIP, 53, THERE), STAYS),
    ("policy Local inside", dns(HERE, THERE, internalTrafficPolicy="Local"), to_service(THERE), GOES),
    ("plain traffic to an endpoint", dns(HERE), flow(HERE, 5353, HERE), STAYS),
]


@pytest.mark.parametrize(("desired", "found", "fate"), [t[1:] for t in TRANSITIONS], ids=[t[0] for t in TRANSITIONS])
def test_transition(desired: Desired, found: Flow, fate: bool) -> None:
    assert stale(desired, [found]) == ([found] if fate is GOES else [])


@pytest.mark.parametrize(
    ("found", "fate"),
    [
        pytest.param(to_service(HERE), GOES, id="cluster IP"),
        pytest.param(flow(NODE, 30053, HERE), GOES, id="node port"),
        pytest.param(flow(VIP, 53, HERE), GOES, id="balancer"),
        pytest.param(to_service(DNS, 53), STAYS, id="never translated"),
        pytest.param(flow("8.8.8.8", 30053, "10.9.9.9"), STAYS, id="somebody else's"),
    ],
)
def test_a_service_that_was_deleted(found: Flow, fate: bool) -> None:
    gone = lasting_claims(dns(HERE))
    after = build([], [], node(), ProxyOptions())

    assert stale(after, [found], gone) == ([found] if fate is GOES else [])


def test_without_knowledge_of_what_was_claimed_a_stranger_s_translation_stays() -> None:
    assert stale(NOTHING, [to_service(HERE)]) == []


def test_a_node_port_that_moved() -> None:
    gone = lasting_claims(dns(HERE)) - lasting_claims(dns(HERE, ports=[{"port": 53, "protocol": "UDP"}]))

    assert {(claim.address, claim.port) for claim in gone} == {("", 30053)}


def test_two_services_at_one_address_share_their_endpoints() -> None:
    """The same balancer address and port, claimed twice: neither's flows are the other's to end."""
    status = {"loadBalancer": {"ingress": [{"ip": VIP}]}}
    pair = [
        service(name, f"10.96.0.{n}", type="LoadBalancer", ports=[{"port": 53, "protocol": "UDP"}], status=status)
        for n, name in ((1, "a"), (2, "b"))
    ]
    slices = [
        endpoint_slice(name, endpoint(address), protocol="UDP", port=5353)
        for name, address in (("a", HERE), ("b", THERE))
    ]

    desired = build(pair, slices, node(), ProxyOptions())

    assert stale(desired, [flow(VIP, 53, HERE), flow(VIP, 53, THERE)]) == []
