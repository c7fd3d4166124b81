"""Expressions of nft rules read from their words: selectors, constants, sets and maps in place."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from fairway.ruleset.nft import (
    AnonymousMap,
    AnonymousSet,
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
    Set,
    SetName,
    Type,
    Verdict,
)
from fairway.ruleset.nft_names import BIT_NAMES
from fairway.ruleset.nft_values import literal, type_of, types_of
from fairway.ruleset.nft_words import NotUnderstood, Words, unquoted

T = TypeVar("T")

MAX_DEPTH = 32
"""Expressions in expressions; nft itself writes four."""

MAX_MODULUS = 2**32
"""Draws are kept in 32 bits."""

METAS = frozenset(
    {"mark", "iif", "oif", "iifname", "oifname", "iiftype", "oiftype", "iifgroup", "oifgroup", "skuid", "skgid"}
    | {"nftrace", "rtclassid", "cgroup", "cpu", "ibrname", "obrname", "pkttype", "length", "protocol", "priority"}
    | {"l4proto", "nfproto", "random", "secmark", "ipsec", "day", "hour", "time", "ibrpvid", "ibrvproto"}
)
BARE = frozenset(
    {"mark", "iif", "oif", "iifname", "oifname", "iiftype", "oiftype", "iifgroup", "oifgroup", "skuid", "skgid"}
    | {"nftrace", "rtclassid", "cgroup", "cpu", "ibrname", "obrname", "pkttype"}
)
"""Keys of `meta` that may stand without the word."""

PROTOCOLS = frozenset(
    {"ip", "ip6", "tcp", "udp", "th", "sctp", "dccp", "udplite", "icmp", "icmpv6", "igmp", "ether", "vlan", "arp"}
    | {"ah", "esp", "comp"}
)
OPERATORS = ("&", "|", "^", "<<", ">>")
_WORDS_FOR = {"and": "&", "or": "|", "xor": "^", "lshift": "<<", "rshift": ">>"}
PREFIXED = frozenset({Type.IPV4, Type.IPV6, Type.MARK})
"""Types of which nft writes an interval as a value and its leading bits where it can."""

VERDICTS = ("accept", "drop", "continue", "return")
BOOLEANS = ("exists", "missing")


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a rule may refer to: its table's family and sets."""

    family: str
    sets: Mapping[str, Set]


