"""The desired model said in iptables: a pure function to one family's rules, in the spelling `iptables-save` prints.

The layout is the one operators of kube-proxy know (measured against version 1.36, see tests/golden): KUBE-SERVICES and
KUBE-NODEPORTS dispatch by destination to one KUBE-SVC (all endpoints), KUBE-SVL (endpoints of this node), KUBE-EXT
(outside traffic) or KUBE-FW (source ranges) chain per Service port, and these to one KUBE-SEP chain per endpoint,
which translates. The filter table refuses what nobody serves.

One Service port becomes a `PortRules` (`render_port`); `assemble` puts the parts of many ports into tables. Parts are
immutable, so a caller may keep them as long as the port and the facts stay equal.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TypeAlias

from fairway.dataplane.iptables_base import BASE_CHAINS, INVALID_ACCOUNT, JUMPS, base_rules, node_port_dispatch
from fairway.desired.model import Desired, Endpoint, NodeFacts, Policy, ServicePort
from fairway.desired.senders import allowed_sources
from fairway.packet import Family
from fairway.ruleset.iptables import Chain, Ruleset, Table

LOCALHOST_ACCOUNT = "localhost_nps_accepted_pkts"
ACCOUNTS = (INVALID_ACCOUNT, LOCALHOST_ACCOUNT)
"""The nfacct objects that rules count into where the kernel has them."""

Rules: TypeAlias = tuple[str, ...]
Chains: TypeAlias = Mapping[str, Rules]
Tables: TypeAlias = Mapping[str, Chains]
"""Table -> chain -> rules. Built-in chains hold only the rules that are ours."""

NO_RULES: Rules = ()


@dataclass(frozen=True, slots=True)
class PortRules:
    """What one Service port adds: chains of its own in `nat`, and rules in the shared chains of both tables."""

    chains: Mapping[str, Rules] = field(default_factory=dict)
    services: Rules = NO_RULES
    node_ports: Rules = NO_RULES
    refused_services: Rules = NO_RULES
    refused_external: Rules = NO_RULES
    firewall: Rules = NO_RULES
    health_checks: Rules = NO_RULES

    def counts(self) -> Mapping[str, int]:
        """How many rules these are, by table."""
        own = sum(map(len, self.chains.values()))
        refusals = (self.refused_services, self.refused_external, self.firewall, self.health_checks)
        return {"nat": own + len(self.services) + len(self.node_ports), "filter": sum(map(len, refusals))}


def render(desired: Desired, family: Family, accounts: Collection[str] = ACCOUNTS) -> Ruleset:
    """Everything `desired` asks for in one family, as one rule set. `accounts` are the nfacct objects that exist."""
    tables = render_tables(desired, family, accounts)
    return Ruleset(
        {
            name: Table(name, {chain: Chain(chain, list(rules)) for chain, rules in chains.items()})
            for name, chains in tables.items()
        }
    )


def render_tables(desired: Desired, family: Family, accounts: Collection[str] = ACCOUNTS) -> Tables:
    """The same as plain tables, which is what `dataplane.apply` compares."""
    facts = desired.node(family)
    parts = (render_port(port, facts, desired.masquerade_all, accounts) for port in desired.of(family))
    return assemble(parts, family, facts, desired.masquerade_mark, accounts)


def assemble(
    parts: Iterable[PortRules], family: Family, facts: NodeFacts, mark: int, accounts: Collection[str] = ACCOUNTS
) -> Tables:
    """The parts of all ports in their order, between the chains that stand on every node."""
    tables: dict[str, dict[str, Rules]] = {table: dict.fromkeys(BASE_CHAINS[table], NO_RULES) for table in BASE_CHAINS}
    nat, filtering = tables["nat"], tables["filter"]
    shared = _Shared()
    for part in parts:
        nat.update(part.chains)
        shared.add(part)
    nat["KUBE-SERVICES"] = (*shared.services, *node_port_dispatch(family, facts))
    nat["KUBE-NODEPORTS"] = tuple(shared.node_ports)
    filtering["KUBE-SERVICES"] = tuple(shared.refused_services)
    filtering["KUBE-EXTERNAL-SERVICES"] = tuple(shared.refused_external)
    filtering["KUBE-PROXY-FIREWALL"] = tuple(shared.firewall)
    filtering["KUBE-NODEPORTS"] = tuple(shared.health_checks)
    for table, chain, rules in base_rules(family, facts, mark, accounts):
        tables[table][chain] = rules
    for table, chains in JUMPS.items():
        tables[table].update(chains)
    return tables


class _Shared:
    """The rules of chains that all ports write to."""

    def __init__(self) -> None:
        self.services: list[str] = []
        self.node_ports: list[str] = []
        self.refused_services: list[str] = []
        self.refused_external: list[str] = []
        self.firewall: list[str] = []
        self.health_checks: list[str] = []

    def add(self, part: PortRules) -> None:
        self.services += part.services
        self.node_ports += part.node_ports
        self.refused_services += part.refused_services
        self.refused_external += part.refused_external
        self.firewall += part.firewall
        self.health_checks += part.health_checks


def render_port(
    port: ServicePort, facts: NodeFacts, masquerade_all: bool = False, accounts: Collection[str] = ACCOUNTS
) -> PortRules:
    """One Service port's rules on a node with these facts."""
    names = _Names(port)
    return PortRules(
        chains=dict(_chains(port, names, facts, masquerade_all)),
        services=tuple(_dispatch(port, names)),
        node_ports=tuple(_node_port(port, names, facts, accounts)),
        refused_services=tuple(_refused_internally(port, names)),
        refused_external=tuple(_refused_externally(port, names)),
        firewall=tuple(_firewall(port, names)),
        health_checks=tuple(_health_check(port, names)),
    )


