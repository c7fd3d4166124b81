"""Who may ask how much, and the log of queries: both only for servers that want them, since both cost every query."""

from __future__ import annotations

import logging
from collections.abc import Callable
from ipaddress import ip_address, ip_network

import dns.exception
import dns.message
import dns.rcode
import dns.rdatatype

CLIENTS = 16384
"""Clients remembered; beyond that those heard of longest ago are forgotten, which lets them ask at once."""
V6_CLIENT = 56
"""Bits of an IPv6 address that make a client: what one subscriber commonly gets."""

_log = logging.getLogger(__name__)


class RateLimit:
    """At most `rate` queries a second of each client, in bursts of as many (a token bucket). `now` is in seconds."""

    def __init__(self, rate: float, now: Callable[[], float]) -> None:
        self._rate = rate
        self._burst = max(rate, 1.0)
        self._now = now
        self._buckets: dict[str, tuple[float, float]] = {}

    def admits(self, address: str) -> bool:
        """Whether a query from the address is within its client's limit; counts it if so."""
        client, now = _client(address), self._now()
        tokens, since = self._buckets.pop(client, (self._burst, now))
        tokens = min(self._burst, tokens + (now - since) * self._rate)
        if len(self._buckets) >= CLIENTS:
            del self._buckets[next(iter(self._buckets))]
        self._buckets[client] = (max(tokens - 1, 0) if tokens >= 1 else tokens, now)
        return tokens >= 1


class Guard:
    """What a listener asks before it answers, and tells after. `limit` None lets everybody ask; `log` writes a line for
    each query."""

    def __init__(self, limit: RateLimit | None, *, log: bool) -> None:
        self._limit = limit
        self._log = log

    def admits(self, address: str) -> bool:
        """Whether a query from this address may be answered."""
        return self._limit is None or self._limit.admits(address)

    def replied(self, query: bytes, reply: bytes | None, address: str) -> None:
        """A query has had its reply (None: silence)."""
        if self._log:
            _log.info("%s %s", address, described(query, reply))


def described(query: bytes, reply: bytes | None) -> str:
    """One query and its reply in a line: `A web.default.svc.cluster.local. 47 -> NOERROR 1+0+0 63`; the sizes are in
    octets, the counts those of the reply's sections."""
    try:
        asked = dns.message.from_wire(query, ignore_trailing=True, raise_on_truncation=False).question[0]
        question = f"{dns.rdatatype.to_text(asked.rdtype)} {asked.name}"
    except (dns.exception.DNSException, ValueError, IndexError):
        question = "(no question)"
    if reply is None:
        return f"{question} {len(query)} -> silence"
    counts = "+".join(str(int.from_bytes(reply[at : at + 2], "big")) for at in (6, 8, 10))
    return f"{question} {len(query)} -> {dns.rcode.to_text(dns.rcode.Rcode(reply[3] & 0xF))} {counts} {len(reply)}"


def _client(address: str) -> str:
    if ":" not in address:
        return address
    whole = ip_address(address.partition("%")[0])
    return str(ip_network((whole, V6_CLIENT), strict=False).network_address)
