"""What the page offers to choose from when it goes by files: where packets could come from and go to, as the objects
say, or as far as the rules give it away. Pure."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from fairway.assemble.catalogue import Catalogue, addresses_of
from fairway.packet import Protocol, host_port
from fairway.ruleset import nft
from fairway.ruleset.iptables import Chain, Ruleset
from fairway.ruleset.iptables_match import understand
from fairway.ruleset.iptables_terms import Translate
from fairway.ruleset.nft import Type
from fairway.ruleset.nft_values import unpack
from fairway.trace.evidence import guesses
from fairway.trace.evidence.gathered import Gathered
from fairway.trace.names import subject

MOST = 2000
"""Offers of a kind; nobody scrolls further, and any other text can be written."""

_PLACE = ((Type.IPV4, Type.PROTOCOL, Type.SERVICE), (Type.IPV6, Type.PROTOCOL, Type.SERVICE))
_PROTOCOLS = tuple(protocol.value for protocol in Protocol)


@dataclass(frozen=True, slots=True)
class Offer:
    """What can be written, something about it, and the protocol that goes with it ("": any)."""

    value: str
    hint: str = ""
    protocol: str = ""


def sources(gathered: Gathered, catalogue: Catalogue) -> list[Offer]:
    """The node, nodes and pods; without pods the endpoints that rules name."""
    return _first(_sources(gathered, catalogue))


def destinations(gathered: Gathered, catalogue: Catalogue) -> list[Offer]:
    """The Services' ports; without any those that rules name."""
    found = _first(_of_services(catalogue))
    return found or _first(itertools.chain(_of_comments(gathered), _of_sets(gathered)))


def _first(offers: Iterable[Offer]) -> list[Offer]:
    seen: dict[tuple[str, str], Offer] = {}
    for each in offers:
        seen.setdefault((each.value, each.protocol), each)
        if len(seen) >= MOST:
            break
    return list(seen.values())


def _sources(gathered: Gathered, catalogue: Catalogue) -> Iterator[Offer]:
    yield Offer("node", gathered.name)
    yield from (Offer(name, ", ".join(own)) for name, own in sorted(catalogue.node_addresses().items()))
    for (namespace, name), pod in sorted(catalogue.pods.items()):
        if addresses := addresses_of(pod):
            yield Offer(f"{namespace}/{name}", ", ".join(addresses))
    if not catalogue.pods:
        for ruleset in _rulesets(gathered):
            yield from _endpoints(ruleset)


def _of_services(catalogue: Catalogue) -> Iterator[Offer]:
    for (namespace, name), service in sorted(catalogue.services.items()):
        spec = service.get("spec") or {}
        for port in spec.get("ports") or ():
            protocol = port.get("protocol") or "TCP"
            hint = " ".join(filter(None, [spec.get("clusterIP"), protocol]))
            yield Offer(f"{namespace}/{name}:{port.get('port')}", hint, protocol)


def _of_comments(gathered: Gathered) -> Iterator[Offer]:
    """The Services that rules in kube-proxy's style say they are for."""
    for ruleset in _rulesets(gathered):
        for rule in _rules(ruleset, "KUBE-SERVICES"):
            parsed = understand(rule)
            about = subject(parsed.comment)
            if about is not None:
                for place in guesses.places(parsed.matches, about):
                    name = f"{about.namespace}/{about.service}:{place.port}"
                    yield Offer(name, f"{place.address} {place.protocol}", place.protocol)


def _of_sets(gathered: Gathered) -> Iterator[Offer]:
    """Addresses with protocol and port that stand in sets of nftables, with the chains they lead to."""
    for table in gathered.nft.tables.values() if gathered.nft else ():
        for kept in table.sets.values():
            types = tuple(each.type for each in kept.key)
            if types not in _PLACE:
                continue
            for key, element in kept.elements.items():
                if key and not element.end:
                    yield from _of_element(types, key, element)


def _of_element(types: Sequence[Type], key: bytes, element: nft.Element) -> Iterator[Offer]:
    address, protocol, port = unpack(types, key)
    leads = element.data.chain if isinstance(element.data, nft.Verdict) else ""
    if protocol.upper() in _PROTOCOLS:
        hint = " ".join(filter(None, [element.comment or leads, protocol.upper()]))
        yield Offer(host_port(address, int(port)), hint, protocol.upper())


def _endpoints(ruleset: Ruleset) -> Iterator[Offer]:
    """The addresses that packets are translated to."""
    for chain in _chains(ruleset):
        for rule in chain.rules if chain.name.startswith("KUBE-SEP-") else ():
            if "--to-destination" in rule:
                parsed = understand(rule)
                about = subject(parsed.comment)
                if isinstance(parsed.target, Translate) and parsed.target.addresses:
                    yield Offer(str(parsed.target.addresses[0]), str(about or ""))


def _rulesets(gathered: Gathered) -> list[Ruleset]:
    return [ruleset for _, _, ruleset in gathered.iptables]


def _chains(ruleset: Ruleset) -> Iterable[Chain]:
    nat = ruleset.tables.get("nat")
    return nat.chains.values() if nat else ()


def _rules(ruleset: Ruleset, name: str) -> Sequence[str]:
    return next((chain.rules for chain in _chains(ruleset) if chain.name == name), ())
