"""Questions for other servers: read from a client's query, asked in words that are hard to guess, and told apart from
what a liar answers. Bytes in, bytes out.

Source: RFC 1035 section 4; RFC 5452 (what makes a reply believable); draft-vixie-dnsext-dns0x20 (letters' case as a
nonce); RFC 6891 (EDNS); RFC 6840 section 5.7 (AD in a query asks for AD in the reply).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from enum import Enum
from typing import NamedTuple

from fairway.dns.encode import HEADER, OPT_LENGTH
from fairway.dns.errors import Unreadable
from fairway.dns.names import MAX_NAME, Name

QR, OPCODE, TC, RD, RA, AD, CD = 0x8000, 0x7800, 0x0200, 0x0100, 0x0080, 0x0020, 0x0010
PAYLOAD = 1232
"""Octets of UDP we take (DNS flag day 2020)."""
_OPT = 41
_DO = 0x8000
_OPT_RECORD = struct.Struct("!BHHBBHH")
"""Root, type, octets of UDP, upper bits of the rcode, version, flags, length of options (RFC 6891 section 6.1.3)."""
_POINTER = 0xC0


class Inquiry(NamedTuple):
    """What is asked, and in which sense: two queries with the same inquiry get the same answer. `name` is on-the-wire
    form, lower case; `do` (DNSSEC records wanted) and `cd` (validation unwanted) change what an upstream says.
    A tuple, since these are made and looked up for each query."""

    name: bytes
    type: int
    klass: int = 1
    do: bool = False
    cd: bool = False

    @property
    def labels(self) -> Name:
        """The name's labels."""
        return labels(self.name)


class Query(NamedTuple):
    """A client's query: its id, flags and question as they came, the octets it takes, and what it asks."""

    ident: int
    flags: int
    question: bytes
    limit: int
    edns: bool
    inquiry: Inquiry

    @property
    def recursive(self) -> bool:
        """Whether the client wants others to be asked."""
        return bool(self.flags & RD)


class Belief(Enum):
    """What to make of a datagram that came to the socket of a question."""

    OURS = "the answer to the question"
    RESPELLED = "the answer, but letters have changed their case"
    FOREIGN = "no answer to the question"


def read_query(message: bytes, *, udp: bool) -> Query:
    """A client's query: one question, and at most an OPT record of EDNS version 0. Raises Unreadable."""
    try:
        ident, flags, *counts = HEADER.unpack_from(message)
        if flags & (QR | OPCODE) or counts[:3] != [1, 0, 0] or counts[3] > 1:
            raise Unreadable("this is no query of one question")
        end = _skip_name(message, HEADER.size, pointers=False) + 4
        type, klass = struct.unpack_from("!HH", message, end - 4)
        payload, do = _edns(message, end) if counts[3] else (0, False)
        if not counts[3] and len(message) != end:
            raise Unreadable("something follows the question")
    except (struct.error, IndexError) as error:
        raise Unreadable("the query is cut short") from error
    limit = min(max(payload, 512), PAYLOAD) if udp else 65535
    inquiry = Inquiry(message[HEADER.size : end - 4].lower(), type, klass, do, bool(flags & CD))
    return Query(ident, flags, message[HEADER.size : end], limit, bool(counts[3]), inquiry)


def ask(inquiry: Inquiry, ident: int, chance: int, *, edns: bool = True) -> bytes:
    """The query for an upstream. Bit n of `chance` is the case of the n-th octet of the name, if it is a letter."""
    flags = RD | AD | (CD if inquiry.cd else 0)
    question = spell(inquiry.name, chance) + struct.pack("!HH", inquiry.type, inquiry.klass)
    opt = struct.pack("!BHHIH", 0, _OPT, PAYLOAD, _DO if inquiry.do else 0, 0) if edns else b""
    return HEADER.pack(ident, flags, 1, 0, 0, int(edns)) + question + opt


