"""Addresses for pods out of a node's ranges (pure): who holds which, and who gets the next one.

Addresses are handed out in a ring, each search starting behind the last address given: one that was released comes
back only after all others have been used. A pod that replaces another therefore has a new address, and nobody's cached
connection, ARP entry or name reaches a stranger.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from fairway.node import Address, Network


class IpamError(Exception):
    """An address cannot be given; the message names the range and what to do."""


class RangeFull(IpamError):
    """Every address of a range is held by a pod of this node."""


class AddressTaken(IpamError):
    """Two pods claim one address."""


@dataclass(frozen=True, slots=True)
class IpamState:
    """All that `Ipam` knows, as a value: who holds what, and the address given last in each range ("" for none)."""

    held: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    last: tuple[str, ...] = ()


class Ipam:
    """The addresses of one node: a pod holds one of each range.

    `ranges` are the node's `spec.podCIDRs`, in their order; `state` is what an earlier `Ipam` of these ranges ended
    with, or what was rebuilt from the pods that live (`IpamState({uid: addresses})`). Owners are any strings that
    name a pod for good (its uid). Raises IpamError for ranges without room and states that contradict them.
    """

    def __init__(self, ranges: Sequence[str], state: IpamState | None = None) -> None:
        state = state or IpamState()
        last = (*state.last, *[""] * len(ranges))
        self._rings = [_Ring(ipaddress.ip_network(text), start) for text, start in zip(ranges, last, strict=False)]
        self._held: dict[str, tuple[str, ...]] = {}
        for owner, addresses in state.held.items():
            self._adopt(owner, addresses)

    @property
    def gateways(self) -> tuple[str, ...]:
        """The bridge's address in each range with its prefix length, `10.244.1.1/24`: the pods' default gateway."""
        return tuple(ring.with_prefix(ring.gateway) for ring in self._rings)

    @property
    def state(self) -> IpamState:
        """What to keep so that an `Ipam` made after a restart goes on where this one stands."""
        return IpamState(dict(self._held), tuple(str(ring.last or "") for ring in self._rings))

    def held(self, owner: str) -> tuple[str, ...]:
        """The addresses `owner` holds, () when it holds none."""
        return self._held.get(owner, ())

    def allocate(self, owner: str) -> tuple[str, ...]:
        """One address of each range (`10.244.1.7`), the same again for an owner that has them. Raises RangeFull, and
        then nothing was given."""
        found = self._held.get(owner)
        if found is None:
            chosen = [ring.choose() for ring in self._rings]
            for ring, address in zip(self._rings, chosen, strict=True):
                ring.take(address)
            found = self._held[owner] = tuple(str(address) for address in chosen)
        return found

    def release(self, owner: str) -> None:
        """Take back what `owner` holds; an owner without addresses is no error."""
        for ring, text in zip(self._rings, self._held.pop(owner, ()), strict=False):
            ring.taken.discard(int(ipaddress.ip_address(text)))

    def with_prefixes(self, addresses: Sequence[str]) -> tuple[str, ...]:
        """Addresses of the ranges, in their order, as a device needs them: `10.244.1.7/24`."""
        pairs = zip(self._rings, addresses, strict=True)
        return tuple(ring.with_prefix(ipaddress.ip_address(text)) for ring, text in pairs)

    def _adopt(self, owner: str, addresses: Sequence[str]) -> None:
        if len(addresses) != len(self._rings):
            raise IpamError(f"{owner} holds {', '.join(addresses)}: a pod here has {len(self._rings)} address(es)")
        chosen = [ipaddress.ip_address(text) for text in addresses]
        for ring, address in zip(self._rings, chosen, strict=True):
            if not ring.holds(address):
                raise IpamError(f"{owner} holds {address}, which no pod can have of {ring.network}")
            if int(address) in ring.taken:
                other = next(name for name, held in self._held.items() if str(address) in held)
                raise AddressTaken(f"{owner} and {other} both hold {address}")
        for ring, address in zip(self._rings, chosen, strict=True):
            ring.adopt(address)
        self._held[owner] = tuple(str(address) for address in chosen)


class _Ring:
    """The addresses of one range that pods may have: not the network's own, not the gateway's (.1), and in IPv4 not
    the broadcast address."""

    def __init__(self, network: Network, last: str) -> None:
        self.network = network
        self.gateway: Address = network[1]
        self._base = int(network.network_address)
        self._first = self._base + 2
        self._end = int(network.broadcast_address) - (network.version == 4)
        if self._first > self._end:
            raise IpamError(f"{network} has no room for pods: give the node a larger range")
        known = ipaddress.ip_address(last) if last else None
        self.last: Address | None = known if known and self.holds(known) else None
        self._forgot = self.last is None
        self.taken: set[int] = set()

    def holds(self, address: Address) -> bool:
        return address.version == self.network.version and self._first <= int(address) <= self._end

    def choose(self) -> Address:
        size = self._end - self._first + 1
        if len(self.taken) >= size:
            raise RangeFull(f"all {size} pod addresses of {self.network} are held: delete pods or add a node")
        candidate = self._end if self.last is None else int(self.last)
        while True:
            candidate = candidate + 1 if candidate < self._end else self._first
            if candidate not in self.taken:
                return self.network[candidate - self._base]

    def take(self, address: Address) -> None:
        self.taken.add(int(address))
        self.last = address

    def adopt(self, address: Address) -> None:
        """Take an address that a living pod has. A ring that was not told where it stood goes on behind the highest
        of them: the likeliest to have been the last."""
        self.taken.add(int(address))
        if self._forgot and (self.last is None or int(address) > int(self.last)):
            self.last = address

    def with_prefix(self, address: Address) -> str:
        return f"{address}/{self.network.prefixlen}"
