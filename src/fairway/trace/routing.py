"""The routing decision, and what the kernel calls an address, from a node's routes and addresses.

A node without routes of a family is one nothing is known of (a dump alone, without `ip route`): the answer is then
UNKNOWN and the walk goes on as for a packet that leaves. Likewise a node without addresses of a family.
"""

from __future__ import annotations

import enum
import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from fairway.node import Address, InterfaceAddress, Node, Route
from fairway.trace.policy import MAIN, PolicyRule

LOOPBACK = "lo"


@dataclass(frozen=True, slots=True)
class Settings:
    """The kernel's switches that decide about a packet's way: `net.ipv4.ip_forward` (any node of a cluster has it on),
    `net.ipv4.conf.all.route_localnet` (off unless someone asks for it), `net.ipv4.conf.*.rp_filter` by the name of the
    device or "all" (nothing: not checked), `net.bridge.bridge-nf-call-iptables`; the rules of `ip rule` (none: those
    every node has) and the routes of other tables than `main`. `ports` are the bridge ports of every device that is
    known, none of one that is no bridge."""

    ip_forward: bool = True
    route_localnet: bool = False
    reverse_path: Mapping[str, int] = field(default_factory=dict)
    bridge_rules: bool = True
    policy: Sequence[PolicyRule] = ()
    tables: Mapping[str, Sequence[Route]] = field(default_factory=dict)
    ports: Mapping[str, frozenset[str]] = field(default_factory=dict)


class Way(enum.StrEnum):
    """Where a route leads."""

    LOCAL = "local"  # an address of this node
    DEVICE = "device"  # a neighbour on the device's link
    VIA = "via"  # the next hop
    UNREACHABLE = "unreachable"
    BLACKHOLE = "blackhole"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Decision:
    """A routing decision. `route` is the line of `ip route` behind it, as text."""

    way: Way
    device: str = ""
    via: str = ""
    route: str = ""


@dataclass(frozen=True, slots=True)
class Asked:
    """What policy rules look at besides the destination."""

    source: Address | None = None
    mark: int = 0
    in_device: str = ""


_LOOPBACK_V6 = ipaddress.IPv6Address("::1")
_EVERY_NODE = (PolicyRule(32766, MAIN),)


def decide(node: Node, destination: Address, asked: Asked | None = None, settings: Settings | None = None) -> Decision:
    """The route to a destination: the local table first, then those that the policy rules name, in their order. IPv6's
    loopback address is looked for on the device a packet came in by (rt6_need_strict in net/ipv6/route.c)."""
    device = asked.in_device if asked is not None else ""
    if destination == _LOOPBACK_V6 and device not in ("", LOOPBACK):
        route = _longest([route for route in node.routes if route.device == device], destination)
        return Decision(Way.UNREACHABLE) if route is None else _decision(route, "")
    if node.is_local(destination):
        return Decision(Way.LOCAL, LOOPBACK, route=f"local {destination}")
    settings = settings or Settings()
    if not any(r.destination.version == destination.version for r in node.routes):
        return Decision(Way.UNKNOWN)
    for found in _found(node, destination, asked or Asked(), settings):
        return found
    return Decision(Way.UNREACHABLE)


def _found(node: Node, destination: Address, asked: Asked, settings: Settings) -> Iterator[Decision]:
    for rule in settings.policy or _EVERY_NODE:
        if not rule.applies(asked.source, destination, asked.mark, asked.in_device):
            continue
        if rule.action:
            yield _refusal(rule.action, str(rule))
        routes = node.routes if rule.table == MAIN else settings.tables.get(rule.table, ())
        route = _longest(routes, destination)
        if route is not None and route.destination.prefixlen > rule.longer_than:
            yield _decision(route, "" if rule.table == MAIN else f" table {rule.table} ({rule})")


def _longest(routes: Sequence[Route], destination: Address) -> Route | None:
    found = [r for r in routes if r.destination.version == destination.version and destination in r.destination]
    return min(found, key=lambda r: (-r.destination.prefixlen, r.metric), default=None)


def _refusal(action: str, text: str) -> Decision:
    return Decision(Way.BLACKHOLE if action == "blackhole" else Way.UNREACHABLE, route=text)


def _decision(route: Route, table: str) -> Decision:
    where = "default" if route.destination.prefixlen == 0 else str(route.destination)
    if route.refusal:
        return _refusal(route.refusal, f"{route.refusal} {where}{table}")
    if route.via is None:
        return Decision(Way.DEVICE, route.device, route=f"{where} dev {route.device}{table}")
    via = str(route.via)
    return Decision(Way.VIA, route.device, via, f"{where} via {via} dev {route.device}{table}")


def reverse_path(node: Node, source: Address | None, device: str, settings: Settings) -> str:
    """Why `rp_filter` drops a packet that came in by a device, or "" (RFC 3704; fib_validate_source in
    net/ipv4/fib_frontend.c: the larger of `all` and the device's own counts; IPv6 has no such switch)."""
    switches = settings.reverse_path
    mode = max(switches.get("all", 0), switches.get(device, 0))
    if not mode or device in ("", LOOPBACK) or source is None or source.version == 6:
        return ""
    back = decide(node, source, Asked(), settings)
    if back.way is Way.UNKNOWN or back.way is Way.LOCAL:
        return ""
    if back.way in (Way.UNREACHABLE, Way.BLACKHOLE):
        return f"rp_filter is {mode} for {device} and no route leads back to {source}"
    if mode == 1 and back.device != device:
        return f"rp_filter is 1 for {device}, but the way back to {source} is by {back.device} ({back.route})"
    return ""


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
