"""Which flows the kernel must forget, on every transition."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as given_settings
from hypothesis import strategies as st

from fairway.dataplane.base import Pending, Update
from fairway.dataplane.conntrack import PROTOCOLS, Expectation, Sweeper
from fairway.desired.build import build
from fairway.desired.model import (
    Claim,
    Desired,
    Endpoint,
    NodeFacts,
    Policy,
    PortKey,
    PortName,
    ServicePort,
    Settings,
    claims,
)
from fairway.desired.options import ProxyOptions
from fairway.kernel.base import Flow, KernelError
from fairway.kernel.fake.conntrack import FakeConntrack
from fairway.packet import Family, Protocol
from tests import plan
from tests.unit.desired.objects import endpoint, endpoint_slice, node, service

DNS, VIP, NODE = plan.DNS_IP, "203.0.113.10", plan.NODES["node-a"]
HERE, THERE = "10.244.0.5", "10.244.1.5"
OUTSIDE, RANGE = "192.0.2.5", "192.0.2.0/24"
NOTHING = Desired()


def lasting_claims(desired: Desired) -> frozenset[Claim]:
    return frozenset(claim for port in desired.ports if port.protocol in PROTOCOLS for claim in claims(port))


def stale(desired: Desired, flows: Iterable[Flow], gone: Collection[Claim] = ()) -> list[Flow]:
    """What must go, from the whole state at once."""
    expectation = Expectation()
    expectation.settle(desired.settings)
    for port in desired.ports:
        if port.protocol in PROTOCOLS:
            expectation.put(port.key, port)
    return [flow for flow in flows if expectation.stale(flow, gone)]


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


def flow(
    to: str, port: int, reply: str, reply_port: int = 5353, protocol: int = 17, client: str = "10.244.0.9"
) -> Flow:
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
    ("the node's", dns(HERE, THERE, externalTrafficPolicy="Local"), flow(NODE, 30053, THERE, client=NODE), STAYS),
    ("no outsider's", dns(HERE, THERE, externalTrafficPolicy="Local"), flow(VIP, 53, THERE, client=OUTSIDE), GOES),
    ("its way", dns(HERE, THERE, externalTrafficPolicy="Local"), flow(NODE, 30053, HERE, client=OUTSIDE), STAYS),
    ("a sender let in", dns(HERE, loadBalancerSourceRanges=[RANGE]), flow(VIP, 53, HERE, client=OUTSIDE), STAYS),
    ("let in no more", dns(HERE, loadBalancerSourceRanges=["8.8.8.0/24"]), flow(VIP, 53, HERE, client=OUTSIDE), GOES),
    ("let in before", dns(HERE, loadBalancerSourceRanges=["8.8.8.0/24"]), flow(VIP, 53, VIP, 53), STAYS),
    ("ranges are the balancer's", dns(HERE, loadBalancerSourceRanges=["8.8.8.0/24"]), to_service(HERE), STAYS),
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


class Table(FakeConntrack):
    """A table that counts how often it is read, and that can be out of order."""

    def __init__(self, flows: Iterable[Flow] = ()) -> None:
        super().__init__(flows)
        self.reads: list[tuple[Family, int]] = []
        self.broken = False

    def flows(self, family: Family, protocol: int = 0) -> Any:
        if self.broken:
            raise KernelError("no memory for a dump")
        self.reads.append((family, protocol))
        return super().flows(family, protocol)


def swept(sweeper: Sweeper, update: Update, pending: Pending) -> int:
    """How many connections a sweep of both families deletes."""
    return sum(found.deleted for found in sweeper.sweep(update, pending, tuple(Family)).values())


def sweep(sweeper: Sweeper, before: Desired, after: Desired) -> int:
    """Tell only what differs, as a tracker does."""
    old, new = ({port.key: port for port in desired.ports} for desired in (before, after))
    changed = frozenset(key for key in {*old, *new} if old.get(key) != new.get(key))
    return swept(sweeper, Update(after.settings, new, changed), Pending(False, set(changed)))


def started(table: Table, desired: Desired) -> Sweeper:
    sweeper = Sweeper(table)
    sweeper.sweep(Update.of(desired), Pending(), tuple(Family))
    table.reads.clear()
    return sweeper


def test_the_first_sweep_looks_at_everything() -> None:
    table = Table([flow(VIP, 53, THERE), to_service(HERE)])

    assert swept(Sweeper(table), Update.of(dns(HERE)), Pending()) == 1

    assert table.deleted == [flow(VIP, 53, THERE)]


def test_only_the_table_of_what_changed_is_read() -> None:
    table = Table()
    sweeper = started(table, dns(HERE))

    sweep(sweeper, dns(HERE), dns(HERE, THERE))

    assert table.reads == [(Family.IPV4, 17)]


@pytest.mark.parametrize("before", [dns(HERE), NOTHING], ids=["with UDP Services", "without"])
def test_nothing_is_read_when_only_tcp_changes(before: Desired) -> None:
    table = Table()
    tcp = dns(HERE, protocol="TCP").ports
    sweeper = started(table, before)

    sweep(sweeper, before, Desired((*before.ports, *tcp), settings=before.settings))

    assert table.reads == []


def test_a_table_that_could_not_be_read_is_swept_the_next_time() -> None:
    table = Table([to_service(HERE), flow(VIP, 53, HERE)])
    sweeper = started(table, dns(HERE))
    table.broken = True
    gone = Update(dns(HERE).settings, {}, frozenset(port.key for port in dns(HERE).ports))
    with pytest.raises(KernelError):
        sweeper.sweep(gone, Pending(False, set(gone.changed or ())), tuple(Family))
    table.broken = False

    assert swept(sweeper, gone, Pending(False, set())) == 2


def test_what_rules_of_before_claimed_and_nobody_claims_now_is_swept() -> None:
    table = Table([to_service(HERE), flow("8.8.8.8", 53, "10.9.9.9")])
    sweeper = Sweeper(table)
    sweeper.inherit(lasting_claims(dns(HERE)))

    sweeper.sweep(Update.of(Desired(settings=dns().settings)), Pending(), tuple(Family))

    assert table.deleted == [to_service(HERE)]


def test_a_flow_through_an_address_the_node_has_lost_is_no_node_port_s_any_more() -> None:
    table = Table([flow(NODE, 30053, NODE, 30053)])
    served = dns(HERE)
    elsewhere = Desired(served.ports, settings=Settings({Family.IPV4: NodeFacts(addresses=("192.0.2.9",))}))
    sweeper = started(table, elsewhere)
    assert table.deleted == []

    sweep(sweeper, elsewhere, served)

    assert table.deleted == [flow(NODE, 30053, NODE, 30053)]


PLACES = [Endpoint(f"10.244.0.{n}", 5353, n == 1) for n in (1, 2, 3)]


def lasting_port(key: PortKey, address: int, node_port: int, vip: bool, local: bool, served: int) -> ServicePort:
    """Services of the same address number share a balancer address, as two Services may."""
    name, protocol, family = key
    chosen = tuple(place for n, place in enumerate(PLACES) if served >> n & 1)
    return ServicePort(
        name,
        family,
        protocol,
        f"10.96.0.{1 + 'abc'.index(name.service)}",
        53,
        node_port=node_port,
        load_balancer_ips=(f"203.0.113.{address}",) if vip else (),
        external_policy=Policy.LOCAL if local else Policy.CLUSTER,
        cluster=chosen,
        local=tuple(place for place in chosen if place.local),
        reachable=bool(chosen),
    )


keys = st.builds(
    lambda service, protocol: (PortName("default", service), protocol, Family.IPV4),
    st.sampled_from("abc"),
    st.sampled_from(Protocol),
)
ports = keys.flatmap(
    lambda key: st.builds(
        lasting_port,
        st.just(key),
        st.integers(1, 2),
        st.sampled_from([0, 30053, 30054]),
        st.booleans(),
        st.booleans(),
        st.integers(0, 7),
    )
)
clusters = st.builds(
    lambda chosen, own: Desired(
        tuple({port.key: port for port in chosen}.values()),
        settings=Settings({Family.IPV4: NodeFacts(addresses=own)}),
    ),
    st.lists(ports, max_size=5),
    st.sampled_from([(NODE,), (NODE, "203.0.113.1")]),
)
ENDS = [("10.96.0.1", 53), ("10.96.0.2", 53), ("203.0.113.1", 53), ("203.0.113.1", 30053), (NODE, 30053), (NODE, 30054)]


def possible(protocol: int) -> list[Flow]:
    """Every flow to a destination that may be a Service's: to each endpoint, untranslated, and to a stranger."""
    return [
        Flow(Family.IPV4, protocol, f"10.244.7.{n}", 40000, to, port, reply, reply_port, f"10.244.7.{n}", 40000)
        for to, port in ENDS
        for n, (reply, reply_port) in enumerate([*((p.address, p.port) for p in PLACES), (to, port), ("10.9.9.9", 1)])
    ]


@given_settings(max_examples=150, deadline=None)
@given(st.lists(clusters, min_size=2, max_size=6))
def test_whatever_happens_to_a_cluster_exactly_the_stale_flows_go(history: list[Desired]) -> None:
    """In each state all flows come up that its rules could have made; with each change those go which the whole new
    state, looked at by itself, does not allow."""
    table = Table()
    sweeper = started(table, history[0])
    for before, after in itertools.pairwise(history):
        every = [flow for protocol in PROTOCOLS for flow in possible(protocol.number)]
        wrong = stale(before, every)
        for live in every:
            if live not in wrong:
                table.add(live)
        held = [flow for protocol in PROTOCOLS for flow in table.flows(Family.IPV4, protocol.number)]
        table.deleted.clear()

        sweep(sweeper, before, after)

        expected = stale(after, held, lasting_claims(before) - lasting_claims(after))
        assert sorted(map(repr, table.deleted)) == sorted(map(repr, expected))
