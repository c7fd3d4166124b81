"""Answers of other servers as they are held, and given again. No I/O.

Apart from `harvest`, which makes them with a parser for all of DNS: who asks nobody never loads it.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from fairway.dns.encode import HEADER
from fairway.dns.inquiry import AD, CD, QR, RA, RD, TC, Inquiry, Query, opt
from fairway.dns.records import Rcode


@dataclass(frozen=True, slots=True)
class Bounds:
    """How long answers are kept, in seconds. The defaults are those of CoreDNS' cache, but that an answer whose owner
    says 0 is not kept."""

    minimum: int = 0
    success: int = 3600
    denial: int = 1800


DEFAULT_BOUNDS = Bounds()


@dataclass(frozen=True, slots=True)
class Kept:
    """An answer ready to be given again: a whole message without OPT, its TTLs already within bounds, and where they
    stand. `lifetime` is in seconds; 0 is for this asker alone. `helpful` is False when another server may know more:
    this one could not tell, or only referred to others."""

    wire: bytes
    places: tuple[int, ...]
    rcode: int
    lifetime: int
    denial: bool = False
    helpful: bool = True

    @property
    def failure(self) -> bool:
        """Whether nothing is known but that nobody could tell."""
        return self.rcode not in (Rcode.NOERROR, Rcode.NXDOMAIN)

    @property
    def size(self) -> int:
        """Octets of memory, about: the message, its places and the objects around them."""
        return len(self.wire) + 8 * len(self.places) + 300


def plain(inquiry: Inquiry, rcode: int, lifetime: int = 0) -> Kept:
    """An answer of nothing but an rcode: nobody could say more."""
    question = inquiry.name + struct.pack("!HH", inquiry.type, inquiry.klass)
    wire = HEADER.pack(0, QR | RA | rcode, 1, 0, 0, 0) + question
    return Kept(wire, (), rcode, lifetime, denial=True, helpful=False)


def render(query: Query, kept: Kept, *, age: int = 0, ttl: int | None = None) -> bytes:
    """The reply to a client: its own id, spelling and flags; TTLs less by `age` seconds, or all `ttl` (of answers gone
    stale). What does not fit is asked again over TCP."""
    out = bytearray(kept.wire)
    flags = int.from_bytes(out[2:4], "big") | query.flags & (RD | CD)
    if not (query.flags & AD or query.inquiry.do):
        flags &= ~AD
    out[HEADER.size : HEADER.size + len(query.question)] = query.question
    for place in kept.places:
        (told,) = struct.unpack_from("!I", out, place)
        struct.pack_into("!I", out, place, max(told - age, 0) if ttl is None else ttl)
    extra = opt(do=query.inquiry.do) if query.edns else b""
    counts = HEADER.unpack_from(out)[2:]
    if len(out) + len(extra) > query.limit:
        out = out[: HEADER.size + len(query.question)]
        flags, counts = flags | TC, (1, 0, 0, 0)
    HEADER.pack_into(out, 0, query.ident, flags, *counts[:3], counts[3] + bool(extra))
    return bytes(out) + extra