class Expressions:
    """Reads expressions from words. Raises NotUnderstood at what is outside the language."""

    def __init__(self, words: Words, around: Surroundings) -> None:
        self.words = words
        self.around = around
        self._depth = 0
        self._in_braces = False

    def selector(self) -> Expression:
        """`ip daddr . th dport`, with bit operations; without what a map makes of it."""
        parts = self.parts()
        return parts[0] if len(parts) == 1 else Concat(parts)

    def parts(self) -> tuple[Expression, ...]:
        """The parts of a selector."""
        found = [self._operations()]
        while self.words.take("."):
            found.append(self._operations())
        return tuple(found)

    def value(self, types: Sequence[Type], data: Sequence[Type] = ()) -> Expression:
        """A constant of these types, or a selector, either perhaps looked up in a map whose data are of type `data`
        (the same as `types` where not given)."""
        if self._at_selector():
            found = self.selector()
            return self.mapped(found, data or types)
        return self.constant(types)

    def mapped(self, key: Expression, data: Sequence[Type]) -> Expression:
        """The key, or what `map` makes of it."""
        if not self.words.take("map"):
            return key
        return MapLookup(key, self.map(types_of(key), lambda: self.constant(data)))

    # Selectors.

    def _at_selector(self) -> bool:
        word = self.words.peek()
        if word == "(":
            return True
        following = self.words.peek(1)
        if word in PROTOCOLS:
            return bool(following) and following[0].isalpha() and following not in ("map", "vmap")
        return word in BARE or word in _SELECTORS

    def _operations(self) -> Expression:
        found = self._primary()
        while True:
            operator = _WORDS_FOR.get(self.words.peek(), self.words.peek())
            if operator not in OPERATORS:
                return found
            self.words.next()
            right = self._primary() if self._at_selector() else self._flags(type_of(found))
            found = Bits(found, operator, _typed(right, type_of(found)))

    def _flags(self, type_: Type) -> Expression:
        return self.literals(Type.INTEGER if type_ is Type.UNKNOWN else type_)

    def _primary(self) -> Expression:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise NotUnderstood("expressions nested too deeply")
        try:
            return self._one(self.words.next())
        finally:
            self._depth -= 1

    def _one(self, word: str) -> Expression:
        if word == "(":
            return self._parentheses()
        if word in PROTOCOLS:
            return self._payload(word)
        if word in _SELECTORS:
            return _SELECTORS[word](self)
        if word in BARE:
            return Meta(word)
        raise NotUnderstood(word)

    def _parentheses(self) -> Expression:
        found = self._operations() if self._at_selector() else self._choice()
        self.words.expect(")")
        return found

    def _choice(self) -> Expression:
        """`fin | syn` in parentheses."""
        names = [self.words.next()]
        while self.words.take("|"):
            names.append(self.words.next())
        for type_ in (Type.TCP_FLAGS, Type.CT_STATE, Type.CT_STATUS, Type.INTEGER):
            try:
                return literal(type_, ",".join(names))
            except ValueError:
                continue
        raise NotUnderstood(" | ".join(names))

    def _payload(self, protocol: str) -> Expression:
        field = self.words.next()
        if not field[0].isalpha():
            raise NotUnderstood(f"{protocol} {field}")
        if field == "option":
            raise NotUnderstood(f"{protocol} option")
        if protocol == "arp" and self.words.peek() in ("ip", "ether") and field in ("saddr", "daddr"):
            field = f"{field} {self.words.next()}"
        return Payload(protocol, field)

    def _meta(self) -> Expression:
        key = self.words.next()
        if key not in METAS:
            raise NotUnderstood(f"meta {key}")
        return Meta(key)

    def _ct(self) -> Expression:
        direction = self.words.next() if self.words.peek() in ("original", "reply") else ""
        key = self.words.next()
        if key in ("ip", "ip6"):
            key = f"{key} {self.words.next()}"
        elif key in ("saddr", "daddr") and self.around.family in ("ip", "ip6"):
            key = f"{self.around.family} {key}"
        if key in ("helper", "count", "label", "timeout", "expectation", "event"):
            raise NotUnderstood(f"ct {key}")
        return Ct(key, direction)

    def _fib(self) -> Expression:
        selectors = [self.words.next()]
        while self.words.take("."):
            selectors.append(self.words.next())
        return Fib(tuple(selectors), self.words.next())

    def _numgen(self) -> Expression:
        mode = self.words.next()
        self.words.expect("mod")
        return Numgen(mode, self._modulus(), self._option("offset") or 0)

    def _jhash(self) -> Expression:
        key = self.selector()
        self.words.expect("mod")
        modulus = self._modulus()
        return Hash(key, modulus, self._option("seed"), self._option("offset") or 0)

    def _symhash(self) -> Expression:
        self.words.expect("mod")
        return Hash(None, self._modulus(), None, self._option("offset") or 0)

    def _modulus(self) -> int:
        found = self.words.number()
        if not 0 < found < MAX_MODULUS:
            raise NotUnderstood(f"mod {found}")
        return found

    def _option(self, name: str) -> int | None:
        return self.words.number() if self.words.take(name) else None

    # Constants.

    def constant(self, types: Sequence[Type]) -> Expression:
        """A set by name or in place, or constants as many as types."""
        word = self.words.peek()
        if word.startswith("@"):
            return SetName(self.words.next()[1:])
        if word == "{":
            return AnonymousSet(tuple(self._braces(lambda: self.elements(types))))
        return self.elements(types)

    def elements(self, types: Sequence[Type]) -> Expression:
        """Constants or ranges, with dots between them."""
        parts: list[Expression] = []
        for place, type_ in enumerate(types):
            if place:
                self.words.expect(".")
            parts.append(self.literals(type_))
        return parts[0] if len(parts) == 1 else Concat(tuple(parts))

    def literals(self, type_: Type) -> Expression:
        """A constant or a range; of flags also several with commas."""
        word = self.words.next()
        if word in ("{", "}", "(", ")", ",", ":", "."):
            raise NotUnderstood(word)
        lists = type_ in BIT_NAMES and not self._in_braces
        while lists and self.words.peek() == "," and _is_flag(type_, self.words.peek(1)):
            self.words.next()
            word = f"{word},{self.words.next()}"
        return constant(type_, word)

    def map(self, types: Sequence[Type], data: Callable[[], Expression | Verdict]) -> SetName | AnonymousMap:
        """`@name` or `{ key : value, ... }`."""
        if self.words.peek().startswith("@"):
            return SetName(self.words.next()[1:])
        return AnonymousMap(tuple(self._braces(lambda: self._pair(types, data))))

    def _pair(self, types: Sequence[Type], data: Callable[[], T]) -> tuple[Expression | None, T]:
        key = None if self.words.take("*") else self.elements(types)
        self.words.expect(":")
        return key, data()

    def _braces(self, one: Callable[[], T]) -> list[T]:
        self.words.expect("{")
        self._in_braces = True
        try:
            found = [one()]
            while self.words.take(","):
                found.append(one())
        finally:
            self._in_braces = False
        self.words.expect("}")
        return found

    def verdict(self) -> Verdict:
        """A verdict. Raises NotUnderstood."""
        word = self.words.next()
        if word in ("jump", "goto"):
            return Verdict(word, unquoted(self.words.next()))
        if word in VERDICTS:
            return Verdict(word)
        raise NotUnderstood(word)


