"""Reading what `ip addr`, `ip route` and `ip rule` print (iproute2, plain and with -d, -4, -6, `table all`)."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from fairway.node import Interface, InterfaceAddress, Network, Route
from fairway.packet import Family
from fairway.trace.evidence.texts import Text
from fairway.trace.policy import MAIN, PolicyRule

MAX_ENTRIES = 1_000_000
"""Addresses, routes or rules of one text."""

_LINK = re.compile(r"\d+: (?P<name>[^:@\s]+)(@\S+)?:")
_FLAGS = re.compile(r"\d+: (?P<name>[^:@\s]+)(?:@\S+)?: <(?P<flags>[^>]*)>(?:.* master (?P<master>\S+))?")
_ADDRESS = re.compile(r"\s*(?:\d+: \S+\s+)?inet6? (?P<address>\S+)(?: peer (?P<peer>\S+))?")
_BRIEF = re.compile(r"\d+: (?P<name>[^:@\s]+)\s+inet6? ")
_KINDS = frozenset(
    {"unicast", "local", "broadcast", "multicast", "anycast", "unreachable", "blackhole", "prohibit", "throw"}
)
_REFUSING = frozenset({"unreachable", "blackhole", "prohibit"})


def interfaces(text: Text) -> list[Interface]:
    """The devices with their addresses, `lo` and link-local ones left out. Raises EvidenceError."""
    found: dict[str, list[InterfaceAddress]] = {}
    name = ""
    for number, line in enumerate(text.content.splitlines(), 1):
        if link := _LINK.match(line) or _BRIEF.match(line):
            name = link["name"]
            found.setdefault(name, [])
        if not (address := _ADDRESS.match(line)):
            continue
        if not name:
            raise text.error("an address before any device", number)
        value = _interface(text, number, address["address"])
        if not value.is_link_local:
            found[name].append(value)
        _bounded(text, number)
    return [Interface(device, tuple(addresses)) for device, addresses in found.items() if device != "lo"]


def _interface(text: Text, number: int, written: str) -> InterfaceAddress:
    try:
        return ipaddress.ip_interface(written)
    except ValueError as error:
        raise text.error(str(error), number) from None


def _bounded(text: Text, number: int) -> None:
    if number > MAX_ENTRIES:
        raise text.error(f"more than {MAX_ENTRIES} lines; no node has that many", number)


def bridge_ports(text: Text) -> dict[str, frozenset[str]]:
    """The ports of each device, none of what is no bridge. Bonds and VRFs, too, are masters, but say so themselves by
    their flag MASTER. `ip -o addr` does not show flags: then nothing is known."""
    ports: dict[str, set[str]] = {}
    others: set[str] = set()
    for line in text.content.splitlines():
        if link := _FLAGS.match(line):
            ports.setdefault(link["name"], set())
            if "MASTER" in link["flags"].split(","):
                others.add(link["name"])
            if link["master"]:
                ports.setdefault(link["master"], set()).add(link["name"])
    return {name: frozenset() if name in others else frozenset(found) for name, found in ports.items()}


@dataclass(slots=True)
class Routes:
    """Routes by the name of their table; `local` are the addresses of the table `local` with their devices."""

    tables: dict[str, list[Route]] = field(default_factory=dict)
    local: list[tuple[str, InterfaceAddress]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def routes(text: Text) -> Routes:
    """The routes, tables apart. Raises EvidenceError with the line that is none."""
    found = Routes()
    words: list[str] = []
    family = _family_of(text)
    for number, line in enumerate(text.content.splitlines(), 1):
        _bounded(text, number)
        if not line.strip() or line.startswith("#"):
            continue
        if line[0].isspace() and line.split()[0] == "nexthop":
            _next_hop(text, number, found, words, line.split(), family)
            continue
        words = line.split()
        _route(text, number, found, words, family)
    return found


def _family_of(text: Text) -> Family:
    """Of the text's `default` routes: lines of `ip route` say it only by their addresses."""
    return Family.IPV6 if re.search(r"^\s*(\w+ )?[\da-f]*:[\da-f:]*", text.content, re.MULTILINE) else Family.IPV4


def _route(text: Text, number: int, found: Routes, words: Sequence[str], family: Family) -> None:
    kind = words[0] if words[0] in _KINDS else "unicast"
    rest = list(words[1:] if words[0] in _KINDS else words)
    if not rest:
        raise text.error(f"a route without a destination: {' '.join(words)[:100]!r}", number)
    said = _pairs(rest[1:])
    default = family
    if "via" in said:
        default = Family.IPV6 if ":" in said["via"] else Family.IPV4
    network = _network(text, number, rest[0], default)
    table = said.get("table", MAIN)
    if kind == "local" and "dev" in said and network.num_addresses == 1 and said["dev"] != "lo":
        found.local.append((said["dev"], ipaddress.ip_interface(str(network))))
    if table == "local" or kind in ("local", "broadcast", "multicast", "anycast", "throw"):
        return
    if "dev" not in said and kind not in _REFUSING:
        return  # its next hops follow
    found.tables.setdefault(table, []).append(_made(text, number, network, said, kind))


