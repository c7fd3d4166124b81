"""One Service's part of the tree: what its own name holds, and all names below it.

Source: Kubernetes DNS-Based Service Discovery 1.1.0, sections 2.3 to 2.5. Built anew from the Service and its slices
whenever one of them changes; nothing outside it depends on the build but the reverse index, which reads `pointers`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from fairway.dns import names
from fairway.dns.errors import BadName
from fairway.dns.names import Name
from fairway.dns.records import Address, RRsets, Srv, Target, Type
from fairway.dns.view import Endpoint, EndpointSlice, Service

SRV_PRIORITY = 0
SRV_WEIGHT = 100
"""The specification leaves both to the implementation; equal ones let clients spread evenly."""

MAX_PORT = 65535

_Ports = dict[bytes, dict[bytes, set[tuple[int, Name]]]]


@dataclass(frozen=True, slots=True)
class Branch:
    """`own` is what the Service's name holds, None if the name does not exist; `ports` are SRV records by `_proto`,
    then `_port`; `hosts` are endpoint names (one label); `pointers` are the names of an address (packed)."""

    own: RRsets | None
    ports: Mapping[bytes, Mapping[bytes, RRsets]]
    hosts: Mapping[bytes, RRsets]
    pointers: Mapping[bytes, tuple[Name, ...]]


def grow(service: Service, slices: Iterable[EndpointSlice], name: Name) -> Branch:
    """The branch of `service` whose own name is `name`. Addresses and names that fit no record are left out."""
    if service.external_name:
        return Branch(_alias(service.external_name), {}, {}, {})
    if service.headless:
        return _headless(service, slices, name)
    return _with_cluster_ip(service, name)


def _alias(external_name: str) -> RRsets:
    try:
        return {Type.CNAME: (Target(names.parse(external_name)),)}
    except BadName:
        return {}


def _with_cluster_ip(service: Service, name: Name) -> Branch:
    addresses = {packed for text in service.addresses if (packed := names.pack(text)) is not None}
    ports: _Ports = {}
    for port in service.spec.ports or ():
        _add_port(ports, port.name, port.protocol, port.port, [name])
    return Branch(_by_family(addresses), _sorted_ports(ports), {}, dict.fromkeys(addresses, (name,)))


def _headless(service: Service, slices: Iterable[EndpointSlice], name: Name) -> Branch:
    """Without a ready endpoint nothing exists, not even the Service's own name (section 2.4.1: NXDOMAIN)."""
    hosts: dict[bytes, set[bytes]] = {}
    ports: _Ports = {}
    for piece in slices:
        ready = list(_ready(piece.endpoints or (), all_count=service.publishes_unready))
        for label, packed in ready:
            hosts.setdefault(label, set()).add(packed)
        targets = [(label, *name) for label in {label for label, _ in ready}]
        for port in piece.ports or ():
            _add_port(ports, port.name, port.protocol, port.port, targets)
    if not hosts:
        return Branch(None, {}, {}, {})
    everyone = {packed for addresses in hosts.values() for packed in addresses}
    return Branch(
        _by_family(everyone),
        _sorted_ports(ports),
        {label: _by_family(addresses) for label, addresses in hosts.items()},
        _pointers(hosts, name),
    )


def _ready(endpoints: Iterable[Endpoint], *, all_count: bool) -> Iterator[tuple[bytes, bytes]]:
    """(label, address) of every address that may be named. An endpoint without a hostname of its own is named after
    each of its addresses."""
    for endpoint in endpoints:
        if not (endpoint.ready or all_count):
            continue
        for text in endpoint.addresses or ():
            packed = names.pack(text)
            if packed is not None:
                yield _host_label(endpoint) or names.dashed(packed), packed


def _host_label(endpoint: Endpoint) -> bytes | None:
    """The endpoint's own hostname, if it has one that fits in a label."""
    label = (endpoint.hostname or "").lower().encode()
    return label if names.is_label(label) else None


def _add_port(ports: _Ports, name: str | None, protocol: str | None, number: int | None, targets: list[Name]) -> None:
    """File an SRV record for each target under `_protocol`, `_name`. Unnamed ports have none (section 2.3.2), nor has
    a port without a number, which means all of them."""
    label = b"_" + (name or "").lower().encode()
    if not targets or not name or not names.is_label(label) or not 0 < (number or 0) <= MAX_PORT:
        return
    by_name = ports.setdefault(b"_" + (protocol or "TCP").lower().encode(), {})
    by_name.setdefault(label, set()).update((number or 0, target) for target in targets)


def _sorted_ports(ports: _Ports) -> dict[bytes, dict[bytes, RRsets]]:
    return {
        protocol: {label: {Type.SRV: tuple(_srv(*each) for each in sorted(found))} for label, found in by_name.items()}
        for protocol, by_name in ports.items()
    }


def _srv(port: int, target: Name) -> Srv:
    return Srv(SRV_PRIORITY, SRV_WEIGHT, port, target)


def _by_family(addresses: Iterable[bytes]) -> RRsets:
    found: dict[int, list[Address]] = {}
    for packed in sorted(addresses):
        address = Address(packed)
        found.setdefault(address.type, []).append(address)
    return {type: tuple(each) for type, each in found.items()}


def _pointers(hosts: Mapping[bytes, Iterable[bytes]], name: Name) -> dict[bytes, tuple[Name, ...]]:
    found: dict[bytes, list[Name]] = {}
    for label in sorted(hosts):
        for packed in hosts[label]:
            found.setdefault(packed, []).append((label, *name))
    return {packed: tuple(targets) for packed, targets in found.items()}
