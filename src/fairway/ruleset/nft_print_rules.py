"""Rules of nftables as text, in the spelling of `nft list`: expressions and statements."""

from __future__ import annotations

from fairway.ruleset.nft import (
    AnonymousMap,
    AnonymousSet,
    Assign,
    Bits,
    Concat,
    Counter,
    Ct,
    Expression,
    Fib,
    Hash,
    Literal,
    MapLookup,
    Match,
    Meta,
    Nat,
    Numgen,
    Other,
    Payload,
    Range,
    Reject,
    Rule,
    SetName,
    SetUpdate,
    Statement,
    Type,
    Verdict,
    VerdictMap,
)
from fairway.ruleset.nft_names import BIT_NAMES
from fairway.ruleset.nft_values import number, spell

BARE_METAS = frozenset({"iif", "oif", "iifname", "oifname", "iiftype", "oiftype", "iifgroup", "oifgroup"})
"""Keys of `meta` that nft prints without the word."""

_UNITS = (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1))


def rule(rule: Rule, family: str) -> str:
    """One rule, without its handle; `family` is the table's."""
    parts = [statement(done, family) for done in rule.statements]
    if rule.comment:
        parts.append(f"comment {quoted(rule.comment)}")
    return " ".join(parts)


def quoted(text: str) -> str:
    """Text in quotes. nft has no way to write a quote inside, so it becomes an apostrophe."""
    return '"' + text.replace('"', "'") + '"'


def time(milliseconds: int) -> str:
    """`3h`, `1d30s`, `250ms`."""
    parts, left = [], milliseconds
    for unit, length in _UNITS:
        if left >= length:
            parts.append(f"{left // length}{unit}")
            left %= length
    return "".join(parts) or "0s"


def statement(done: Statement, family: str) -> str:
    """One statement."""
    match done:
        case Match():
            return _match(done)
        case Verdict():
            return verdict(done)
        case VerdictMap(key, found):
            return f"{expression(key)} vmap {_map(found)}"
        case Assign(target, value):
            return f"{expression(target)} set {expression(value)}"
        case Nat():
            return _nat(done, family)
        case Reject(with_):
            return f"reject with {with_}" if with_ else "reject"
        case Counter(packets, bytes_):
            return f"counter packets {packets} bytes {bytes_}"
        case SetUpdate():
            return _update(done)
        case Other(text):
            return text


def verdict(given: Verdict) -> str:
    """`accept`, `jump web`."""
    return f"{given.code} {given.chain}" if given.chain else given.code


def _match(done: Match) -> str:
    left, right, operator = done.left, expression(done.right), done.operator
    if isinstance(left, Bits) and operator == "==" and _no_flags(left.right, done.right):
        return f"{expression(left.left)} ! {expression(left.right)}"
    if isinstance(left, Bits) and left.left == Payload("tcp", "flags") and isinstance(left.right, Literal):
        negation = "" if operator == "==" else f"{operator} "
        return f"tcp flags {negation}{right} / {expression(left.right)}"
    if operator == "any" or (operator == "==" and not _spells_equality(done)):
        return f"{expression(left)} {right}"
    return f"{expression(left)} {operator} {right}"


def _no_flags(mask: Expression, right: Expression) -> bool:
    """Whether it is asked that none of some flags is set."""
    flags = isinstance(mask, Literal) and mask.type in BIT_NAMES
    return flags and isinstance(right, Literal) and not any(right.value)


def _spells_equality(done: Match) -> bool:
    """Whether `==` must be written: without it, flags would mean any of them, and after `&` it would be lost."""
    return isinstance(done.left, Bits) or (isinstance(done.right, Literal) and done.right.type in BIT_NAMES)


def _nat(done: Nat, family: str) -> str:
    parts = [done.kind]
    spoken = done.family or (_family(done.address) if family == "inet" else "")
    if spoken:
        parts.append(spoken)
    if done.address is not None or done.port is not None:
        parts.append(f"to {_address(done.address, done.port)}{_port(done.port)}")
    if done.flags:
        parts.append(",".join(done.flags))
    return " ".join(parts)


