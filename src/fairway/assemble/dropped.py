"""Files that somebody gives the page: what each is, and what they say together of one node."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fairway.assemble import computed
from fairway.assemble.catalogue import Catalogue
from fairway.ruleset.iptables import Ruleset
from fairway.ruleset.iptables_match import understand
from fairway.ruleset.iptables_terms import Translate
from fairway.trace.evidence import bundle, guesses, texts
from fairway.trace.evidence.gathered import Gathered
from fairway.trace.evidence.texts import EvidenceError, Text
from fairway.trace.names import subject

MAX_NAMED = 2000
"""Services and endpoints that are offered to choose from."""

_PACKED = b"\x1f\x8b"
_OBJECTS = re.compile(rb"^\s*-?\s*\"?(apiVersion|kind)\"?:", re.MULTILINE)
_BEGINNING = 65536


@dataclass(frozen=True, slots=True)
class Piece:
    """One file and what it was taken for."""

    name: str
    what: str


@dataclass(frozen=True, slots=True)
class Ground:
    """What the files say. `computed`: they hold no rules, only objects, from which rules are worked out for any
    node."""

    pieces: tuple[Piece, ...]
    gathered: Gathered
    catalogue: Catalogue
    computed: bool = False

    def as_json(self) -> dict[str, Any]:
        """The files, and what packets could be sent from and to."""
        return {
            "files": [{"name": each.name, "what": each.what} for each in self.pieces],
            "node": self.gathered.name,
            "nodes": [name for _, name in sorted(self.catalogue.nodes)] if self.computed else [],
            "computed": self.computed,
            "notes": list(self.gathered.notes),
            "sources": list(_sources(self))[:MAX_NAMED],
            "destinations": list(dict.fromkeys(_destinations(self)))[:MAX_NAMED],
        }


def read(files: Mapping[str, bytes], node: str = "") -> Ground:
    """Recognise the files. Raises EvidenceError."""
    found: list[Text] = []
    pieces: list[Piece] = []
    packed, catalogue = bundle.Bundle(), Catalogue(given=False)
    for name, raw in files.items():
        if raw.startswith(_PACKED):
            if packed.files:
                raise EvidenceError(name, "is a second bundle; one is read at a time")
            packed = bundle.unpack(name, raw)
            pieces.append(Piece(name, f"bundle of {packed.node or 'a node'}, {len(packed.files)} texts"))
            found += _of_bundle(name, packed)
            if bundle.OBJECTS in packed.files:
                catalogue = catalogue.joined(Catalogue.read(packed.files[bundle.OBJECTS], name))
        elif _is_objects(raw):
            read_objects = Catalogue.read(raw, name)
            catalogue = catalogue.joined(read_objects)
            pieces.append(Piece(name, f"{read_objects.size} objects"))
        else:
            text = texts.read(name, raw)
            found.append(text)
            pieces.append(Piece(name, text.kind.value))
    whole = bool(packed.files) and len(files) == 1
    return _ground(tuple(pieces), Gathered.read(found, node or packed.node, whole=whole), catalogue, packed)


def _ground(pieces: tuple[Piece, ...], gathered: Gathered, catalogue: Catalogue, packed: bundle.Bundle) -> Ground:
    gathered.notes += [f"{name} is missing from the bundle: {why}." for name, why in packed.failures.items()]
    if gathered.has_rules:
        return Ground(pieces, gathered, catalogue)
    if not catalogue.nodes:
        names = ", ".join(piece.name for piece in pieces)
        why = (
            "no rules (iptables-save, iptables -L, nft list ruleset), and no objects with nodes to work rules out from"
        )
        raise EvidenceError(names, f"holds {why}")
    return Ground(pieces, gathered, catalogue, computed=True)


def scene_of(ground: Ground, node: str) -> Gathered:
    """What was gathered of the node, or worked out for it."""
    return computed.gathered(ground.catalogue, node) if ground.computed else ground.gathered


def _of_bundle(name: str, packed: bundle.Bundle) -> Iterator[Text]:
    for file, content in packed.files.items():
        if file in bundle.CONTENTS:
            yield texts.read(f"{name}: {file}", content, bundle.CONTENTS[file])


def _is_objects(raw: bytes) -> bool:
    """Whether it is YAML or JSON of Kubernetes, not what nft prints."""
    head = raw[:_BEGINNING]
    if head.lstrip()[:1] in (b"{", b"["):
        return b'"nftables"' not in head[:4096]
    return _OBJECTS.search(head) is not None


def _sources(ground: Ground) -> Iterator[str]:
    """Where packets could come from: pods and nodes by name, else the endpoints that rules name."""
    yield "node"
    yield from (name for _, name in sorted(ground.catalogue.nodes))
    for (namespace, name), pod in sorted(ground.catalogue.pods.items()):
        if (pod.get("status") or {}).get("podIP"):
            yield f"{namespace}/{name}"
    if not ground.catalogue.pods:
        for ruleset in _rulesets(ground):
            yield from dict.fromkeys(_endpoints(ruleset))


def _destinations(ground: Ground) -> Iterator[str]:
    for (namespace, name), service in sorted(ground.catalogue.services.items()):
        for port in (service.get("spec") or {}).get("ports") or ():
            yield f"{namespace}/{name}:{port.get('port')}"
    if ground.catalogue.services:
        return
    for ruleset in _rulesets(ground):
        for namespace, name in _named(ruleset):
            for place in guesses.service_places(ruleset, namespace, name):
                yield f"{namespace}/{name}:{place.port}"


def _rulesets(ground: Ground) -> list[Ruleset]:
    return [ruleset for _, _, ruleset in ground.gathered.iptables]


def _named(ruleset: Ruleset) -> Iterator[tuple[str, str]]:
    """The Services that comments name as having a cluster IP."""
    nat = ruleset.tables.get("nat")
    chain = nat.chains.get("KUBE-SERVICES") if nat else None
    found: dict[tuple[str, str], None] = {}
    for rule in (chain.rules if chain else ())[: MAX_NAMED * 4]:
        about = subject(understand(rule).comment)
        if about is not None:
            found[about.namespace, about.service] = None
    yield from found


def _endpoints(ruleset: Ruleset) -> Iterator[str]:
    """The addresses that packets are translated to."""
    nat = ruleset.tables.get("nat")
    for chain in nat.chains.values() if nat else ():
        for rule in chain.rules if chain.name.startswith("KUBE-SEP-") else ():
            target = understand(rule).target
            if "--to-destination" in rule and isinstance(target, Translate) and target.addresses:
                yield str(target.addresses[0])
