"""Pools of load-balancer addresses and the settings they stand in, read from text by people. Pure.

Settings (YAML or JSON): `style` ("addresses": out of pools; "nodes": the nodes' own), `nodeSelector` (labels of the
nodes of the second style), `reserved` (addresses of somebody else: gateways, hosts; never given), `pools`, a list of
`name`, `addresses` (CIDRs, or FIRST-LAST) and `autoAssign`, and `bgp` (see `loadbalancer_bgp`).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from fairway.control import loadbalancer_bgp
from fairway.control.loadbalancer_bgp import Bgp
from fairway.node import Network
from fairway.objects.documents import parse_documents
from fairway.objects.errors import Malformed

Style = Literal["addresses", "nodes"]
STYLES: tuple[Style, ...] = ("addresses", "nodes")
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_DEPTH = 8
_FIELDS = ("style", "nodeSelector", "reserved", "pools", "bgp")


class SettingsError(ValueError):
    """The settings as a whole cannot be read; the message says where."""


@dataclass(frozen=True, slots=True)
class Range:
    """Addresses of one family, both ends included."""

    first: Address
    last: Address

    def __contains__(self, address: Address) -> bool:
        return address.version == self.first.version and int(self.first) <= int(address) <= int(self.last)

    def overlaps(self, other: Range) -> bool:
        if self.first.version != other.first.version:
            return False
        return int(self.first) <= int(other.last) and int(other.first) <= int(self.last)

    def __iter__(self) -> Iterator[Address]:
        return (self.first + offset for offset in range(int(self.last) - int(self.first) + 1))

    def __str__(self) -> str:
        return f"{self.first}-{self.last}"


@dataclass(frozen=True, slots=True)
class Pool:
    """Addresses under a name; those of a pool that is not `automatic` are given to who asks for them alone."""

    name: str
    ranges: tuple[Range, ...]
    automatic: bool = True

    def __contains__(self, address: Address) -> bool:
        return any(address in each for each in self.ranges)

    def addresses(self, version: int) -> Iterator[Address]:
        """Its addresses of an IP version, in the order of its ranges."""
        return (address for each in self.ranges if each.first.version == version for address in each)

    def has(self, version: int) -> bool:
        """Whether it has addresses of an IP version."""
        return any(each.first.version == version for each in self.ranges)


@dataclass(frozen=True, slots=True)
class Refusal:
    """A pool that is not used, and why."""

    name: str
    why: str


@dataclass(frozen=True, slots=True)
class Settings:
    """What the controller goes by. While a pool is `refused`, no address is taken back for lying outside the pools:
    it may have come from that one."""

    style: Style = "addresses"
    node_labels: Mapping[str, str] = field(default_factory=dict)
    pools: tuple[Pool, ...] = ()
    refused: tuple[Refusal, ...] = ()
    reserved: tuple[Range, ...] = ()
    bgp: Bgp | None = None

    def pool_of(self, address: Address) -> Pool | None:
        """The pool an address lies in."""
        return next((pool for pool in self.pools if address in pool), None)


_NO_HOSTS = tuple(
    Range(each[0], each[-1])
    for text in (
        *("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "255.255.255.255/32"),
        *("::/96", "::ffff:0:0/96", "fe80::/10", "ff00::/8"),
    )
    for each in [ipaddress.ip_network(text)]
)
"""What no host beyond the link can have for its own (RFC 6890, RFC 4291)."""


def read(text: str, services: Sequence[Network], pods: Sequence[Network] = ()) -> Settings:
    """The settings in `text`; no pool may touch the ranges of `services` and `pods`.

    Raises SettingsError for what is no settings at all; a pool that is wrong is refused alone."""
    try:
        documents = list(parse_documents(text, _DEPTH))
    except Malformed as error:
        raise SettingsError(str(error)) from error
    if len(documents) != 1 or not isinstance(documents[0], dict):
        raise SettingsError(f"one mapping with {', '.join(_FIELDS)} is expected")
    said = documents[0]
    unknown = sorted(str(name) for name in said.keys() - set(_FIELDS))
    if unknown:
        raise SettingsError(f"unknown field {unknown[0]!r}; there are {', '.join(_FIELDS)}")
    style = next((each for each in STYLES if each == said.get("style", "addresses")), None)
    if style is None:
        raise SettingsError(f"style: {said['style']!r} is neither 'addresses' nor 'nodes'")
    pools = said.get("pools") or []
    if not isinstance(pools, list):
        raise SettingsError("pools: a list is expected")
    taken = [("Service range", each) for each in services] + [("pods' range", each) for each in pods]
    good, bad = _pools(pools, [(f"the {what} {each}", Range(each[0], each[-1])) for what, each in taken])
    try:
        labels = loadbalancer_bgp.labels(said.get("nodeSelector"), "nodeSelector")
        bgp = loadbalancer_bgp.read(said["bgp"]) if said.get("bgp") is not None else None
        return Settings(style, labels, good, bad, _reserved(said.get("reserved") or []), bgp)
    except ValueError as error:
        raise SettingsError(str(error)) from error


def joined(texts: Iterable[str]) -> tuple[Network, ...]:
    """Networks of both families, those that lie side by side as one."""
    networks = [ipaddress.ip_network(text) for text in texts]
    v4 = [each for each in networks if isinstance(each, ipaddress.IPv4Network)]
    v6 = [each for each in networks if isinstance(each, ipaddress.IPv6Network)]
    return (*ipaddress.collapse_addresses(v4), *ipaddress.collapse_addresses(v6))


def _reserved(said: Any) -> tuple[Range, ...]:
    if not isinstance(said, list):
        raise ValueError("reserved: a list of addresses, CIDRs and FIRST-LAST ranges is expected")
    try:
        return tuple(_range(each) for each in said)
    except ValueError as error:
        raise ValueError(f"reserved: {error}") from error


def _pools(said: Sequence[Any], ranges: Sequence[tuple[str, Range]]) -> tuple[tuple[Pool, ...], tuple[Refusal, ...]]:
    good: list[Pool] = []
    bad: list[Refusal] = []
    for index, each in enumerate(said):
        name = str(each.get("name") or f"pools[{index}]") if isinstance(each, dict) else f"pools[{index}]"
        try:
            pool = _pool(name, each)
            _require_own(pool, good, ranges)
        except ValueError as error:
            bad.append(Refusal(name, str(error)))
        else:
            good.append(pool)
    return tuple(good), tuple(bad)


def _pool(name: str, said: Any) -> Pool:
    if not isinstance(said, dict) or not isinstance(said.get("name"), str):
        raise ValueError("a mapping with a name and addresses is expected")
    unknown = sorted(str(each) for each in said.keys() - {"name", "addresses", "autoAssign"})
    if unknown:
        raise ValueError(f"unknown field {unknown[0]!r}; there are name, addresses and autoAssign")
    texts, automatic = said.get("addresses"), said.get("autoAssign", True)
    if not isinstance(texts, list) or not texts:
        raise ValueError("addresses: a list of CIDRs and FIRST-LAST ranges is expected")
    if not isinstance(automatic, bool):
        raise ValueError(f"autoAssign: {automatic!r} is neither true nor false")
    return Pool(name, tuple(_range(text) for text in texts), automatic)


def _range(text: Any) -> Range:
    if not isinstance(text, str):
        raise ValueError(f"{text!r} is neither a CIDR nor FIRST-LAST")
    first, dash, last = text.partition("-")
    if not dash:
        network = ipaddress.ip_network(text.strip())
        return Range(network[0], network[-1])
    found = Range(ipaddress.ip_address(first.strip()), ipaddress.ip_address(last.strip()))
    if found.first.version != found.last.version or int(found.first) > int(found.last):
        raise ValueError(f"{text}: the last address comes before the first")
    return found


def _require_own(pool: Pool, others: Sequence[Pool], ranges: Sequence[tuple[str, Range]]) -> None:
    if any(other.name == pool.name for other in others):
        raise ValueError("another pool has this name")
    taken = [(f"{each} of pool {other.name!r}", each) for other in others for each in other.ranges]
    for index, each in enumerate(pool.ranges):
        if any(each.overlaps(network) for network in _NO_HOSTS):
            raise ValueError(f"{each} holds addresses that are no host's")
        before = [(f"{other} before it", other) for other in pool.ranges[:index]]
        for what, other in (*before, *taken, *ranges):
            if each.overlaps(other):
                raise ValueError(f"{each} overlaps {what}")
