"""Which clients may go on to the endpoint they are remembered at.

Packets write the maps of affinity, so what is in them is not known here. They are read when a sticky place has lost
an endpoint or is served in another way, and at a take-over; whatever leads a client to where it must not go is deleted.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from fairway.dataplane.nft import Elements, Serving, pack_endpoint, serving_of
from fairway.dataplane.nft_book import Book, Delta
from fairway.dataplane.nft_layout import (
    AFFINITY,
    AFFINITY_NODE_PORTS,
    ENDPOINTS,
    LOCAL_ENDPOINTS,
    MIXED,
    MIXED_NODE_PORTS,
    NODE_PORT_ENDPOINTS,
    NODE_PORT_LOCAL_ENDPOINTS,
    STICKY,
    STICKY_NODE_PORTS,
)
from fairway.desired.addresses import within
from fairway.packet import Family
from fairway.ruleset.nft import Element, Type
from fairway.ruleset.nft_values import spell

MAPS = (AFFINITY, AFFINITY_NODE_PORTS)

_ENDPOINTS = (ENDPOINTS, LOCAL_ENDPOINTS, NODE_PORT_ENDPOINTS, NODE_PORT_LOCAL_ENDPOINTS)
_STICKY = (STICKY, STICKY_NODE_PORTS)
_WAYS = ("external-local", "node-ports-local", MIXED, MIXED_NODE_PORTS)


def doubtful(book: Book, delta: Delta) -> frozenset[bytes]:
    """The places whose clients must be looked at after a change: those that are sticky no more, and sticky ones that
    have lost an endpoint or are served in another way."""
    if not book.shape.intersection(MAPS):
        return frozenset()
    ended = {key for name, kept in delta.removed.items() if _kind(name) in _STICKY for key in kept}
    lost = set(_targets(delta.removed)) - set(_targets(delta.added))
    changed = {place for _, place, _ in lost}
    changed.update(key for part in (delta.added, delta.removed) for name in _WAYS for key in part.get(name, ()))
    sticky = {place for place in changed if any(port.affinity_seconds for port in book.claimants(place))}
    return frozenset(ended | sticky)


def same_insiders(before: Book, after: Book) -> bool:
    """Whether pods and the node itself are told from others as before."""
    facts = [book.settings.node(book.family) for book in (before, after)]
    return (facts[0].pods, facts[0].addresses) == (facts[1].pods, facts[1].addresses)


def stale(
    book: Book, remembered: Iterable[tuple[bytes, Element]], places: Collection[bytes] | None = None
) -> Iterator[tuple[bytes, Element]]:
    """Those of the remembered that must not be followed any more, of some places or of all."""
    size = 4 if book.family is Family.IPV4 else 16
    for key, element in remembered:
        source, place = key[:size], key[size:]
        if (places is None or place in places) and not _right(book, source, place, element):
            yield key, element


def _right(book: Book, source: bytes, place: bytes, element: Element) -> bool:
    claimants = book.claimants(place)
    serving = serving_of(place, claimants, book.settings) if claimants else None
    if serving is None or not any(port.affinity_seconds for port in claimants):
        return False
    inside = _inside(book, source)
    near, far = _data(serving, far=False), _data(serving, far=True)
    return element.data in (near & far if inside is None else near if inside else far)


def _data(serving: Serving, far: bool) -> set[bytes]:
    return {pack_endpoint(e.address, e.port) for e in (serving.far if far else serving.near)}


def _inside(book: Book, source: bytes) -> bool | None:
    """Whether the client is a pod or the node itself. None: pods are told by their device, not by their address, and
    the client may go on to where both may go only."""
    facts = book.settings.node(book.family)
    address = spell(Type.IPV4 if book.family is Family.IPV4 else Type.IPV6, source)
    pods = facts.pods
    if address in facts.addresses or (pods.source and within(address, (pods.source,))):
        return True
    return None if pods.interface else False


def _targets(part: Elements) -> Iterator[tuple[str, bytes, object]]:
    """(kind of map, place, endpoint) of the elements that lead somewhere."""
    for name, kept in part.items():
        kind, _, number = name.rpartition("-")
        if kind in _ENDPOINTS:
            drawn = 4 if int(number) > 1 else 0
            yield from ((kind, key[: len(key) - drawn], element.data) for key, element in kept.items())


def _kind(name: str) -> str:
    return name.rpartition("-")[0]
