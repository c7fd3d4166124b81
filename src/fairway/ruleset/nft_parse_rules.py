"""One rule of an nft listing read into statements. What is not understood is kept as text, never refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from fairway.ruleset.nft import (
    AnonymousMap,
    Assign,
    Bits,
    Concat,
    Counter,
    Ct,
    Expression,
    Literal,
    MapLookup,
    Match,
    Meta,
    Nat,
    Other,
    Payload,
    Range,
    Reject,
    Rule,
    SetUpdate,
    Statement,
    Type,
    Verdict,
    VerdictMap,
)
from fairway.ruleset.nft_names import BIT_NAMES
from fairway.ruleset.nft_parse_expressions import BARE, PROTOCOLS, VERDICTS, Expressions, Surroundings, constant
from fairway.ruleset.nft_values import literal, type_of, types_of
from fairway.ruleset.nft_words import NotUnderstood, Words, milliseconds, unquoted

COMPARISONS = ("==", "!=", "<", ">", "<=", ">=")
NAT_FLAGS = ("random", "fully-random", "persistent")
ASKING = frozenset({"rt", "socket", "osf", "ipsec", "exthdr", "hbh", "frag", "dst", "mh", "rt0", "rt2", "srh", "meta"})
"""Words that begin a match which may be outside the language, beside the names of protocols and of `ct`."""

TERMINALS = frozenset({"dnat", "snat", "masquerade", "redirect", "reject", "queue", "tproxy", "synproxy", "dup", "fwd"})
STARTS = (
    frozenset({*VERDICTS, "jump", "goto", "counter", "limit", "quota", "log", "notrack", "comment", "last"})
    | {"add", "update", "delete", "meter", "flow", "xt"}
    | TERMINALS
)
"""Words that begin a statement, where nothing before them may have swallowed them."""

_LOG_OPTIONS = ("prefix", "level", "group", "snaplen", "queue-threshold")


def parse_rule(text: str, around: Surroundings, handle: int = 0) -> Rule:
    """A rule from its text, without comment signs or its handle."""
    return _Rule(Words(text), around).read(handle)


class _Rule:
    def __init__(self, words: Words, around: Surroundings) -> None:
        self.words = words
        self.around = around
        self.expressions = Expressions(words, around)
        self.comment = ""

    def read(self, handle: int) -> Rule:
        found: list[Statement] = []
        while not self.words.done:
            statement = self._statement_or_text()
            if statement is not None:
                found.append(statement)
        return Rule(tuple(found), self.comment, handle)

    def _statement_or_text(self) -> Statement | None:
        start = self.words.at
        try:
            return self._statement()
        except NotUnderstood:
            self.words.at = start
            return self._text()

    def _statement(self) -> Statement | None:
        word = self.words.peek()
        if word == "comment":
            self.words.next()
            self.comment = unquoted(self.words.next())
            return None
        reader = _STATEMENTS.get(word)
        return reader(self) if reader else self._match()

    def _text(self) -> Other:
        """Words up to where another statement begins. A match that is not understood may hold or not; of anything
        else nothing is known."""
        start = self.words.at
        first = self.words.next()
        asking = (first in PROTOCOLS or first in ASKING or first == "ct" or first in BARE) and first not in STARTS
        self.words.skip_while(lambda word: word not in STARTS)
        text = self.words.text_since(start)
        return Other(text, maybe=asking and " set " not in f" {text} ")

    # Matches, verdict maps, assignments.

    def _match(self) -> Statement:
        left = self.expressions.selector()
        if self.words.take("vmap"):
            return VerdictMap(left, self.expressions.map(types_of(left), self.expressions.verdict))
        if self.words.peek() == "set" and isinstance(left, Meta | Ct | Payload):
            self.words.next()
            return self._assignment(left)
        left = self._mapped(left)
        if self.words.take("!"):
            return self._no_flags(left)
        operator = self.words.next() if self.words.peek() in COMPARISONS else ""
        right = self.expressions.constant(types_of(left))
        if self.words.take("/"):
            mask = self.expressions.literals(type_of(left))
            return Match(Bits(left, "&", mask), right, operator or "==")
        return Match(left, right, operator or _implied(left, right))

    def _no_flags(self, left: Expression) -> Statement:
        """`tcp flags ! fin,rst`: none of them is set."""
        type_ = type_of(left)
        mask = self.expressions.literals(type_)
        if type_ not in BIT_NAMES:
            raise NotUnderstood("`!` of what are no flags")
        return Match(Bits(left, "&", mask), literal(type_, 0))

    def _mapped(self, key: Expression) -> Expression:
        if self.words.peek() != "map":
            return key
        return self.expressions.mapped(key, self._data_types())

    def _data_types(self) -> tuple[Type, ...]:
        """The types of a map's data at `map @name`, UNKNOWN otherwise."""
        found = self._named(self.words.peek(1))
        return found or (Type.UNKNOWN,)

    def _named(self, word: str) -> tuple[Type, ...]:
        kept = self.around.sets.get(word[1:]) if word.startswith("@") else None
        return tuple(field.type for field in kept.data if not isinstance(field, str)) if kept else ()

    def _assignment(self, target: Meta | Ct | Payload) -> Statement:
        if target == Meta("nftrace"):
            return Other(f"meta nftrace set {self.words.next()}", harmless=True)
        return Assign(target, self.expressions.value((type_of(target),)))

    # Verdicts.

    def _verdict(self) -> Statement:
        return self.expressions.verdict()

    def _queue(self) -> Statement:
        self.words.next()
        if self.words.done:
            return Verdict("queue")
        raise NotUnderstood("queue with options")

    def _reject(self) -> Statement:
        self.words.next()
        if not self.words.take("with"):
            return Reject()
        what = self.words.next()
        self.words.take("type")
        return Reject(f"{what} {self.words.next()}")

    # Translation.

    def _nat(self) -> Statement:
        kind = self.words.next()
        family = self.words.next() if self.words.peek() in ("ip", "ip6") and self._family_is_spelled() else ""
        if self.words.peek() == "prefix":
            raise NotUnderstood("nat of prefixes")
        both = False
        if family and self.words.peek() == "addr":
            for word in ("addr", ".", "port"):
                self.words.expect(word)
            both = True
        address: Expression | None = None
        port: Expression | None = None
        if self.words.take("to"):
            address, port, found_both = self._target(family)
            both = both or found_both
        return Nat(kind, address, port, family, self._flags(), both)

    def _family_is_spelled(self) -> bool:
        return self.words.peek(1) in ("to", "prefix", "addr")

    def _target(self, family: str) -> tuple[Expression | None, Expression | None, bool]:
        word = self.words.peek()
        if word.startswith(":"):
            return None, self._ports(self.words.next()[1:]), False
        type_ = Type.IPV6 if (family or self.around.family) == "ip6" else Type.IPV4
        if word[:1].isdigit() or word.startswith("[") or (":" in word and word[0] in "abcdef"):
            return *self._constants(self.words.next()), False
        address = self.expressions.value((type_,), self._nat_data(type_))
        port = None
        if self.words.take(":"):
            port = self.expressions.value((Type.SERVICE,))
        return address, port, self._yields_both(address)

    def _nat_data(self, type_: Type) -> tuple[Type, ...]:
        """Whether the data of the map ahead hold a port after the address."""
        words = self.words.words
        ahead = self.words.at
        while ahead < len(words) and words[ahead] != "map":
            ahead += 1
        if ahead + 1 < len(words) and words[ahead + 1] == "{":
            close = words.index("}", ahead) if "}" in words[ahead:] else len(words)
            colon = words.index(":", ahead) if ":" in words[ahead:] else close
            end = words.index(",", colon) if "," in words[colon:close] else close
            return (type_, Type.SERVICE) if "." in words[colon:end] else (type_,)
        return (type_,)

    def _yields_both(self, address: Expression) -> bool:
        if not isinstance(address, MapLookup):
            return isinstance(address, Concat)
        if isinstance(address.map, AnonymousMap):
            return any(isinstance(data, Concat) for _, data in address.map.elements)
        kept = self.around.sets.get(address.map.name)
        return kept is not None and len(kept.data) == 2

    def _constants(self, word: str) -> tuple[Expression, Expression | None]:
        """`10.0.0.1:80`, `10.0.0.1-10.0.0.9:80-90`, `[fd00::1]:80`, `fd00::1`."""
        if word.startswith("["):
            address, _, port = word[1:].replace("]-[", "-").partition("]")
            port = port.removeprefix(":")
        elif word.count(":") == 1:
            address, _, port = word.partition(":")
        else:
            address, port = word, ""
        type_ = Type.IPV6 if ":" in address else Type.IPV4
        return _known(type_, address), self._ports(port) if port else None

    def _ports(self, word: str) -> Expression:
        return _known(Type.SERVICE, word or self.words.next())

    def _flags(self) -> tuple[str, ...]:
        found: list[str] = []
        while self.words.peek() in NAT_FLAGS or (found and self.words.peek() == "," and self.words.peek(1)):
            word = self.words.next()
            if word != ",":
                found.append(word)
        return tuple(found)

    # Statements beside the way.

    def _counter(self) -> Statement:
        self.words.next()
        if self.words.take("packets"):
            packets = self.words.number()
            self.words.expect("bytes")
            return Counter(packets, self.words.number())
        if self.words.take("name") or self.words.peek().startswith('"'):
            return Other(f"counter name {self.words.next()}", harmless=True)
        return Counter()

    def _limit(self) -> Statement:
        """`limit rate over 10/second burst 5 packets`, `limit name "x"`, `quota over 25 mbytes used 3 bytes`."""
        start = self.words.at
        self.words.next()
        self.words.skip_while(lambda word: word not in STARTS and word not in PROTOCOLS and word not in ("meta", "ct"))
        return Other(self.words.text_since(start), maybe=True)

    def _log(self) -> Statement:
        start = self.words.at
        self.words.next()
        while self.words.peek() in _LOG_OPTIONS or self.words.peek() == "flags":
            if self.words.next() != "flags":
                self.words.next()
                continue
            if self.words.next() in ("tcp", "ip"):
                self.words.next()
            while self.words.take(","):
                self.words.next()
        return Other(self.words.text_since(start), harmless=True)

    def _notrack(self) -> Statement:
        return Other(self.words.next(), harmless=True)

    def _flow(self) -> Statement:
        start = self.words.at
        self.words.next()
        self.words.next()
        self.words.next()
        return Other(self.words.text_since(start), harmless=True)

    def _last(self) -> Statement:
        start = self.words.at
        self.words.next()
        self.words.skip_while(lambda word: word not in STARTS)
        return Other(self.words.text_since(start), harmless=True)

    def _update(self) -> Statement:
        operation = self.words.next()
        name = self.words.next()
        if not name.startswith("@"):
            raise NotUnderstood(name)
        self.words.expect("{")
        key = self.expressions.selector()
        timeout = milliseconds(self.words.next()) if self.words.take("timeout") else 0
        data: Expression | None = None
        if self.words.take(":"):
            data = self.expressions.value(self._named(name) or (Type.UNKNOWN,))
        self.words.expect("}")
        return SetUpdate(operation, name[1:], key, timeout, data)

    def _unknown(self) -> Statement:
        raise NotUnderstood(self.words.peek())


_STATEMENTS: Mapping[str, Callable[[_Rule], Statement]] = {
    **dict.fromkeys((*VERDICTS, "jump", "goto"), _Rule._verdict),
    **dict.fromkeys(("dnat", "snat", "masquerade", "redirect"), _Rule._nat),
    **dict.fromkeys(("add", "update", "delete"), _Rule._update),
    **dict.fromkeys(("limit", "quota"), _Rule._limit),
    **dict.fromkeys(("meter", "tproxy", "synproxy", "dup", "fwd", "xt"), _Rule._unknown),
    "queue": _Rule._queue,
    "reject": _Rule._reject,
    "counter": _Rule._counter,
    "log": _Rule._log,
    "notrack": _Rule._notrack,
    "flow": _Rule._flow,
    "last": _Rule._last,
}


def _implied(left: Expression, right: Expression) -> str:
    """What a match without an operator asks: of flags, whether any is set."""
    flags = isinstance(right, Literal) and right.type in BIT_NAMES and not isinstance(left, Bits)
    return "any" if flags else "=="


def _known(type_: Type, word: str) -> Literal | Range:
    found = constant(type_, word)
    if isinstance(found, Literal) and found.type is not type_:
        raise NotUnderstood(word)
    return found