_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
# two letters at a time, 10 bits: the library's base 32 takes longer than all the rest of a rule
_BASE32 = [first + second for first in _LETTERS for second in _LETTERS]


def chain_hash(identity: str) -> str:
    """What stands after KUBE-XXX-, the start of a SHA-256 in base 32 (RFC 4648): chain names have 28 characters at
    most, Service names more."""
    number = int.from_bytes(hashlib.sha256(identity.encode()).digest()[:10], "big")
    return "".join([_BASE32[number >> shift & 1023] for shift in range(70, -1, -10)])


class _Names:
    """How one Service port's chains are called and how its rules begin."""

    __slots__ = ("_identity", "_seps", "ext", "fw", "internal", "protocol", "svc", "svl", "text")

    def __init__(self, port: ServicePort) -> None:
        self.text = str(port.name)
        self.protocol = port.protocol.lower()
        self._identity = self.text + self.protocol
        self._seps: dict[Endpoint, str] = {}
        suffix = chain_hash(self._identity)
        self.svc = "KUBE-SVC-" + suffix
        self.svl = "KUBE-SVL-" + suffix
        self.ext = "KUBE-EXT-" + suffix
        self.fw = "KUBE-FW-" + suffix
        self.internal = self.svl if port.internal_policy is Policy.LOCAL else self.svc

    def sep(self, endpoint: Endpoint) -> str:
        found = self._seps.get(endpoint)
        if found is None:
            found = self._seps[endpoint] = "KUBE-SEP-" + chain_hash(f"{self._identity}{endpoint}")
        return found

    def to(self, address: str, port: int, what: str) -> str:
        """The match of packets to an address and port, with the comment that says why."""
        return f"-d {host(address)} -p {self.protocol} {comment(what)} -m {self.protocol} --dport {port}"


def comment(text: str) -> str:
    """A comment match. Names hold letters, digits, dots and dashes only (checked where objects enter)."""
    return f'-m comment --comment "{text}"'


def host(address: str) -> str:
    """A single address as iptables-save prints it."""
    return address + ("/128" if ":" in address else "/32")


