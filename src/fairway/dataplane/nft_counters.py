"""Packets and bytes of each Service port and of its endpoints, as the counters of nftables mode have them.

The kernel counts by place (`nft_layout`); here is kept whose each place is, at the cost of what changes, and added up
when somebody asks. A counter starts again when its table is laid anew, and Prometheus knows such resets.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections import Counter
from collections.abc import Iterator

from fairway.dataplane import nft_layout as names
from fairway.dataplane.base import Report, Update
from fairway.dataplane.nft import NODE_PORT_BYTES, places
from fairway.dataplane.proxy import Observer
from fairway.desired.model import PortKey
from fairway.kernel.base import KernelError, Nftables
from fairway.observe.exposition import Labels, Metric, Value
from fairway.packet import Family, host_port
from fairway.ruleset.nft import Element

_ADDRESS_BYTES = {Family.IPV4: 4, Family.IPV6: 16}
LABELS = ("namespace", "service", "port", "protocol", "ip_family")


class ServiceCounters(Observer):
    """Whose the counted places are. `nftables` is for this object alone, which asks in a thread."""

    def __init__(self, nftables: Nftables) -> None:
        self._nftables = nftables
        self._owners: dict[Family, dict[bytes, PortKey]] = {family: {} for family in Family}
        self._places: dict[PortKey, list[bytes]] = {}
        self._asking = asyncio.Lock()

    async def applied(self, update: Update, report: Report, seconds: float) -> None:
        """See `Observer`. A place that several claim counts for the one that was there first."""
        for key in (self._places.keys() | update.ports.keys()) if update.changed is None else update.changed:
            owners = self._owners[key[2]]
            for place in self._places.pop(key, ()):
                del owners[place]
            port = update.ports.get(key)
            if port is not None:
                mine = [place for place in places(port) if owners.setdefault(place, key) == key]
                self._places[key] = mine

    async def metrics(self) -> list[Metric]:
        """What was counted until now; nothing while the kernel cannot be asked. Endpoints are told from their first
        packet on."""
        async with self._asking:
            try:
                found = await asyncio.to_thread(lambda: list(self._read()))
            except KernelError:
                return []
        services, endpoints = _Totals(), _Totals()
        for family, key, counted in found:
            owner, endpoint = self._whose(family, key)
            if owner is None:
                continue
            labels = (owner[0].namespace, owner[0].service, owner[0].port, owner[1].value, family.value)
            if endpoint:
                endpoints.add((*labels, endpoint), counted)
            else:
                services.add(labels, counted)
        about = "of the connections of a Service port, both ways, on this node"
        return [
            *services.told("fairway_service", f"{about}.", LABELS),
            *endpoints.told("fairway_endpoint", f"{about}, by endpoint.", (*LABELS, "endpoint")),
        ]

    def _whose(self, family: Family, key: bytes) -> tuple[PortKey | None, str]:
        """The owner of a counted place and "", or with the endpoint that packets to it went to."""
        owners, address = self._owners[family], _ADDRESS_BYTES[family]
        end = address + NODE_PORT_BYTES
        place, rest = key[:end], key[end:]
        if not rest:
            return owners.get(key), ""
        endpoint = host_port(str(ipaddress.ip_address(rest[:address])), int.from_bytes(rest[address : address + 2]))
        return owners.get(place) or owners.get(place[address:]), endpoint

    def _read(self) -> Iterator[tuple[Family, bytes, Element]]:
        for family in Family:
            for name in (names.COUNTED, names.COUNTED_NODE_PORTS, names.COUNTED_ENDPOINTS):
                kept = names.declared(family, name)
                for key, element in self._nftables.elements(names.table_name(family), kept):
                    yield family, key, element


class _Totals:
    """Packets and bytes by labels."""

    def __init__(self) -> None:
        self._packets: Counter[Labels] = Counter()
        self._bytes: Counter[Labels] = Counter()

    def add(self, labels: Labels, counted: Element) -> None:
        self._packets[labels] += counted.packets
        self._bytes[labels] += counted.bytes

    def told(self, name: str, about: str, labels: Labels) -> list[Metric]:
        return [
            Value(f"{name}_packets_total", f"Packets {about}", "counter", labels, dict(self._packets)),
            Value(f"{name}_bytes_total", f"Bytes of the packets {about}", "counter", labels, dict(self._bytes)),
        ]
