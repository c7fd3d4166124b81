"""The oracle: what should become of a packet, said from the desired model alone, with exact probabilities.

It knows nothing of chains, maps or rules. Renderers are right when the kernel, told what they say, does to every
packet what `decide` says. Routes are taken for granted: whether the node could deliver is not asked.
"""

from __future__ import annotations

import enum
import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from fairway.desired.addresses import within
from fairway.desired.model import Desired, Endpoint, NodeFacts, Policy, ServicePort
from fairway.desired.senders import allowed_sources
from fairway.node import Address, Node
from fairway.packet import Family, Outcome, Outcomes, Packet, Verdict

_ALWAYS = Fraction(1)


@dataclass(frozen=True, slots=True)
class _Sender:
    """Who sends, as far as policies care."""

    address: str
    own: bool  # the address is one of the node's
    pod: bool  # by its address or its way in, a pod of this cluster
    process: bool  # a process in the node's own network namespace


class _Filter(enum.IntEnum):
    """What stands in the way of untranslated packets, in the order it is met."""

    SOURCE_RANGES = 0
    INTERNAL = 1
    EXTERNAL = 2


@dataclass(frozen=True, slots=True)
class _Path:
    """The way of an untranslated packet through the node."""

    out: bool  # leaves a local process
    into: bool  # is for the node itself

    @property
    def meets_internal(self) -> bool:
        """Cluster IPs are refused to local processes and to what is forwarded."""
        return self.out or not self.into

    @property
    def meets_external(self) -> bool:
        """Outsiders' addresses are refused on the way into the node and through it, not on the way out."""
        return self.into or not self.out


def decide(desired: Desired, node: Node, packet: Packet) -> Outcomes:
    """What the node should do with the first packet of a connection."""
    family = packet.family
    facts = desired.node(family)
    destination = ipaddress.ip_address(packet.destination)
    sender = _sender(packet, node, facts)
    into = node.is_local(destination)
    for port in desired.of(family):
        if port.protocol is packet.protocol and port.port == packet.destination_port:
            served = _at_addresses(desired, facts, port, packet, sender)
            if served is not None:
                return _spread(served, sender, node)
    if into and _node_ports_at(facts, family, destination):
        for port in desired.of(family):
            if port.protocol is packet.protocol and 0 < port.node_port == packet.destination_port:
                served = _externally(port, sender)
                if served is not None:
                    return _spread(served, sender, node)
    return {Outcome(_refusal(desired, facts, packet, _Path(sender.process, into))): _ALWAYS}


@dataclass(frozen=True, slots=True)
class _Served:
    """The endpoints that share the traffic, and whether the source is hidden whatever the endpoint."""

    endpoints: tuple[Endpoint, ...]
    masquerade: bool


def _sender(packet: Packet, node: Node, facts: NodeFacts) -> _Sender:
    source = ipaddress.ip_address(packet.source)
    process = not packet.in_interface
    interface = facts.pods.interface
    if interface.endswith("+"):
        pod = not process and packet.in_interface.startswith(interface[:-1])
    elif interface:
        pod = packet.in_interface == interface
    else:
        pod = bool(facts.pods.source) and within(packet.source, (facts.pods.source,))
    return _Sender(str(source), node.is_local(source), pod, process)


def _at_addresses(
    desired: Desired, facts: NodeFacts, port: ServicePort, packet: Packet, sender: _Sender
) -> _Served | None:
    """Who serves a packet to the Service's own addresses; None: this port lets it pass."""
    if packet.destination == port.cluster_ip and port.internal_endpoints:
        told = bool(facts.pods.source or facts.pods.interface)
        outside = told and not sender.pod
        return _Served(port.internal_endpoints, desired.masquerade_all or outside)
    let_in = packet.destination in port.load_balancer_ips and _let_in(facts, port, packet)
    return _externally(port, sender) if let_in or packet.destination in port.external_ips else None


