"""The desired model said in nftables: a pure function to the elements of one family's table.

What stands in the table is decided place by place (`nft_layout` says what a place is): `place_elements` gives all
elements of one place from the Service ports that claim it, which is one, except where users give two Services the
same external address; then they are asked in their order, as `desired.decide` does, and for each source by itself
where source ranges let only some pass. A change of one Service therefore concerns the places it claims and no others.
The two sets that are not kept by place, `hairpin` and `live`, hold addresses that many Services may share.
"""

from __future__ import annotations

import enum
import ipaddress
import socket
import sys
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import pairwise
from operator import itemgetter
from typing import NamedTuple, TypeAlias, TypeVar

from fairway.dataplane import nft_layout as names
from fairway.dataplane.nft_chains import layout
from fairway.desired.model import Desired, Endpoint, Policy, ServicePort, Settings
from fairway.desired.senders import allowed_sources
from fairway.packet import Family, Protocol
from fairway.ruleset import nft
from fairway.ruleset.nft import PRESENT, Element

Elements: TypeAlias = dict[str, dict[bytes, Element]]
"""Set name -> packed key -> element."""

Entry: TypeAlias = tuple[str, bytes, Element]
"""One element of a set."""

Asked: TypeAlias = Sequence[tuple["Role", ServicePort]]
"""Who claims a place, in order, and as what; a Service that claims it twice over is in there twice."""

_Told = TypeVar("_Told")

NODE_PORT_BYTES = 8
"""A node port's key: protocol and port. Every other place is longer."""

_CACHED = 4096  # what one Service asks for several times over; not the addresses of a whole cluster
_PROTOCOLS = {protocol: bytes([protocol.number, 0, 0, 0]) for protocol in Protocol}


class Role(enum.IntEnum):
    """What a place is to a Service port."""

    CLUSTER_IP = 0
    EXTERNAL_IP = 1
    LOAD_BALANCER = 2
    NODE_PORT = 3


class Way(enum.Enum):
    """How a place is served: who counts as an insider, and whose address is hidden."""

    CLUSTER_IP = enum.auto()
    EXTERNAL = enum.auto()
    LOCAL = enum.auto()
    MIXED = enum.auto()  # insiders as under policy Local, outsiders by another Service that hides them


class Serving(NamedTuple):
    """Who serves a place: `near` insiders (pods and the node itself), `far` everybody else."""

    way: Way
    near: tuple[Endpoint, ...]
    far: tuple[Endpoint, ...]


class _Kind(NamedTuple):
    """The names that differ between places with an address, node ports, and places told by source."""

    served: str
    local: str
    mixed: str
    near_map: str
    far_map: str
    cluster_ip: str = "cluster-ips"


class _Beside(NamedTuple):
    """The names that all places with an address share, and all node ports."""

    sticky: str
    unserved: str
    counted: str


_PLACE = _Kind("external", "external-local", names.MIXED, names.ENDPOINTS, names.LOCAL_ENDPOINTS)
_NODE_PORT = _Kind(
    "node-ports",
    "node-ports-local",
    names.MIXED_NODE_PORTS,
    names.NODE_PORT_ENDPOINTS,
    names.NODE_PORT_LOCAL_ENDPOINTS,
)
_BESIDE_PLACES = _Beside(names.STICKY, "unserved", names.COUNTED)
_BESIDE_NODE_PORTS = _Beside(names.STICKY_NODE_PORTS, "unserved-node-ports", names.COUNTED_NODE_PORTS)


@lru_cache(maxsize=64)
def _by_source(number: int) -> _Kind:
    """The senders of one set (`nft_layout`)."""
    name = f"{names.BY_SOURCE}-{number}"
    return _Kind(name, *(f"{name}-{word}" for word in (*_PLACE[1:5], "cluster-ips")))


def render(desired: Desired, family: Family) -> nft.Table:
    """Everything `desired` asks for in one family, as one whole table."""
    elements: Elements = {}
    for port in desired.of(family):
        for name, kept in shared_elements(port, desired.settings).items():
            elements.setdefault(name, {}).update(kept)
    for place, claimants in claimants_of(desired.of(family)).items():
        for name, key, element in place_elements(place, claimants, desired.settings):
            elements.setdefault(name, {})[key] = element
    return filled(layout(family, desired.settings, shape_of(elements)), elements)


