"""Which address and which node port: pure choices over ranges, with the bands that keep hand-picked ones free.

The lower part of each range is the static band, left for those who ask for a number: KEP-3070 (addresses),
KEP-3668 (node ports). Dynamic choices come from the upper part until that is full.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Protocol

PROBES = 16


class Random(Protocol):
    """Where chance comes from."""

    def randint(self, a: int, b: int) -> int:
        """A number from `a` to `b`, both included."""


@dataclass(frozen=True, slots=True)
class Span:
    """Numbers `first` to `last`, of which those below `dynamic` are the static band."""

    first: int
    dynamic: int
    last: int

    def __contains__(self, number: object) -> bool:
        return isinstance(number, int) and self.first <= number <= self.last

    def __len__(self) -> int:
        return max(0, self.last - self.first + 1)


class Full(Exception):
    """Every number of the span is taken."""


@dataclass(frozen=True, slots=True)
class AddressRange:
    """A Service CIDR with the numbers of it that can be given."""

    cidr: str
    family: str
    span: Span

    def __contains__(self, address: object) -> bool:
        if not isinstance(address, str):
            return False
        parsed = parsed_address(address)
        return _family(parsed.version) == self.family and int(parsed) in self.span

    def show(self, number: int) -> str:
        """A number of the span as an address in canonical form."""
        if self.family == "IPv4":
            return f"{number >> 24}.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
        return str(ip_address(number.to_bytes(16)))


def address_range(cidr: str) -> AddressRange:
    """The range of a CIDR: without the network address, and for IPv4 without the broadcast address. The static band
    is a sixteenth of the range, at least 16 and at most 256 addresses."""
    network: IPv4Network | IPv6Network = ip_network(cidr)
    size = network.num_addresses
    first = int(network.network_address) + 1
    last = int(network.broadcast_address) - (1 if network.version == 4 else 0)
    # Upstream counts the band from the network address, and gives up on one that would eat a tiny range.
    band = 0 if size <= 16 else min(max(16, size // 16), 256)
    return AddressRange(str(network), _family(network.version), Span(first, first + band, last))


def port_span(first: int, last: int) -> Span:
    """The node ports: the static band is a 32nd of the range, at least 16 and at most 128 ports."""
    size = last - first + 1
    band = 0 if size <= 16 else min(max(16, size // 32), 128)
    return Span(first, first + band, last)


def probes(span: Span, random: Random, count: int = PROBES) -> Iterator[int]:
    """A few numbers of the dynamic part by chance: nearly always one is free, and nobody has to read who holds what."""
    for _ in range(count if span.dynamic <= span.last else 0):
        yield random.randint(span.dynamic, span.last)


def first_free(span: Span, taken: Container[int], random: Random) -> int:
    """A free number: the dynamic part from a random place on, then the static band from its top. Raises Full."""
    for number in _round(span.dynamic, span.last, random):
        if number not in taken:
            return number
    for number in range(min(span.dynamic - 1, span.last), span.first - 1, -1):
        if number not in taken:
            return number
    raise Full


def _round(first: int, last: int, random: Random) -> Iterator[int]:
    if first > last:
        return
    start = random.randint(first, last)
    yield from range(start, last + 1)
    yield from range(first, start)


def family_of(address: str) -> str:
    """IPv4 or IPv6."""
    return _family(parsed_address(address).version)


@lru_cache(4096)
def parsed_address(text: str) -> IPv4Address | IPv6Address:
    """An address by its text: allocating one looks at it from several sides. Raises ValueError."""
    return ip_address(text)


@lru_cache(4096)
def canonical(text: str) -> str:
    """An address as its IPAddress is named. Raises ValueError."""
    return str(parsed_address(text))


def _family(version: int) -> str:
    return f"IPv{version}"
