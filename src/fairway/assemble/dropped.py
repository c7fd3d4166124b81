"""Files that somebody gives the page: what each is, and what they say together of one node."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from fairway.assemble import computed, offers
from fairway.assemble.catalogue import Catalogue
from fairway.assemble.offers import Offer
from fairway.trace.evidence import bundle, texts
from fairway.trace.evidence.gathered import Gathered
from fairway.trace.evidence.texts import EvidenceError, Text

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
    sources: Sequence[Offer] = ()
    destinations: Sequence[Offer] = ()

    def as_json(self) -> dict[str, Any]:
        """The files, and what packets could be sent from and to."""
        return {
            "files": [{"name": each.name, "what": each.what} for each in self.pieces],
            "node": self.gathered.name,
            "nodes": [name for _, name in sorted(self.catalogue.nodes)] if self.computed else [],
            "computed": self.computed,
            "notes": list(self.gathered.notes),
            "sources": [asdict(each) for each in self.sources],
            "destinations": [asdict(each) for each in self.destinations],
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
    if not gathered.has_rules and not catalogue.nodes:
        names = ", ".join(piece.name for piece in pieces)
        why = (
            "no rules (iptables-save, iptables -L, nft list ruleset), and no objects with nodes to work rules out from"
        )
        raise EvidenceError(names, f"holds {why}")
    offered = offers.sources(gathered, catalogue), offers.destinations(gathered, catalogue)
    return Ground(pieces, gathered, catalogue, not gathered.has_rules, *offered)


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
