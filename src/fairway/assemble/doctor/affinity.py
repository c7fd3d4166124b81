"""Which client is remembered at which endpoint, with names: from the lists of iptables mode and the maps of nftables
mode."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from fairway.assemble.doctor.flows import Book, endpoints
from fairway.desired.model import ServicePort
from fairway.packet import Protocol, host_port
from fairway.ruleset.iptables import Ruleset
from fairway.ruleset.nft import Element, Set, Verdict
from fairway.ruleset.nft_values import unpack
from fairway.trace.names import subject

_CHECK = re.compile(r"-m recent --rcheck --seconds (?P<seconds>\d+) .*?--name (?P<name>\S+)")
_SET = re.compile(r"-m recent --set --name (?P<name>\S+)")
_TO = re.compile(r"--to-destination (?P<place>\S+)")
_COMMENT = re.compile(r'--comment "(?P<comment>[^"]*)"')


@dataclass(frozen=True, slots=True)
class Remembered:
    """One client. `endpoint` is "address:port", `seconds` are left until it is forgotten (None: not known), `stale`
    says why it should not be followed, "" when it may."""

    client: str
    service: str
    endpoint: str
    pod: str = ""
    seconds: int | None = None
    stale: str = ""


Lists = Mapping[str, Mapping[str, float]]
"""Seconds since each address was seen, by list."""


def from_lists(book: Book, rulesets: Iterable[Ruleset], lists: Lists) -> Iterator[Remembered]:
    """What the lists of `-m recent` say; rules name the endpoints."""
    by_name: defaultdict[str, list[ServicePort]] = defaultdict(list)
    for port in book.all:
        by_name[str(port.name)].append(port)
    for ruleset in rulesets:
        nat = ruleset.tables.get("nat")
        rules = [rule for chain in nat.chains.values() for rule in chain.rules if "recent" in rule] if nat else []
        lasting = {found["name"]: int(found["seconds"]) for rule in rules if (found := _CHECK.search(rule))}
        for rule in rules:
            kept, to = _SET.search(rule), _TO.search(rule)
            if kept is not None and to is not None:
                seen, limit = lists.get(kept["name"], {}), lasting.get(kept["name"])
                yield from _seen(book, by_name, rule, to["place"], seen, limit)


def _seen(
    book: Book,
    by_name: Mapping[str, list[ServicePort]],
    rule: str,
    place: str,
    seen: Mapping[str, float],
    limit: int | None,
) -> Iterator[Remembered]:
    """The clients in the list of one endpoint's rule; `limit` is how long they are followed."""
    said = _COMMENT.search(rule)
    service = str((subject(said["comment"]) if said else None) or "")
    for client, ago in seen.items():
        left = None if limit is None else max(round(limit - ago), 0)
        stale = "its time is over" if left == 0 else _stale(by_name.get(service, ()), place)
        yield Remembered(client, service, place, _pod(book, place), left, stale)


def from_maps(book: Book, kept: Set, elements: Iterable[tuple[bytes, Element]]) -> Iterator[Remembered]:
    """What a map of nftables mode says: client, place and protocol lead to an endpoint."""
    for key, element in elements:
        client, *place = unpack([field.type for field in kept.key], key)
        if isinstance(element.data, Verdict) or isinstance(kept.data, str) or kept.data is None:
            continue
        address, port = unpack([field.type for field in kept.data], element.data)
        ports = _ports(book, place)
        service = ", ".join(dict.fromkeys(str(each.name) for each in ports))
        endpoint = host_port(address, int(port))
        seconds = element.expires_ms // 1000 or None
        yield Remembered(client, service, endpoint, _pod(book, endpoint), seconds, _stale(ports, endpoint))


def _ports(book: Book, place: list[str]) -> list[ServicePort]:
    """The Service ports at [address,] protocol, port: without an address it is a node port."""
    *address, protocol, number = place
    if protocol.upper() not in Protocol.__members__:
        return []
    kind = Protocol(protocol.upper())
    return book.ports(kind, address[0], int(number)) if address else book.node_ports(kind, int(number))


def _pod(book: Book, place: str) -> str:
    return book.names.get(place.rpartition(":")[0].strip("[]"), "")


def _stale(ports: Iterable[ServicePort], place: str) -> str:
    ports = list(ports)
    if not ports:
        return "there is no such Service any more"
    if not any(port.affinity_seconds for port in ports):
        return "the Service asks for no affinity (any more)"
    served = [str(endpoint) for port in ports for endpoint in endpoints(port)]
    return "" if place in served else "the Service does not have that endpoint"