def _family(address: Expression | None) -> str:
    """A table of both families must be told which address it is."""
    first = address.low if isinstance(address, Range) else address
    if not isinstance(first, Literal):
        return ""
    return "ip6" if first.type is Type.IPV6 else "ip"


def _address(address: Expression | None, port: Expression | None) -> str:
    if address is None:
        return ""
    text = expression(address)
    brackets = isinstance(address, Literal | Range) and _family(address) == "ip6" and port is not None
    return f"[{text.replace('-', ']-[')}]" if brackets else text


def _port(port: Expression | None) -> str:
    if port is None:
        return ""
    return f":{expression(port)}" if isinstance(port, Literal | Range) else f" : {expression(port)}"


def _update(done: SetUpdate) -> str:
    timeout = f" timeout {time(done.timeout_ms)}" if done.timeout_ms else ""
    data = f" : {expression(done.data)}" if done.data is not None else ""
    return f"{done.operation} @{done.set} {{ {expression(done.key)}{timeout}{data} }}"


def expression(given: Expression) -> str:
    """One expression."""
    match given:
        case Payload(protocol, field):
            return f"{protocol} {field}"
        case Meta(key):
            return key if key in BARE_METAS else f"meta {key}"
        case Ct(key, direction):
            return f"ct {direction} {key}" if direction else f"ct {key}"
        case Fib(selectors, result):
            return f"fib {' . '.join(selectors)} {result}"
        case Numgen(mode, modulus, offset):
            return f"numgen {mode} mod {modulus}{_offset(offset)}"
        case Hash():
            return _hash(given)
        case Concat(parts):
            return " . ".join(map(expression, parts))
        case Bits(left, operator, right):
            return f"{expression(left)} {operator} {_operand(right)}"
        case Literal():
            return literal(given)
        case Range(low, high):
            return f"{literal(low)}-{literal(high)}"
        case SetName(name):
            return f"@{name}"
        case AnonymousSet(elements):
            return f"{{ {', '.join(map(expression, elements))} }}"
        case MapLookup(key, found):
            return f"{expression(key)} map {_map(found)}"


def _operand(given: Expression) -> str:
    """The right side of a bit operation. Operations go from left to right, but `<<` binds closer than `&`, so what
    is itself composed stands in parentheses."""
    text = expression(given)
    if isinstance(given, Literal) and given.type in BIT_NAMES and "," in text:
        return f"({text.replace(',', ' | ')})"
    return f"({text})" if isinstance(given, Bits) else text


def _offset(offset: int) -> str:
    return f" offset {offset}" if offset else ""


def _hash(given: Hash) -> str:
    key = f"jhash {expression(given.key)}" if given.key is not None else "symhash"
    seed = f" seed 0x{given.seed:x}" if given.seed is not None else ""
    return f"{key} mod {given.modulus}{seed}{_offset(given.offset)}"


def _map(found: SetName | AnonymousMap) -> str:
    if isinstance(found, SetName):
        return f"@{found.name}"
    return f"{{ {', '.join(map(_pair, found.elements))} }}"


def _pair(pair: tuple[Expression | None, Expression | Verdict]) -> str:
    key, data = pair
    value = verdict(data) if isinstance(data, Verdict) else expression(data)
    return f"{expression(key) if key is not None else '*'} : {value}"


def literal(given: Literal) -> str:
    """A constant: devices in quotes, networks with their length."""
    text = spell(given.type, given.value)
    if given.type in (Type.INTERFACE_NAME, Type.INTERFACE):
        return f'"{text}{"" if given.prefix_bits is None else "*"}"'
    if given.type in BIT_NAMES and not number(given.type, given.value):
        return "0x0"
    return text if given.prefix_bits is None else f"{text}/{given.prefix_bits}"
