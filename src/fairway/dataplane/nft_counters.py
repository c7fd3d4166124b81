"""Packets and bytes of each Service port, as the counters of nftables mode have them.

The kernel counts by place (`nft_layout`); here is kept whose each place is, at the cost of what changes, and added up
when somebody asks. A counter starts again when its table is laid anew, and Prometheus knows such resets.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator

from fairway.dataplane import nft_layout as names
from fairway.dataplane.base import Report, Update
from fairway.dataplane.exposition import Labels, Metric, Value
from fairway.dataplane.nft import places
from fairway.dataplane.proxy import Observer
from fairway.desired.model import PortKey
from fairway.kernel.base import KernelError, Nftables
from fairway.packet import Family

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
        """The two metrics as they are now; none while the kernel cannot be asked."""
        async with self._asking:
            try:
                found = await asyncio.to_thread(lambda: list(self._read()))
            except KernelError:
                return []
        packets: Counter[Labels] = Counter()
        sizes: Counter[Labels] = Counter()
        for family, place, counted, size in found:
            key = self._owners[family].get(place)
            if key is not None:
                labels = (key[0].namespace, key[0].service, key[0].port, key[1].value, family.value)
                packets[labels] += counted
                sizes[labels] += size
        about = "of the connections of a Service port, both ways, on this node."
        return [
            Value("fairway_service_packets_total", f"Packets {about}", "counter", LABELS, dict(packets)),
            Value("fairway_service_bytes_total", f"Bytes of the packets {about}", "counter", LABELS, dict(sizes)),
        ]

    def _read(self) -> Iterator[tuple[Family, bytes, int, int]]:
        for family in Family:
            for name in (names.COUNTED, names.COUNTED_NODE_PORTS):
                kept = names.declared(family, name)
                for place, element in self._nftables.elements(names.table_name(family), kept):
                    yield family, place, element.packets, element.bytes
