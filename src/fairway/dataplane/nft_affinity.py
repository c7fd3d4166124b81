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
    BY_SOURCE,
    ENDPOINTS,
    MIXED,
    MIXED_NODE_PORTS,
    STICKY_MAPS,
    STICKY_SOURCES,
)
from fairway.desired.senders import insider
from fairway.packet import Family
from fairway.ruleset.nft import Element, Type
from fairway.ruleset.nft_values import spell

MAPS = (AFFINITY, AFFINITY_NODE_PORTS)

_ADDRESSES = {Family.IPV4: Type.IPV4, Family.IPV6: Type.IPV6}

_WAYS = ("external-local", "node-ports-local", MIXED, MIXED_NODE_PORTS)


def doubtful(book: Book, delta: Delta) -> frozenset[bytes]:
    """The places whose clients must be looked at after a change: those that are sticky no more, and sticky ones that
    have lost an endpoint or are served in another way."""
    if not book.shape.intersection(MAPS):
        return frozenset()
    removed, both = [*_places(book, delta.removed)], [*_places(book, delta.added), *_places(book, delta.removed)]
    ended = {place for name, place in removed if _kind(name) in STICKY_MAPS}
    lost = set(_targets(delta.removed)) - set(_targets(delta.added))
    changed = {place for _, place, _ in lost}
    changed.update(place for name, place in both if name.endswith(_WAYS) or _kind(name) == BY_SOURCE)
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
    serving, seconds = serving_of(place, book.claimants(place), book.settings, source)
    if serving is None or not seconds:
        return False
    # told by their device, pods are not told from others here: the client may go on to where both may go only
    inside = insider(book.settings.node(book.family), spell(_ADDRESSES[book.family], source))
    near, far = _data(serving, far=False), _data(serving, far=True)
    return element.data in (near & far if inside is None else near if inside else far)


def _data(serving: Serving, far: bool) -> set[bytes]:
    return {pack_endpoint(e.address, e.port) for e in (serving.far if far else serving.near)}


def _places(book: Book, part: Elements) -> Iterator[tuple[str, bytes]]:
    """(set, place) of the elements that are a place, by itself or with sources."""
    size = 4 if book.family is Family.IPV4 else 16
    for name, kept in part.items():
        sources = size if _kind(name) in (BY_SOURCE, STICKY_SOURCES) else 0
        yield from ((name, key[: len(key) - sources]) for key in kept)


def _targets(part: Elements) -> Iterator[tuple[str, bytes, object]]:
    """(kind of map, place, endpoint) of the elements that lead somewhere."""
    for name, kept in part.items():
        kind, _, number = name.rpartition("-")
        if kind.endswith(ENDPOINTS):
            drawn = 4 if int(number) > 1 else 0
            yield from ((kind, key[: len(key) - drawn], element.data) for key, element in kept.items())


def _kind(name: str) -> str:
    return name.rpartition("-")[0]
