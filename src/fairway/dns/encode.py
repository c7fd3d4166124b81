"""Writing a reply: sections of records into bytes, names compressed, never longer than allowed.

Source: RFC 1035 sections 3 and 4; RFC 2782 (the target of SRV is not compressed); RFC 6891 section 6.1.2 (OPT).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from fairway.dns.names import Name
from fairway.dns.records import Address, Data, Opaque, Record, Soa, Srv, Target, Text

HEADER = struct.Struct("!6H")
"""Id, flags, and the counts of the four sections."""
OPT_LENGTH = 11
"""Octets of an OPT record without options."""
ANSWER, AUTHORITY, ADDITIONAL = 1, 2, 3

_OPT = 41
_QUESTION = struct.Struct("!HH")
_FIXED = struct.Struct("!HHIH")  # type, class, TTL, length of the data
_LENGTH = struct.Struct("!H")
_IN = 1
_POINTER = 0xC000
_FARTHEST = 0x3FFF  # a compression pointer has 14 bits


class Writer:
    """One reply in the making. Sections are written in their order; `limit` is in octets."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._octets = bytearray(HEADER.size)
        self._places: dict[Name, int] = {}
        self._counts = [0, 0, 0, 0]

    @property
    def length(self) -> int:
        """Octets written."""
        return len(self._octets)

    def count(self, section: int) -> int:
        """Records written to a section."""
        return self._counts[section]

    def question(self, name: Name, type: int, klass: int) -> None:
        """Repeat the question, letter for letter."""
        octets, places = self._octets, self._places
        for index, label in enumerate(name):
            places[name[index:]] = len(octets)
            octets.append(len(label))
            octets += label
        octets += b"\0" + _QUESTION.pack(type, klass)
        self._counts[0] += 1

    def add(self, section: int, records: Sequence[Record]) -> bool:
        """Write all the records, or none if they do not fit; says which."""
        before = len(self._octets)
        for record in records:
            self._record(record)
            if len(self._octets) > self._limit:
                self._take_back(before)
                return False
        self._counts[section] += len(records)
        return True

    def opt(self, rcode: int, payload: int) -> None:
        """The OPT record: the upper bits of the rcode and how many octets of UDP we take. The caller has kept
        OPT_LENGTH free for it."""
        self._octets += struct.pack("!BHHIH", 0, _OPT, payload, rcode >> 4 << 24, 0)
        self._counts[ADDITIONAL] += 1

    def finish(self, ident: int, flags: int) -> bytes:
        """The reply, with its header."""
        HEADER.pack_into(self._octets, 0, ident, flags, *self._counts)
        return bytes(self._octets)

    def _take_back(self, length: int) -> None:
        del self._octets[length:]
        self._places = {name: place for name, place in self._places.items() if place < length}

    def _record(self, record: Record) -> None:
        self._name(record.name)
        if isinstance(record.data, Address):
            packed = record.data.packed
            self._octets += _FIXED.pack(record.type, _IN, record.ttl, len(packed)) + packed
            return
        self._octets += _FIXED.pack(record.type, _IN, record.ttl, 0)
        start = len(self._octets)
        self._data(record.data)
        _LENGTH.pack_into(self._octets, start - 2, len(self._octets) - start)

    def _data(self, data: Data) -> None:
        match data:
            case Address(octets) | Opaque(octets):
                self._octets += octets
            case Target(name):
                self._name(name)
            case Srv():
                self._octets += struct.pack("!HHH", data.priority, data.weight, data.port)
                self._name(data.target, compress=False)
            case Text(value):
                self._octets += bytes((len(value),)) + value
            case Soa():
                self._name(data.mname)
                self._name(data.rname)
                self._octets += struct.pack("!5I", data.serial, data.refresh, data.retry, data.expire, data.minimum)

    def _name(self, name: Name, *, compress: bool = True) -> None:
        """Write a name, ending in a pointer where its rest stands already, in the same spelling: a reply must not
        change the case of letters that its records came with."""
        octets, places = self._octets, self._places
        for index, label in enumerate(name):
            rest = name[index:]
            place = places.get(rest)
            if compress and place is not None:
                octets += _LENGTH.pack(_POINTER | place)
                return
            if place is None and len(octets) <= _FARTHEST:
                places[rest] = len(octets)
            octets.append(len(label))
            octets += label
        octets.append(0)
