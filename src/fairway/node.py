"""A node as the network sees it: name, labels, addresses, routes, pod ranges."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network
InterfaceAddress: TypeAlias = ipaddress.IPv4Interface | ipaddress.IPv6Interface

ZONE_LABEL = "topology.kubernetes.io/zone"
HOSTNAME_LABEL = "kubernetes.io/hostname"


@dataclass(frozen=True, slots=True)
class Interface:
    """A device and the addresses on it, each with its prefix length (`10.0.0.11/24`)."""

    name: str
    addresses: tuple[InterfaceAddress, ...] = ()


@dataclass(frozen=True, slots=True)
class Route:
    """One line of `ip route`: `via` is None for destinations on the link; `source` is the preferred source; `refusal`
    is "unreachable", "blackhole" or "prohibit" for a route that leads nowhere."""

    destination: Network
    device: str
    via: Address | None = None
    source: Address | None = None
    metric: int = 0
    refusal: str = ""


@dataclass(frozen=True, slots=True)
class Node:
    """All that the data plane and the tracer may know of a node.

    `interfaces` excludes `lo`; 127.0.0.0/8 and ::1 are local on every node. `routes` is the main table, with the
    connected networks in it. `primary` are the addresses by which the cluster knows the node, one per family at most;
    a family without one is known by its first address.
    """

    name: str
    interfaces: tuple[Interface, ...] = ()
    routes: tuple[Route, ...] = ()
    pod_cidrs: tuple[Network, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    primary: tuple[Address, ...] = ()

    @property
    def zone(self) -> str:
        """The node's zone label, or ""."""
        return self.labels.get(ZONE_LABEL, "")

    def addresses(self) -> Iterator[Address]:
        """Every address of the node but loopback ones, in the order of its interfaces."""
        for interface in self.interfaces:
            for address in interface.addresses:
                yield address.ip

    def is_local(self, address: Address) -> bool:
        """Whether the kernel's local table holds `address` (what iptables calls `--dst-type LOCAL`)."""
        return address.is_loopback or address in set(self.addresses())

    def route(self, destination: Address) -> Route | None:
        """The route the main table gives to `destination`: longest prefix, then lowest metric; None: unreachable."""
        found = [
            r for r in self.routes if r.destination.version == destination.version and destination in r.destination
        ]
        return min(found, key=lambda r: (-r.destination.prefixlen, r.metric), default=None)
