"""Pools of load-balancer addresses and the settings they stand in, read from text by people. Pure.

Settings (YAML or JSON): `style` ("addresses": out of pools; "nodes": the nodes' own), `nodeSelector` (labels of the
nodes of the second style) and `pools`, a list of `name`, `addresses` (CIDRs, or FIRST-LAST) and `autoAssign`.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from fairway.node import Network
from fairway.objects.documents import parse_documents
from fairway.objects.errors import Malformed

Style = Literal["addresses", "nodes"]
STYLES: tuple[Style, ...] = ("addresses", "nodes")
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_DEPTH = 8


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

    def pool_of(self, address: Address) -> Pool | None:
        """The pool an address lies in."""
        return next((pool for pool in self.pools if address in pool), None)


def read(text: str, services: Sequence[Network]) -> Settings:
    """The settings in `text`; no pool may touch the ranges of `services`.

    Raises SettingsError for what is no settings at all; a pool that is wrong is refused alone."""
    try:
        documents = list(parse_documents(text, _DEPTH))
    except Malformed as error:
        raise SettingsError(str(error)) from error
    if len(documents) != 1 or not isinstance(documents[0], dict):
        raise SettingsError("one mapping with style, nodeSelector and pools is expected")
    said = documents[0]
    unknown = sorted(str(name) for name in said.keys() - {"style", "nodeSelector", "pools"})
    if unknown:
        raise SettingsError(f"unknown field {unknown[0]!r}; there are style, nodeSelector and pools")
    style = next((each for each in STYLES if each == said.get("style", "addresses")), None)
    if style is None:
        raise SettingsError(f"style: {said['style']!r} is neither 'addresses' nor 'nodes'")
    labels, pools = said.get("nodeSelector") or {}, said.get("pools") or []
    if not isinstance(labels, dict) or not all(isinstance(each, str) for each in labels.values()):
        raise SettingsError("nodeSelector: a mapping of labels to texts is expected")
    if not isinstance(pools, list):
        raise SettingsError("pools: a list is expected")
    good, bad = _pools(pools, services)
    return Settings(style, labels, good, bad)


def _pools(said: Sequence[Any], services: Sequence[Network]) -> tuple[tuple[Pool, ...], tuple[Refusal, ...]]:
    good: list[Pool] = []
    bad: list[Refusal] = []
    for index, each in enumerate(said):
        name = str(each.get("name") or f"pools[{index}]") if isinstance(each, dict) else f"pools[{index}]"
        try:
            pool = _pool(name, each)
            _require_own(pool, good, services)
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


def _require_own(pool: Pool, others: Sequence[Pool], services: Sequence[Network]) -> None:
    for other in others:
        if other.name == pool.name:
            raise ValueError("another pool has this name")
    for each in pool.ranges:
        if any(
            address.is_multicast or address.is_loopback or address.is_unspecified for address in (each.first, each.last)
        ):
            raise ValueError(f"{each} holds addresses that are no host's")
        for other in others:
            for taken in other.ranges:
                if each.overlaps(taken):
                    raise ValueError(f"{each} overlaps {taken} of pool {other.name!r}")
        for network in services:
            if each.overlaps(Range(network[0], network[-1])):
                raise ValueError(f"{each} overlaps the Service range {network}")
