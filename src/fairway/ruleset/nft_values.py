"""The values of the nftables language: how long each type is, its bytes, and how nft spells it.

Packed values are what registers of the kernel hold, each field padded with zeros to four bytes. Two types are kept
otherwise than in the kernel, as their meaning depends on the host or is not known here: INTERFACE by its name (the
kernel keeps the device's index), UNKNOWN by its text.
"""

from __future__ import annotations

import functools
import ipaddress
import sys
from collections.abc import Mapping, Sequence
from typing import NoReturn

from fairway.ruleset.nft import (
    Bits,
    Concat,
    Ct,
    Expression,
    Fib,
    Hash,
    Literal,
    MapLookup,
    Meta,
    Numgen,
    Payload,
    Range,
    Type,
)
from fairway.ruleset.nft_names import BIT_NAMES, NAMES

PRIORITIES: Mapping[str, int] = {
    "raw": -300,
    "mangle": -150,
    "dstnat": -100,
    "filter": 0,
    "security": 50,
    "srcnat": 100,
}
"""Names of priorities in the families ip, ip6 and inet (enum nf_ip_hook_priorities in uapi/linux/netfilter_ipv4.h)."""

BRIDGE_PRIORITIES: Mapping[str, int] = {"dstnat": -300, "filter": -200, "out": 100, "srcnat": 300}
"""Names of priorities in the family bridge (enum nf_br_hook_priorities)."""

UNKNOWN_SIZE = 256
"""Room for the text of a value whose type is not known."""

SIZES: Mapping[Type, int] = {
    Type.IPV4: 4,
    Type.IPV6: 16,
    Type.PROTOCOL: 1,
    Type.SERVICE: 2,
    Type.MARK: 4,
    Type.INTEGER: 4,
    Type.INTERFACE_NAME: 16,
    Type.INTERFACE: 16,
    Type.CT_STATE: 4,
    Type.CT_STATUS: 4,
    Type.CT_DIRECTION: 1,
    Type.TCP_FLAGS: 1,
    Type.FIB_TYPE: 4,
    Type.NF_PROTOCOL: 1,
    Type.ICMP_TYPE: 1,
    Type.ICMPV6_TYPE: 1,
    Type.ETHER: 6,
    Type.PACKET_TYPE: 1,
    Type.UID: 4,
    Type.GID: 4,
    Type.UNKNOWN: UNKNOWN_SIZE,
}
"""Bytes of a value, without padding."""

TEXTS = frozenset({Type.INTERFACE_NAME, Type.INTERFACE, Type.UNKNOWN})
"""Types that hold characters."""

BIG_ENDIAN = frozenset({Type.IPV4, Type.IPV6, Type.SERVICE, Type.ETHER})
"""Types in network order; numbers of other types longer than a byte are in the machine's."""


def size(type_: Type) -> int:
    """Bytes of a value, padded to registers of four."""
    return (SIZES[type_] + 3) & ~3


def sizes(types: Sequence[Type]) -> tuple[int, ...]:
    """The padded size of each field."""
    return tuple(size(type_) for type_ in types)


def order(type_: Type) -> str:
    """The byte order of a type, "big" or "little"."""
    return "big" if type_ in BIG_ENDIAN else sys.byteorder


# Text and numbers to bytes.


def pack_address(text: str) -> bytes:
    """The bytes of an IPv4 or IPv6 address. Raises ValueError."""
    if ":" in text:
        return _packed_ipv6(text)
    try:
        packed = bytes(map(int, text.split(".")))
    except ValueError:
        packed = b""
    if len(packed) != 4 or not (text.isascii() and text.replace(".", "").isdigit()):
        raise ValueError(f"{text!r} is no IP address")
    return packed


@functools.lru_cache(maxsize=65536)
def _packed_ipv6(text: str) -> bytes:
    return ipaddress.IPv6Address(text).packed


def value(type_: Type, given: str | int) -> bytes:
    """A value's bytes without padding, from a number or from any spelling nft accepts in its listings. Raises
    ValueError."""
    if isinstance(given, int):
        return _number(type_, given)
    if type_ is Type.IPV4 or type_ is Type.IPV6:
        packed = pack_address(given)
        return packed if len(packed) == SIZES[type_] else _no(type_, given)
    if type_ in TEXTS:
        return _text(type_, given)
    if type_ is Type.ETHER:
        return _ether(given)
    if (number := NAMES.get(type_, {}).get(given)) is not None:
        return _number(type_, number)
    if type_ in BIT_NAMES:
        return _number(type_, functools.reduce(int.__or__, (_bit(type_, name) for name in given.split(","))))
    try:
        return _number(type_, int(given, 0))
    except ValueError:
        _no(type_, given)


