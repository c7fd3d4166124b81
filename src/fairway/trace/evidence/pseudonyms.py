"""Other addresses and names in the place of real ones: consistent, and such that what a rule means stays the same.

Addresses keep their prefixes: two that share the first n bits share as many afterwards, so that an address is in a
network, or a route the longest, exactly when it was so before (the idea is that of Crypto-PAn, Xu et al., 2002).
Addresses with a meaning of their own (loopback, link-local, multicast, netmasks) stay what they are.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import ipaddress
from collections.abc import Iterable
from functools import lru_cache

from fairway.node import Address, Network

_KEPT: dict[int, tuple[Network, ...]] = {
    4: tuple(ipaddress.IPv4Network(each) for each in ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/3")),
    6: tuple(ipaddress.IPv6Network(each) for each in ("::/8", "fe80::/10", "ff00::/8")),
}
_LINK_LOCAL = ipaddress.IPv6Network("fe80::/10")


class Pseudonyms:
    """One replacement of everything. Equal keys give equal pseudonyms."""

    def __init__(self, key: bytes, ordered: Iterable[Network] = ()) -> None:
        """Within the networks of `ordered`, addresses keep their order: ranges in rules ask for it."""
        self._key = key
        self._ordered = {(net.version, net.prefixlen, _bits(net.network_address, net.prefixlen)) for net in ordered}
        self._flips = lru_cache(maxsize=200_000)(self._flip)
        self.address = lru_cache(maxsize=200_000)(self._address)

    def _address(self, text: str) -> str:
        """The pseudonym of an address in text form. Raises ValueError for what is none."""
        return str(self.mapped(ipaddress.ip_address(text)))

    def mapped(self, address: Address) -> Address:
        """The pseudonym of an address. Of link-local ones, which often hold a device's own, the second half goes."""
        if address in _LINK_LOCAL:
            half = int.from_bytes(self._digest(f"link-local {address}")[:8], "big")
            return ipaddress.IPv6Address((int(address) >> 64 << 64) | half)
        if any(address in network for network in _KEPT[address.version]):
            return address
        width, number, made = address.max_prefixlen, int(address), 0
        for length in range(width):
            bit = number >> (width - 1 - length) & 1
            made = made << 1 | (bit ^ self._flips(address.version, length, number >> (width - length)))
        return type(address)(made)

    def network(self, network: Network) -> Network:
        """The pseudonym of a network: that of its addresses' common prefix."""
        mapped = self.mapped(network.network_address)
        return ipaddress.ip_network(f"{mapped}/{network.prefixlen}", strict=False)

    def _flip(self, version: int, length: int, prefix: int) -> int:
        """Whether the bit after a prefix turns over. Not where a kept network lies below, nor where order counts."""
        width = 32 if version == 4 else 128
        for kept in _KEPT[version]:
            if kept.prefixlen > length and int(kept.network_address) >> (width - length) == prefix:
                return 0
        for at in range(length + 1):
            if self._ordered and (version, at, prefix >> (length - at)) in self._ordered:
                return 0
        return self._digest(f"bit {version} {length} {prefix}")[0] & 1

    def name(self, kind: str, text: str, length: int = 6) -> str:
        """A name for a name: `kind` and some letters of a keyed hash."""
        return f"{kind}-{self.letters(text, length)}"

    def letters(self, text: str, length: int) -> str:
        """Lower-case letters and digits from 2 to 7 that stand for a text."""
        return base64.b32encode(self._digest(f"name {text}")).decode()[:length].lower()

    def _digest(self, text: str) -> bytes:
        return hmac.digest(self._key, text.encode(), hashlib.sha256)


def _bits(address: Address, length: int) -> int:
    return int(address) >> (address.max_prefixlen - length)
