"""Replies written in one stroke: to plain questions about names that hold one kind of record, or none.

An address, a denial, one SRV record with its addresses, the name of an address: nearly all that clusters are asked is
answered so, and can be put behind the question as it came. `wire` would say the same, octet for octet (the tests
compare), of records made one by one; whatever is otherwise (aliases, many endpoints' ports, capitals, what has to be
cut) is left to it. No I/O.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from fairway.dns import names, wire
from fairway.dns.inquiry import wire_name
from fairway.dns.names import Name
from fairway.dns.query import NO_EDNS, Query, read_plain
from fairway.dns.ready import HEADER_LENGTH, Ready, Reply, Turning
from fairway.dns.records import Address, Data, Rcode, Srv, Target, Type
from fairway.dns.wire import Manner
from fairway.dns.zone import HOSTMASTER, Found, Zone

SHAPES = 4096
"""Denials remembered: one for each length of name, type and kind of query."""
MOST_HOSTS = 16
"""SRV records of a brief reply; more would hardly fit a datagram."""

_QR, _AA, _TC, _RA = 0x8000, 0x0400, 0x0200, 0x0080
_KEPT = 0x0110  # RD and CD
_OTHER = 0xF8  # QR and opcode, in the third octet
_TYPES = frozenset(range(1, 128)) - {41}  # those of data; OPT is none
_IN = 1
_FRONT = struct.Struct("!5H")
_FIXED = struct.Struct("!HHHIH")  # pointer to a name, type, class, TTL, length of the data
_SRV = struct.Struct("!3H")
_TYPE_AND_CLASS = 4  # octets, at the end of a question
_ADDRESSES = (Type.A, Type.AAAA)
_POINTER = 0xC000
_RNAME = (HOSTMASTER,)
_OPT = struct.pack("!BHHIH", 0, 41, wire.UDP_EDNS, 0, 0)

_Shape = tuple[int, int, Rcode, int, bool, Name, int, int, int]
_Written = tuple[list[bytes], list[bytes]]
"""The records of the answer and of the additional section, in octets."""


class Briefs:
    """The brief replies of one listener for `zone`, which is complete, in the given manner."""

    def __init__(self, zone: Zone, manner: Manner, *, udp: bool) -> None:
        self._zone = zone
        self._manner = manner
        self._udp = udp
        self._denials: dict[_Shape, Reply] = {}

    def ready(self, query: bytes) -> Ready | None:
        """The reply to any octets, if it is a brief one. None says nothing about them."""
        asked = read_plain(query)
        if asked is None or query[2] & _OTHER or asked.klass != _IN or asked.type not in _TYPES or asked.version > 0:
            return None
        if names.lower(asked.name) != asked.name:
            return None
        made = self._answer(query, asked, self._zone.find(asked.name))
        return made if made is None or asked.repeats else made._replace(roots=wire.NEVER)

    def _answer(self, query: bytes, asked: Query, found: Found) -> Ready | None:
        begins = self._manner.begins
        if found.apex is None:
            return None
        if found.rrsets is None:
            return self._denial(query, asked, found) if begins is None or not begins(asked.name) else None
        data = found.rrsets.get(asked.type)
        if data is not None:
            return self._positive(query, asked, found, data)
        return self._denial(query, asked, found) if Type.CNAME not in found.rrsets else None

    def _denial(self, query: bytes, asked: Query, found: Found) -> Ready | None:
        """What follows the question, the SOA, is the same for all questions that are as long and end alike: one reply
        serves them all."""
        rcode = Rcode.NOERROR if found.rrsets is not None else Rcode.NXDOMAIN
        name, apex = asked.name, found.apex or ()
        mname, rname = _joint(name, self._zone.nameserver), name[-len(apex) - 1 : -len(apex)] == _RNAME
        kind = asked.flags & _KEPT, asked.version, wire.limit(asked, self._udp)
        shape = (names.wire_length(name), asked.type, rcode, mname, rname, apex, *kind)
        reply = self._denials.get(shape)
        if reply is None:
            made = wire.prepare(query, self._zone, udp=self._udp, synced=True, manner=self._manner)
            if not isinstance(made, Ready) or made.reply.front[0] & _TC >> 8:
                return None
            if len(self._denials) >= SHAPES:
                self._denials.clear()
            reply = self._denials[shape] = made.reply
        return Ready(reply, found.roots, asked.type, rcode, wire.apex_text(apex), shared=True)

    def _positive(self, query: bytes, asked: Query, found: Found, data: Sequence[Data]) -> Ready | None:
        """What the name holds, if that can be written here, and fits."""
        opt = _OPT if asked.version != NO_EDNS else b""
        end = HEADER_LENGTH + names.wire_length(asked.name) + _TYPE_AND_CLASS
        written = self._written(query[:end], asked, data)
        if written is None:
            return None
        answer, more = written
        records = b"".join(answer)
        rest = b"".join((*more, opt))
        if end + len(records) + len(rest) > wire.limit(asked, self._udp):
            return None
        flags = _QR | _AA | asked.flags & _KEPT | (_RA if self._manner.recursion else 0)
        front = _FRONT.pack(flags, 1, len(answer), 0, len(more) + bool(opt))
        if len(answer) > 1 and asked.type in _ADDRESSES and self._manner.shuffle:
            reply = Reply(front, end, b"", Turning(records, rest, len(answer[0])))
        else:
            reply = Reply(front, end, records + rest)
        return Ready(reply, found.roots, asked.type, Rcode.NOERROR, wire.apex_text(found.apex or ()))

    def _written(self, query: bytes, asked: Query, data: Sequence[Data]) -> _Written | None:
        """The records of a name; `query` ends with the question."""
        first = data[0]
        if isinstance(first, Address):
            return self._addresses(HEADER_LENGTH, data), []
        if isinstance(first, Srv):
            return self._services(query, asked.name[2:], data) if len(data) <= MOST_HOSTS else None
        if isinstance(first, Target) and asked.type == Type.PTR and len(data) == 1:
            apart = first.name[-1:] != asked.name[-1:]  # else they have labels in common
            return ([self._record(HEADER_LENGTH, Type.PTR, wire_name(first.name))], []) if apart else None
        return None

    def _services(self, query: bytes, service: Name, data: Sequence[Data]) -> _Written | None:
        """SRV records that lead to `service`, whose name ends the question's, or to hosts right below it."""
        start = len(query) - _TYPE_AND_CLASS - names.wire_length(service)
        below = query[start:-_TYPE_AND_CLASS]
        answer: list[bytes] = []
        hosts: dict[Name, int] = {}
        place = len(query)
        for each in data:
            if not isinstance(each, Srv) or each.target[-len(service) :] != service:
                return None
            label = b"".join([b"%c%s" % (len(label), label) for label in each.target[: -len(service)]])
            told = _SRV.pack(each.priority, each.weight, each.port) + label + below
            hosts.setdefault(each.target, place + _FIXED.size + _SRV.size if label else start)
            answer.append(self._record(HEADER_LENGTH, Type.SRV, told))
            place += len(answer[-1])
        return answer, [each for host, at in hosts.items() for each in self._host(at, host)]

    def _host(self, place: int, name: Name) -> list[bytes]:
        """The addresses of a host whose name stands at `place`."""
        held = self._zone.find(name).rrsets or {}
        return [each for type in _ADDRESSES for each in self._addresses(place, held.get(type, ()))]

    def _addresses(self, place: int, data: Sequence[Data]) -> list[bytes]:
        """Addresses of the name that stands at `place`."""
        return [self._record(place, each.type, each.packed) for each in data if isinstance(each, Address)]

    def _record(self, place: int, type: int, told: bytes) -> bytes:
        return _FIXED.pack(_POINTER | place, type, _IN, self._zone.ttl, len(told)) + told


def _joint(name: Name, other: Name) -> int:
    """How many labels at their ends two names have in common."""
    count = 0
    for mine, theirs in zip(reversed(name), reversed(other), strict=False):
        if mine != theirs:
            break
        count += 1
    return count
