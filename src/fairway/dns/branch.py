"""One Service's part of the tree: what its own name holds, and all names below it.

Source: Kubernetes DNS-Based Service Discovery 1.1.0, sections 2.3 to 2.5. A branch is grown anew from the Service and
its slices when one of them changes. It keeps bare facts and makes records of them when asked: most names of a large
cluster are never asked for, and a record of each would cost more memory than all objects do.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import lru_cache

import msgspec

from fairway.dns import names
from fairway.dns.errors import BadName
from fairway.dns.names import Name
from fairway.dns.records import Address, RRsets, Srv, Target, Type
from fairway.dns.view import Endpoint, EndpointSlice, Service, ServicePort

SRV_PRIORITY = 0
SRV_WEIGHT = 100
"""The specification leaves both to the implementation; equal ones let clients spread evenly."""
MAX_PORT = 65535

_NO_HOSTS: Mapping[bytes, frozenset[bytes]] = {}
_OWN: Name = ()


class Port(msgspec.Struct, frozen=True):
    """A named port: its labels (`_tcp`, `_http`), its number, and where it is: names relative to the Service's own,
    each of one label or, for the Service itself, none."""

    protocol: bytes
    label: bytes
    number: int
    targets: tuple[Name, ...]


class Branch(msgspec.Struct, frozen=True):
    """The names of the Service called `name`. `addresses` (packed) are its own; `hosts` are its endpoints' labels and
    addresses, `labels` the same the other way round; `alias` is where an ExternalName leads."""

    name: Name
    exists: bool = True
    alias: Name | None = None
    addresses: Collection[bytes] = ()
    ports: tuple[Port, ...] = ()
    hosts: Mapping[bytes, Collection[bytes]] = msgspec.field(default_factory=lambda: _NO_HOSTS)
    labels: Mapping[bytes, Collection[bytes]] = msgspec.field(default_factory=lambda: _NO_HOSTS)

    def own(self) -> RRsets | None:
        """What the Service's name holds; None if it does not exist."""
        if not self.exists:
            return None
        if self.alias is not None:
            return {Type.CNAME: (Target(self.alias),)}
        return _by_family(self.addresses)

    def host(self, label: bytes) -> RRsets | None:
        """What `<hostname>.<service>` holds; None if there is no such endpoint."""
        return _by_family(self.hosts[label]) if label in self.hosts else None

    def has_protocol(self, protocol: bytes) -> bool:
        """Whether `_<proto>.<service>` exists."""
        return any(port.protocol == protocol for port in self.ports)

    def port(self, protocol: bytes, label: bytes) -> RRsets | None:
        """What `_<port>._<proto>.<service>` holds; None if there is no such port."""
        found = {
            (port.number, target)
            for port in self.ports
            if (port.protocol, port.label) == (protocol, label)
            for target in port.targets
        }
        if not found:
            return None
        records = (Srv(SRV_PRIORITY, SRV_WEIGHT, number, target + self.name) for number, target in sorted(found))
        return {Type.SRV: tuple(records)}

    def pointers(self, packed: bytes) -> Iterator[Name]:
        """The names that an address of the Service or its endpoints leads back to."""
        if packed in self.labels:
            return ((label, *self.name) for label in self.labels[packed])
        return iter((self.name,) if packed in self.addresses else ())


def grow(service: Service, slices: Iterable[EndpointSlice], name: Name) -> Branch:
    """The branch of `service` whose own name is `name`. Addresses and names that fit no record are left out."""
    if service.external_name:
        return Branch(name, alias=_alias(service.external_name))
    if service.headless:
        return _headless(service, slices, name)
    addresses = [packed for text in service.addresses if (packed := names.pack(text)) is not None]
    return plain(service, tuple(dict.fromkeys(addresses)), name)


def plain(service: Service, addresses: Collection[bytes], name: Name) -> Branch:
    """The branch of a Service with addresses (packed) of its own."""
    return Branch(name, addresses=addresses, ports=_own_ports(service.spec.ports))


@lru_cache(maxsize=1024)
def _own_ports(ports: tuple[ServicePort, ...] | None) -> tuple[Port, ...]:
    """The ports of a Service with an address of its own. Thousands of Services have the same."""
    return tuple(filter(None, (_port(each.name, each.protocol, each.port, (_OWN,)) for each in ports or ())))


def _alias(external_name: str) -> Name | None:
    try:
        return names.parse(external_name)
    except BadName:
        return None


def _headless(service: Service, slices: Iterable[EndpointSlice], name: Name) -> Branch:
    """Without a ready endpoint nothing exists, not even the Service's own name (section 2.4.1: NXDOMAIN)."""
    hosts: dict[bytes, list[bytes]] = {}
    labels: dict[bytes, list[bytes]] = {}
    ports: list[Port | None] = []
    for piece in slices:
        ready = set(_ready(piece.endpoints, all_count=service.publishes_unready))
        for label, packed in ready:
            _file(hosts, label, packed)
            _file(labels, packed, label)
        targets = tuple({(label,) for label, _ in ready})
        ports += (_port(port.name, port.protocol, port.port, targets) for port in piece.ports)
    return Branch(
        name,
        exists=bool(hosts),
        addresses=labels.keys(),
        ports=tuple(filter(None, ports)) if hosts else (),
        hosts=hosts,
        labels=labels,
    )


def _ready(endpoints: Iterable[Endpoint], *, all_count: bool) -> Iterator[tuple[bytes, bytes]]:
    """(label, address) of every address that may be named. An endpoint without a hostname of its own is named after
    each of its addresses."""
    for endpoint in endpoints:
        if not (endpoint.ready or all_count):
            continue
        for text in endpoint.addresses:
            packed = names.pack(text)
            if packed is not None:
                yield _host_label(endpoint) or names.dashed(packed), packed


def _host_label(endpoint: Endpoint) -> bytes | None:
    """The endpoint's own hostname, if it has one that fits in a label."""
    label = endpoint.hostname.lower().encode()
    return label if names.is_label(label) else None


def _file(index: dict[bytes, list[bytes]], key: bytes, value: bytes) -> None:
    """Add a value once; lists, because nearly all have one."""
    held = index.setdefault(key, [])
    if value not in held:
        held.append(value)


def _port(name: str, protocol: str, number: int, targets: tuple[Name, ...]) -> Port | None:
    """A port that has SRV records. Unnamed ones have none (section 2.3.2), nor has a port without a number, which
    means all of them."""
    label = b"_" + name.lower().encode()
    if not name or not names.is_label(label) or not 0 < number <= MAX_PORT or not targets:
        return None
    return Port(b"_" + protocol.lower().encode(), label, number, targets)


def _by_family(addresses: Collection[bytes]) -> RRsets:
    if len(addresses) == 1:
        (only,) = map(Address, addresses)
        return {only.type: (only,)}
    found: dict[int, list[Address]] = {}
    for packed in sorted(addresses):
        address = Address(packed)
        found.setdefault(address.type, []).append(address)
    return {type: tuple(each) for type, each in found.items()}
