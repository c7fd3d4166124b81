"""All texts of one node together: rules, node, settings and connections of one family, and what was missing."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from fairway.node import Interface, InterfaceAddress, Network, Node, Route
from fairway.packet import Family
from fairway.ruleset import ipset, nft_words
from fairway.ruleset.iptables import Chain, ParseError, Ruleset, parse
from fairway.ruleset.iptables_list import parse_listing, table_of
from fairway.ruleset.nft import Ruleset as NftRuleset
from fairway.ruleset.nft_parse import parse as parse_nft
from fairway.ruleset.nft_parse_json import parse_json
from fairway.trace.conditions import Remembered
from fairway.trace.connections import Connections
from fairway.trace.evidence import addresses, connections, settings
from fairway.trace.evidence.clients import clients
from fairway.trace.evidence.families import family_of_rules
from fairway.trace.evidence.texts import RULES, EvidenceError, Kind, Text
from fairway.trace.ipsets import Sets
from fairway.trace.policy import MAIN, PolicyRule
from fairway.trace.routing import Settings
from fairway.trace.walk import Rules

_EMPTY_TABLES = (MAIN, "default", "local", "")


@dataclass(frozen=True, slots=True)
class Scene:
    """What a walk of one family needs. `notes` say what is missing."""

    rules: Rules
    node: Node
    settings: Settings
    connections: Connections
    notes: tuple[str, ...] = ()


@dataclass(slots=True)
class Gathered:
    """Read once, then asked for a scene per family. `whole`: rules that are not there are known not to be there.
    `iptables` holds rule sets with the family they are of (None: they
    do not say), `remembered` the lists of `-m recent` (None: not known), `ports` those of each device, as far as it is
    a bridge."""

    name: str = ""
    whole: bool = False
    iptables: list[tuple[Family | None, str, Ruleset]] = field(default_factory=list)
    nft: NftRuleset | None = None
    interfaces: list[Interface] = field(default_factory=list)
    local: list[tuple[str, InterfaceAddress]] = field(default_factory=list)
    routes: dict[str, list[Route]] = field(default_factory=dict)
    policy: list[PolicyRule] = field(default_factory=list)
    values: dict[str, str] = field(default_factory=dict)
    connections: Connections = field(default_factory=Connections)
    remembered: Remembered | None = None
    sets: Sets = field(default_factory=Sets)
    ports: dict[str, frozenset[str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, texts: Iterable[Text], name: str = "", *, whole: bool = False) -> Gathered:
        """Everything in the texts. Raises EvidenceError."""
        found = cls(name, whole)
        for text in texts:
            found._take(text)
        return found

    @property
    def has_rules(self) -> bool:
        """Whether any rules were given."""
        return bool(self.iptables) or self.nft is not None

    def scene(self, family: Family) -> Scene:
        """What was given about one family. Raises EvidenceError where files contradict each other."""
        rules = Rules(self._iptables(family), self.nft, self.whole, self.remembered, self.sets)
        node = Node(self.name, tuple(self._interfaces()), tuple(self.routes.get(MAIN, ())))
        node = replace(node, pod_cidrs=tuple(_pod_networks(node)))
        switches = replace(
            settings.settings(self.values, family),
            policy=tuple(rule for rule in self.policy if rule.family in (None, family)),
            tables={table: tuple(routes) for table, routes in self.routes.items()},
            ports=self.ports,
        )
        notes = (*self.notes, *self._missing(family, rules, switches))
        return Scene(rules, node, switches, self.connections, notes)

    def _take(self, text: Text) -> None:
        match text.kind:
            case kind if kind in RULES:
                self._take_rules(text)
            case Kind.ADDRESSES:
                self.interfaces += addresses.interfaces(text)
                self.ports |= addresses.bridge_ports(text)
            case Kind.ROUTES:
                found = addresses.routes(text)
                self.local += found.local
                self.notes += found.notes
                for table, routes in found.tables.items():
                    self.routes.setdefault(table, []).extend(routes)
            case Kind.POLICY:
                self.policy = sorted([*self.policy, *addresses.policy(text)], key=lambda rule: rule.priority)
            case Kind.SETTINGS:
                self.values |= settings.read_settings(text)
            case Kind.CONNECTIONS:
                merged = {**self.connections.entries, **connections.connections(text).entries}
                self.connections = Connections(merged)
            case Kind.CLIENTS:
                self.remembered = clients(text)
            case Kind.SETS:
                self._take_sets(text)

    def _take_rules(self, text: Text) -> None:
        try:
            if text.kind is Kind.NFT:
                self._add_nft(text, parse_nft(text.content))
            elif text.kind is Kind.NFT_JSON:
                self._add_nft(text, parse_json(text.content))
            elif text.kind is Kind.LISTING:
                ruleset = parse_listing(text.content, table_of(text.content))
                self.iptables.append((family_of_rules(text.content, ruleset), text.name, ruleset))
            else:
                ruleset = parse(text.content)
                self.iptables.append((family_of_rules(text.content, ruleset), text.name, ruleset))
        except ParseError as error:
            raise EvidenceError(text.name, f"{error.reason}: {error.text[:200]!r}", error.line) from None
        except nft_words.ParseError as error:
            raise EvidenceError(text.name, error.reason, error.line) from None

    def _take_sets(self, text: Text) -> None:
        try:
            found = ipset.parse(text.content)
        except ipset.ParseError as error:
            raise text.error(error.reason, error.line) from None
        for name, kept in found.items():
            if self.sets.given.get(name, kept) != kept:
                raise text.error(f"set {name} differs from another file's")
        self.sets = Sets({**self.sets.given, **found})

    def _add_nft(self, text: Text, ruleset: NftRuleset) -> None:
        if self.nft is None:
            self.nft = ruleset
            return
        if twice := self.nft.tables.keys() & ruleset.tables.keys():
            raise text.error(f"table {' '.join(next(iter(twice)))} is in another file, too")
        self.nft.tables.update(ruleset.tables)

    def _iptables(self, family: Family) -> Ruleset | None:
        """The rules of one family; those that do not say theirs are taken for it. None when there are none."""
        mine = [(name, ruleset) for of, name, ruleset in self.iptables if of in (None, family)]
        if not mine:
            return Ruleset() if self.iptables and self.nft is None else None
        if len(mine) == 1:
            return mine[0][1]
        merged = Ruleset()
        for name, ruleset in mine:
            _merge(merged, name, ruleset)
        return merged

    def _interfaces(self) -> Iterator[Interface]:
        """The devices; without `ip addr`, as far as `ip route show table local` tells."""
        if self.interfaces or not self.local:
            yield from self.interfaces
            return
        found: dict[str, list[InterfaceAddress]] = {}
        linked = [route for route in self.routes.get(MAIN, ()) if route.via is None]
        for device, address in self.local:
            lengths = [
                route.destination.prefixlen
                for route in linked
                if route.device == device and address.version == route.destination.version
                if address.ip in route.destination
            ]
            length = max(lengths, default=address.max_prefixlen)
            found.setdefault(device, []).append(ipaddress.ip_interface(f"{address.ip}/{length}"))
        yield from (Interface(device, tuple(own)) for device, own in found.items())

    def _missing(self, family: Family, rules: Rules, switches: Settings) -> Iterator[str]:
        if rules.iptables is not None and not rules.iptables.tables and self.iptables:
            yield f"No rules of {family} were given."
        for rule in switches.policy:
            if rule.unknown:
                yield f"Policy {rule} also asks for `{rule.unknown}`, which is not followed: it is left out."
            elif rule.table not in _EMPTY_TABLES and rule.table not in switches.tables:
                yield f"Policy {rule}: the routes of table {rule.table} were not given (`ip route show table all`)."


def _merge(into: Ruleset, name: str, ruleset: Ruleset) -> None:
    """Put a file's rules to those of others. Pieces of a chain follow each other; a chain that two files declare must
    be the same in both."""
    for table in ruleset.tables.values():
        target = into.table(table.name)
        for chain in table.chains.values():
            have = target.chains.get(chain.name)
            if have is None or not have.rules:
                policy = chain.policy or (have.policy if have else None)
                declared = chain.declared or bool(have and have.declared)
                target.chains[chain.name] = Chain(chain.name, list(chain.rules), policy, declared)
            elif chain.rules and chain.rules != have.rules:
                if chain.declared and have.declared:
                    raise EvidenceError(name, f"chain {chain.name} of table {table.name} differs from another file's")
                have.rules += [rule for rule in chain.rules if rule not in set(have.rules)]


_POD_DEVICES = ("cni0", "cbr0", "docker0", "weave")


def _pod_networks(node: Node) -> Iterator[Network]:
    """The networks of the bridges that pods are usually on."""
    for interface in node.interfaces:
        if interface.name in _POD_DEVICES:
            yield from (address.network for address in interface.addresses)
