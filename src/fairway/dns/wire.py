"""From the bytes of a query to the bytes of its reply, without I/O.

Whatever the bytes are, the outcome is a well-formed reply or None (no reply: not even a header, or itself a reply).
Sources: RFC 1035 section 4, RFC 6891 (EDNS), RFC 9619 (one question), RFC 2181 section 9 (truncation), RFC 8482 (ANY).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby

from fairway.dns import names
from fairway.dns.encode import ADDITIONAL, ANSWER, AUTHORITY, HEADER, OPT_LENGTH, Writer
from fairway.dns.errors import Signed, Unreadable
from fairway.dns.names import Name
from fairway.dns.query import NO_EDNS, Query
from fairway.dns.query import read as read_query
from fairway.dns.ready import HEADER_LENGTH, Ready, Reply, Turning
from fairway.dns.records import ANY_CHANGE, Answer, Question, Rcode, Record, Type
from fairway.dns.zone import Zone

MAX_QUERY = 4096
"""Octets of a query; an honest one (255 of name, a few of EDNS options) is far shorter."""
UDP_PLAIN = 512
"""Octets of a UDP reply to a client without EDNS (RFC 1035 section 4.2.1)."""
UDP_EDNS = 1232
"""Octets of a UDP reply at most: what fits an IPv6 packet anywhere without fragments (DNS flag day 2020)."""
TCP = 65535
"""Octets of a TCP reply: its length has two octets."""

_QR, _AA, _TC, _RD, _RA, _CD = 0x8000, 0x0400, 0x0200, 0x0100, 0x0080, 0x0010
_OPCODE = 0x7800
_IN = 1
_TRANSFERS = (251, 252)  # IXFR, AXFR
_NO_QUESTIONS = (0, 41)  # 0 is reserved, OPT never is asked for
_ADDRESSES = (Type.A, Type.AAAA)
NEVER = frozenset({ANY_CHANGE})
"""What a reply is made of that is given once."""
_META = range(128, 255)  # types that are no data (RFC 6895 section 3.1): TKEY, TSIG, MAILB ...


apex_text = lru_cache(maxsize=64)(names.text)
"""The name of a zone as the books have it."""


@dataclass(frozen=True, slots=True)
class Referral:
    """A question that somebody else has to answer: the whole of it when `chain` is empty, else what is left to ask
    after the aliases in `chain`. `finish` makes the reply of the records that were found."""

    question: Question
    message: bytes
    chain: tuple[Record, ...] = ()
    udp: bool = True

    def finish(
        self, found: Sequence[Record], *, rcode: Rcode = Rcode.NOERROR, authority: Sequence[Record] = ()
    ) -> bytes:
        """The aliases and what their end holds (RFC 6604 section 3: the last name decides the rcode), or the SOA that
        says how long it holds nothing (RFC 2308 section 2.1)."""
        return reply(self, Answer(rcode, (*self.chain, *found), tuple(authority)), Manner(recursion=True))


@dataclass(frozen=True, slots=True)
class Manner:
    """How replies are made: `recursion` offers names outside our zones (RA bit, Referral), `shuffle` lets addresses
    begin at another one for each query. Names that do not exist, but of which `begins` is true, are referred: the rest
    of their client's search list may hold an answer."""

    recursion: bool = False
    shuffle: bool = True
    begins: Callable[[Name], bool] | None = None


PLAIN = Manner()


def respond(query: bytes, zone: Zone, *, udp: bool, synced: bool, manner: Manner = PLAIN) -> bytes | Referral | None:
    """The reply to `query`, None for silence, or a Referral when the name is none of ours and `manner` offers
    recursion. `udp` bounds its size by what the client said it takes; until `synced`, questions for our zones are
    answered SERVFAIL, because what is not known yet may well exist."""
    made = prepare(query, zone, udp=udp, synced=synced, manner=manner)
    return made.reply.octets(query) if isinstance(made, Ready) else made


def prepare(query: bytes, zone: Zone, *, udp: bool, synced: bool, manner: Manner = PLAIN) -> Ready | Referral | None:
    """As `respond`, but the reply as it may be given again."""
    if len(query) < HEADER.size:
        return None
    _, flags, *counts = HEADER.unpack_from(query)
    if flags & _QR:
        return None
    if flags & _OPCODE:
        return _bare(flags, Rcode.NOTIMP)
    questions, answers, authorities, additionals = counts
    # An IXFR carries one SOA in the authority section; OPT and TSIG are all that the additional section may hold.
    if questions != 1 or answers or authorities > 1 or additionals > 2 or len(query) > MAX_QUERY:
        return _bare(flags, Rcode.FORMERR)
    try:
        read = read_query(query)
    except Signed:
        return _bare(flags, Rcode.NOTAUTH)
    except Unreadable:
        return _bare(flags, Rcode.FORMERR)
    answer = _judge(read, zone, synced)
    asked = Question(read.name, read.type)
    apex = zone.apex(asked.name)
    if manner.recursion and flags & _RD:
        if answer.alias is not None:
            return Referral(answer.alias, query, answer.answer, udp)
        if answer.rcode == Rcode.REFUSED and apex is None and _may_be_asked_elsewhere(read):
            return Referral(asked, query, (), udp)
    if manner.begins is not None and answer.rcode == Rcode.NXDOMAIN and manner.begins(asked.name):
        return Referral(asked, query, (), udp)
    return _ready(query, read, answer, udp=udp, manner=manner, zone="." if apex is None else apex_text(apex))