def _made(text: Text, number: int, network: Network, said: dict[str, str], kind: str) -> Route:
    try:
        via = said.get("via", "").split()[-1:] or [""]
        return Route(
            network,
            said.get("dev", ""),
            ipaddress.ip_address(via[0]) if via[0] else None,
            ipaddress.ip_address(said["src"]) if "src" in said else None,
            int(said.get("metric", "0")),
            kind if kind in _REFUSING else "",
        )
    except ValueError as error:
        raise text.error(str(error), number) from None


def _next_hop(text: Text, number: int, found: Routes, words: Sequence[str], hop: Sequence[str], family: Family) -> None:
    """One of a route's next hops. The kernel spreads connections over them by a hash; the walk takes the first."""
    if not words:
        raise text.error("a next hop before any route", number)
    said = _pairs(words[1:])
    table = said.get("table", MAIN)
    merged = {**said, **_pairs(hop[1:])}
    if "dev" not in merged:
        raise text.error("a next hop without a device", number)
    network = _network(text, number, words[0], Family.IPV6 if ":" in merged.get("via", "") else family)
    have = found.tables.setdefault(table, [])
    if any(route.destination == network and route.metric == int(said.get("metric", "0")) for route in have):
        note = f"The route to {words[0]} has several next hops; the first is taken."
        found.notes += [] if note in found.notes else [note]
        return
    have.append(_made(text, number, network, merged, "unicast"))


def _pairs(words: Sequence[str]) -> dict[str, str]:
    """The options of a route that have a value, which are those looked at here."""
    known = ("via", "dev", "src", "metric", "table")
    found: dict[str, str] = {}
    for index, word in enumerate(words[:-1]):
        if word in known and word not in found:
            value = words[index + 1]
            found[word] = words[index + 2] if value in ("inet", "inet6") and index + 2 < len(words) else value
    return found


def _network(text: Text, number: int, written: str, family: Family) -> Network:
    if written == "default":
        return ipaddress.ip_network("::/0" if family is Family.IPV6 else "0.0.0.0/0")
    try:
        return ipaddress.ip_network(written, strict=False)
    except ValueError as error:
        raise text.error(str(error), number) from None


_RULE = re.compile(r"(?P<priority>\d+):\s+(?P<rest>.*)")
_ACTIONS = frozenset({"unreachable", "blackhole", "prohibit"})


def policy(text: Text, family: Family | None = None) -> list[PolicyRule]:
    """The rules of `ip rule` in their order, those of the local table left out. Raises EvidenceError."""
    return sorted(_rules(text, family), key=lambda rule: rule.priority)


def _rules(text: Text, family: Family | None) -> Iterator[PolicyRule]:
    for number, line in enumerate(text.content.splitlines(), 1):
        _bounded(text, number)
        if not line.strip() or line.startswith("#"):
            continue
        match = _RULE.match(line.strip())
        if match is None:
            raise text.error(f"expected `PRIORITY: from ...`: {line[:100]!r}", number)
        try:
            rule = _rule(int(match["priority"]), match["rest"].split(), family)
        except (ValueError, IndexError) as error:
            raise text.error(f"{error}: {line[:100]!r}", number) from None
        if rule.table != "local":
            yield rule


def _rule(priority: int, words: list[str], family: Family | None) -> PolicyRule:
    said: dict[str, str] = {}
    unknown: list[str] = []
    action = ""
    negated = False
    position = 0
    while position < len(words):
        word = words[position]
        position += 1
        if word == "not":
            negated = True
        elif word in _ACTIONS:
            action = word
        elif word in ("from", "to", "fwmark", "iif", "oif", "lookup", "suppress_prefixlength"):
            said[word] = words[position]
            position += 1
        elif not (word.startswith("[") or word == "proto"):
            unknown.append(word)
        elif word == "proto":
            position += 1
    value, _, mask = said.get("fwmark", "0/0").partition("/")
    mark, bits = int(value, 0), int(mask, 0) if mask else 0xFFFFFFFF
    return PolicyRule(
        priority=priority,
        table=said.get("lookup", ""),
        source=_selector(said.get("from", "all")),
        destination=_selector(said.get("to", "all")),
        mark=mark,
        mask=bits,
        in_device=said.get("iif", ""),
        out_device=said.get("oif", ""),
        negated=negated,
        action=action,
        longer_than=int(said.get("suppress_prefixlength", "-1")),
        unknown=" ".join(unknown),
        family=family,
    )


def _selector(written: str) -> Network | None:
    return None if written == "all" else ipaddress.ip_network(written, strict=False)