def _chains(port: ServicePort, names: _Names, facts: NodeFacts, masquerade_all: bool) -> Iterator[tuple[str, Rules]]:
    """The port's own chains; what a chain jumps to comes before it."""
    used = {**dict.fromkeys(port.cluster), **dict.fromkeys(port.local)}
    for endpoint in used:
        yield names.sep(endpoint), tuple(_translation(port, names, endpoint))
    mark = tuple(_mark_strangers(port, names, facts, masquerade_all))
    for chain, uses, endpoints in (
        (names.svc, port.uses_cluster, port.cluster),
        (names.svl, port.uses_local, port.local),
    ):
        if uses and endpoints:
            yield chain, (*(mark if chain == names.internal else ()), *_spread(port, names, endpoints))
    if port.reachable and port.external:
        yield names.ext, tuple(_outside(port, names, facts))
    if port.filtered:
        yield names.fw, tuple(_source_ranges(port, names, facts))


def _translation(port: ServicePort, names: _Names, endpoint: Endpoint) -> Iterator[str]:
    """KUBE-SEP: an endpoint that calls its own Service must not see its own address as the caller's."""
    yield f"-s {host(endpoint.address)} {comment(names.text)} -j KUBE-MARK-MASQ"
    remember = f"-m recent --set {_recent(port, names, endpoint)} " if port.affinity_seconds else ""
    yield (
        f"-p {names.protocol} {comment(names.text)} {remember}-m {names.protocol} -j DNAT --to-destination {endpoint}"
    )


def _recent(port: ServicePort, names: _Names, endpoint: Endpoint) -> str:
    mask = "255.255.255.255" if port.family is Family.IPV4 else "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"
    return f"--name {names.sep(endpoint)} --mask {mask} --rsource"


def _mark_strangers(port: ServicePort, names: _Names, facts: NodeFacts, masquerade_all: bool) -> Iterator[str]:
    """Traffic to the cluster IP that does not come from a pod gets the node's address, so that replies come back."""
    to_cluster_ip = f"-p {names.protocol} {comment(names.text + ' cluster IP')} -m {names.protocol} --dport {port.port}"
    address = f"-d {host(port.cluster_ip)}"
    if masquerade_all:
        yield f"{address} {to_cluster_ip} -j KUBE-MARK-MASQ"
    elif facts.pods.source:
        yield f"! -s {facts.pods.source} {address} {to_cluster_ip} -j KUBE-MARK-MASQ"
    elif facts.pods.interface:
        yield f"{address} ! -i {facts.pods.interface} {to_cluster_ip} -j KUBE-MARK-MASQ"


def _spread(port: ServicePort, names: _Names, endpoints: tuple[Endpoint, ...]) -> Iterator[str]:
    """Affinity first: whoever is remembered goes where it went. Then equal shares: 1/n of all, 1/(n-1) of the rest,
    and so on; the last takes what is left."""
    if port.affinity_seconds:
        for endpoint in endpoints:
            yield (
                f"{comment(f'{names.text} -> {endpoint}')} -m recent --rcheck --seconds {port.affinity_seconds} --reap "
                f"{_recent(port, names, endpoint)} -j {names.sep(endpoint)}"
            )
    for index, endpoint in enumerate(endpoints):
        left = len(endpoints) - index
        chance = f"-m statistic --mode random --probability {probability(left)} " if left > 1 else ""
        yield f"{comment(f'{names.text} -> {endpoint}')} {chance}-j {names.sep(endpoint)}"


@lru_cache(maxsize=4096)
def probability(n: int) -> str:
    """1/n as `iptables-save` prints it back: the kernel holds a 31-bit fraction, made from ten decimal digits."""
    return f"{round(float(f'{1 / n:.10f}') * (1 << 31)) / (1 << 31):.11f}"


def _outside(port: ServicePort, names: _Names, facts: NodeFacts) -> Iterator[str]:
    """KUBE-EXT. Under policy Local, pods and the node itself are no outsiders and may use every endpoint."""
    what = f"{names.text} external destinations"
    if port.external_policy is Policy.CLUSTER:
        yield f"{comment('masquerade traffic for ' + what)} -j KUBE-MARK-MASQ"
        yield f"-j {names.svc}"
        return
    pods = f"-s {facts.pods.source}" if facts.pods.source else f"-i {facts.pods.interface}"
    if facts.pods.source or facts.pods.interface:
        yield f"{pods} {comment('pod traffic for ' + what)} -j {names.svc}"
    own = "-m addrtype --src-type LOCAL"
    yield f"{comment('masquerade LOCAL traffic for ' + what)} {own} -j KUBE-MARK-MASQ"
    yield f"{comment('route LOCAL traffic for ' + what)} {own} -j {names.svc}"
    if port.local:
        yield f"-j {names.svl}"


