"""DNS cookies: what a server gives to clients so that, later, they can be told from those who forge their address.

Sources: RFC 7873 (the option, what servers do), RFC 9018 (server cookies of version 1), and "SipHash: a fast
short-input PRF" (Aumasson and Bernstein, 2012) for the function. No I/O: the time is given.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator

from fairway.dns import names
from fairway.dns.encode import HEADER, OPT_LENGTH

SECRET_LENGTH = 16
"""Octets of the secret; all who answer at one address should have the same."""
COOKIE = 10
"""The number of the EDNS option."""
RENEWED_AFTER, EARLIEST = 1800, -300
"""Seconds: a server cookie older than that is replaced; clocks of servers may differ by so much (RFC 9018 4.3)."""

_CLIENT = 8
_SERVER = range(8, 33)
_VERSION = b"\1\0\0\0"  # and three reserved octets
_OPTION = struct.Struct("!HH")
_TC = 0x02  # in the third octet of the header
_OPT = b"\0\0\x29"
_MASK = (1 << 64) - 1
_UDP_PLAIN, _UDP_MOST = 512, 1232


class BadCookie(ValueError):
    """A cookie of a length that none has (RFC 7873 section 5.2.2: the reply is FORMERR)."""


class Cookies:
    """Puts cookies into replies. `secret` has SECRET_LENGTH octets, `now` tells seconds since 1970."""

    def __init__(self, secret: bytes, now: Callable[[], float]) -> None:
        if len(secret) != SECRET_LENGTH:
            raise ValueError(f"a secret for cookies has {SECRET_LENGTH} octets, not {len(secret)}")
        self._secret = secret
        self._now = now

    def put(self, query: bytes, reply: bytes, client: str, *, udp: bool) -> bytes:
        """The reply with a cookie, if the query has one and the reply an OPT record. When it does not fit, the reply is
        cut short after its question. Raises BadCookie."""
        asked = cookie_of(query)
        opt = len(reply) - OPT_LENGTH
        if asked is None or reply[10:12] == b"\0\0" or reply[opt : opt + 3] != _OPT or reply[-2:] != b"\0\0":
            return reply
        given = asked[:_CLIENT] + self._server_cookie(asked, _packed(client))
        option = _OPTION.pack(COOKIE, len(given)) + given
        record = reply[opt:-2] + struct.pack("!H", len(option)) + option
        if udp and opt + len(record) > _limit(query):
            end = _question_end(reply)
            head = reply[:2] + bytes((reply[2] | _TC,)) + reply[3:6] + bytes(4) + b"\0\1"
            return head + reply[HEADER.size : end] + record
        return reply[:opt] + record

    def prove(self, query: bytes, client: str) -> bool:
        """Whether any octets are a query with a cookie of ours, made for this address not long ago: who sends them has
        had replies there."""
        try:
            asked = cookie_of(query)
        except BadCookie:
            return False
        return asked is not None and self._is_good(asked, _packed(client))

    def _server_cookie(self, asked: bytes, address: bytes) -> bytes:
        """The one the client has, if it is good for a while yet, or a new one."""
        if self._is_good(asked, address):
            return asked[_CLIENT:]
        return self._made(asked[:_CLIENT], (int(self._now()) % (1 << 32)).to_bytes(4, "big"), address)

    def _is_good(self, asked: bytes, address: bytes) -> bool:
        own, held = asked[:_CLIENT], asked[_CLIENT:]
        age = (int(self._now()) - int.from_bytes(held[4:8], "big") + (1 << 31)) % (1 << 32) - (1 << 31)  # RFC 1982
        return len(held) == 16 and EARLIEST <= age <= RENEWED_AFTER and held == self._made(own, held[4:8], address)

    def _made(self, own: bytes, when: bytes, address: bytes) -> bytes:
        return _VERSION + when + siphash(self._secret, own + _VERSION + when + address)


def _packed(client: str) -> bytes:
    return names.pack(client.partition("%")[0]) or b""


def cookie_of(query: bytes) -> bytes | None:
    """The COOKIE option of a query that was found well-formed: the client's 8 octets, then perhaps a server's. Only the
    first counts. Raises BadCookie."""
    for code, value in _options(query):
        if code == COOKIE:
            if len(value) != _CLIENT and len(value) - _CLIENT not in _SERVER:
                raise BadCookie(f"a cookie of {len(value)} octets")
            return value
    return None


def _options(query: bytes) -> Iterator[tuple[int, bytes]]:
    """The EDNS options, if OPT follows the question."""
    if query[4:12] != b"\0\1\0\0\0\0\0\1":
        return
    place = _question_end(query)
    if query[place : place + 3] != _OPT:
        return
    place += OPT_LENGTH
    while place + _OPTION.size <= len(query):
        code, length = _OPTION.unpack_from(query, place)
        yield code, query[place + _OPTION.size : place + _OPTION.size + length]
        place += _OPTION.size + length


def _question_end(message: bytes) -> int:
    place = HEADER.size
    while place < len(message) and message[place]:
        place += 1 + message[place]
    return place + 5


def _limit(query: bytes) -> int:
    """Octets of UDP that the client takes: the class of its OPT record."""
    place = _question_end(query) + 3
    return min(max(int.from_bytes(query[place : place + 2], "big"), _UDP_PLAIN), _UDP_MOST)


def siphash(key: bytes, message: bytes) -> bytes:
    """SipHash-2-4 of a message, 8 octets, under a key of 16 octets."""
    low, high = struct.unpack("<QQ", key)
    state = (low ^ 0x736F6D6570736575, high ^ 0x646F72616E646F6D, low ^ 0x6C7967656E657261, high ^ 0x7465646279746573)
    padded = message + bytes(-(len(message) + 1) % 8) + bytes((len(message) & 0xFF,))
    for (word,) in struct.iter_unpack("<Q", padded):
        a, b, c, d = state
        a, b, c, d = _round(*_round(a, b, c, d ^ word))
        state = a ^ word, b, c, d
    a, b, c, d = state
    state = a, b, c ^ 0xFF, d
    for _ in range(4):
        state = _round(*state)
    a, b, c, d = state
    return (a ^ b ^ c ^ d).to_bytes(8, "little")


def _round(a: int, b: int, c: int, d: int) -> tuple[int, int, int, int]:
    a, c = (a + b) & _MASK, (c + d) & _MASK
    b, d = _turned(b, 13) ^ a, _turned(d, 16) ^ c
    a, c = (_turned(a, 32) + d) & _MASK, (c + b) & _MASK
    b, d = _turned(b, 17) ^ c, _turned(d, 21) ^ a
    return a, b, _turned(c, 32), d


def _turned(word: int, bits: int) -> int:
    return (word << bits | word >> (64 - bits)) & _MASK
