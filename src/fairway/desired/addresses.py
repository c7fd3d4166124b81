"""Which addresses may be programmed, and in which spelling: the last door before the kernel.

The API refuses most of what is refused here; attached to somebody else's cluster, the data plane sees objects that
others accepted (CVE-2021-25737: slices that point at loopback or link-local addresses).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache

from fairway.packet import Family, family_of

_OCTET = r"(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
# a dotted quad is its own canonical text; unspecified, loopback, link-local and multicast ones go the long way
_PLAIN = re.compile(rf"(?!0\.|127\.|169\.254\.|2[23]\d\.){_OCTET}(?:\.{_OCTET}){{3}}", re.ASCII)


def usable(text: str) -> str:
    """The canonical text of a unicast address that a Service may use, or "" for one it may not."""
    return text if _PLAIN.fullmatch(text) else _checked(text)


@lru_cache(maxsize=8192)
def _checked(text: str) -> str:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return ""
    # an IPv4 address in IPv6 clothes would be checked as one and routed as the other
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return ""
    if address.is_loopback or address.is_link_local or address.is_multicast or address.is_unspecified:
        return ""
    return str(address)


def of_family(texts: Iterable[str] | None, family: Family) -> tuple[str, ...]:
    """The usable addresses of one family, each once, sorted."""
    if not texts:
        return ()
    found = {usable(text) for text in texts}
    return tuple(sorted(text for text in found if text and family_of(text) is family))


def networks(texts: Iterable[str] | None, family: Family) -> tuple[str, ...]:
    """The CIDRs of one family in canonical text, in the order given, each once; malformed ones are left out."""
    found: dict[str, None] = {}
    for text in texts or ():
        try:
            network = str(ipaddress.ip_network(text.strip(), strict=False))
        except ValueError:
            continue
        if family_of(network) is family:
            found[network] = None
    return tuple(found)


def within(address: str, cidrs: Sequence[str]) -> bool:
    """Whether `address` lies in one of `cidrs` (canonical texts, any family)."""
    if not cidrs:
        return False
    parsed = ipaddress.ip_address(address)
    return any(parsed in _network(cidr) for cidr in cidrs)


@lru_cache(maxsize=4096)
def _network(cidr: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    return ipaddress.ip_network(cidr, strict=False)