def reply(referral: Referral, answer: Answer, manner: Manner = PLAIN) -> bytes:
    """The reply to a referred question whose answer was found after all."""
    query = referral.message
    return _ready(query, read_query(query), answer, udp=referral.udp, manner=manner, zone="").reply.octets(query)


def failure(query: bytes, rcode: Rcode = Rcode.SERVFAIL) -> bytes:
    """The reply to a query (one that deserves a reply) when making the right one has failed: an rcode, no more."""
    return _bare(HEADER.unpack_from(query)[1], rcode).reply.octets(query)


def sent_to_tcp(query: bytes) -> bytes | None:
    """The reply that has its client ask again over TCP; None when the query cannot be read."""
    if len(query) < HEADER.size or query[2] & (_QR | _OPCODE) >> 8 or query[4:6] != b"\0\1":
        return None
    try:
        asked = read_query(query)
    except (Signed, Unreadable):
        return None
    out = Writer(UDP_PLAIN)
    out.question(asked.name, asked.type, asked.klass)
    return out.finish(int.from_bytes(query[:2], "big"), _QR | _TC | (asked.flags & _RD))


def _bare(flags: int, rcode: Rcode) -> Ready:
    """A reply of nothing but a header: there is no question that could be repeated."""
    front = HEADER.pack(0, _QR | (flags & (_OPCODE | _RD)) | rcode, 0, 0, 0, 0)[2:]
    return Ready(Reply(front, HEADER_LENGTH, b""), NEVER, 0, rcode, ".")


def _may_be_asked_elsewhere(asked: Query) -> bool:
    """Whether the question is an ordinary one, refused only for its name."""
    return asked.version <= 0 and asked.klass == _IN and asked.type not in _TRANSFERS


def _judge(asked: Query, zone: Zone, synced: bool) -> Answer:
    """What to answer to a query that can be read."""
    if asked.version > 0:
        return _refusal(Rcode.BADVERS)
    if asked.type in _NO_QUESTIONS:
        return _refusal(Rcode.FORMERR)
    if asked.klass != _IN or asked.type in _TRANSFERS:
        return _refusal(Rcode.REFUSED)
    if asked.type in _META:
        return _refusal(Rcode.NOTIMP)
    if not synced and zone.covers(asked.name):
        return _refusal(Rcode.SERVFAIL)
    return zone.answer(Question(asked.name, asked.type))


def _refusal(rcode: Rcode) -> Answer:
    return Answer(rcode, authoritative=False)


def _ready(query: bytes, asked: Query, answer: Answer, *, udp: bool, manner: Manner, zone: str) -> Ready:
    """The reply's octets. What does not fit is left out: from the answer with TC set, so that the client asks again
    over TCP; from the additional section silently, because the client can ask for it."""
    edns = asked.version != NO_EDNS
    flags = _QR | (asked.flags & (_RD | _CD)) | (answer.rcode & 0xF) | (_AA if answer.authoritative else 0)
    flags |= _RA if manner.recursion else 0
    out = Writer(limit(asked, udp) - (OPT_LENGTH if edns else 0))
    out.question(asked.name, asked.type, asked.klass)
    asked_end = out.length
    addresses = next((place for place, each in enumerate(answer.answer) if each.type in _ADDRESSES), None)
    whole = _add_all(out, ANSWER, answer.answer[:addresses])
    start, before = out.length, out.count(ANSWER)
    whole = whole and (addresses is None or _add_all(out, ANSWER, answer.answer[addresses:]))
    end, turning = out.length, out.count(ANSWER) - before
    whole = whole and _add_all(out, AUTHORITY, answer.authority)
    for hosts in _sets(answer.additional) if whole else ():
        if not out.add(ADDITIONAL, hosts):
            break
    if edns:
        out.opt(answer.rcode, UDP_EDNS)
    octets = out.finish(0, flags if whole else flags | _TC)
    # A name that its sender has compressed comes back in other octets.
    same = octets[HEADER_LENGTH:asked_end] == query[HEADER_LENGTH:asked_end]
    begun = asked_end if same else HEADER_LENGTH
    turn = (
        Turning(octets[start:end], octets[end:], (end - start) // turning) if turning > 1 and manner.shuffle else None
    )
    reply = Reply(octets[2:HEADER_LENGTH], begun, octets[begun:start] if turn else octets[begun:], turn)
    return Ready(reply, answer.roots if asked.repeats and same else NEVER, asked.type, answer.rcode, zone)


def _add_all(out: Writer, section: int, records: Iterable[Record]) -> bool:
    """Write as many of the records as fit; whether those are all."""
    return all(out.add(section, (each,)) for each in records)


def limit(asked: Query, udp: bool) -> int:
    """Octets that the reply may have. A client that claims to take less than 512 takes 512 (RFC 6891 6.2.3)."""
    if not udp:
        return TCP
    return min(max(asked.payload, UDP_PLAIN), UDP_EDNS) if asked.version != NO_EDNS else UDP_PLAIN


def _sets(records: Iterable[Record]) -> Iterable[list[Record]]:
    """Runs of records of one name and type: outside the answer, sets come whole or not at all (RFC 2181 section 5)."""
    return (list(run) for _, run in groupby(records, key=lambda each: (each.name, each.type)))
