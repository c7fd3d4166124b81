"""Who gets which load-balancer address: requests, claims and pools to claims. Pure.

What is held and still fits is never moved. Of two that cannot hold one address together any more, the one whose
Service changed gives it up. An address that is taken back is not given to another in the same decision: its holder's
status has to lose it first (see `loadbalancer_round`).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from fairway.control.loadbalancer_claims import NODES, Claim, Terms, conflict
from fairway.control.loadbalancer_pools import Address, Pool, Settings
from fairway.control.loadbalancer_requests import Request
from fairway.node import Network


@dataclass(frozen=True, slots=True)
class Facts:
    """What else has addresses: nodes (address to name), Services and pods (ranges), `others` (address to whose it is),
    and node ports ((protocol, port) to Service)."""

    nodes: Mapping[str, str] = field(default_factory=dict)
    service_ranges: tuple[Network, ...] = ()
    pod_ranges: tuple[Network, ...] = ()
    others: Mapping[str, str] = field(default_factory=dict)
    node_ports: Mapping[tuple[str, int], str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a Service waits, or has less than it asks for: a word for programs and a sentence for people."""

    word: str
    text: str


@dataclass(frozen=True, slots=True)
class Decision:
    """`claims` are those to record once all of `withdrawn` (uid to address to why) has left the statuses; `reasons`
    say what a Service lacks."""

    claims: tuple[Claim, ...] = ()
    withdrawn: Mapping[str, Mapping[str, Reason]] = field(default_factory=dict)
    reasons: Mapping[str, Reason] = field(default_factory=dict)


NOT_OURS = Reason("NotOurs", "the Service is not of type LoadBalancer, or its loadBalancerClass is another's")


def decide(
    requests: Mapping[str, Request | None],
    claims: Sequence[Claim],
    settings: Settings,
    facts: Facts,
    marked: Container[str] = (),
) -> Decision:
    """Settle all requests (by uid; None for a Service that lives and is not ours). Claims of unknown Services stand.
    What `marked` Services do not show any more is on its way back, and goes."""
    table = _Table(settings, facts, marked)
    table.keep(requests, claims)
    wishes = filter(None, requests.values())
    for request in sorted(wishes, key=lambda each: (not each.shown, each.created, each.who)):
        table.grant(request)
    return Decision(tuple(table.claims.values()), table.withdrawn, table.reasons)


class _Rest:
    """What of a pool has not been passed over yet."""

    def __init__(self, addresses: Iterator[Address]) -> None:
        self._addresses = addresses
        self.first = next(addresses, None)

    def pass_over(self) -> None:
        self.first = next(self._addresses, None)