def _number(type_: Type, number: int) -> bytes:
    if type_ in TEXTS:
        return _text(type_, str(number))
    try:
        return number.to_bytes(SIZES[type_], "big" if type_ in BIG_ENDIAN else sys.byteorder)
    except OverflowError:
        _no(type_, number)


def _text(type_: Type, given: str) -> bytes:
    written = given.encode()
    if not written or len(written) > SIZES[type_] - (type_ is not Type.UNKNOWN) or b"\0" in written:
        _no(type_, given)
    return written


def _ether(given: str) -> bytes:
    parts = given.split(":")
    if len(parts) != 6 or not all(1 <= len(part) <= 2 for part in parts):
        _no(Type.ETHER, given)
    return bytes(int(part, 16) for part in parts)


def _bit(type_: Type, name: str) -> int:
    known = BIT_NAMES[type_].get(name)
    return int(name, 0) if known is None else known


def _no(type_: Type, given: object) -> NoReturn:
    raise ValueError(f"{given!r} is no {type_.value}")


def pack(types: Sequence[Type], values: Sequence[str | int]) -> bytes:
    """Fields side by side, each padded. Raises ValueError for a value that is none of its type."""
    if len(types) != len(values):
        raise ValueError(f"{len(values)} values for {len(types)} fields")
    return b"".join(value(type_, given).ljust(size(type_), b"\0") for type_, given in zip(types, values, strict=True))


# Bytes to text.


def split(types: Sequence[Type], packed: bytes) -> tuple[bytes, ...]:
    """The fields of packed values, without padding. Raises ValueError when the length is another."""
    fields, start = [], 0
    for type_ in types:
        fields.append(packed[start : start + SIZES[type_]])
        start += size(type_)
    if start != len(packed):
        raise ValueError(f"{len(packed)} bytes for fields of {start}")
    return tuple(fields)


def unpack(types: Sequence[Type], packed: bytes) -> tuple[str, ...]:
    """Packed fields as nft spells them. Raises ValueError when the length is another."""
    return tuple(spell(type_, field) for type_, field in zip(types, split(types, packed), strict=True))


def number(type_: Type, field: bytes) -> int:
    """A field's bytes as a number."""
    return int.from_bytes(field, "big" if type_ in BIG_ENDIAN else sys.byteorder)


def spell(type_: Type, field: bytes) -> str:
    """One value as nft spells it; names of devices and texts are given bare, without quotes."""
    if type_ is Type.IPV4:
        return "{}.{}.{}.{}".format(*field)
    if type_ is Type.SERVICE:
        return str(int.from_bytes(field, "big"))
    if type_ is Type.IPV6:
        return _spelled_ipv6(field)
    if type_ in TEXTS:
        return field.rstrip(b"\0").decode(errors="replace")
    if type_ is Type.ETHER:
        return ":".join(f"{byte:02x}" for byte in field)
    meant = number(type_, field)
    if type_ in BIT_NAMES:
        return _spell_bits(type_, meant)
    if type_ is Type.MARK:
        return f"0x{meant:08x}"
    return _SPELLINGS.get(type_, {}).get(meant) or str(meant)


@functools.lru_cache(maxsize=65536)
def _spelled_ipv6(field: bytes) -> str:
    return str(ipaddress.IPv6Address(field))


def _spell_bits(type_: Type, meant: int) -> str:
    names = [name for name, bit in BIT_NAMES[type_].items() if bit and meant & bit]
    left = meant & ~functools.reduce(int.__or__, BIT_NAMES[type_].values())
    return ",".join(names) if names and not left else f"0x{meant:x}"


def _first_names(names: Mapping[str, int]) -> dict[int, str]:
    """The first name of each number is the one that nft prints."""
    return {number: name for name, number in reversed(list(names.items()))}


_SPELLINGS: Mapping[Type, Mapping[int, str]] = {type_: _first_names(names) for type_, names in NAMES.items()}


def literal(type_: Type, given: str | int) -> Literal:
    """A constant of a type. Raises ValueError."""
    return Literal(type_, value(type_, given))