_SELECTORS: Mapping[str, Callable[[Expressions], Expression]] = {
    "meta": Expressions._meta,
    "ct": Expressions._ct,
    "fib": Expressions._fib,
    "numgen": Expressions._numgen,
    "jhash": Expressions._jhash,
    "symhash": Expressions._symhash,
}


def _is_flag(type_: Type, word: str) -> bool:
    return word in BIT_NAMES[type_]


def _typed(given: Expression, type_: Type) -> Expression:
    """A constant in parentheses takes the type of what it is compared with."""
    if isinstance(given, Literal) and given.type is not type_ and type_ is not Type.UNKNOWN:
        raise NotUnderstood(f"flags of {given.type.value} for {type_.value}")
    return given


@functools.lru_cache(maxsize=65536)
def constant(type_: Type, word: str) -> Literal | Range:
    """A constant, a network or a range from one word. What cannot be read as the type is kept as text."""
    if word in BOOLEANS or (type_ is Type.INTERFACE and word.isdigit()):
        return literal(Type.UNKNOWN, word)
    if word.startswith('"'):
        return _name(type_, word[1:-1])
    try:
        return literal(type_, word)
    except ValueError:
        return network(type_, word) or between(type_, word) or _unknown(word)


def _unknown(word: str) -> Literal:
    try:
        return literal(Type.UNKNOWN, word)
    except ValueError:
        raise NotUnderstood(word) from None


def _name(type_: Type, name: str) -> Literal:
    if type_ is Type.INTERFACE_NAME and name.endswith("*") and len(name) > 1 and not name.endswith("\\*"):
        return Literal(type_, name[:-1].encode(), (len(name) - 1) * 8)
    try:
        return literal(type_, name)
    except ValueError:
        return _unknown(name)


def network(type_: Type, word: str) -> Literal | None:
    """`10.0.0.0/8`, `0x00000010/28`."""
    address, _, bits = word.partition("/")
    if type_ not in PREFIXED or not bits.isdigit():
        return None
    try:
        found = literal(type_, address)
    except ValueError:
        return None
    length = int(bits)
    return Literal(type_, found.value, length) if length <= len(found.value) * 8 else None


def between(type_: Type, word: str) -> Range | None:
    """`80-90`."""
    low, dash, high = word.partition("-")
    try:
        return Range(literal(type_, low), literal(type_, high)) if dash else None
    except ValueError:
        return None