def filled(table: nft.Table, elements: Mapping[str, dict[bytes, Element]]) -> nft.Table:
    """The table with these elements in its sets."""
    sets = {name: replace(table.sets[name], elements=kept) for name, kept in elements.items()}
    return replace(table, sets={**table.sets, **sets})


def render_port(port: ServicePort, settings: Settings) -> Elements:
    """The elements of a Service port that nobody disputes a place with."""
    elements = shared_elements(port, settings)
    for place in places(port):
        for name, key, element in place_elements(place, (port,), settings):
            elements.setdefault(name, {})[key] = element
    return elements


def shared_elements(port: ServicePort, settings: Settings) -> Elements:
    """The elements that other Service ports may ask for as well."""
    hairpin = {pack_address(e.address) * 2: PRESENT for e in (*port.cluster, *port.local)}
    live = {pack_address(port.cluster_ip): PRESENT} if settings.guarded_cidrs is not None else {}
    return {"hairpin": hairpin, "live": live}


def shape_of(found: Iterable[str]) -> names.Shape:
    """The sets that must be made for elements of these."""
    return frozenset(name for name in found if name not in _FIXED) | affinity_of(found)


def affinity_of(found: Iterable[str]) -> frozenset[str]:
    """The maps that remember clients, where some place is sticky."""
    kinds = {name.rpartition("-")[0] for name in found}
    return frozenset(names.STICKY_MAPS[kind] for kind in kinds & names.STICKY_MAPS.keys())


_FIXED = frozenset(
    {
        *names.PLACES,
        *names.NODE_PORT_PLACES,
        *("allowed-sources", "hairpin", "live"),
        *(names.COUNTED, names.COUNTED_NODE_PORTS),
    }
)


# Places.


def places(port: ServicePort) -> dict[bytes, tuple[Role, ...]]:
    """The places a Service port claims, each with what it is to it."""
    protocol_and_port = _PROTOCOLS[port.protocol] + _port(port.port)
    found: dict[bytes, tuple[Role, ...]] = {pack_address(port.cluster_ip) + protocol_and_port: (Role.CLUSTER_IP,)}
    for addresses, role in ((port.external_ips, Role.EXTERNAL_IP), (port.load_balancer_ips, Role.LOAD_BALANCER)):
        for address in addresses:
            place = pack_address(address) + protocol_and_port
            found[place] = (*found.get(place, ()), role)
    if port.node_port:
        found[_PROTOCOLS[port.protocol] + _port(port.node_port)] = (Role.NODE_PORT,)
    return found


def claimants_of(ports: Iterable[ServicePort]) -> dict[bytes, list[ServicePort]]:
    """Who claims each place, in the order of `ports`."""
    found: dict[bytes, list[ServicePort]] = {}
    for port in ports:
        for place in places(port):
            found.setdefault(place, []).append(port)
    return found


def place_elements(place: bytes, claimants: Iterable[ServicePort], settings: Settings) -> Iterator[Entry]:
    """All elements of one place, from those who claim it, in order."""
    return elements_at(place, _asked(place, claimants), settings)


def _asked(place: bytes, claimants: Iterable[ServicePort]) -> Asked:
    return [(role, port) for port in claimants for role in places(port)[place]]


def elements_at(place: bytes, asked: Asked, settings: Settings) -> Iterator[Entry]:
    """The same, where it is known what the place is to each of them."""
    node_port = len(place) == NODE_PORT_BYTES
    guarded = not node_port and any(_filtered(role, port) for role, port in asked)
    beside = _BESIDE_NODE_PORTS if node_port else _BESIDE_PLACES
    if guarded and not _alone(asked):
        yield from _served_by_source(place, asked, settings)
    else:
        serving = _merge(asked, settings)
        if serving is not None:
            yield from _served(_NODE_PORT if node_port else _PLACE, place, serving)
            if seconds := _sticky(asked):
                yield f"{beside.sticky}-{seconds}", place, PRESENT
        if guarded:
            ranges = _ranges(asked[0][1], settings)
            yield from _with_sources("allowed-sources", place, ranges)
    if settings.counted:
        yield beside.counted, place, PRESENT
    if guarded:
        yield "guarded", place, PRESENT
    refusals = list(_refused(place, asked))
    yield from refusals
    if refusals or guarded:
        yield beside.unserved, place, PRESENT


