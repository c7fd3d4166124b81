"""Who may ask how much, cookies, and the log of queries: for servers that want them, since they cost every query."""

from __future__ import annotations

import logging
from collections.abc import Callable
from ipaddress import ip_address, ip_network

from fairway.dns import names, wire
from fairway.dns.cookies import BadCookie, Cookies
from fairway.dns.errors import Signed, Unreadable
from fairway.dns.query import read
from fairway.dns.records import Rcode

CLIENTS = 16384
"""Clients remembered; beyond that those heard of longest ago are forgotten, which lets them ask at once."""
SLIP = 2
"""One in so many queries beyond the limit is sent to TCP."""
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
    """What a listener asks before it answers, and has done to replies. `limit` is for queries whose address may be
    forged (None: any may ask), `proven` for those over TCP or with a cookie of ours, so that a forger cannot use up
    what the owner of the address has. `slip` is one in how many UDP queries beyond the limit is sent to TCP, 0 for
    none. `cookies` None gives none; `log` writes a line for each query."""

    def __init__(
        self,
        limit: RateLimit | None = None,
        proven: RateLimit | None = None,
        *,
        slip: int = SLIP,
        cookies: Cookies | None = None,
        log: bool = False,
    ) -> None:
        self._limit = limit
        self._proven = proven
        self._slip = slip
        self._cookies = cookies
        self._log = log
        self._refused = 0

    def admits(self, query: bytes, address: str, *, udp: bool) -> bool:
        """Whether a query from this address may be answered."""
        proven = not udp or (self._cookies is not None and self._cookies.prove(query, address))
        limit = self._proven if proven else self._limit
        return limit is None or limit.admits(address)

    def refusal(self, query: bytes) -> bytes | None:
        """What to send for a UDP query that was not admitted: mostly nothing."""
        self._refused += 1
        return wire.sent_to_tcp(query) if self._slip and self._refused % self._slip == 0 else None

    def finish(self, query: bytes, reply: bytes, address: str, *, udp: bool) -> bytes:
        """The reply as it is to be sent."""
        if self._cookies is not None:
            try:
                reply = self._cookies.put(query, reply, address, udp=udp)
            except BadCookie:
                reply = wire.failure(query, Rcode.FORMERR)
        if self._log:
            _log.info("%s %s", address, described(query, reply))
        return reply

    def silent(self, query: bytes, address: str) -> None:
        """A query has had no reply."""
        if self._log:
            _log.info("%s %s", address, described(query, None))


def described(query: bytes, reply: bytes | None) -> str:
    """One query and its reply in a line: `A web.default.svc.cluster.local. 47 -> NOERROR 1+0+0 63`; the sizes are in
    octets, the counts those of the reply's sections."""
    try:
        asked = read(query)
        question = f"{_type_text(asked.type)} {names.text(asked.name)}"
    except (Signed, Unreadable):
        question = "(no question)"
    if reply is None:
        return f"{question} {len(query)} -> silence"
    counts = "+".join(str(int.from_bytes(reply[at : at + 2], "big")) for at in (6, 8, 10))
    rcode = reply[3] & 0xF
    how = Rcode(rcode).name if rcode in Rcode.__members__.values() else f"RCODE{rcode}"
    return f"{question} {len(query)} -> {how} {counts} {len(reply)}"


def _type_text(type: int) -> str:
    """The type by any name it has; only servers that log need to know them all."""
    import dns.rdatatype

    return dns.rdatatype.to_text(dns.rdatatype.RdataType(type))


def _client(address: str) -> str:
    if ":" not in address:
        return address
    whole = ip_address(address.partition("%")[0])
    return str(ip_network((whole, V6_CLIENT), strict=False).network_address)
