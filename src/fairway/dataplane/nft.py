"""The desired model said in nftables: a pure function to the elements of one family's table.

What stands in the table is decided place by place (`nft_layout` says what a place is): `place_elements` gives all
elements of one place from the Service ports that claim it, which is one, except where users give two Services the
same external address; then they are asked in their order, as `desired.decide` does. A change of one Service therefore
concerns the places it claims and no others. The two sets that are not kept by place, `hairpin` and `live`, hold
addresses that many Services may share.

One thing is settled more simply than `decide` does: a load-balancer address with source ranges that several Services
claim at the same port is left to the first of them alone.
"""

from __future__ import annotations

import enum
import ipaddress
import socket
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple, TypeAlias

from fairway.dataplane import nft_layout as names
from fairway.desired.decide import node_let_in
from fairway.desired.model import Desired, Endpoint, Policy, ServicePort, Settings
from fairway.packet import Family, Protocol
from fairway.ruleset import nft
from fairway.ruleset.nft import PRESENT, Element

Elements: TypeAlias = dict[str, dict[bytes, Element]]
"""Set name -> packed key -> element."""

Entry: TypeAlias = tuple[str, bytes, Element]
"""One element of a set."""

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
    """The names that differ between places with an address and node ports."""

    served: str
    local: str
    mixed: str
    near_map: str
    far_map: str
    sticky: str
    affinity: str
    unserved: str
    counted: str


_PLACE = _Kind(
    "external",
    "external-local",
    names.MIXED,
    names.ENDPOINTS,
    names.LOCAL_ENDPOINTS,
    names.STICKY,
    names.AFFINITY,
    "unserved",
    names.COUNTED,
)
_NODE_PORT = _Kind(
    "node-ports",
    "node-ports-local",
    names.MIXED_NODE_PORTS,
    names.NODE_PORT_ENDPOINTS,
    names.NODE_PORT_LOCAL_ENDPOINTS,
    names.STICKY_NODE_PORTS,
    names.AFFINITY_NODE_PORTS,
    "unserved-node-ports",
    names.COUNTED_NODE_PORTS,
)


def render(desired: Desired, family: Family) -> nft.Table:
    """Everything `desired` asks for in one family, as one whole table."""
    elements: Elements = {}
    for port in desired.of(family):
        for name, kept in shared_elements(port, desired.settings).items():
            elements.setdefault(name, {}).update(kept)
    for place, claimants in claimants_of(desired.of(family)).items():
        for name, key, element in place_elements(place, claimants, desired.settings):
            elements.setdefault(name, {})[key] = element
    return filled(names.layout(family, desired.settings, shape_of(elements)), elements)


def filled(table: nft.Table, elements: Mapping[str, dict[bytes, Element]]) -> nft.Table:
    """The table with these elements put in."""
    for name, kept in elements.items():
        table.sets[name].elements = kept
    return table


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
    return frozenset(kind.affinity for kind in (_PLACE, _NODE_PORT) if kind.sticky in kinds)


_FIXED = frozenset(
    {
        *names.PLACES,
        *names.NODE_PORT_PLACES,
        *("allowed-sources", "hairpin", "live"),
        *(names.COUNTED, names.COUNTED_NODE_PORTS),
    }
)


# Places.


def places(port: ServicePort) -> dict[bytes, Role]:
    """The places a Service port claims, each in the first role it has there."""
    protocol_and_port = _PROTOCOLS[port.protocol] + _port(port.port)
    found = {pack_address(port.cluster_ip) + protocol_and_port: Role.CLUSTER_IP}
    for address in port.external_ips:
        found.setdefault(pack_address(address) + protocol_and_port, Role.EXTERNAL_IP)
    for address in port.load_balancer_ips:
        found.setdefault(pack_address(address) + protocol_and_port, Role.LOAD_BALANCER)
    if port.node_port:
        found[_PROTOCOLS[port.protocol] + _port(port.node_port)] = Role.NODE_PORT
    return found


def claimants_of(ports: Iterable[ServicePort]) -> dict[bytes, list[ServicePort]]:
    """Who claims each place, in the order of `ports`."""
    found: dict[bytes, list[ServicePort]] = {}
    for port in ports:
        for place in places(port):
            found.setdefault(place, []).append(port)
    return found


def place_elements(place: bytes, claimants: Sequence[ServicePort], settings: Settings) -> Iterator[Entry]:
    """All elements of one place, from those who claim it, in order."""
    return elements_at(place, [(places(port)[place], port) for port in claimants], settings)


def elements_at(place: bytes, asked: Sequence[tuple[Role, ServicePort]], settings: Settings) -> Iterator[Entry]:
    """The same, where it is known what the place is to each of them."""
    kind = _NODE_PORT if len(place) == NODE_PORT_BYTES else _PLACE
    serving = _merge(asked, settings)
    if serving is not None:
        yield from _served(kind, place, serving)
        seconds = next(port.affinity_seconds for role, port in asked if _serves(role, port))
        if seconds:
            yield f"{kind.sticky}-{seconds}", place, PRESENT
    if settings.counted:
        yield kind.counted, place, PRESENT
    yield from _refused(kind, place, asked)
    yield from _guarded(place, asked, settings)


def serving_of(place: bytes, claimants: Sequence[ServicePort], settings: Settings) -> Serving | None:
    """Who serves a place; None: nobody."""
    return _merge([(places(port)[place], port) for port in claimants], settings)


def _merge(asked: Sequence[tuple[Role, ServicePort]], settings: Settings) -> Serving | None:
    """Who serves a place: the first that has anybody, and for outsiders the first that has somebody for them."""
    found: Serving | None = None
    for role, port in asked:
        serving = _serving(role, port)
        if found is None:
            if serving.near or serving.far:
                found = serving
        elif serving.far:
            return Serving(Way.MIXED if _hides(serving.way, port, settings) else Way.LOCAL, found.near, serving.far)
        if found is not None and (found.far or _filtered(role, port)):
            return found
    return found


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
    way = serving.way
    yield "cluster-ips" if way is Way.CLUSTER_IP else kind.served, place, PRESENT
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


def _refused(kind: _Kind, place: bytes, asked: Sequence[tuple[Role, ServicePort]]) -> Iterator[Entry]:
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
    if refusing or any(_filtered(role, port) for role, port in asked):
        yield kind.unserved, place, PRESENT


def _filtered(role: Role, port: ServicePort) -> bool:
    return role is Role.LOAD_BALANCER and port.filtered


def _guarded(place: bytes, asked: Sequence[tuple[Role, ServicePort]], settings: Settings) -> Iterator[Entry]:
    """The source ranges of the first Service that has some."""
    for role, port in asked:
        if _filtered(role, port):
            yield "guarded", place, PRESENT
            for low, high in _ranges(place, port, settings):
                yield "allowed-sources", place + low, Element(end=place + high) if low != high else PRESENT
            return


def _ranges(place: bytes, port: ServicePort, settings: Settings) -> Iterator[tuple[bytes, bytes]]:
    """The sources let in, as ranges that do not touch: the kernel takes no others. Packets that bear the load
    balancer's own address are the node's to itself."""
    networks = [ipaddress.ip_network(text) for text in port.source_ranges]
    if node_let_in(settings.node(port.family), port):
        networks.append(ipaddress.ip_network(place[: len(networks[0].network_address.packed)]))
    for network in ipaddress.collapse_addresses(networks):  # type: ignore[type-var]
        yield network.network_address.packed, network.broadcast_address.packed


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