# What expressions yield.

_PAYLOADS: Mapping[tuple[str, str], Type] = {
    ("ip", "saddr"): Type.IPV4,
    ("ip", "daddr"): Type.IPV4,
    ("ip", "protocol"): Type.PROTOCOL,
    ("ip6", "saddr"): Type.IPV6,
    ("ip6", "daddr"): Type.IPV6,
    ("ip6", "nexthdr"): Type.PROTOCOL,
    ("tcp", "flags"): Type.TCP_FLAGS,
    ("icmp", "type"): Type.ICMP_TYPE,
    ("icmpv6", "type"): Type.ICMPV6_TYPE,
    ("ether", "saddr"): Type.ETHER,
    ("ether", "daddr"): Type.ETHER,
    ("arp", "saddr ip"): Type.IPV4,
    ("arp", "daddr ip"): Type.IPV4,
    ("arp", "saddr ether"): Type.ETHER,
    ("arp", "daddr ether"): Type.ETHER,
    **{
        (protocol, port): Type.SERVICE
        for protocol in ("th", "tcp", "udp", "sctp", "dccp", "udplite")
        for port in ("sport", "dport")
    },
}
_PLAIN_NUMBERS = frozenset(
    {("ip", "ttl"), ("ip", "length"), ("ip", "id"), ("ip6", "hoplimit"), ("ip6", "length"), ("icmp", "code")}
    | {("icmp", "id"), ("icmpv6", "code"), ("icmpv6", "id"), ("udp", "length"), ("tcp", "window"), ("vlan", "id")}
)
_METAS: Mapping[str, Type] = {
    "mark": Type.MARK,
    "l4proto": Type.PROTOCOL,
    "nfproto": Type.NF_PROTOCOL,
    "iifname": Type.INTERFACE_NAME,
    "oifname": Type.INTERFACE_NAME,
    "iif": Type.INTERFACE,
    "oif": Type.INTERFACE,
    "pkttype": Type.PACKET_TYPE,
    "skuid": Type.UID,
    "skgid": Type.GID,
    "length": Type.INTEGER,
    "cpu": Type.INTEGER,
    "iifgroup": Type.INTEGER,
    "oifgroup": Type.INTEGER,
}
_CTS: Mapping[str, Type] = {
    "state": Type.CT_STATE,
    "status": Type.CT_STATUS,
    "direction": Type.CT_DIRECTION,
    "mark": Type.MARK,
    "zone": Type.INTEGER,
    "protocol": Type.PROTOCOL,
    "l3proto": Type.NF_PROTOCOL,
    "ip saddr": Type.IPV4,
    "ip daddr": Type.IPV4,
    "ip6 saddr": Type.IPV6,
    "ip6 daddr": Type.IPV6,
    "proto-src": Type.SERVICE,
    "proto-dst": Type.SERVICE,
    "packets": Type.INTEGER,
    "id": Type.INTEGER,
}
_FIBS: Mapping[str, Type] = {"type": Type.FIB_TYPE, "oif": Type.INTERFACE, "oifname": Type.INTERFACE_NAME}


def type_of(expression: Expression) -> Type:
    """The type of what an expression yields, UNKNOWN where it is not known here. Of a concatenation and of a set
    there is no one type: UNKNOWN; see `types_of`."""
    match expression:
        case Payload(protocol, field):
            return _PAYLOADS.get((protocol, field)) or (
                Type.INTEGER if (protocol, field) in _PLAIN_NUMBERS else Type.UNKNOWN
            )
        case Meta(key):
            return _METAS.get(key, Type.UNKNOWN)
        case Ct(key):
            return _CTS.get(key, Type.UNKNOWN)
        case Fib(_, result):
            return _FIBS.get(result, Type.UNKNOWN)
        case Numgen() | Hash():
            return Type.INTEGER
        case Literal(type_):
            return type_
        case Range(low):
            return low.type
        case Bits(left):
            return type_of(left)
        case MapLookup(_, found):
            data = found.elements[0][1] if hasattr(found, "elements") and found.elements else None
            return type_of(data) if isinstance(data, Literal) else Type.UNKNOWN
    return Type.UNKNOWN


def types_of(expression: Expression) -> tuple[Type, ...]:
    """The types of a concatenation's parts, or of the one value."""
    return tuple(map(type_of, expression.parts)) if isinstance(expression, Concat) else (type_of(expression),)