def _externally(port: ServicePort, sender: _Sender) -> _Served | None:
    """Who serves a packet to an address that outsiders may use. Under policy Local, pods and the node itself take the
    short way to any endpoint, as if they had used the cluster IP."""
    if port.external_policy is Policy.CLUSTER:
        return _Served(port.cluster, True) if port.cluster else None
    if (sender.pod or sender.own) and port.cluster:
        return _Served(port.cluster, sender.own and not sender.pod)
    return _Served(port.local, False) if port.local else None


def _let_in(facts: NodeFacts, port: ServicePort, packet: Packet) -> bool:
    return not port.filtered or within(packet.source, allowed_sources(facts, port))


def _node_ports_at(facts: NodeFacts, family: Family, destination: Address) -> bool:
    """Whether node ports are served at this address of the node."""
    if facts.node_ports_on is not None:
        return str(destination) in facts.node_ports_on
    if destination.is_loopback:
        return family is Family.IPV4 and facts.localhost_node_ports
    return True


def _spread(served: _Served, sender: _Sender, node: Node) -> Outcomes:
    """Every endpoint with the same share. An endpoint that would meet its own address as the source gets the node's
    instead; what comes from outside and is delivered on the node itself never leaves, so nothing hides it."""
    share = Fraction(1, len(served.endpoints))
    outcomes: dict[Outcome, Fraction] = {}
    for endpoint in served.endpoints:
        marked = served.masquerade or endpoint.address == sender.address
        stays = not sender.process and node.is_local(ipaddress.ip_address(endpoint.address))
        outcome = Outcome(Verdict.ENDPOINT, str(endpoint), marked and not stays)
        outcomes[outcome] = outcomes.get(outcome, Fraction(0)) + share
    return outcomes


def _refusal(desired: Desired, facts: NodeFacts, packet: Packet, path: _Path) -> Verdict:
    """What happens to a packet that nobody serves: refused or dropped where a Service claims it, else left alone."""
    if facts.localhost_node_ports and _loopback(packet.destination) and not _loopback(packet.source):
        return Verdict.DROPPED  # route_localnet is on: loopback must be guarded (CVE-2020-8558)
    # min is stable: of several Services that claim the address, the first in order has the say
    first = min(_refusals(desired, packet, path), key=lambda refusal: refusal[0], default=None)
    if first:
        return first[1]
    return _guarded(desired, packet) if path.meets_internal else Verdict.UNTRANSLATED


def _guarded(desired: Desired, packet: Packet) -> Verdict:
    """Where cluster IPs are guarded, what is for one and for none of its ports is refused, whatever its protocol, and
    what is for an address that no Service has is dropped."""
    cidrs = desired.settings.guarded_cidrs
    if cidrs is None:
        return Verdict.UNTRANSLATED
    if any(port.cluster_ip == packet.destination for port in desired.of(packet.family)):
        return Verdict.REJECTED
    return Verdict.DROPPED if within(packet.destination, cidrs) else Verdict.UNTRANSLATED


def _refusals(desired: Desired, packet: Packet, path: _Path) -> Iterator[tuple[_Filter, Verdict]]:
    for port in desired.of(packet.family):
        if port.protocol is not packet.protocol:
            continue
        verdict = Verdict.DROPPED if port.reachable else Verdict.REJECTED
        here = port.port == packet.destination_port
        if here and port.filtered and packet.destination in port.load_balancer_ips:
            yield _Filter.SOURCE_RANGES, Verdict.DROPPED  # what the ranges let in has been translated by now
        if here and packet.destination == port.cluster_ip and not port.internal_endpoints and path.meets_internal:
            yield _Filter.INTERNAL, verdict
        if not port.external_endpoints and path.meets_external:
            claimed = here and packet.destination in (*port.external_ips, *port.load_balancer_ips)
            if claimed or (path.into and 0 < port.node_port == packet.destination_port):
                yield _Filter.EXTERNAL, verdict


def _loopback(address: str) -> bool:
    return ipaddress.ip_address(address).is_loopback
