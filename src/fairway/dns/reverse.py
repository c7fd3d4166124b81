"""The way back from addresses to names: which reverse zones are ours and who claims an address.

Holds claimants (keys of Services), not names: the names are read from the Service's branch when asked.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Hashable, Iterable, Sequence
from ipaddress import ip_network
from typing import Any, Generic, TypeVar

from fairway.dns import names
from fairway.dns.errors import BadZone
from fairway.dns.names import Name

K = TypeVar("K", bound=Hashable)
_NOBODY: list[Any] = []


class ReverseIndex(Generic[K]):
    """Addresses (packed) and who claims them. `ranges` are the CIDRs we answer for, also in the negative. Raises
    BadZone when one of them is none."""

    def __init__(self, ranges: Sequence[str]) -> None:
        self._apexes = frozenset(apex for each in ranges for apex in _apexes(each))
        self._claims: dict[bytes, K | list[K]] = {}  # nearly all of one
        self._sorted: dict[int, list[bytes]] = {}

    def apex(self, name: Name) -> Name | None:
        """The innermost of our reverse zones that the lower-case name is in."""
        for start in range(len(name)):
            if name[start:] in self._apexes:
                return name[start:]
        return None

    def claimants(self, packed: bytes) -> Iterable[K]:
        """Who claims the address."""
        held = self._claims.get(packed, _NOBODY)
        return held if isinstance(held, list) else (held,)

    def any_between(self, first: bytes, last: bytes) -> bool:
        """Whether an address from `first` to `last` (of one family) is claimed. The order is made when first asked for,
        since partial reverse names are rare, and kept from then on."""
        size = len(first)
        if size not in self._sorted:
            self._sorted[size] = sorted(packed for packed in self._claims if len(packed) == size)
        ordered = self._sorted[size]
        place = bisect_left(ordered, first)
        return place < len(ordered) and ordered[place] <= last

    def move(self, key: K, before: Iterable[bytes], after: Iterable[bytes]) -> Iterable[bytes]:
        """`key` claimed `before` and now claims `after`; gives the addresses for which this is a change."""
        old, new = set(before), set(after)
        for packed in old - new:
            self._hold(packed, [each for each in self.claimants(packed) if each != key])
        for packed in new - old:
            self._hold(packed, [*self.claimants(packed), key])
        return old ^ new

    def _hold(self, packed: bytes, claimants: list[K]) -> None:
        """These claim the address from now on."""
        ordered = self._sorted.get(len(packed))
        if not claimants:
            del self._claims[packed]
            if ordered is not None:
                del ordered[bisect_left(ordered, packed)]
            return
        if ordered is not None and packed not in self._claims:
            insort(ordered, packed)
        self._claims[packed] = claimants if len(claimants) > 1 else claimants[0]


def _apexes(cidr: str) -> tuple[Name, ...]:
    try:
        return names.reverse_apexes(ip_network(cidr, strict=False))
    except ValueError as error:
        raise BadZone(f"{cidr!r} is no address range to answer reverse questions for: {error}") from error
