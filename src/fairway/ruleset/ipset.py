"""Sets of ipset, which rules of iptables ask with `-m set`: read from what `ipset save` and `ipset list` print.

Sources: ipset(8) 7.17 and the kernel's net/netfilter/ipset (6.1). A set of a type, or with an option, that is not known
here is kept with the reason (`strange`): nothing may be said of what it holds.
"""

from __future__ import annotations

import enum
import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from fairway.packet import Family

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

MAX_LINES = 8_000_000
MAX_SETS = 65_535
"""The kernel numbers its sets with 16 bits."""


class ParseError(ValueError):
    """A text that neither `ipset save` nor `ipset list` prints. `line` counts from 1."""

    def __init__(self, reason: str, line: int) -> None:
        super().__init__(f"line {line}: {reason}")
        self.reason = reason
        self.line = line


class Field(enum.StrEnum):
    """What one dimension of a set's elements is, as types are spelled."""

    ADDRESS = "ip"
    NETWORK = "net"
    PORT = "port"
    DEVICE = "iface"
    MARK = "mark"
    HARDWARE = "mac"
    SET = "set"


@dataclass(frozen=True, slots=True)
class Port:
    """`tcp:80`, `icmp:echo-request`: the protocol's name in lower case ("" in sets of ports alone) and the text after
    it, which is a number where the protocol has ports."""

    protocol: str
    port: str


@dataclass(frozen=True, slots=True)
class Device:
    """A device's name as it is, a `+` at its end included. `physical`: the bridge's port is meant."""

    name: str
    physical: bool = False


Part: TypeAlias = Address | Network | Port | Device | int | str
"""One dimension of an element; `int` is a mark, `str` a hardware address ("" for any) or a set's name."""


@dataclass(frozen=True, slots=True)
class Element:
    """`nomatch`: an exception to the wider elements around it; `wildcard`: its device's name is a beginning."""

    parts: tuple[Part, ...]
    nomatch: bool = False
    wildcard: bool = False


@dataclass(frozen=True, slots=True)
class IpSet:
    """A set. `family` None: of both. `mask` is what of addresses counts, `mark_mask` what of marks. `elements` None:
    they were not listed. `strange` says why the set is not understood, "" if it is."""

    name: str
    type: str
    family: Family | None = None
    fields: tuple[Field, ...] = ()
    mask: int = (1 << 128) - 1
    mark_mask: int = 0xFFFFFFFF
    elements: tuple[Element, ...] | None = ()
    strange: str = ""


TYPES: Mapping[str, tuple[Field, ...]] = {
    name: tuple(Field(part) for part in name.partition(":")[2].split(","))
    for name in (
        *(
            "hash:ip",
            "hash:net",
            "hash:net,net",
            "hash:ip,port",
            "hash:net,port",
            "hash:ip,port,ip",
            "hash:ip,port,net",
        ),
        *("hash:net,port,net", "hash:net,iface", "hash:ip,mark", "hash:mac", "hash:ip,mac"),
        *("bitmap:ip", "bitmap:port", "bitmap:ip,mac", "list:set"),
    )
}
_OF_BOTH = ("bitmap:port", "list:set", "hash:mac")
_MASKED = ("hash:ip", "bitmap:ip")

_INDIFFERENT = frozenset(
    {"hashsize", "maxelem", "timeout", "bucketsize", "initval", "range", "size", "probes", "resize", "gc"}
)
"""Options of a set that take a word and do not change whom it holds."""
_FLAGS = frozenset({"counters", "comment", "skbinfo", "forceadd"})
_COUNTED = frozenset({"timeout", "packets", "bytes", "comment", "skbmark", "skbprio", "skbqueue"})
"""Options of an element that take a word and do not change what it holds."""

_WORDS = re.compile(r'"[^"]*"|\S+')
_SECTION = re.compile(r"(?P<key>[A-Z][A-Za-z ]*):(?:\s+(?P<value>.*))?$")
_PORTED = ("", "tcp", "udp", "udplite", "sctp")
_PROTOCOL = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+-]{0,31}")
_HARDWARE = re.compile(r"(?:[0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}")


def parse(content: str) -> dict[str, IpSet]:
    """The sets of one text by name. Raises ParseError with the line that cannot be read."""
    reading = _Reading()
    for number, line in enumerate(content.splitlines(), 1):
        if number > MAX_LINES:
            raise ParseError(f"more than {MAX_LINES} lines", number)
        try:
            reading.take(line.strip())
        except ValueError as error:
            raise ParseError(f"{error}: {line[:100]!r}", number) from None
        if len(reading.drafts) > MAX_SETS:
            raise ParseError(f"more than {MAX_SETS} sets", number)
    return {name: draft.made() for name, draft in reading.drafts.items()}


@dataclass(slots=True)
class _Draft:
    name: str
    type: str = ""
    options: Sequence[str] = ()
    elements: list[Element] | None = None
    frame: IpSet | None = None

    def framed(self) -> IpSet:
        """The set without its elements, once its type and options are read."""
        if self.frame is None:
            self.frame = _empty(self.name, self.type, self.options)
        return self.frame

    def add(self, words: Sequence[str]) -> None:
        if not self.type:
            raise ValueError(f"an element of set {self.name} before its type")
        if self.elements is None:
            self.elements = []
        frame = self.framed()
        if not frame.strange:
            self.elements.append(_element(frame, words))

    def made(self) -> IpSet:
        frame = self.framed()
        elements = None if self.elements is None else tuple(self.elements)
        return IpSet(
            frame.name, frame.type, frame.family, frame.fields, frame.mask, frame.mark_mask, elements, frame.strange
        )


