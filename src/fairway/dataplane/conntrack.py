"""Which connections the kernel must forget: those whose translation is no longer one that a Service makes.

Rules act on the first packet of a connection only. TCP notices a dead peer; a UDP (or SCTP) flow is kept alive by its
sender and goes on to wherever it once was translated: to nobody, or to whoever got the address next. Whether a flow
is stale follows from Desired and the flow alone, so a restart forgets nothing.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterable, Mapping

from fairway.dataplane.base import Pending, Swept, Update
from fairway.desired.addresses import within
from fairway.desired.model import Claim, Endpoint, NodeFacts, Policy, PortKey, ServicePort, Settings, claims
from fairway.desired.senders import allowed_sources, insider
from fairway.kernel.base import Conntrack, Flow, KernelError
from fairway.packet import Family, Protocol

_log = logging.getLogger(__name__)

PROTOCOLS = (Protocol.UDP, Protocol.SCTP)
"""The protocols whose flows outlive a change. SCTP's heartbeats hold an association as UDP's senders hold a flow."""

_BY_NUMBER = {protocol.number: protocol for protocol in PROTOCOLS}

Place = tuple[str, int]
"""An endpoint's address and port, as a flow's reply direction shows it."""


class Expectation:
    """What flows to Service addresses may look like, kept port by port. Ports of other protocols must stay out."""

    def __init__(self) -> None:
        self._ports: dict[PortKey, ServicePort] = {}
        self._claimants: dict[Claim, dict[PortKey, ServicePort]] = {}
        self._facts: dict[Family, NodeFacts] = {}

    @property
    def keys(self) -> Collection[PortKey]:
        return self._ports.keys()

    @property
    def empty(self) -> bool:
        """Whether nothing is claimed."""
        return not self._claimants

    def settle(self, settings: Settings) -> bool:
        """Learn the node's own addresses, at which node ports are served, and who is a pod; whether that is otherwise
        than before."""
        before = self._facts
        self._facts = {family: settings.node(family) for family in Family}
        return self._facts != before

    def put(self, key: PortKey, port: ServicePort | None) -> bool:
        """The port is this now (None: there is none); whether that is another than before."""
        before = self._ports.pop(key, None)
        if port is not None:
            self._ports[key] = port
        if before == port:
            return False
        if before is not None:
            self._unclaim(key, before)
        if port is not None:
            for claim in claims(port):
                self._claimants.setdefault(claim, {})[key] = port
        return True

    def claimed(self, key: PortKey) -> frozenset[Claim]:
        """The destinations that the port answers for."""
        port = self._ports.get(key)
        return frozenset(claims(port)) if port else frozenset()

    def stale(self, flow: Flow, gone: Collection[Claim] = ()) -> bool:
        """Whether the flow must go: it is translated to a place that does not serve its destination (any more), or it
        went untranslated to a destination that is served now. `gone` are destinations that Services have ceased to
        claim; without that knowledge a translation of an unclaimed destination is a stranger's."""
        protocol = _BY_NUMBER.get(flow.protocol)
        if protocol is None:
            return False
        translated = (flow.reply_source, flow.reply_source_port) != (flow.destination, flow.destination_port)
        destinations = self._destinations(flow, protocol)
        claim = next((claim for claim in destinations if claim in self._claimants), None)
        if claim is None:
            return translated and any(claim in gone for claim in destinations)
        places = self._places(claim, flow.source)
        return bool(places) if not translated else (flow.reply_source, flow.reply_source_port) not in places

    def _unclaim(self, key: PortKey, port: ServicePort) -> None:
        for claim in claims(port):
            claimants = self._claimants.get(claim, {})
            claimants.pop(key, None)
            if not claimants:
                self._claimants.pop(claim, None)

    def _destinations(self, flow: Flow, protocol: Protocol) -> tuple[Claim, ...]:
        """The claims that may stand for the flow's destination, the one that counts first."""
        exact = Claim(flow.family, protocol, flow.destination, flow.destination_port)
        own = flow.destination in _own_addresses(self._facts.get(flow.family, NodeFacts()))
        return (exact, exact._replace(address="")) if own else (exact,)

    def _places(self, claim: Claim, source: str) -> set[Place]:
        """Where a claimed destination leads this sender; two Services at one address share their endpoints."""
        facts = self._facts.get(claim.family, NodeFacts())
        ports = self._claimants[claim].values()
        return {(e.address, e.port) for port in ports for e in _endpoints(port, claim, facts, source)}


