"""Which connections the kernel must forget: those whose translation is no longer one that a Service makes.

Rules act on the first packet of a connection only. TCP notices a dead peer; a UDP (or SCTP) flow is kept alive by its
sender and goes on to wherever it once was translated: to nobody, or to whoever got the address next. Whether a flow
is stale follows from Desired and the flow alone, so a restart forgets nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable

from fairway.desired.model import Claim, Desired, Endpoint, NodeFacts, Policy, ServicePort, claims
from fairway.kernel.base import Flow
from fairway.packet import Family, Protocol

PROTOCOLS = (Protocol.UDP, Protocol.SCTP)
"""The protocols whose flows outlive a change. SCTP's heartbeats hold an association as UDP's senders hold a flow."""

_BY_NUMBER = {protocol.number: protocol for protocol in PROTOCOLS}

Place = tuple[str, int]
"""An endpoint's address and port, as a flow's reply direction shows it."""


class Expectation:
    """What flows to Service addresses may look like. `gone` are destinations that Services have ceased to claim."""

    def __init__(self, desired: Desired, gone: Collection[Claim] = ()) -> None:
        self._places: defaultdict[Claim, set[Place]] = defaultdict(set)
        self._gone = frozenset(gone)
        self._own = {family: _own_addresses(desired.node(family)) for family in Family}
        for port in desired.ports:
            if port.protocol in PROTOCOLS:
                for claim in claims(port):
                    self._places[claim] |= {(e.address, e.port) for e in _endpoints(port, claim)}

    def stale(self, flow: Flow) -> bool:
        """Whether the flow must go: it is translated to a place that does not serve its destination (any more), or it
        went untranslated to a destination that is served now."""
        protocol = _BY_NUMBER.get(flow.protocol)
        if protocol is None:
            return False
        translated = (flow.reply_source, flow.reply_source_port) != (flow.destination, flow.destination_port)
        places = self._claimed(flow, protocol)
        if places is not None:
            return bool(places) if not translated else (flow.reply_source, flow.reply_source_port) not in places
        return translated and self._lost(flow, protocol)

    def _claimed(self, flow: Flow, protocol: Protocol) -> set[Place] | None:
        """Where the flow's destination leads; None when no Service claims it."""
        exact = Claim(flow.family, protocol, flow.destination, flow.destination_port)
        if exact in self._places:
            return self._places[exact]
        if flow.destination in self._own[flow.family]:
            return self._places.get(exact._replace(address=""))
        return None

    def _lost(self, flow: Flow, protocol: Protocol) -> bool:
        exact = Claim(flow.family, protocol, flow.destination, flow.destination_port)
        own = flow.destination in self._own[flow.family]
        return exact in self._gone or (own and exact._replace(address="") in self._gone)


def stale(desired: Desired, flows: Iterable[Flow], gone: Collection[Claim] = ()) -> list[Flow]:
    """The flows to delete. `gone` are the claims of the state before that `desired` no longer makes."""
    expectation = Expectation(desired, gone)
    return [flow for flow in flows if expectation.stale(flow)]


def _endpoints(port: ServicePort, claim: Claim) -> tuple[Endpoint, ...]:
    """Everyone a flow to this destination may rightly have been translated to. Under external policy Local, pods and
    the node itself reach every endpoint."""
    if claim.address == port.cluster_ip:
        return port.internal_endpoints
    if port.external_policy is Policy.LOCAL:
        return (*port.local, *port.cluster)
    return port.cluster


def _own_addresses(facts: NodeFacts) -> frozenset[str]:
    return frozenset((*facts.addresses, "127.0.0.1")) if facts.localhost_node_ports else frozenset(facts.addresses)


def lasting_claims(desired: Desired) -> frozenset[Claim]:
    """The destinations of protocols whose flows outlive a change."""
    return frozenset(claim for port in desired.ports if port.protocol in PROTOCOLS for claim in claims(port))
