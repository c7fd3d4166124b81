"""Questions, records and answers as values; numbers are the IANA registry's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Literal

import msgspec

from fairway.dns import names
from fairway.dns.names import Name


class Type(IntEnum):
    """The record types this server speaks of."""

    A = 1
    NS = 2
    CNAME = 5
    SOA = 6
    PTR = 12
    TXT = 16
    AAAA = 28
    SRV = 33
    ANY = 255


def type_text(type: int) -> str:
    """The type as zone files write it; `TYPE65280` for one that is not spoken of here (RFC 3597)."""
    return Type(type).name if type in Type.__members__.values() else f"TYPE{type}"


class Rcode(IntEnum):
    """How an answer ends (RFC 1035, RFC 6891 for BADVERS, RFC 8945 for NOTAUTH)."""

    NOERROR = 0
    FORMERR = 1
    SERVFAIL = 2
    NXDOMAIN = 3
    NOTIMP = 4
    REFUSED = 5
    NOTAUTH = 9
    BADVERS = 16


class Address(msgspec.Struct, frozen=True):
    """A or AAAA: 4 or 16 octets."""

    packed: bytes

    @property
    def type(self) -> Type:
        """A for four octets, AAAA for sixteen."""
        return Type.A if len(self.packed) == 4 else Type.AAAA

    def __str__(self) -> str:
        return names.address_text(self.packed)


class Target(msgspec.Struct, frozen=True):
    """CNAME, NS and PTR: another name."""

    name: Name

    def __str__(self) -> str:
        return names.text(self.name)


class Srv(msgspec.Struct, frozen=True):
    """SRV (RFC 2782)."""

    priority: int
    weight: int
    port: int
    target: Name

    def __str__(self) -> str:
        return f"{self.priority} {self.weight} {self.port} {names.text(self.target)}"


class Soa(msgspec.Struct, frozen=True):
    """SOA; times in seconds. `minimum` is how long a negative answer may be kept (RFC 2308)."""

    mname: Name
    rname: Name
    serial: int
    refresh: int
    retry: int
    expire: int
    minimum: int

    def __str__(self) -> str:
        times = f"{self.serial} {self.refresh} {self.retry} {self.expire} {self.minimum}"
        return f"{names.text(self.mname)} {names.text(self.rname)} {times}"


class Text(msgspec.Struct, frozen=True):
    """TXT with one string of at most 255 octets."""

    value: bytes

    def __str__(self) -> str:
        return f'"{self.value.decode("latin-1")}"'


class Opaque(msgspec.Struct, frozen=True):
    """Any other type, in the octets of the wire, uncompressed; written as RFC 3597 has it."""

    octets: bytes

    def __str__(self) -> str:
        return f"\\# {len(self.octets)} {self.octets.hex()}".rstrip()


Data = Address | Target | Srv | Soa | Text | Opaque
RRsets = Mapping[int, tuple[Data, ...]]
"""What a name holds, by type. An empty mapping is a name that exists and holds nothing."""


Root = tuple[Literal["service", "namespace", "pod", "address", "any"], bytes, bytes]
"""A thing that answers are read from: a Service (namespace, name), a namespace, a Pod's address (namespace, packed), an
address that may have names (packed), or any change at all. What is not used is b""."""
ANY_CHANGE: Root = ("any", b"", b"")


class Question(msgspec.Struct, frozen=True):
    """One question of class IN. `name` is spelled as asked; `type` may be any number."""

    name: Name
    type: int


class Record(msgspec.Struct, frozen=True):
    """One resource record of class IN; `ttl` in seconds."""

    name: Name
    type: int
    ttl: int
    data: Data

    def __str__(self) -> str:
        return f"{names.text(self.name)} {self.ttl} IN {type_text(self.type)} {self.data}"


@dataclass(frozen=True, slots=True)
class Answer:
    """The sections of a reply. `authoritative` is False when the name is none of ours."""

    rcode: Rcode
    answer: tuple[Record, ...] = ()
    authority: tuple[Record, ...] = ()
    additional: tuple[Record, ...] = ()
    authoritative: bool = True
    alias: Question | None = None
    """What is left to ask when an alias leads out of our zones."""
    roots: frozenset[Root] = field(default=frozenset(), compare=False)
    """What it was read from: it stays right until one of these changes."""