class _Table:
    """The claims as they become, and whom each address has."""

    def __init__(self, settings: Settings, facts: Facts, marked: Container[str]) -> None:
        self.claims: dict[str, Claim] = {}
        self.withdrawn: dict[str, dict[str, Reason]] = {}
        self.reasons: dict[str, Reason] = {}
        self._settings = settings
        self._facts = facts
        self._holders: dict[str, list[Claim]] = {}
        self._leaving: dict[str, list[Claim]] = {}
        self._marked = marked
        self._rest: dict[tuple[str, int], _Rest] = {}

    def keep(self, requests: Mapping[str, Request | None], claims: Sequence[Claim]) -> None:
        """Take over what still fits: first of those that nothing is known of or whose terms stand, then the others."""

        def changed(claim: Claim) -> bool:
            request = requests.get(claim.uid)
            return request is not None and request.terms != claim.terms

        order = {claim.uid: claim for claim in claims}
        for claim in sorted(order.values(), key=changed):
            if claim.uid not in requests:
                self._hold(claim, claim.addresses, claim.terms)
            else:
                self._keep_one(claim, requests[claim.uid])
        self.claims = {uid: self.claims[uid] for uid in order if uid in self.claims}

    def _keep_one(self, claim: Claim, request: Request | None) -> None:
        kept: list[str] = []
        for address in claim.addresses:
            why = NOT_OURS if request is None else self._misfit(address, request, kept)
            if why is None:
                kept.append(address)
            else:
                self.withdrawn.setdefault(claim.uid, {})[address] = why
                self._leaving.setdefault(address, []).append(claim)
        if kept and request is not None:
            self._hold(claim, kept, request.terms)

    def _hold(self, claim: Claim, addresses: Sequence[str], terms: Terms) -> None:
        held = Claim(claim.uid, claim.namespace, claim.name, tuple(addresses), terms)
        self.claims[claim.uid] = held
        for address in addresses:
            self._holders[address] = [each for each in self._holders.get(address, ()) if each.uid != claim.uid] + [held]

    def _misfit(self, address: str, request: Request, kept: Sequence[str]) -> Reason | None:
        """Why a Service cannot keep an address."""
        if request.uid in self._marked and (address not in request.shown if address != NODES else not request.shown):
            return Reason("Withdrawn", "it is being taken back")
        if (address == NODES) != (request.style == "nodes"):
            return Reason("StyleChanged", f"it is served by style {request.style!r} now")
        if address != NODES:
            version = ipaddress.ip_address(address).version
            if version not in request.versions or any(ipaddress.ip_address(each).version == version for each in kept):
                return Reason("FamilyChanged", f"spec.ipFamilies wants no IPv{version} address more")
            asked = [each for each in request.wanted if ipaddress.ip_address(each).version == version]
            if asked and address not in asked:
                return Reason("AnotherAsked", f"{asked[0]} is asked for")
        why = self._objection(address, request)
        return None if why is not None and self._bearable(why) else why

    def _bearable(self, why: Reason) -> bool:
        """Whether what speaks against giving an address is no reason to take it back: somebody else came to it later,
        or its pool may be one that cannot be read."""
        return why.word == "InUse" or (why.word in ("OutsidePools", "PodRange") and bool(self._settings.refused))

    def grant(self, request: Request) -> None:
        """Give a Service what it lacks, or say why not."""
        held = list(self.claims[request.uid].addresses) if request.uid in self.claims else []
        if request.error:
            self.reasons[request.uid] = Reason("Malformed", request.error)
            return
        found: list[str] = []
        lacking: list[Reason] = []
        for address in self._lacks(request, held):
            if isinstance(address, Reason):
                lacking.append(address)
            else:
                found.append(address)
        if lacking:
            self.reasons[request.uid] = lacking[0]
            if request.strict:
                return
        if found:
            claim = Claim(request.uid, request.namespace, request.name, ())
            self._hold(claim, [*held, *found], request.terms)

    def _lacks(self, request: Request, held: Sequence[str]) -> Iterator[str | Reason]:
        """For each address that is due and not held: the one to give, or why there is none."""
        if request.style == "nodes":
            if not held:
                yield self._objection(NODES, request) or NODES
            return
        has = {ipaddress.ip_address(address).version for address in held}
        for version in request.versions:
            if version not in has:
                found = self._find(request, version)
                optional = len(request.versions) > 1 and not request.strict
                if optional and isinstance(found, Reason) and found.word == "NoPool" and version != request.versions[0]:
                    continue  # PreferDualStack on a cluster with pools of one family is content
                yield found

    def _find(self, request: Request, version: int) -> str | Reason:
        for address in request.wanted:
            if ipaddress.ip_address(address).version == version:
                return self._objection(address, request) or address
        pools = [pool for pool in self._settings.pools if pool.has(version)]
        if request.pool:
            pools = [pool for pool in pools if pool.name == request.pool]
        for address in self._familiar(request, version):
            if self._objection(address, request) is None:
                return address
        automatic = [pool for pool in pools if pool.automatic or pool.name == request.pool]
        if not automatic:
            named = f" named {request.pool!r}" if request.pool else ""
            return Reason("NoPool", f"there is no pool{named} of IPv{version} addresses to be given unasked")
        for pool in automatic:
            free = self._next_free(pool, version, request)
            if free is not None:
                return free
        names = ", ".join(repr(pool.name) for pool in automatic)
        return Reason("PoolEmpty", f"every IPv{version} address of pool {names} is taken")

    def _next_free(self, pool: Pool, version: int, request: Request) -> str | None:
        """The first address of a pool that nobody holds. Those before it are not looked at again: in one decision
        none becomes free, and what speaks against giving one away unasked does so for every Service."""
        rest = self._rest.setdefault((pool.name, version), _Rest(pool.addresses(version)))
        while rest.first is not None:
            address = str(rest.first)
            if not self._holders.get(address) and self._objection(address, request) is None:
                return address
            rest.pass_over()
        return None

    def _familiar(self, request: Request, version: int) -> Iterator[str]:
        """What the Service's status shows already, and what others hold who share."""
        yield from (each for each in request.shown if ipaddress.ip_address(each).version == version)
        if request.terms.key:
            for address, holders in list(self._holders.items()):
                if holders and address != NODES and ipaddress.ip_address(address).version == version:
                    yield address

    def _objection(self, address: str, request: Request) -> Reason | None:
        """Why an address cannot be this Service's, whoever asks."""
        if address == NODES:
            return self._port_objection(request) or self._taken(address, request)
        number = ipaddress.ip_address(address)
        if address in self._facts.nodes:
            return Reason("NodeAddress", f"{address} is the address of node {self._facts.nodes[address]}")
        for network in self._facts.service_ranges:
            if number in network:
                return Reason("ServiceRange", f"{address} lies in the Service range {network}")
        if any(number in each for each in self._settings.reserved):
            return Reason("Reserved", f"{address} is reserved by the settings")
        pool = self._settings.pool_of(number)
        if pool is None:
            return self._outside(address)
        if address in self._facts.others:
            return Reason("InUse", f"{address} is {self._facts.others[address]}")
        if request.pool and pool.name != request.pool:
            return Reason("OutsidePools", f"{address} lies in pool {pool.name!r}, {request.pool!r} is asked for")
        return self._taken(address, request)

    def _outside(self, address: str) -> Reason:
        """What to say of an address of no pool. Pools do not touch ranges of pods: these are looked at here alone."""
        number = ipaddress.ip_address(address)
        for network in self._facts.pod_ranges:
            if number in network:
                return Reason("PodRange", f"{address} lies in the pods' range {network}")
        return Reason("OutsidePools", f"{address} lies outside every pool")

    def _port_objection(self, request: Request) -> Reason | None:
        for protocol, port in request.terms.ports:
            other = self._facts.node_ports.get((protocol, port))
            if other is not None and other != request.who:
                return Reason("AddressTaken", f"port {port}/{protocol} of the nodes is a node port of {other}")
        return None

    def _taken(self, address: str, request: Request) -> Reason | None:
        where = "the nodes' addresses" if address == NODES else address
        for claim in self._holders.get(address, ()):
            if claim.uid == request.uid:
                continue
            why = conflict(request.terms, claim.terms, address)
            if why:
                verb = "are" if address == NODES else "is"
                return Reason("AddressTaken", f"{where} {verb} taken by {claim.who}: {why}")
        for claim in self._leaving.get(address, ()):
            if claim.uid == request.uid or conflict(request.terms, claim.terms, address):
                return Reason("AddressTaken", f"{where}: being taken back from {claim.who}")
        return None
