"""Values of `ruleset.nft` as instructions of the kernel's register machine: what an expression loads, and where.

Registers hold four bytes each; a longer value lies in several. The instructions are those nft writes for the same
text, so that it lists a rule as it was meant.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass, field

from fairway.kernel.linux import nft_numbers as n
from fairway.kernel.linux.netlink import attribute, be32, nested, text, u8
from fairway.kernel.linux.nft_sets import Unsayable
from fairway.ruleset.nft import (
    AnonymousMap,
    AnonymousSet,
    Bits,
    Concat,
    Ct,
    Element,
    Expression,
    Fib,
    Field,
    Hash,
    Literal,
    MapLookup,
    Meta,
    Numgen,
    Payload,
    Range,
    Set,
    SetName,
    Type,
    Verdict,
)
from fairway.ruleset.nft_values import BIG_ENDIAN, SIZES, type_of, types_of

SECOND = 4  # nft puts a second operand into the second register of 16 bytes


@dataclass(frozen=True, slots=True)
class Brought:
    """A set that comes with a rule: its number in the transaction, its elements, and by which expressions it is looked
    up."""

    identity: int
    set: Set
    elements: tuple[tuple[bytes, Element], ...]
    by: tuple[Expression, ...]


@dataclass(slots=True)
class Loads:
    """The instructions of one rule so far. `identity` gives numbers to anonymous sets, `index` the number of a device
    by name; `brought` are the anonymous sets, which have to be made in the messages before the rule's."""

    family: str
    identity: Callable[[], int]
    index: Callable[[str], int]
    brought: list[Brought] = field(default_factory=list)
    _code: list[bytes] = field(default_factory=list)
    _transport: int = 0  # the protocol number that the matches so far guarantee
    _network: str = ""  # "ip" or "ip6", where the family leaves both

    # Instructions.

    def _emit(self, name: str, *attributes: bytes) -> None:
        self._code.append(nested(1, text(1, name), nested(2, *attributes)))

    def _compare(self, register: int, operator: str, value: bytes) -> None:
        comparison = be32(2, n.COMPARISONS[operator])
        self._emit("cmp", be32(1, register_number(register)), comparison, nested(3, attribute(1, value)))

    def _immediate(self, register: int, value: bytes) -> None:
        self._emit("immediate", be32(1, register_number(register)), nested(2, attribute(1, value)))

    def _mask(self, register: int, mask: bytes, xor: bytes) -> None:
        at = register_number(register)
        form = be32(1, at), be32(2, at), be32(3, len(mask))
        self._emit("bitwise", *form, nested(4, attribute(1, mask)), nested(5, attribute(1, xor)))

    def _lookup(self, name: str, identity: int, *more: bytes) -> None:
        known = be32(4, identity) if identity else b""
        self._emit("lookup", text(1, name), be32(2, register_number(0)), known, *more)

    # What the matches so far say of the packet: nft leaves such dependencies out of its text.

    def _need_transport(self, protocol: int) -> None:
        if protocol and protocol != self._transport:
            self._emit("meta", be32(2, n.META["l4proto"]), be32(1, register_number(0)))
            self._compare(0, "==", bytes([protocol]))
            self._transport = protocol

    def _need_network(self, protocol: str) -> None:
        if self.family in ("inet", "bridge", "netdev") and protocol in ("ip", "ip6") and protocol != self._network:
            self._emit("meta", be32(2, n.META["nfproto"]), be32(1, register_number(0)))
            self._compare(0, "==", bytes([n.FAMILIES[protocol]]))
            self._network = protocol

    def _need(self, expression: Expression) -> None:
        """Dependencies come before the first load: a load may already hold a register they use."""
        match expression:
            case Payload(protocol, field_):
                self._need_network(protocol)
                self._need_transport(header_of(protocol, field_).transport)
            case Concat(parts):
                for part in parts:
                    self._need(part)
            case Bits(left):
                self._need(left)
            case Hash(key) if key is not None:
                self._need(key)
            case MapLookup(key):
                self._need(key)

    # Loads: each returns how many bytes of registers hold the value.

    def _load(self, expression: Expression, register: int) -> int:
        self._need(expression)
        return self._load_ready(expression, register)

    def _load_ready(self, expression: Expression, register: int) -> int:
        to = be32(1, register_number(register))
        match expression:
            case Concat(parts):
                at = register
                for part in parts:
                    at += self._load_ready(part, at) // 4
                return 4 * (at - register)
            case Payload(protocol, field_):
                self._load_payload(expression, register, header_of(protocol, field_).length)
                return _room(header_of(protocol, field_).length)
            case Meta(key) if key in n.META:
                self._emit("meta", be32(2, n.META[key]), to)
            case Ct(key, direction) if key in n.CT:
                way = u8(3, n.CT_DIRECTIONS[direction]) if direction else b""
                self._emit("ct", to, be32(2, n.CT[key]), way)
            case Fib(selectors, result):
                flags = sum(n.FIB_SELECTORS[selector] for selector in selectors)
                self._emit("fib", to, be32(2, n.FIB_RESULTS[result]), be32(3, flags))
            case Numgen(mode, modulus, offset):
                self._emit("numgen", to, be32(2, modulus), be32(3, n.NUMGEN[mode]), be32(4, offset))
            case Hash():
                self._load_hash(expression, register)
            case Bits():
                return self._load_bits(expression, register)
            case Literal():
                self._immediate(register, self._constant(expression))
                return _room(len(expression.value))
            case MapLookup():
                return self._load_from_map(expression, register)
            case _:
                raise Unsayable(f"{expression}")
        return _room(_size(expression))

    def _load_payload(self, payload: Payload, register: int, count: int) -> None:
        self._need(payload)
        header = header_of(payload.protocol, payload.field)
        place = be32(2, header.base), be32(3, header.offset), be32(4, count)
        self._emit("payload", be32(1, register_number(register)), *place)

    def _load_hash(self, hash_: Hash, register: int) -> None:
        to, form = be32(2, register_number(register)), (be32(4, hash_.modulus), be32(6, hash_.offset))
        if hash_.key is None:
            self._emit("hash", to, *form, be32(7, 1))
            return
        beside = register + SECOND
        size = self._load_ready(hash_.key, beside)
        seed = be32(5, hash_.seed) if hash_.seed is not None else b""
        self._emit("hash", be32(1, register_number(beside)), to, be32(3, size), *form, seed, be32(7, 0))

    def _load_bits(self, bits: Bits, register: int) -> int:
        if bits.operator in ("<<", ">>"):
            room = self._load_ready(bits.left, register)
            at, by = register_number(register), int.from_bytes(self._constant(bits.right), sys.byteorder)
            operation = be32(6, 1 if bits.operator == "<<" else 2)
            self._emit("bitwise", be32(1, at), be32(2, at), be32(3, room), operation, nested(7, _host(1, by)))
            return room
        source, mask, xor = self._folded(bits)
        room = self._load_ready(source, register)
        size = _size(source)
        self._mask(register, mask.to_bytes(size, "big"), xor.to_bytes(size, "big"))
        return room

    def _folded(self, bits: Expression) -> tuple[Expression, int, int]:
        """A chain of operations on one value as one: (value & mask) ^ xor."""
        if not isinstance(bits, Bits) or bits.operator not in ("&", "|", "^"):
            size = _size(bits)
            return bits, (1 << 8 * size) - 1, 0
        source, mask, xor = self._folded(bits.left)
        constant = int.from_bytes(self._constant(bits.right, source), "big")
        if bits.operator == "&":
            return source, mask & constant, xor & constant
        if bits.operator == "|":
            return source, mask & ~constant, xor | constant
        return source, mask, xor ^ constant

    def _load_from_map(self, lookup: MapLookup, register: int) -> int:
        if register:
            raise Unsayable("a map inside a concatenation")
        self._load_ready(lookup.key, 0)
        name, identity = self._set(lookup.key, lookup.map)
        self._lookup(name, identity, be32(3, register_number(0)))
        return _room(4)

    # Constants and sets.

    def _constant(self, expression: Expression, beside: Expression | None = None) -> bytes:
        """A literal as a register holds it, without padding. `beside` is what it is compared or combined with: plain
        numbers are as long, and in the order, as that is."""
        if not isinstance(expression, Literal) or expression.type is Type.UNKNOWN:
            raise Unsayable(f"{expression} where a constant must stand")
        if expression.type is Type.INTERFACE:
            return struct.pack("=I", self.index(expression.value.rstrip(b"\0").decode(errors="replace")))
        if expression.type is Type.INTERFACE_NAME:
            return expression.value.ljust(SIZES[expression.type], b"\0")
        if expression.type is Type.INTEGER and beside is not None:
            number = int.from_bytes(expression.value, sys.byteorder)
            return number.to_bytes(_size(beside), "big" if isinstance(beside, Payload) else sys.byteorder)
        return expression.value

    def _set(self, key: Expression, given: SetName | AnonymousSet | AnonymousMap) -> tuple[str, int]:
        """Name and number of what a lookup looks into; an anonymous set is noted down to be made."""
        if isinstance(given, SetName):
            return given.name, 0
        identity = self.identity()
        brought = self._anonymous(key, given, identity)
        self.brought.append(brought)
        return brought.set.name, identity

    def _anonymous(self, key: Expression, given: AnonymousSet | AnonymousMap, identity: int) -> Brought:
        by = key.parts if isinstance(key, Concat) else (key,)
        fields = tuple(Field(type_of(part), part) for part in by)
        elements: list[tuple[bytes, Element]] = []
        data: tuple[Field, ...] | str = ()
        if isinstance(given, AnonymousSet):
            elements = [self._keyed(one, b"") for one in given.elements]
        else:
            first = given.elements[0][1]
            data = "verdict" if isinstance(first, Verdict) else tuple(Field(type_) for type_ in types_of(first))
            elements = [self._keyed(one, self._data(value)) for one, value in given.elements]
        ranges = any(element.end for _, element in elements)
        flags = frozenset({"interval"} if ranges else ())
        made = Set("__map%d" if data else "__set%d", fields, data, flags)
        return Brought(identity, made, tuple(elements), by)

    def _keyed(self, key: Expression | None, data: bytes | Verdict) -> tuple[bytes, Element]:
        if key is None:
            return b"", Element(data)
        parts = key.parts if isinstance(key, Concat) else (key,)
        ends = [self._ends(part) for part in parts]
        low, high = (b"".join(side) for side in zip(*ends, strict=True))
        return low, Element(data, high if high != low else b"")

    def _ends(self, part: Expression) -> tuple[bytes, bytes]:
        if isinstance(part, Range):
            return padded(self._constant(part.low)), padded(self._constant(part.high))
        value = self._constant(part)
        if not isinstance(part, Literal) or not is_prefix(part):
            return padded(value), padded(value)
        mask = prefix_mask(part.prefix_bits or 0, len(value))
        last = bytes(a | ~b & 0xFF for a, b in zip(value, mask, strict=True))
        return padded(value), padded(last)

    def _data(self, value: Expression | Verdict) -> bytes | Verdict:
        if isinstance(value, Verdict):
            return value
        parts = value.parts if isinstance(value, Concat) else (value,)
        return b"".join(padded(self._constant(part)) for part in parts)


