"""EndpointSlices and Endpoints: addresses that a node may send packets to, and the ports they listen on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fairway.objects import names
from fairway.objects.errors import FieldError, duplicate, invalid, required, too_many
from fairway.objects.validate.fields import address, labels, not_special
from fairway.objects.validate.meta import IMMUTABLE
from fairway.packet import family_of

Object = dict[str, Any]

MAX_ENDPOINTS = 1000
MAX_ADDRESSES = 100
MAX_PORTS = 20000
MAX_HINTS = 8
MAX_TOPOLOGY = 16


def validate_slice(slice_: Object) -> Iterator[FieldError]:
    """An EndpointSlice."""
    endpoints, ports = slice_.get("endpoints") or [], slice_.get("ports") or []
    if len(endpoints) > MAX_ENDPOINTS:
        yield too_many("endpoints", len(endpoints), MAX_ENDPOINTS)
        return
    for index, endpoint in enumerate(endpoints):
        yield from _endpoint(endpoint, slice_.get("addressType") or "", f"endpoints[{index}]")
    if len(ports) > MAX_PORTS:
        yield too_many("ports", len(ports), MAX_PORTS)
        return
    yield from _slice_ports(ports)


def validate_slice_update(new: Object, old: Object) -> Iterator[FieldError]:
    """A slice never changes its family."""
    if new.get("addressType") != old.get("addressType"):
        yield invalid("addressType", new.get("addressType"), IMMUTABLE)


def validate_endpoints(endpoints: Object) -> Iterator[FieldError]:
    """The older Endpoints object."""
    for index, subset in enumerate(endpoints.get("subsets") or []):
        path = f"subsets[{index}]"
        if not subset.get("addresses") and not subset.get("notReadyAddresses"):
            yield required(path, "must specify `addresses` or `notReadyAddresses`")
        for field in ("addresses", "notReadyAddresses"):
            for position, one in enumerate(subset.get(field) or []):
                text = one.get("ip") or ""
                for detail in (address(text) or not_special(text)) if text else []:
                    yield invalid(f"{path}.{field}[{position}].ip", text, detail)
        yield from _subset_ports(subset.get("ports") or [], path)


def _endpoint(endpoint: Object, address_type: str, path: str) -> Iterator[FieldError]:
    addresses = endpoint.get("addresses") or []
    if len(addresses) > MAX_ADDRESSES:
        yield too_many(f"{path}.addresses", len(addresses), MAX_ADDRESSES)
    for index, text in enumerate(addresses):
        for detail in _address(text, address_type):
            yield invalid(f"{path}.addresses[{index}]", text, detail)
    topology = endpoint.get("deprecatedTopology") or {}
    if len(topology) > MAX_TOPOLOGY:
        yield too_many(f"{path}.deprecatedTopology", len(topology), MAX_TOPOLOGY)
    yield from labels(topology, f"{path}.deprecatedTopology")
    yield from _hints(endpoint.get("hints") or {}, f"{path}.hints")


def _address(text: str, address_type: str) -> list[str]:
    match address_type:
        case "FQDN":
            return names.subdomain(text)
        case "IPv4" | "IPv6":
            wrong = address(text)
            if wrong or family_of(text) != address_type:
                return [f"must be a valid {address_type} address"]
            return not_special(text)
    return []


def _hints(hints: Object, path: str) -> Iterator[FieldError]:
    for field in ("forZones", "forNodes"):
        entries = hints.get(field) or []
        if len(entries) > MAX_HINTS:
            yield too_many(f"{path}.{field}", len(entries), MAX_HINTS)
        seen: set[str] = set()
        for index, entry in enumerate(entries):
            name = entry.get("name") or ""
            if name in seen:
                yield duplicate(f"{path}.{field}[{index}].name", name)
            seen.add(name)


def _slice_ports(ports: list[Object]) -> Iterator[FieldError]:
    seen: set[str] = set()
    for index, port in enumerate(ports):
        name = port.get("name") or ""
        for detail in names.label(name) if name else []:
            yield invalid(f"ports[{index}].name", name, detail)
        if name in seen:
            yield duplicate(f"ports[{index}].name", name)
        seen.add(name)


def _subset_ports(ports: list[Object], path: str) -> Iterator[FieldError]:
    for index, port in enumerate(ports):
        name = port.get("name") or ""
        if not name and len(ports) > 1:
            yield required(f"{path}.ports[{index}].name", "must be given when there is more than one port")
        for detail in names.label(name) if name else []:
            yield invalid(f"{path}.ports[{index}].name", name, detail)
