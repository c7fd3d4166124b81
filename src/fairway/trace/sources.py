"""Which of its addresses a node takes as a packet's source: MASQUERADE's choice, and a process' that made none."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from fairway.node import InterfaceAddress, Node

LOOPBACK = ipaddress.IPv6Interface("::1/128")
_LABELS = tuple(
    (ipaddress.IPv6Network(network), label)
    for network, label in (
        ("::1/128", 0),
        ("::ffff:0:0/96", 4),
        ("::/96", 3),
        ("2001:10::/28", 7),
        ("2001::/32", 6),
        ("2002::/16", 2),
        ("3ffe::/16", 12),
        ("fec0::/10", 11),
        ("fc00::/7", 5),
        ("::/0", 1),
    )
)
"""Addresses of one label go together; the longest prefixes first (net/ipv6/addrlabel.c)."""

_LINK, _SITE, _GLOBAL = 2, 5, 14
"""Scopes (RFC 4007, 5)."""


def source_address(node: Node, device: str, next_hop: str, destination: str) -> str:
    """The source for a packet that leaves by a device ("lo": it stays). "" when the device or its addresses are not
    known."""
    if not device:
        return ""
    target = ipaddress.ip_address(destination)
    if isinstance(target, ipaddress.IPv6Address):
        return _of_ipv6(node, device, target)
    hop = ipaddress.ip_address(next_hop or destination)
    return _of_ipv4(node, device, hop)


def own_source(node: Node, destination: str) -> str:
    """The source of a process that chose none: the route's preferred one, else the device's. "" when the node has no
    address of that family, as far as is known."""
    target = ipaddress.ip_address(destination)
    if target.is_loopback:
        return "::1" if target.version == 6 else "127.0.0.1"
    if node.is_local(target):
        return destination
    route = node.route(target)
    if route is not None and route.source is not None:
        return str(route.source)
    via = str(route.via) if route is not None and route.via is not None else ""
    return source_address(node, route.device if route is not None else "unknown", via, destination)


def _of_ipv4(node: Node, device: str, next_hop: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    """The first address of the device whose network holds the next hop, else the device's first, else the node's first
    (inet_select_addr in net/ipv4/devinet.c; loopback addresses have host scope and never qualify)."""
    candidates = [
        (name, address)
        for name, address in _addresses(node, 4)
        if not address.is_loopback and not address.is_link_local
    ]
    on_device = [address for name, address in candidates if name == device]
    near = [address for address in on_device if next_hop in address.network]
    chosen = near or on_device or [address for _, address in candidates]
    return str(chosen[0].ip) if chosen else ""


def _of_ipv6(node: Node, device: str, target: ipaddress.IPv6Address) -> str:
    """RFC 6724, 5, as far as addresses alone tell; the first of equals (ipv6_dev_get_saddr in net/ipv6/addrconf.c)."""
    found = [(name, a) for name, a in _addresses(node, 6) if isinstance(a, ipaddress.IPv6Interface)]
    if not found:
        return ""
    if _scope(target) <= _LINK and not target.is_loopback:
        found = [(name, address) for name, address in found if name == device]
    best = max([("lo", LOOPBACK), *found], key=lambda each: _merit(each[0] == device, each[1], target))
    return str(best[1].ip)


def _merit(on_device: bool, source: ipaddress.IPv6Interface, target: ipaddress.IPv6Address) -> tuple[int, ...]:
    """More is better, the first number before the second; the numbers of the RFC's rules 1, 2, 5, 6 and 8."""
    scope, wanted = _scope(source.ip), _scope(target)
    common = 128 - (int(source.ip) ^ int(target)).bit_length()
    return (
        int(source.ip == target),
        -scope if scope >= wanted else scope - 128,
        int(on_device),
        int(_label(source.ip) == _label(target)),
        min(common, source.network.prefixlen),
    )


def _scope(address: ipaddress.IPv6Address) -> int:
    if address.is_multicast:
        return int(address) >> 112 & 15
    if address.is_loopback or address.is_link_local:
        return _LINK
    return _SITE if address.is_site_local else _GLOBAL


def _label(address: ipaddress.IPv6Address) -> int:
    return next(label for network, label in _LABELS if address in network)


def _addresses(node: Node, version: int) -> Iterator[tuple[str, InterfaceAddress]]:
    for interface in node.interfaces:
        yield from ((interface.name, address) for address in interface.addresses if address.version == version)
