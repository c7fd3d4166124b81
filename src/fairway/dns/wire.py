"""From the bytes of a query to the bytes of its reply, without I/O.

Whatever the bytes are, the outcome is a well-formed reply or None (no reply: not even a header, or itself a reply).
Sources: RFC 1035 section 4, RFC 6891 (EDNS), RFC 9619 (one question), RFC 2181 section 9 (truncation), RFC 8482 (ANY).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby

import dns.exception
import dns.message

from fairway.dns.encode import ADDITIONAL, ANSWER, AUTHORITY, HEADER, OPT_LENGTH, Writer
from fairway.dns.names import Name
from fairway.dns.records import Answer, Question, Rcode, Record, Type
from fairway.dns.zone import Zone

MAX_QUERY = 4096
"""Octets of a query; an honest one (255 of name, a few of EDNS options) is far shorter."""
UDP_PLAIN = 512
"""Octets of a UDP reply to a client without EDNS (RFC 1035 section 4.2.1)."""
UDP_EDNS = 1232
"""Octets of a UDP reply at most: what fits an IPv6 packet anywhere without fragments (DNS flag day 2020)."""
TCP = 65535
"""Octets of a TCP reply: its length has two octets."""

_QR, _AA, _TC, _RD, _CD = 0x8000, 0x0400, 0x0200, 0x0100, 0x0010
_QUERY = 0
_IN = 1
_TRANSFERS = (251, 252)  # IXFR, AXFR
_NO_QUESTIONS = (0, 41)  # 0 is reserved, OPT never is asked for
_META = range(128, 255)  # types that are no data (RFC 6895 section 3.1): TKEY, TSIG, MAILB ...


def respond(query: bytes, zone: Zone, *, udp: bool, synced: bool) -> bytes | None:
    """The reply to `query`, or None for silence. `udp` bounds its size by what the client said it takes; until
    `synced`, questions for our zones are answered SERVFAIL, because what is not known yet may well exist."""
    if len(query) < HEADER.size:
        return None
    ident, flags, *counts = HEADER.unpack_from(query)
    if flags & _QR:
        return None
    if (flags >> 11) & 0xF != _QUERY:
        return _bare(ident, flags, Rcode.NOTIMP)
    questions, answers, authorities, additionals = counts
    # An IXFR carries one SOA in the authority section; OPT and TSIG are all that the additional section may hold.
    if questions != 1 or answers or authorities > 1 or additionals > 2 or len(query) > MAX_QUERY:
        return _bare(ident, flags, Rcode.FORMERR)
    try:
        message = dns.message.from_wire(query)
    except dns.message.UnknownTSIGKey:
        return _bare(ident, flags, Rcode.NOTAUTH)
    except (dns.exception.DNSException, ValueError):
        return _bare(ident, flags, Rcode.FORMERR)
    return _render(message, _judge(message, zone, synced), udp=udp)


def failure(query: bytes) -> bytes:
    """The reply to a query (one that deserves a reply) when making the right one has failed: SERVFAIL, no more."""
    ident, flags, *_ = HEADER.unpack_from(query)
    return _bare(ident, flags, Rcode.SERVFAIL)


def _bare(ident: int, flags: int, rcode: Rcode) -> bytes:
    """A reply of nothing but a header: there is no question that could be repeated."""
    return HEADER.pack(ident, _QR | (flags & 0x7800) | (flags & _RD) | rcode, 0, 0, 0, 0)


def _judge(message: dns.message.Message, zone: Zone, synced: bool) -> Answer:
    """What to answer to a message that can be read."""
    asked = message.question[0]
    name: Name = asked.name.labels[:-1]
    if message.edns > 0:
        return _refusal(Rcode.BADVERS)
    if asked.rdtype in _NO_QUESTIONS:
        return _refusal(Rcode.FORMERR)
    if asked.rdclass != _IN or asked.rdtype in _TRANSFERS:
        return _refusal(Rcode.REFUSED)
    if asked.rdtype in _META:
        return _refusal(Rcode.NOTIMP)
    if not synced and zone.covers(name):
        return _refusal(Rcode.SERVFAIL)
    return zone.answer(Question(name, asked.rdtype))


def _refusal(rcode: Rcode) -> Answer:
    return Answer(rcode, authoritative=False)


def _render(message: dns.message.Message, answer: Answer, *, udp: bool) -> bytes:
    """The reply's bytes. What does not fit is left out: from the answer with TC set, so that the client asks again
    over TCP; from the additional section silently, because the client can ask for it."""
    edns = message.edns >= 0
    flags = _QR | (message.flags & (_RD | _CD)) | (answer.rcode & 0xF) | (_AA if answer.authoritative else 0)
    out = Writer(_limit(message, udp) - (OPT_LENGTH if edns else 0))
    asked = message.question[0]
    out.question(asked.name.labels[:-1], asked.rdtype, asked.rdclass)
    needed = [(ANSWER, each) for each in _turned(answer.answer, message.id)]
    needed += [(AUTHORITY, each) for each in answer.authority]
    whole = all(out.add(section, (each,)) for section, each in needed)
    for hosts in _sets(answer.additional) if whole else ():
        if not out.add(ADDITIONAL, hosts):
            break
    if edns:
        out.opt(answer.rcode, UDP_EDNS)
    return out.finish(message.id, flags if whole else flags | _TC)


def _limit(message: dns.message.Message, udp: bool) -> int:
    """Octets that the reply may have. A client that claims to take less than 512 takes 512 (RFC 6891 6.2.3)."""
    if not udp:
        return TCP
    return min(max(message.payload, UDP_PLAIN), UDP_EDNS) if message.edns >= 0 else UDP_PLAIN


def _turned(records: Sequence[Record], chance: int) -> Sequence[Record]:
    """Addresses begin at another one for each query, so that clients which take the first one spread. The chance is
    the query's id, which clients draw at random (RFC 5452). Aliases stay in front."""
    first = next((place for place, each in enumerate(records) if each.type in (Type.A, Type.AAAA)), len(records))
    addresses = records[first:]
    start = chance % len(addresses) if addresses else 0
    return (*records[:first], *addresses[start:], *addresses[:start])


def _sets(records: Iterable[Record]) -> Iterable[list[Record]]:
    """Runs of records of one name and type: outside the answer, sets come whole or not at all (RFC 2181 section 5)."""
    return (list(run) for _, run in groupby(records, key=lambda each: (each.name, each.type)))
