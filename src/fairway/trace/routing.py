"""The routing decision, and what the kernel calls an address, from a node's routes and addresses.

A node without routes of a family is one nothing is known of (a dump alone, without `ip route`): the answer is then
UNKNOWN and the walk goes on as for a packet that leaves. Likewise a node without addresses of a family.
"""

from __future__ import annotations

import enum
import ipaddress
from dataclasses import dataclass

from fairway.node import Address, InterfaceAddress, Node

LOOPBACK = "lo"


@dataclass(frozen=True, slots=True)
class Settings:
    """The kernel's switches that decide about a packet's way: `net.ipv4.ip_forward` (any node of a cluster has it on)
    and `net.ipv4.conf.all.route_localnet` (off unless someone asks for it)."""

    ip_forward: bool = True
    route_localnet: bool = False


class Way(enum.StrEnum):
    """Where a route leads."""

    LOCAL = "local"  # an address of this node
    DEVICE = "device"  # a neighbour on the device's link
    VIA = "via"  # the next hop
    UNREACHABLE = "unreachable"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Decision:
    """A routing decision. `route` is the line of `ip route` behind it, as text."""

    way: Way
    device: str = ""
    via: str = ""
    route: str = ""


def decide(node: Node, destination: Address) -> Decision:
    """The route to a destination: the local table first, then the main one (ip-rule(8), the default rules)."""
    if node.is_local(destination):
        return Decision(Way.LOCAL, LOOPBACK, route=f"local {destination}")
    if not any(r.destination.version == destination.version for r in node.routes):
        return Decision(Way.UNKNOWN)
    route = node.route(destination)
    if route is None:
        return Decision(Way.UNREACHABLE)
    where = "default" if route.destination.prefixlen == 0 else str(route.destination)
    if route.via is None:
        return Decision(Way.DEVICE, route.device, route=f"{where} dev {route.device}")
    via = str(route.via)
    return Decision(Way.VIA, route.device, via, f"{where} via {via} dev {route.device}")


def martian(state_source: Address | None, destination: Address, device: str, settings: Settings) -> str:
    """Why the kernel refuses to carry these addresses over a device other than `lo`, or "". RFC 1122 3.2.1.3 (g);
    IPv4's check can be switched off by route_localnet, IPv6's (RFC 4291 2.5.3) cannot."""
    if device in (LOOPBACK, ""):
        return ""
    for what, address in (("source", state_source), ("destination", destination)):
        if address is None or not address.is_loopback or (address.version == 4 and settings.route_localnet):
            continue
        switch = " and net.ipv4.conf.all.route_localnet is 0" if address.version == 4 else ""
        return f"the {what} {address} is a loopback address, {device} is not the loopback device{switch}"
    return ""


def address_types(node: Node, address: Address, device: str = "") -> frozenset[str] | None:
    """What `-m addrtype` calls an address: LOCAL, BROADCAST, MULTICAST, UNICAST ...; None when the node's addresses
    are not known. With `device`, only the addresses on it are LOCAL."""
    if address.is_multicast:
        return frozenset({"MULTICAST"})
    if address.is_unspecified:
        return frozenset({"UNSPEC"})
    if address.is_loopback:
        return frozenset({"LOCAL"}) if device in ("", LOOPBACK) else frozenset({"UNICAST"})
    known = [a for a in _interface_addresses(node) if a.version == address.version]
    if not known:
        return None
    mine = [a.ip for a in _interface_addresses(node, device)]
    if address in mine:
        return frozenset({"LOCAL"})
    return frozenset({"BROADCAST"}) if _is_broadcast(known, address) else frozenset({"UNICAST"})


def _interface_addresses(node: Node, device: str = "") -> list[InterfaceAddress]:
    return [a for i in node.interfaces if device in ("", i.name) for a in i.addresses]


def _is_broadcast(known: list[InterfaceAddress], address: Address) -> bool:
    if address.version == 6:
        return False
    if address == ipaddress.IPv4Address("255.255.255.255"):
        return True
    return any(a.network.prefixlen < 31 and a.network.broadcast_address == address for a in known)


def masquerade_address(node: Node, device: str, next_hop: Address) -> str:
    """The source that MASQUERADE takes: the first address of the device whose network holds the next hop, else the
    device's first, else the node's first (inet_select_addr in net/ipv4/devinet.c; loopback addresses have host scope
    and never qualify). "" when the device or its address is not known."""
    if not device:
        return ""
    candidates = [
        address
        for interface in sorted(node.interfaces, key=lambda i: i.name != device)
        for address in interface.addresses
        if address.version == next_hop.version and not address.is_loopback and not address.is_link_local
    ]
    on_device = [a for i in node.interfaces if i.name == device for a in i.addresses if a in candidates]
    near = [a for a in on_device if next_hop in a.network]
    chosen = (near or on_device or candidates)[:1]
    return str(chosen[0].ip) if chosen else ""
