"""The nftables language as values: expressions, statements, rules, chains, sets, tables, and changes to them.

Set elements are kept packed, as the kernel's registers hold them: each field of a key or of map data in its own bytes
(addresses, ports and protocols in network order; marks and plain numbers in the machine's), padded with zeros to a
multiple of four. What the bytes mean is said by the set's fields; `ruleset.nft_values` packs and spells them.

Printing is in `ruleset.nft_print`, reading in `ruleset.nft_parse`; the kernel's own encoding belongs to `kernel`.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias


class Type(enum.StrEnum):
    """Data types of fields and literals, as nft names them."""

    IPV4 = "ipv4_addr"
    IPV6 = "ipv6_addr"
    PROTOCOL = "inet_proto"
    SERVICE = "inet_service"
    MARK = "mark"
    INTEGER = "integer"  # a number of a typeof field (numgen, hash): 32 bits in the machine's order
    INTERFACE_NAME = "ifname"
    INTERFACE = "iface_index"
    CT_STATE = "ct_state"
    CT_STATUS = "ct_status"
    CT_DIRECTION = "ct_dir"
    TCP_FLAGS = "tcp_flag"
    FIB_TYPE = "fib_addrtype"
    NF_PROTOCOL = "nf_proto"
    ICMP_TYPE = "icmp_type"
    ICMPV6_TYPE = "icmpv6_type"
    ETHER = "ether_addr"
    PACKET_TYPE = "pkt_type"
    UID = "uid"
    GID = "gid"
    UNKNOWN = "unknown"


# Expressions: where a value comes from.


@dataclass(frozen=True, slots=True)
class Payload:
    """A field of a header: `ip daddr`, `tcp dport`, `th dport` (any transport protocol's ports)."""

    protocol: str
    field: str


@dataclass(frozen=True, slots=True)
class Meta:
    """`meta mark`, `meta l4proto`, `iifname` (key "iifname")."""

    key: str


@dataclass(frozen=True, slots=True)
class Ct:
    """`ct state`, `ct status`, with a direction: `ct original ip daddr` is Ct("ip daddr", "original")."""

    key: str
    direction: str = ""


@dataclass(frozen=True, slots=True)
class Fib:
    """`fib daddr . iif type`: selectors ("daddr", "iif"), result "type"."""

    selectors: tuple[str, ...]
    result: str


@dataclass(frozen=True, slots=True)
class Numgen:
    """`numgen random mod 3 offset 0`; mode "random" or "inc"."""

    mode: str
    modulus: int
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Hash:
    """`jhash KEY mod N seed S offset O`; `symhash mod N` has no key."""

    key: Expression | None
    modulus: int
    seed: int | None = None
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Concat:
    """`A . B . C`."""

    parts: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Bits:
    """`LEFT & RIGHT`, also `|`, `^`, `<<`, `>>`."""

    left: Expression
    operator: str
    right: Expression


@dataclass(frozen=True, slots=True)
class Literal:
    """A constant: its type and its packed bytes without padding. An interface name may end with `*` (then the bytes
    hold the name without it and `prefix_bits` says how many count)."""

    type: Type
    value: bytes
    prefix_bits: int | None = None  # None: all of it; else `value/prefix_bits`


@dataclass(frozen=True, slots=True)
class Range:
    """`low-high`, both included."""

    low: Literal
    high: Literal


@dataclass(frozen=True, slots=True)
class SetName:
    """`@name`: a set or map of the rule's table."""

    name: str


@dataclass(frozen=True, slots=True)
class AnonymousSet:
    """`{ a, b, c }` in a rule; elements are Literals, Ranges, or Concats of them."""

    elements: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class AnonymousMap:
    """`{ key : value, ... }` in a rule; a key of None is the catch-all `*`."""

    elements: tuple[tuple[Expression | None, Expression | Verdict], ...]


@dataclass(frozen=True, slots=True)
class MapLookup:
    """`KEY map @name` or `KEY map { ... }`: the value found; a rule whose key is not found does not match."""

    key: Expression
    map: SetName | AnonymousMap


Expression: TypeAlias = (
    Payload | Meta | Ct | Fib | Numgen | Hash | Concat | Bits | Literal | Range | SetName | AnonymousSet | MapLookup
)


# Statements: what a rule asks and does, from left to right.


@dataclass(frozen=True, slots=True)
class Match:
    """`LEFT == RIGHT`; RIGHT may be a set. Operators: == != < > <= >=, and "any" for bit flags written without an
    operator (`ct state established,related`: any of the bits of RIGHT is set)."""

    left: Expression
    right: Expression
    operator: str = "=="


@dataclass(frozen=True, slots=True)
class Verdict:
    """accept, drop, continue, return, queue; jump and goto with their chain."""

    code: str
    chain: str = ""


@dataclass(frozen=True, slots=True)
class VerdictMap:
    """`KEY vmap @name` or `KEY vmap { ... }`."""

    key: Expression
    map: SetName | AnonymousMap


@dataclass(frozen=True, slots=True)
class Assign:
    """`meta mark set VALUE`, `ct mark set VALUE`, `ip dscp set VALUE`."""

    target: Meta | Ct | Payload
    value: Expression


@dataclass(frozen=True, slots=True)
class Nat:
    """dnat, snat, masquerade, redirect. `address` may be a MapLookup whose data is `address . port`; then
    `address_and_port` is set and `port` is None. `family` "ip" or "ip6" where it is spelled. Flags: random,
    fully-random, persistent."""

    kind: str
    address: Expression | None = None
    port: Expression | None = None
    family: str = ""
    flags: tuple[str, ...] = ()
    address_and_port: bool = False


@dataclass(frozen=True, slots=True)
class Reject:
    """`reject`, or with what: ("tcp reset", "icmp port-unreachable", "icmpx admin-prohibited" ...)."""

    with_: str = ""


@dataclass(frozen=True, slots=True)
class Counter:
    packets: int = 0
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class SetUpdate:
    """`add|update|delete @set { KEY timeout T : DATA }` by the packet; `timeout_ms` 0: the set's own."""

    operation: str
    set: str
    key: Expression
    timeout_ms: int = 0
    data: Expression | None = None


@dataclass(frozen=True, slots=True)
class Other:
    """A statement or a match that changes no packet's way (`log`, `notrack`, `meta nftrace set 1`: `harmless`), may
    match or not (`limit`: `maybe`), or is not known (neither). `text` is as it was written."""

    text: str
    harmless: bool = False
    maybe: bool = False


Statement: TypeAlias = Match | Verdict | VerdictMap | Assign | Nat | Reject | Counter | SetUpdate | Other


@dataclass(frozen=True, slots=True)
class Rule:
    """Statements from left to right: the first match that fails ends the rule."""

    statements: tuple[Statement, ...]
    comment: str = ""
    handle: int = field(default=0, compare=False)  # the kernel's number, 0 when unknown


@dataclass(frozen=True, slots=True)
class Hook:
    """What makes a chain a base chain. `priority` is the number (dstnat is -100)."""

    type: str  # filter, nat, route
    hook: str  # prerouting, input, forward, output, postrouting, ingress
    priority: int
    policy: str = "accept"
    device: str = ""


@dataclass(slots=True)
class Chain:
    name: str
    rules: list[Rule] = field(default_factory=list)
    hook: Hook | None = None
    comment: str = ""


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a key or of data: its type, and for a set declared by `typeof` the expression that gave it."""

    type: Type
    of: Expression | None = None


class Element(NamedTuple):
    """What a set holds under one key. `data` is packed (b"" in plain sets) or a verdict; `end` is the packed last key
    of an interval (b"": a single key). Milliseconds."""

    data: bytes | Verdict = b""
    end: bytes = b""
    timeout_ms: int = 0
    expires_ms: int = 0
    packets: int = 0
    bytes: int = 0
    comment: str = ""


PRESENT = Element()
"""The element of a plain set."""

Elements: TypeAlias = Mapping[bytes, Element]


@dataclass(slots=True)
class Set:
    """A set, or a map when it has `data` (fields, or the word "verdict"). An element under the key b"" is the
    catch-all `*`."""

    name: str
    key: tuple[Field, ...]
    data: tuple[Field, ...] | str = ()
    flags: frozenset[str] = frozenset()  # interval, dynamic, timeout, constant
    size: int = 0
    timeout_ms: int = 0
    counter: bool = False
    comment: str = ""
    elements: dict[bytes, Element] = field(default_factory=dict)

    @property
    def form(self) -> tuple[object, ...]:
        """What two sets of one name must have in common for the kernel to take them for the same."""
        data = self.data if isinstance(self.data, str) else tuple(one.type for one in self.data)
        return tuple(one.type for one in self.key), data, self.flags, self.size, self.timeout_ms, self.counter


@dataclass(slots=True)
class Table:
    """`others` are declarations of what has no value here (named counters, flowtables, helpers), each as text."""

    family: str  # ip, ip6, inet, arp, bridge, netdev
    name: str
    sets: dict[str, Set] = field(default_factory=dict)
    chains: dict[str, Chain] = field(default_factory=dict)
    comment: str = ""
    flags: frozenset[str] = frozenset()  # dormant, owner, persist
    others: list[str] = field(default_factory=list)


class TableName(NamedTuple):
    family: str
    name: str


@dataclass(slots=True)
class Ruleset:
    """What `nft list ruleset` says."""

    tables: dict[TableName, Table] = field(default_factory=dict)


# Changes: what one transaction is made of, in order.


@dataclass(frozen=True, slots=True)
class AddTable:
    """Make the table exist."""

    table: TableName
    comment: str = ""


@dataclass(frozen=True, slots=True)
class DeleteTable:
    """Delete the table with all it holds. `missing_ok`: one that is not there is no error (it is made first)."""

    table: TableName
    missing_ok: bool = True


@dataclass(frozen=True, slots=True)
class AddSet:
    """Make a set or map; its elements are added too."""

    table: TableName
    set: Set


@dataclass(frozen=True, slots=True)
class DeleteSet:
    table: TableName
    name: str


@dataclass(frozen=True, slots=True)
class FlushSet:
    """Delete all elements."""

    table: TableName
    set: Set  # for its name and for whether it is a map


@dataclass(frozen=True, slots=True)
class AddChain:
    """Make a chain, without its rules."""

    table: TableName
    chain: Chain


@dataclass(frozen=True, slots=True)
class DeleteChain:
    """Delete a chain; it must be empty of references."""

    table: TableName
    name: str


@dataclass(frozen=True, slots=True)
class FlushChain:
    """Delete the chain's rules."""

    table: TableName
    name: str


@dataclass(frozen=True, slots=True)
class AddRule:
    """Append a rule; `first`: put it before the others."""

    table: TableName
    chain: str
    rule: Rule
    first: bool = False


@dataclass(frozen=True, slots=True)
class AddElements:
    table: TableName
    set: Set  # for its name and its fields; its own elements do not matter
    elements: Sequence[tuple[bytes, Element]]


@dataclass(frozen=True, slots=True)
class DeleteElements:
    table: TableName
    set: Set
    elements: Sequence[tuple[bytes, Element]]


Change: TypeAlias = (
    AddTable
    | DeleteTable
    | AddSet
    | DeleteSet
    | FlushSet
    | AddChain
    | DeleteChain
    | FlushChain
    | AddRule
    | AddElements
    | DeleteElements
)


def creation(table: Table) -> list[Change]:
    """The changes that make a whole table: first the sets, then all chains, then rules, so that whatever a rule or an
    element refers to is there."""
    name = TableName(table.family, table.name)
    changes: list[Change] = [AddTable(name, table.comment)]
    changes += [AddChain(name, chain) for chain in table.chains.values()]
    changes += [AddSet(name, kept) for kept in table.sets.values()]
    changes += [AddRule(name, chain.name, rule) for chain in table.chains.values() for rule in chain.rules]
    return changes
