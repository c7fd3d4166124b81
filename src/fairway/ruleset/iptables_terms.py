"""What the words of an iptables rule mean, as values: matches (the conditions) and targets (the deeds).

A rule applies when all of its matches hold. Names and semantics follow iptables-extensions(8) and the kernel's
net/netfilter/xt_*.c (read at 6.1). `Opaque` is a condition whose meaning is known and whose answer no dump holds
(limits, owners); `Unknown` is text that was not understood at all. Neither may ever pass for true or false.
"""

from __future__ import annotations

import enum
import ipaddress
from dataclasses import dataclass
from typing import TypeAlias

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network
Range: TypeAlias = tuple[int, int]
"""Ports from the first to the second, both included."""


class Side(enum.StrEnum):
    """Which end of the packet a condition looks at."""

    SOURCE = "source"
    DESTINATION = "destination"
    EITHER = "either"


@dataclass(frozen=True, slots=True)
class AddressIn:
    """`-s`, `-d`: the address lies in a network."""

    side: Side
    network: Network
    negated: bool = False


@dataclass(frozen=True, slots=True)
class AddressBetween:
    """`-m iprange --src-range A-B`: the address lies between two, both included."""

    side: Side
    first: Address
    last: Address
    negated: bool = False


@dataclass(frozen=True, slots=True)
class ProtocolIs:
    """`-p`: the protocol in lower case ("tcp", "icmp", "all") or its number as text."""

    protocol: str
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Device:
    """`-i` (side SOURCE) or `-o` (side DESTINATION): the device's name; a final `+` stands for any ending."""

    side: Side
    name: str
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Ports:
    """`--dport`, `--sport`, `-m multiport`: the port lies in one of the ranges."""

    side: Side
    ranges: tuple[Range, ...]
    negated: bool = False


@dataclass(frozen=True, slots=True)
class TcpFlags:
    """`--tcp-flags MASK SET` (`--syn`: SYN,RST,ACK,FIN SYN): of the flags in `mask` exactly those in `set_` are set."""

    mask: frozenset[str]
    set_: frozenset[str]
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Mark:
    """`-m mark`, `-m connmark`: (mark & mask) == value, of the packet or of its connection."""

    value: int
    mask: int = 0xFFFFFFFF
    negated: bool = False
    connection: bool = False


@dataclass(frozen=True, slots=True)
class Random:
    """`-m statistic --mode random`: holds with the probability printed (kept as text: its digits matter)."""

    probability: str
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Nth:
    """`-m statistic --mode nth`: holds for one packet of `every`, the one with that number (from 0)."""

    every: int
    packet: int = 0
    negated: bool = False


class RecentAction(enum.StrEnum):
    """What `-m recent` does with its list of addresses."""

    SET = "set"
    CHECK = "rcheck"
    UPDATE = "update"
    REMOVE = "remove"


@dataclass(frozen=True, slots=True)
class Recent:
    """`-m recent`: a named list of addresses and when they were last seen; `seconds` 0 means: ever."""

    action: RecentAction
    name: str = "DEFAULT"
    seconds: int = 0
    hits: int = 0
    side: Side = Side.SOURCE
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Comment:
    """`-m comment`: always true; the text is for people."""

    text: str


@dataclass(frozen=True, slots=True)
class AddrType:
    """`-m addrtype`: what the routing tables call the address (LOCAL, UNICAST, BROADCAST ...). `limited` means that
    only the addresses of the packet's own device count (`--limit-iface-in`, `--limit-iface-out`)."""

    side: Side
    types: frozenset[str]
    negated: bool = False
    limited: bool = False


@dataclass(frozen=True, slots=True)
class ConnState:
    """`-m conntrack --ctstate`, `-m state --state`: one of NEW, ESTABLISHED, RELATED, INVALID, UNTRACKED holds, or
    the connection is translated (SNAT, DNAT)."""

    states: frozenset[str]
    negated: bool = False


@dataclass(frozen=True, slots=True)
class InSet:
    """`-m set --match-set NAME src,dst`: the set holds the packet, its dimensions taken from `sides`. `exceptions`:
    only elements with `nomatch` count (`--return-nomatch`). `counted`: an element's counters are asked, too."""

    name: str
    sides: tuple[Side, ...]
    negated: bool = False
    exceptions: bool = False
    counted: bool = False


