"""What of an upstream's reply is kept: the records that answer the question, nothing it says beside that.

Source: RFC 5452 section 6 and RFC 2181 section 5.4.1 (in-bailiwick), RFC 2308 (negative answers and their TTL),
RFC 2181 section 8 (TTLs of 31 bits), RFC 6672 (DNAME), RFC 4035 section 3.2 (what DO asks for). No I/O.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset

from fairway.dns.errors import Unreadable
from fairway.dns.inquiry import AD, QR, RA, Inquiry, labels, ttl_places
from fairway.dns.kept import DEFAULT_BOUNDS, Bounds, Kept, plain
from fairway.dns.records import Address, Data, Opaque, Rcode, Record, Srv, Target, Type

MAX_CHAIN = 16
"""Aliases followed in one reply."""
_RRSIG, _NSEC, _NSEC3, _DNAME = 46, 47, 50, 39
_PROOFS = (_RRSIG, _NSEC, _NSEC3)
_MAX_TTL = 0x7FFFFFFF
_RRsets = list[dns.rrset.RRset]


def harvest(inquiry: Inquiry, reply: bytes, bounds: Bounds = DEFAULT_BOUNDS) -> Kept:
    """What to keep of a reply that was believed. Raises Unreadable."""
    try:
        message = dns.message.from_wire(reply)
    except (dns.exception.DNSException, ValueError) as error:
        raise Unreadable(f"an upstream's reply cannot be read: {error}") from error
    rcode = int(message.rcode())
    if rcode not in (Rcode.NOERROR, Rcode.NXDOMAIN):
        return plain(inquiry, rcode if rcode < 16 else Rcode.SERVFAIL)
    asked = dns.name.Name((*inquiry.labels, b""))
    end, answers = _chain(asked, inquiry.type, message.answer)
    positive = rcode == Rcode.NOERROR and _answered(answers, end, inquiry.type)
    soa = None if positive else _soa(end, message.authority)
    proofs = _proofs(end, answers, soa, message.authority) if inquiry.do else []
    authority = ([soa] if soa else []) + proofs
    lifetime = _bound(answers, soa, bounds, positive)
    wire = _write(inquiry, message, rcode, answers, authority)
    says = bool(answers or soa or message.flags & (dns.flags.RA | dns.flags.AA))
    return Kept(wire, ttl_places(wire), rcode, lifetime, denial=not positive, helpful=says)


def records(kept: Kept, age: int = 0) -> tuple[Record, ...]:
    """The answer section as values."""
    return _values(dns.message.from_wire(kept.wire).answer, age)


def denial(kept: Kept, age: int = 0) -> tuple[Record, ...]:
    """The SOA record that says how long a denial may be kept, if there is one."""
    authority = dns.message.from_wire(kept.wire).authority if kept.denial else ()
    return _values((each for each in authority if each.rdtype == dns.rdatatype.SOA), age)


def _values(rrsets: Iterable[dns.rrset.RRset], age: int) -> tuple[Record, ...]:
    return tuple(
        Record(
            rrset.name.labels[:-1], rrset.rdtype, max(rrset.ttl - age, 0), _data(rrset.rdtype, data.to_wire() or b"")
        )
        for rrset in rrsets
        for data in rrset
    )


def _chain(asked: dns.name.Name, type: int, answers: Sequence[dns.rrset.RRset]) -> tuple[dns.name.Name, _RRsets]:
    """From the name asked along the aliases: where it ends, and the sets on the way. Whatever else an answer section
    holds, nobody asked for."""
    name, taken = asked, list[dns.rrset.RRset]()
    for _ in range(MAX_CHAIN):
        taken += [each for each in answers if _belongs(each, name, type) and each not in taken]
        alias = _alias(name, answers) if type not in (Type.CNAME, Type.ANY) else None
        if alias is None or any(each.name == alias and each.rdtype == dns.rdatatype.CNAME for each in taken):
            return name, taken
        name = alias
    return name, taken


def _belongs(rrset: dns.rrset.RRset, name: dns.name.Name, type: int) -> bool:
    """Whether a set answers for `name`: of the type asked, an alias, the DNAME that made one, their signatures."""
    kind = rrset.covers if rrset.rdtype == _RRSIG else rrset.rdtype
    if rrset.rdclass != dns.rdataclass.IN:
        return False
    if kind == _DNAME and rrset.name != name:
        return name.is_subdomain(rrset.name)
    return rrset.name == name and (type == Type.ANY or kind in (type, Type.CNAME) or rrset.rdtype == type)


def _alias(name: dns.name.Name, answers: Iterable[dns.rrset.RRset]) -> dns.name.Name | None:
    for rrset in answers:
        if rrset.rdtype == dns.rdatatype.CNAME and rrset.rdclass == dns.rdataclass.IN and rrset.name == name:
            target: dns.name.Name = rrset[0].target
            return target
    return None


def _answered(answers: _RRsets, end: dns.name.Name, type: int) -> bool:
    return any(each.name == end and type in (each.rdtype, Type.ANY) for each in answers)


def _soa(end: dns.name.Name, authority: Iterable[dns.rrset.RRset]) -> dns.rrset.RRset | None:
    """The SOA of a zone that the name is in; one of another zone proves nothing."""
    for rrset in authority:
        if rrset.rdtype == dns.rdatatype.SOA and rrset.rdclass == dns.rdataclass.IN and end.is_subdomain(rrset.name):
            return rrset
    return None


def _proofs(end: dns.name.Name, answers: _RRsets, soa: dns.rrset.RRset | None, authority: _RRsets) -> _RRsets:
    """The DNSSEC records of a denial or of a wildcard: those of the zone that the name is in."""
    apexes = [soa.name] if soa else []
    apexes += [rdata.signer for each in answers if each.rdtype == _RRSIG for rdata in each]
    zones = [each for each in apexes if end.is_subdomain(each)]
    return [each for each in authority if each.rdtype in _PROOFS and any(map(each.name.is_subdomain, zones))]


def _bound(answers: _RRsets, soa: dns.rrset.RRset | None, bounds: Bounds, positive: bool) -> int:
    """Bring the TTLs within bounds (in place) and say how long the whole may be kept: as its shortest part; a denial
    as its SOA says, not at all without one (RFC 2308 section 5). 0 stays 0: its owner wants no caching."""
    most = bounds.success if positive else bounds.denial
    sets = [*answers, soa] if soa else answers
    if soa:
        soa.ttl = min(soa.ttl, soa[0].minimum)
    for each in sets:
        ttl = each.ttl if each.ttl <= _MAX_TTL else 0
        each.ttl = min(max(ttl, bounds.minimum), most) if ttl else 0
    kept = positive or soa is not None
    return min((each.ttl for each in sets), default=0) if kept else 0


def _write(inquiry: Inquiry, message: dns.message.Message, rcode: int, *sections: _RRsets) -> bytes:
    """The message that is kept. Its question is lower case; names equal to it point to it, so that they appear in the
    spelling of whoever asks next."""
    made = dns.message.Message(id=0)
    made.flags = dns.flags.Flag(QR | RA | (int(message.flags) & AD))
    made.set_rcode(dns.rcode.Rcode(rcode))
    asked = dns.name.Name((*inquiry.labels, b""))
    made.question.append(dns.rrset.RRset(asked, dns.rdataclass.IN, dns.rdatatype.RdataType(inquiry.type)))
    made.answer.extend(sections[0])
    made.authority.extend(sections[1])
    try:
        return made.to_wire(max_size=65535)
    except dns.exception.DNSException as error:
        raise Unreadable(f"an upstream's reply is too long: {error}") from error


def _data(type: int, octets: bytes) -> Data:
    """Uncompressed data as a value."""
    match type:
        case Type.A | Type.AAAA:
            return Address(octets)
        case Type.CNAME | Type.NS | Type.PTR:
            return Target(labels(octets))
        case Type.SRV:
            priority, weight, port = struct.unpack_from("!HHH", octets)
            return Srv(priority, weight, port, labels(octets[6:]))
        case _:
            return Opaque(octets)