def register_number(register: int) -> int:
    """What the kernel calls the register that is the `register`th of four bytes."""
    return n.FIRST_REGISTER + register


def room_of(expression: Expression) -> int:
    """Bytes of the registers that an expression will fill."""
    parts = expression.parts if isinstance(expression, Concat) else (expression,)
    return sum(_room(_size(part)) for part in parts)


def _room(size: int) -> int:
    return size + 3 & ~3


def padded(value: bytes) -> bytes:
    """A value as it fills its registers."""
    return value + b"\0" * (-len(value) & 3)


def _host(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack("=I", value))


def header_of(protocol: str, field_: str) -> n.Header:
    """Where a field is. Raises Unsayable for one that is not known here."""
    try:
        return n.HEADERS[protocol][field_]
    except KeyError:
        raise Unsayable(f"the field `{protocol} {field_}`") from None


def _size(expression: Expression) -> int:
    """Bytes of what an expression loads, without padding."""
    if isinstance(expression, Payload):
        return header_of(expression.protocol, expression.field).length
    if isinstance(expression, Ct) and expression.key == "zone":
        return 2
    type_ = type_of(expression)
    if type_ is Type.UNKNOWN:
        raise Unsayable(f"{expression}: its size is not known")
    return 4 if type_ is Type.INTERFACE else SIZES[type_]


def in_network_order(left: Expression, value: bytes) -> bytes:
    """The value in network order, itself when it is in it already."""
    in_order = len(value) == 1 or isinstance(left, Payload) or type_of(left) in BIG_ENDIAN
    return value if in_order else value[::-1]


def is_prefix(literal: Literal) -> bool:
    """Whether only the first bits of a literal count."""
    if literal.prefix_bits is None:
        return False
    return literal.type is Type.INTERFACE_NAME or literal.prefix_bits < 8 * len(literal.value)


def prefix_mask(bits: int, size: int) -> bytes:
    """`size` bytes of which the first `bits` bits are set."""
    ones = ((1 << bits) - 1) << (8 * size - bits)
    return ones.to_bytes(size, "big")