def spell(name: bytes, chance: int) -> bytes:
    """The lower-case name with the letters in capitals that `chance` has a bit for. Length octets are below any
    letter, so no care is needed for them."""
    return bytes(
        octet - 32 if 97 <= octet <= 122 and chance >> place & 1 else octet for place, octet in enumerate(name)
    )


def judge(asked: bytes, reply: bytes) -> Belief:
    """Whether `reply` answers `asked`: same id, a reply to a standard query, the same question (RFC 5452 section 9.1).
    Servers may leave out the question only when they could not read it; such a reply is of no use and not believed."""
    if len(reply) < HEADER.size:
        return Belief.FOREIGN
    ident, flags, questions, *_ = HEADER.unpack_from(reply)
    if ident != int.from_bytes(asked[:2], "big") or not flags & QR or flags & OPCODE or questions != 1:
        return Belief.FOREIGN
    mine = question_of(asked)
    theirs = reply[HEADER.size : HEADER.size + len(mine)]
    if theirs == mine:
        return Belief.OURS
    # Type and class are below any letter's octet or in it; folding them too could only confuse types 65 to 90 with
    # 97 to 122, so they are compared as they are.
    alike = theirs[:-4].lower() == mine[:-4].lower() and theirs[-4:] == mine[-4:]
    return Belief.RESPELLED if alike else Belief.FOREIGN


def question_of(query: bytes) -> bytes:
    """The octets of the question of a well-formed query."""
    return query[HEADER.size : _skip_name(query, HEADER.size) + 4]


def labels(name: bytes) -> Name:
    """The labels of a name on the wire that has no pointers."""
    found: list[bytes] = []
    place = 0
    while name[place]:
        found.append(name[place + 1 : place + 1 + name[place]])
        place += 1 + name[place]
    return tuple(found)


def wire_name(labels: Name) -> bytes:
    """Labels as a name on the wire, lower case."""
    return b"".join(bytes((len(label),)) + label for label in labels).lower() + b"\0"


def ttl_places(message: bytes) -> tuple[int, ...]:
    """Where the TTLs of the records stand (not that of OPT, which is none). Raises Unreadable."""
    try:
        _, _, questions, *counts = HEADER.unpack_from(message)
        place = HEADER.size
        for _ in range(questions):
            place = _skip_name(message, place) + 4
        return tuple(start + 4 for start, type in _records(message, place, sum(counts)) if type != _OPT)
    except (struct.error, IndexError) as error:
        raise Unreadable("the message is cut short") from error


def opt(*, do: bool, rcode: int = 0) -> bytes:
    """The OPT record of a reply."""
    made = struct.pack("!BHHIH", 0, _OPT, PAYLOAD, rcode >> 4 << 24 | (_DO if do else 0), 0)
    assert len(made) == OPT_LENGTH
    return made


def _edns(message: bytes, place: int) -> tuple[int, bool]:
    """The size of UDP that the client takes, and whether it wants DNSSEC records: what the OPT record at the end of a
    query says. Raises Unreadable, struct.error."""
    root, type, payload, _, version, flags, length = _OPT_RECORD.unpack_from(message, place)
    if root or type != _OPT or version or place + _OPT_RECORD.size + length != len(message):
        raise Unreadable("what follows the question is no OPT record of version 0")
    return payload, bool(flags & _DO)


def _records(message: bytes, place: int, count: int) -> Iterator[tuple[int, int]]:
    """Where the fixed part of each record begins, and its type."""
    for _ in range(count):
        place = _skip_name(message, place)
        type, _, _, length = struct.unpack_from("!HHIH", message, place)
        yield place, type
        place += 10 + length


def _skip_name(message: bytes, place: int, *, pointers: bool = True) -> int:
    """Where the name that begins at `place` ends. Raises Unreadable, IndexError."""
    start = place
    while True:
        length = message[place]
        if length >= _POINTER and pointers:
            return place + 2
        place += 1 + length
        if length == 0:
            return place
        if length > 63 or place - start > MAX_NAME:
            raise Unreadable("a label is too long")
