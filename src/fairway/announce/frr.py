"""Load-balancer addresses for routers: configuration of FRR's bgpd (8.4 and later) for one node. Pure.

A node tells its neighbours each address that it may serve as a host route, and lets nothing else out and nothing in;
routers that hear an address of several nodes spread connections over them (ECMP). What is ours in a running
configuration shows by its route map: networks and neighbours that somebody else configured stay as they are.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

_MARK = "FAIRWAY"
_IN, _OUT = f"{_MARK}-IN", f"{_MARK}-OUT"
_FAMILIES = {4: "ipv4 unicast", 6: "ipv6 unicast"}
_CONNECT_SECONDS = 2
_FILTERS = (
    f"bgp as-path access-list {_OUT} seq 5 permit ^$",  # what began here, nothing that was heard
    f"route-map {_MARK} permit 10",
    "exit",
    f"route-map {_IN} deny 10",
    "exit",
    f"route-map {_OUT} permit 10",
    f" match as-path {_OUT}",
    "exit",
)
_SETTINGS = ("remote-as", "timers", "ebgp-multihop", "bfd", "activate", "route-map")
"""What is said of neighbours here; a password or a description is somebody else's word."""

_ROUTER = re.compile(r"router bgp (\d+)$")
_NEIGHBOUR = re.compile(r"neighbor (\S+) (\S+)")
_NETWORK = re.compile(rf"network (\S+) route-map {_MARK}$")


class FrrError(Exception):
    """What runs is in the way of what is wanted; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A router that is told. Networks of its address's family are. `hold` seconds without a word from a node make it
    forget the node's routes; it may be `hops` away; `bfd` has FRR's bfdd find out sooner."""

    address: str
    asn: int
    hold: int = 9
    hops: int = 1
    bfd: bool = False


@dataclass(frozen=True, slots=True)
class Speaker:
    """What a node says: as a member of the autonomous system `asn`, under the IPv4-like name `router`, to
    `neighbours`: these `addresses` are here."""

    asn: int
    router: str
    neighbours: tuple[Neighbour, ...] = ()
    addresses: tuple[str, ...] = ()


def configuration(speaker: Speaker) -> str:
    """The whole, as a part of frr.conf. Said again it changes nothing."""
    return "\n".join((*_FILTERS, *_router(speaker), "exit", ""))


def changes(running: str, speaker: Speaker) -> str:
    """What bgpd must be told so that `running` (its `show running-config bgpd`) becomes what is wanted; "" when it is.

    Raises FrrError when another autonomous system runs there with neighbours that are not ours."""
    found = _Running.read(running)
    told: list[str] = []
    if found.asn not in (0, speaker.asn):
        if found.strangers:
            who = ", ".join(found.strangers)
            raise FrrError(f"bgpd is AS {found.asn} to {who}: make that the settings' localAS, or take those out")
        told, found = [f"no router bgp {found.asn}"], _Running()
    removals = list(_removals(found, speaker))
    if removals:
        told += [f"router bgp {speaker.asn}", *removals, "exit"]
    wanted = configuration(speaker)
    if told or not set(_contexts(wanted.splitlines())) <= found.lines:
        return "\n".join((*told, wanted))
    return ""


def _router(speaker: Speaker) -> Iterator[str]:
    yield f"router bgp {speaker.asn}"
    yield f" bgp router-id {speaker.router}"
    yield " no bgp default ipv4-unicast"
    yield " no bgp network import-check"
    for each in speaker.neighbours:
        yield from (f" {line}" for line in _session(each))
    for version, name in _FAMILIES.items():
        yield f" address-family {name}"
        yield from (f"  network {each} route-map {_MARK}" for each in _routes(speaker.addresses, version))
        for neighbour in speaker.neighbours:
            if ipaddress.ip_address(neighbour.address).version == version:
                yield f"  neighbor {neighbour.address} activate"
                yield f"  neighbor {neighbour.address} route-map {_IN} in"
                yield f"  neighbor {neighbour.address} route-map {_OUT} out"
        yield " exit-address-family"


def _session(neighbour: Neighbour) -> Iterator[str]:
    yield f"neighbor {neighbour.address} remote-as {neighbour.asn}"
    if neighbour.bfd:
        yield f"neighbor {neighbour.address} bfd"
    if neighbour.hops > 1:
        yield f"neighbor {neighbour.address} ebgp-multihop {neighbour.hops}"
    yield f"neighbor {neighbour.address} timers {max(1, neighbour.hold // 3)} {neighbour.hold}"
    yield f"neighbor {neighbour.address} timers connect {_CONNECT_SECONDS}"


def _routes(addresses: Iterable[str], version: int) -> list[str]:
    found = [ipaddress.ip_address(each) for each in addresses]
    return [str(ipaddress.ip_network(each)) for each in sorted(a for a in found if a.version == version)]


@dataclass(frozen=True, slots=True)
class _Running:
    """What bgpd does: `asn` (0: it is no router yet), every line with where it stands, and what is ours."""

    asn: int = 0
    lines: frozenset[tuple[str, str]] = frozenset()
    ours: Mapping[str, Sequence[tuple[str, str]]] = field(default_factory=dict)
    strangers: tuple[str, ...] = ()

    @classmethod
    def read(cls, text: str) -> _Running:
        lines = list(_contexts(text.splitlines()))
        routers = [found for _, line in lines if (found := _ROUTER.match(line))]
        said: dict[str, list[tuple[str, str]]] = {}
        for where, line in lines:
            if found := _NEIGHBOUR.match(line):
                said.setdefault(found[1], []).append((where, line))
        ours = {name: each for name, each in said.items() if any(f"route-map {_OUT}" in line for _, line in each)}
        asn = int(routers[0][1]) if routers else 0
        return cls(asn, frozenset(lines), ours, tuple(name for name in said if name not in ours))


def _removals(found: _Running, speaker: Speaker) -> Iterator[str]:
    """The lines, within the router, that take back what is ours and not wanted any more."""
    wanted = set(_contexts(configuration(speaker).splitlines()))
    remote = {each.address: f"neighbor {each.address} remote-as {each.asn}" for each in speaker.neighbours}
    for name, said in found.ours.items():
        if remote.get(name) not in {line for _, line in said}:
            yield f" no neighbor {name}"
            continue
        for where, line in said:
            setting = _NEIGHBOUR.match(line)
            if setting and setting[2] in _SETTINGS and (where, line) not in wanted:
                yield from _within(where, f"no {line}")
    for where, line in sorted(found.lines - wanted):
        if _NETWORK.match(line):
            yield from _within(where, f"no {line}")


def _within(where: str, line: str) -> Iterator[str]:
    """A line at its place in the router."""
    if where.startswith("address-family"):
        yield from (f" {where}", f"  {line}", " exit-address-family")
    else:
        yield f" {line}"


def _contexts(lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Each line with the header it stands under ("": none); what ends a part is left out."""
    router = family = ""
    for line in (each.rstrip() for each in lines):
        word = line.strip()
        if not line.startswith(" "):
            router, family = (word if word.startswith(("router ", "route-map ")) else ""), ""
        if word in ("", "!", "exit", "end", "exit-address-family"):
            family = "" if word == "exit-address-family" else family
        elif word.startswith("address-family "):
            family = word
        else:
            yield (family or router if line.startswith(" ") else "", word)