def serving_of(
    place: bytes, claimants: Sequence[ServicePort], settings: Settings, source: bytes
) -> tuple[Serving | None, int]:
    """Who serves a place to a source, None: nobody; and for how many seconds it is remembered, 0: not at all."""
    asked = _asked(place, claimants)
    if len(place) != NODE_PORT_BYTES and any(_filtered(role, port) for role, port in asked):
        extents = [_let_in(place, role, port, settings) for role, port in asked]
        asked = _asked_by(asked, extents, int.from_bytes(source))
    return _merge(asked, settings), _sticky(asked)


def _alone(asked: Asked) -> bool:
    """Whether source ranges say who is served and nothing more: there is one Service, and no way round them."""
    return len(asked) == 1 and asked[0][0] is Role.LOAD_BALANCER


def _filtered(role: Role, port: ServicePort) -> bool:
    """Whether the place lets only some sources in."""
    return role is Role.LOAD_BALANCER and port.filtered


def _merge(asked: Asked, settings: Settings) -> Serving | None:
    """Who serves a place: the first that has anybody, and for outsiders the first that has somebody for them."""
    found: Serving | None = None
    for role, port in asked:
        serving = _serving(role, port)
        if found is None:
            if serving.near or serving.far:
                found = serving
        elif serving.far:
            return Serving(Way.MIXED if _hides(serving.way, port, settings) else Way.LOCAL, found.near, serving.far)
        if found is not None and found.far:
            return found
    return found


def _sticky(asked: Asked) -> int:
    """For how long clients are remembered: as the first says that serves."""
    return next((port.affinity_seconds for role, port in asked if _serves(role, port)), 0)


def _serves(role: Role, port: ServicePort) -> bool:
    serving = _serving(role, port)
    return bool(serving.near or serving.far)


def _serving(role: Role, port: ServicePort) -> Serving:
    if role is Role.CLUSTER_IP:
        return Serving(Way.CLUSTER_IP, port.internal_endpoints, port.internal_endpoints)
    if port.external_policy is Policy.CLUSTER:
        return Serving(Way.EXTERNAL, port.cluster, port.cluster)
    return Serving(Way.LOCAL, port.cluster, port.local)


def _hides(way: Way, port: ServicePort, settings: Settings) -> bool:
    """Whether outsiders get the node's address."""
    if way is Way.CLUSTER_IP:
        pods = settings.node(port.family).pods
        return settings.masquerade_all or bool(pods.source or pods.interface)
    return way is Way.EXTERNAL


def _served(kind: _Kind, place: bytes, serving: Serving) -> Iterator[Entry]:
    yield kind.cluster_ip if serving.way is Way.CLUSTER_IP else kind.served, place, PRESENT
    yield from _led(kind, place, serving)


def _led(kind: _Kind, place: bytes, serving: Serving) -> Iterator[Entry]:
    """Which way, and where to."""
    way = serving.way
    if way is Way.LOCAL:
        yield kind.local, place, PRESENT
    elif way is Way.MIXED:
        yield kind.mixed, place, PRESENT
    yield from _slots(kind.near_map, place, serving.near)
    if way in (Way.LOCAL, Way.MIXED):
        yield from _slots(kind.far_map, place, serving.far)


def _slots(kind: str, place: bytes, endpoints: Sequence[Endpoint]) -> Iterator[Entry]:
    """One element for each number that can be drawn; a single endpoint needs no draw."""
    number = len(endpoints)
    name = f"{kind}-{number}"
    if number == 1:
        yield name, place, _endpoint(endpoints[0].address, endpoints[0].port)
        return
    for slot, endpoint in enumerate(endpoints):
        yield name, place + _slot(slot), _endpoint(endpoint.address, endpoint.port)


def _refused(place: bytes, asked: Asked) -> Iterator[Entry]:
    """What becomes of packets that nobody translates. The first that claims the place says which answer they get."""
    refusing: dict[str, ServicePort] = {}
    for role, port in asked:
        if role is Role.CLUSTER_IP:
            if not port.internal_endpoints:
                refusing.setdefault("internal", port)
        elif not port.external_endpoints:
            refusing.setdefault("node-ports" if role is Role.NODE_PORT else "external", port)
    for side, port in refusing.items():
        yield f"{'dropped' if port.reachable else 'refused'}-{side}", place, PRESENT