@dataclass(frozen=True, slots=True)
class BridgePort:
    """`-m physdev`: the packet came in by (side SOURCE) or leaves by (DESTINATION) a bridge's port of this name, a
    final `+` for any ending, or by any port (`--physdev-is-in`, `-is-out`: "")."""

    side: Side
    name: str = ""
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Bridged:
    """`-m physdev --physdev-is-bridged`: a bridge hands the packet on; it is not routed."""

    negated: bool = False


@dataclass(frozen=True, slots=True)
class Accounting:
    """`-m nfacct`: counts the packet under a name; always true."""

    name: str


@dataclass(frozen=True, slots=True)
class Opaque:
    """A condition that no dump can decide: `module` says which, `text` is its options."""

    module: str
    text: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """Text of a rule that was not understood; as a match it may hold or not, as a target it may do anything."""

    text: str


Match: TypeAlias = (
    AddressIn
    | AddressBetween
    | ProtocolIs
    | Device
    | Ports
    | TcpFlags
    | Mark
    | Random
    | Nth
    | Recent
    | Comment
    | AddrType
    | ConnState
    | InSet
    | BridgePort
    | Bridged
    | Accounting
    | Opaque
    | Unknown
)


@dataclass(frozen=True, slots=True)
class Accept:
    """The packet passes this table."""


@dataclass(frozen=True, slots=True)
class Drop:
    """The packet vanishes."""


@dataclass(frozen=True, slots=True)
class Return:
    """Back to the calling chain; in a built-in chain: its policy."""


@dataclass(frozen=True, slots=True)
class Reject:
    """The packet is answered with an error of that name ("icmp-port-unreachable", "tcp-reset" ...)."""

    answer: str


@dataclass(frozen=True, slots=True)
class SetMark:
    """`MARK`, `CONNMARK --set-xmark`: mark = (mark & ~mask) ^ value, or | value when `either` (--set-mark)."""

    value: int
    mask: int
    either: bool = False
    connection: bool = False

    def apply(self, mark: int) -> int:
        """The mark after the deed; 32 bits."""
        kept = mark & ~self.mask & 0xFFFFFFFF
        return kept | self.value if self.either else kept ^ self.value


@dataclass(frozen=True, slots=True)
class CopyMark:
    """`CONNMARK --save-mark` (to the connection) and `--restore-mark` (from it)."""

    save: bool
    packet_mask: int = 0xFFFFFFFF
    connection_mask: int = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Translate:
    """`DNAT` (side DESTINATION) and `SNAT` (side SOURCE). `addresses` None keeps the address, `ports` None the port."""

    side: Side
    addresses: tuple[Address, Address] | None
    ports: Range | None = None


@dataclass(frozen=True, slots=True)
class Masquerade:
    """`MASQUERADE`: the source becomes the address of the outgoing device."""

    random_fully: bool = False
    ports: Range | None = None


@dataclass(frozen=True, slots=True)
class Redirect:
    """`REDIRECT`: to this machine itself, to a port of `ports`, or the same when None."""

    ports: Range | None = None


@dataclass(frozen=True, slots=True)
class NoTrack:
    """`NOTRACK`, `CT --notrack`: the packet belongs to no connection, so nat never sees it."""


@dataclass(frozen=True, slots=True)
class Passive:
    """A target that lets the packet go on unchanged as far as its way is concerned (`LOG`, `TCPMSS` ...)."""

    name: str
    text: str = ""


@dataclass(frozen=True, slots=True)
class ChangeSets:
    """`SET`: adds the packet to sets, or takes it out of them, and lets it go on."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Jump:
    """On to a user chain; after `goto` its end does not come back here but to the caller."""

    chain: str
    goto: bool = False


Target: TypeAlias = (
    Accept
    | Drop
    | Return
    | Reject
    | SetMark
    | CopyMark
    | Translate
    | Masquerade
    | Redirect
    | NoTrack
    | Passive
    | ChangeSets
    | Jump
    | Unknown
)


@dataclass(frozen=True, slots=True)
class Parsed:
    """A rule understood: all `matches` must hold; `target` None only counts the packet."""

    matches: tuple[Match, ...] = ()
    target: Target | None = None

    @property
    def comment(self) -> str:
        """The text of the rule's comments."""
        return " ".join(m.text for m in self.matches if isinstance(m, Comment))

    @property
    def unknown(self) -> tuple[str, ...]:
        """What was not understood of it."""
        parts = (*self.matches, self.target)
        return tuple(p.text for p in parts if isinstance(p, Unknown))
