"""Reading queries. No I/O.

Nearly all of them are one question with at most an OPT record: those are read here by hand, in a few microseconds.
Whatever is otherwise (signatures, anything odd) is left to dnspython, which also says what is malformed; it is loaded
when the first of these comes. Sources: RFC 1035 section 4, RFC 6891 section 6.1.2.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from fairway.dns.errors import Signed, Unreadable
from fairway.dns.names import MAX_LABEL, MAX_NAME, Name

NO_EDNS = -1
_HEADER_LENGTH = 12
_PLAIN, _WITH_OPT = b"\0\1\0\0\0\0\0\0", b"\0\1\0\0\0\0\0\1"  # the counts of the four sections
_FIXED = struct.Struct("!HH")
_OPT_RECORD = struct.Struct("!BHHBBHH")
"""Root, type, octets of UDP, upper bits of the rcode, version, flags, length of options."""
_OPT = 41


class Query(NamedTuple):
    """A query of one question, as its sender spelled it. `version` is that of EDNS or NO_EDNS, `payload` the octets of
    UDP that the sender takes. `repeats` says whether the same octets are likely to come again: EDNS options (a cookie)
    and signatures tend to be new each time."""

    flags: int
    name: Name
    type: int
    klass: int
    version: int = NO_EDNS
    payload: int = 0
    repeats: bool = True


def read(octets: bytes) -> Query:
    """The query in these octets, of which the caller has looked at the header: a query with one question and opcode 0.
    Raises Unreadable, Signed."""
    return read_plain(octets) or _read_any(octets)


def read_plain(octets: bytes) -> Query | None:
    """The query if it is a plain one; None says nothing about it."""
    counts = octets[4:_HEADER_LENGTH]
    if counts != _PLAIN and counts != _WITH_OPT:
        return None
    labels: list[bytes] = []
    place, size = _HEADER_LENGTH, len(octets)
    while place < size and (length := octets[place]):
        if length > MAX_LABEL:
            return None
        labels.append(octets[place + 1 : place + 1 + length])
        place += 1 + length
    place += 1
    if place - _HEADER_LENGTH > MAX_NAME or place + _FIXED.size > size:
        return None
    type, klass = _FIXED.unpack_from(octets, place)
    flags, left = octets[2] << 8 | octets[3], size - place - _FIXED.size
    if counts == _PLAIN:
        return Query(flags, tuple(labels), type, klass) if not left else None
    if left < _OPT_RECORD.size:
        return None
    root, kind, payload, _, version, _, options = _OPT_RECORD.unpack_from(octets, size - left)
    if root or kind != _OPT or left != _OPT_RECORD.size + options or not _options_fit(octets, size - options):
        return None
    return Query(flags, tuple(labels), type, klass, version, payload, not options)


def _options_fit(octets: bytes, place: int) -> bool:
    """Whether what begins at `place` is options (code, length, value), one after another, to the end."""
    while place + _FIXED.size <= len(octets):
        place += _FIXED.size + _FIXED.unpack_from(octets, place)[1]
    return place == len(octets)


def _read_any(octets: bytes) -> Query:
    import dns.exception  # 30 ms and 7 MB that few servers ever need
    import dns.message

    try:
        message = dns.message.from_wire(octets)
    except dns.message.UnknownTSIGKey as error:
        raise Signed("the query is signed") from error
    except (dns.exception.DNSException, ValueError) as error:
        raise Unreadable(f"the query cannot be read: {error}") from error
    if not message.question:
        raise Unreadable("the query asks nothing")
    asked = message.question[0]
    repeats = not message.options and not message.had_tsig
    version, payload = int(message.edns), int(message.payload)
    return Query(
        int(message.flags), asked.name.labels[:-1], int(asked.rdtype), int(asked.rdclass), version, payload, repeats
    )