@dataclass(slots=True)
class _Reading:
    """Both forms, line by line: `listed` is the set whose listing is being read, `members` whether its elements are."""

    drafts: dict[str, _Draft] = field(default_factory=dict)
    listed: _Draft | None = None
    members: bool = False

    def take(self, line: str) -> None:
        if not line or line.startswith("#"):
            self.members = self.members and line.startswith("#")
            return
        words = _WORDS.findall(line)
        if self.members and self.listed is not None and not line.startswith("Name:"):
            self.listed.add(words)
        elif section := _SECTION.match(line):
            self._section(section["key"], section["value"] or "")
        elif words[0] in ("create", "-N") and len(words) >= 3:
            self._begin(words[1]).type = words[2]
            self.drafts[words[1]].options, self.drafts[words[1]].elements = words[3:], []
        elif words[0] in ("add", "-A") and len(words) >= 3:
            if words[1] not in self.drafts:
                raise ValueError(f"an element of set {words[1]}, which was not created before")
            self.drafts[words[1]].add(words[2:])
        elif words != ["COMMIT"]:
            raise ValueError("expected a line of `ipset save` or `ipset list`")

    def _begin(self, name: str) -> _Draft:
        if name in self.drafts:
            raise ValueError(f"set {name} is there twice")
        self.drafts[name] = _Draft(name)
        self.listed, self.members = None, False
        return self.drafts[name]

    def _section(self, key: str, value: str) -> None:
        if key == "Name":
            self.listed = self._begin(value.strip())
        elif self.listed is None:
            raise ValueError("expected `Name: SET` before it")
        elif key == "Type":
            self.listed.type = value.strip()
        elif key == "Header":
            self.listed.options = value.split()
        elif key == "Members":
            self.members, self.listed.elements = True, []


def _empty(name: str, type_: str, options: Sequence[str]) -> IpSet:
    fields = TYPES.get(type_)
    if fields is None:
        return IpSet(name, type_, strange=f"its type {type_}" if type_ else "that its type is missing")
    family = None if type_ in _OF_BOTH else Family.IPV4
    mask, mark_mask = (1 << 128) - 1, 0xFFFFFFFF
    words = iter(options)
    for word in words:
        value = "" if word in _FLAGS else next(words, "")
        if word == "family" and family is not None and value in ("inet", "inet6"):
            family = Family.IPV6 if value == "inet6" else Family.IPV4
        elif word in ("netmask", "bitmask") and type_ in _MASKED:
            mask = _mask(value, family)
        elif word == "markmask":
            mark_mask = int(value, 0)
        elif word not in _FLAGS and word not in _INDIFFERENT:
            return IpSet(name, type_, strange=f"its option {word}")
    return IpSet(name, type_, family, fields, mask, mark_mask)


def _mask(value: str, family: Family | None) -> int:
    width = 128 if family is Family.IPV6 else 32
    if not value.isdecimal():
        return int(ipaddress.ip_address(value))
    if int(value) > width:
        raise ValueError(f"a mask of {value} bits")
    return ((1 << int(value)) - 1) << (width - int(value))


def _element(frame: IpSet, words: Sequence[str]) -> Element:
    written = words[0].split(",")
    if len(written) != len(frame.fields) and not (frame.type == "bitmap:ip,mac" and len(written) == 1):
        raise ValueError(f"expected an element of {frame.type}")
    written += [""] * (len(frame.fields) - len(written))
    flags: set[str] = set()
    options = iter(words[1:])
    for word in options:
        if word in ("nomatch", "wildcard"):
            flags.add(word)
        elif word not in _COUNTED or next(options, None) is None:
            raise ValueError(f"{word!r} is no option of an element")
    parts = (_part(kind, text, frame.family) for kind, text in zip(frame.fields, written, strict=True))
    return Element(tuple(parts), "nomatch" in flags, "wildcard" in flags)


def _part(kind: Field, text: str, family: Family | None) -> Part:
    match kind:
        case Field.ADDRESS:
            address = ipaddress.ip_address(text)
            _of_family(family, address.version, text)
            return address
        case Field.NETWORK:
            network = ipaddress.ip_network(text, strict=False)
            _of_family(family, network.version, text)
            return network
        case Field.PORT:
            return _port(text, alone=family is None)
        case Field.DEVICE:
            return Device(text.removeprefix("physdev:"), text.startswith("physdev:"))
        case Field.MARK:
            return int(text, 0)
        case Field.HARDWARE:
            if text and not _HARDWARE.fullmatch(text):
                raise ValueError(f"{text!r} is no hardware address")
            return text.lower()
        case Field.SET:
            return text


def _of_family(family: Family | None, version: int, text: str) -> None:
    if version != (6 if family is Family.IPV6 else 4):
        raise ValueError(f"{text!r} is not of the set's family")


def _port(text: str, alone: bool) -> Port:
    protocol, _, port = text.rpartition(":")
    if alone == bool(protocol) or (protocol and not _PROTOCOL.fullmatch(protocol)):
        raise ValueError(f"{text!r} is no port of such a set")
    if protocol.lower() in _PORTED and not (port.isascii() and port.isdecimal() and int(port) <= 65535):
        raise ValueError(f"{port!r} is no port")
    return Port(protocol.lower(), port)