def _source_ranges(port: ServicePort, names: _Names, facts: NodeFacts) -> Iterator[str]:
    """KUBE-FW. What no rule lets through stays untranslated and meets KUBE-PROXY-FIREWALL in the filter table. The
    node's own packets to an address it holds itself bear that address as their source."""
    for source in allowed_sources(facts, port):
        everywhere = source in ("0.0.0.0/0", "::/0")  # a match on everything is not printed
        match = "" if everywhere else f"-s {source if '/' in source else host(source)} "
        yield f"{match}{comment(names.text + ' loadbalancer IP')} -j {names.ext}"
    yield comment(f"other traffic to {names.text} will be dropped by KUBE-PROXY-FIREWALL")


def _dispatch(port: ServicePort, names: _Names) -> Iterator[str]:
    """KUBE-SERVICES in nat."""
    if port.internal_endpoints:
        yield f"{names.to(port.cluster_ip, port.port, names.text + ' cluster IP')} -j {names.internal}"
    if port.reachable:
        for address in port.external_ips:
            yield f"{names.to(address, port.port, names.text + ' external IP')} -j {names.ext}"
        target = names.fw if port.filtered else names.ext
        for address in port.load_balancer_ips:
            yield f"{names.to(address, port.port, names.text + ' loadbalancer IP')} -j {target}"


def _node_port(port: ServicePort, names: _Names, facts: NodeFacts, accounts: Collection[str]) -> Iterator[str]:
    """KUBE-NODEPORTS in nat. Use of node ports by loopback is counted, because it is meant to go away."""
    if not (port.node_port and port.reachable):
        return
    match = f"-p {names.protocol} {comment(names.text)} -m {names.protocol} --dport {port.node_port}"
    if facts.localhost_node_ports and LOCALHOST_ACCOUNT in accounts:
        yield f"-d 127.0.0.0/8 {match} -m nfacct --nfacct-name  {LOCALHOST_ACCOUNT} -j {names.ext}"
    yield f"{match} -j {names.ext}"


def _refused_internally(port: ServicePort, names: _Names) -> Iterator[str]:
    if not port.internal_endpoints:
        why, action = _refusal(port)
        yield f"{names.to(port.cluster_ip, port.port, f'{names.text} {why}')} -j {action}"


def _refused_externally(port: ServicePort, names: _Names) -> Iterator[str]:
    if port.external_endpoints:
        return
    why, action = _refusal(port)
    for address in (*port.external_ips, *port.load_balancer_ips):
        yield f"{names.to(address, port.port, f'{names.text} {why}')} -j {action}"
    if port.node_port:
        to_node = f"{comment(f'{names.text} {why}')} -m addrtype --dst-type LOCAL"
        yield f"-p {names.protocol} {to_node} -m {names.protocol} --dport {port.node_port} -j {action}"


def _refusal(port: ServicePort) -> tuple[str, str]:
    """Endpoints on other nodes only: the sender may have been sent to the wrong node and must try again, so no answer.
    None anywhere: an answer at once."""
    if port.reachable:
        return "has no local endpoints", "DROP"
    answer = "icmp-port-unreachable" if port.family is Family.IPV4 else "icmp6-port-unreachable"
    return "has no endpoints", f"REJECT --reject-with {answer}"


def _firewall(port: ServicePort, names: _Names) -> Iterator[str]:
    if port.filtered:
        for address in port.load_balancer_ips:
            what = f"{names.text} traffic not accepted by {names.fw}"
            yield f"{names.to(address, port.port, what)} -j DROP"


def _health_check(port: ServicePort, names: _Names) -> Iterator[str]:
    if port.health_check_node_port:
        what = comment(f"{names.text} health check node port")
        yield f"-p tcp {what} -m tcp --dport {port.health_check_node_port} -j ACCEPT"