# Places where the sender matters.


Extents: TypeAlias = Sequence[tuple[int, int]]
"""Addresses as numbers, from and to, in order; they do not overlap."""


def _served_by_source(place: bytes, asked: Asked, settings: Settings) -> Iterator[Entry]:
    """Each source is served by those who let it in, in their order; sources that fare alike go together."""
    parts = list(_parts(place, asked, settings))
    for number, (serving, sources) in enumerate(_alike((x, _merge(a, settings)) for x, a in parts).items(), 1):
        kind = _by_source(number)
        yield from _with_sources(kind.served, place, sources)
        if serving.way is Way.CLUSTER_IP:
            yield kind.cluster_ip, place, PRESENT
        yield from _led(kind, place, serving)
    for seconds, sources in _alike((x, _sticky(a)) for x, a in parts).items():
        yield from _with_sources(f"{names.STICKY_SOURCES}-{seconds}", place, sources)


def _parts(place: bytes, asked: Asked, settings: Settings) -> Iterator[tuple[tuple[int, int], Asked]]:
    """All addresses, in pieces that nobody's ranges divide, each with those who let it in."""
    extents = [_let_in(place, role, port, settings) for role, port in asked]
    edges = sorted({edge for let_in in extents for low, high in let_in for edge in (low, high + 1)})
    for low, after in pairwise(edges):
        yield (low, after - 1), _asked_by(asked, extents, low)


def _let_in(place: bytes, role: Role, port: ServicePort, settings: Settings) -> Extents:
    """The sources that a Service lets in at a place."""
    if _filtered(role, port):
        return _ranges(port, settings)
    return [(0, (1 << 8 * (len(place) - NODE_PORT_BYTES)) - 1)]


def _asked_by(asked: Asked, extents: Iterable[Extents], source: int) -> list[tuple[Role, ServicePort]]:
    return [one for one, let_in in zip(asked, extents, strict=True) if _holds(let_in, source)]


def _holds(extents: Extents, number: int) -> bool:
    before = bisect_right(extents, number, key=itemgetter(0)) - 1
    return before >= 0 and number <= extents[before][1]


def _alike(parts: Iterable[tuple[tuple[int, int], _Told | None]]) -> Mapping[_Told, Extents]:
    """The extents of each value that stands for anything, joined where they touch."""
    found: dict[_Told, list[tuple[int, int]]] = {}
    for (low, high), told in parts:
        if not told:
            continue
        extents = found.setdefault(told, [])
        if extents and extents[-1][1] + 1 == low:
            low = extents.pop()[0]
        extents.append((low, high))
    return found


def _ranges(port: ServicePort, settings: Settings) -> Extents:
    """The sources that a Service with source ranges lets in."""
    networks = map(ipaddress.ip_network, allowed_sources(settings.node(port.family), port))
    collapsed = ipaddress.collapse_addresses(networks)  # type: ignore[type-var]
    return [(int(network.network_address), int(network.broadcast_address)) for network in collapsed]


def _with_sources(name: str, place: bytes, sources: Extents) -> Iterator[Entry]:
    size = len(place) - NODE_PORT_BYTES
    for low, high in sources:
        end = place + high.to_bytes(size)
        yield name, place + low.to_bytes(size), Element(end=end) if low != high else PRESENT


# Bytes.


@lru_cache(maxsize=_CACHED)
def pack_address(text: str) -> bytes:
    """An address's bytes."""
    return socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text)


def pack_endpoint(address: str, port: int) -> bytes:
    """The data of a map: where to."""
    return pack_address(address) + _port(port)


@lru_cache(maxsize=_CACHED)
def _endpoint(address: str, port: int) -> Element:
    return Element(pack_endpoint(address, port))


@lru_cache(maxsize=_CACHED)
def _port(number: int) -> bytes:
    return number.to_bytes(2, "big") + b"\0\0"


@lru_cache(maxsize=4096)
def _slot(number: int) -> bytes:
    return number.to_bytes(4, sys.byteorder)