class Sweeper:
    """Deletes the connections that changes leave behind, at the cost of what changed: the table is read only when a
    port whose flows outlive a change has changed, or the node's addresses have.

    For either dialect, which calls `inherit` when it takes over rules and `sweep` after it has applied an update.
    """

    def __init__(self, conntrack: Conntrack) -> None:
        self._conntrack = conntrack
        self._expectation = Expectation()
        self._gone: set[Claim] = set()
        self._due: set[tuple[Family, Protocol]] = set()
        self._answered = False
        self._told = False

    def inherit(self, claimed: Iterable[Claim]) -> None:
        """Destinations that the rules found in the kernel claim: whichever of them nobody claims after the next
        update belonged to a Service that was deleted while no proxy ran."""
        self._gone.update(claim for claim in claimed if claim.protocol in PROTOCOLS)

    def sweep(self, update: Update, pending: Pending, families: Collection[Family]) -> Mapping[Family, Swept]:
        """Bring the flows of `families` in line with an update whose `pending` keys (all of those since the last
        sweep that went well) are in the kernel now; call it before `pending.done()`. Returns what became of the
        families that had to be looked through. Raises KernelError, of a kernel that has answered before; the next
        sweep then makes up for it."""
        keys = {*update.ports, *self._expectation.keys} if pending.everything else pending.keys
        for key in keys:
            self._learn(key, update.ports.get(key))
        if self._expectation.settle(update.settings) or pending.everything:
            self._due = {(family, protocol) for family in Family for protocol in PROTOCOLS}
        swept: dict[Family, Swept] = {}
        if self._due and (self._gone or not self._expectation.empty):
            try:
                for family in sorted({family for family, _ in self._due} & set(families)):
                    begun = time.monotonic()
                    deleted = self._conntrack.delete(self._stale(family))
                    swept[family] = Swept(deleted, time.monotonic() - begun)
                    self._answered = True
            except KernelError as error:
                if self._answered:
                    raise
                self._tell(error)
                return {}
        self._gone.clear()
        self._due.clear()
        return swept

    def _tell(self, error: KernelError) -> None:
        """A kernel that has never told its connections serves Services all the same. It is asked again each time."""
        if not self._told:
            _log.warning(
                "UDP and SCTP connections to endpoints that are gone are not ended: %s "
                "(is the kernel's module nf_conntrack_netlink there?)",
                error,
            )
        self._told = True

    def _learn(self, key: PortKey, port: ServicePort | None) -> None:
        _, protocol, family = key
        if protocol not in PROTOCOLS:
            return
        before = self._expectation.claimed(key)
        if self._expectation.put(key, port):
            self._due.add((family, protocol))
            self._gone |= before - self._expectation.claimed(key)

    def _stale(self, family: Family) -> list[Flow]:
        return [
            flow
            for due, protocol in sorted(self._due)
            if due is family
            for flow in self._conntrack.flows(family, protocol.number)
            if self._expectation.stale(flow, self._gone)
        ]


def _endpoints(port: ServicePort, claim: Claim, facts: NodeFacts, source: str) -> tuple[Endpoint, ...]:
    """Everyone a flow from there to this destination may rightly have been translated to. Under external policy Local,
    pods and the node itself reach every endpoint, others those of this node."""
    if claim.address == port.cluster_ip:
        return port.internal_endpoints
    guarded = port.filtered and claim.address in port.load_balancer_ips and claim.address not in port.external_ips
    if guarded and not within(source, allowed_sources(facts, port)):
        return ()
    if port.external_policy is Policy.CLUSTER:
        return port.cluster
    inside = insider(facts, source)
    if inside is None:
        return (*port.local, *port.cluster)
    return port.cluster if inside and port.cluster else port.local


def _own_addresses(facts: NodeFacts) -> frozenset[str]:
    return frozenset((*facts.addresses, "127.0.0.1")) if facts.localhost_node_ports else frozenset(facts.addresses)
