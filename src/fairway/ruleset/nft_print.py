"""nftables as text: whole tables as `nft list` shows them and `nft -f` takes them, and transactions as commands."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from fairway.ruleset import nft_print_rules
from fairway.ruleset.nft import (
    AddChain,
    AddElements,
    AddRule,
    AddSet,
    AddTable,
    Chain,
    Change,
    DeleteChain,
    DeleteElements,
    DeleteSet,
    DeleteTable,
    Element,
    Field,
    FlushChain,
    FlushSet,
    Hook,
    Rule,
    Set,
    Table,
    Type,
    Verdict,
)
from fairway.ruleset.nft_print_rules import expression, quoted, time, verdict
from fairway.ruleset.nft_values import BRIDGE_PRIORITIES, PRIORITIES, spell, split

PREFIXES = frozenset({Type.IPV4, Type.IPV6})
"""Types whose intervals nft writes as `value/bits` where they can be."""

PLACES = {"dstnat": "prerouting", "srcnat": "postrouting"}
"""Names of priorities that only one hook knows."""


def rule(rule: Rule, family: str) -> str:
    """One rule as `nft list` shows it; `family` is the table's."""
    return nft_print_rules.rule(rule, family)


# Whole tables.


def text(tables: Iterable[Table]) -> str:
    """Tables as `nft list ruleset` shows them and `nft -f` takes them. Sets and chains come in their order, sets
    first."""
    return "".join(f"{line}\n" for table in tables for line in _table(table))


def _table(table: Table) -> Iterator[str]:
    yield f"table {table.family} {table.name} {{"
    if table.comment:
        yield f"\tcomment {quoted(table.comment)}"
    if table.flags:
        yield f"\tflags {','.join(sorted(table.flags))}"
    blocks = [[f"\t{line}" for line in other.splitlines()] for other in table.others]
    blocks += [list(_set(kept)) for kept in table.sets.values()]
    blocks += [list(_chain(chain, table.family)) for chain in table.chains.values()]
    for number, block in enumerate(blocks):
        if number:
            yield ""
        yield from block
    yield "}"


def _set(kept: Set) -> Iterator[str]:
    yield f"\t{_word(kept)} {kept.name} {{"
    yield from (f"\t\t{line}" for line in _declaration(kept))
    if kept.elements:
        listed = ",\n\t\t\t     ".join(elements(kept, kept.elements.items()))
        yield f"\t\telements = {{ {listed} }}"
    yield "\t}"


def _word(kept: Set) -> str:
    return "map" if kept.data else "set"


def _declaration(kept: Set) -> Iterator[str]:
    yield _types(kept)
    if kept.size:
        yield f"size {kept.size}"
    if kept.flags:
        yield f"flags {','.join(sorted(kept.flags))}"
    if kept.timeout_ms:
        yield f"timeout {time(kept.timeout_ms)}"
    if kept.counter:
        yield "counter"
    if kept.comment:
        yield f"comment {quoted(kept.comment)}"


def _types(kept: Set) -> str:
    """`type A . B : C`, or `typeof` where every field has the expression it came from."""
    data = () if isinstance(kept.data, str) else kept.data
    by_expression = all(field.of is not None for field in (*kept.key, *data))
    spelled = [_fields(kept.key, by_expression)]
    if kept.data:
        spelled.append(_fields(data, by_expression) if data else "verdict")
    return f"{'typeof' if by_expression else 'type'} {' : '.join(spelled)}"


def _fields(fields: Iterable[Field], by_expression: bool) -> str:
    return " . ".join(
        expression(field.of) if by_expression and field.of is not None else field.type.value for field in fields
    )


def _chain(chain: Chain, family: str) -> Iterator[str]:
    yield f"\tchain {chain.name} {{"
    if chain.comment:
        yield f"\t\tcomment {quoted(chain.comment)}"
    if chain.hook is not None:
        yield f"\t\t{hook(chain.hook, family)}"
    yield from (f"\t\t{rule(kept, family)}" for kept in chain.rules)
    yield "\t}"


def hook(given: Hook, family: str) -> str:
    """`type nat hook prerouting priority dstnat; policy accept;`"""
    device = f' device "{given.device}"' if given.device else ""
    priority = spelled_priority(given.priority, given.hook, family)
    return f"type {given.type} hook {given.hook}{device} priority {priority}; policy {given.policy};"


def spelled_priority(priority: int, hook: str, family: str) -> str:
    """A priority by its name, or by one that is within ten of it, where the hook knows that name."""
    names = BRIDGE_PRIORITIES if family == "bridge" else PRIORITIES if family in ("ip", "ip6", "inet") else {}
    for name, number in names.items():
        if abs(priority - number) <= 10 and (family == "bridge" or PLACES.get(name, hook) == hook):
            off = priority - number
            return f"{name} {'+' if off > 0 else '-'} {abs(off)}" if off else name
    return str(priority)


# Elements.


def elements(kept: Set, given: Iterable[tuple[bytes, Element]]) -> Iterator[str]:
    """Elements of a set, each as nft writes it."""
    types = tuple(field.type for field in kept.key)
    data_types = () if isinstance(kept.data, str) else tuple(field.type for field in kept.data)
    for key, element in given:
        words = f"{spelled_key(types, key, element.end)}{_extras(element, kept.counter)}"
        if isinstance(element.data, Verdict):
            words += f" : {verdict(element.data)}"
        elif element.data:
            words += f" : {spelled_key(data_types, element.data)}"
        yield words


def spelled_key(types: Sequence[Type], key: bytes, end: bytes = b"") -> str:
    """A packed key, or the interval up to `end`, field by field; b"" is the catch-all."""
    if not key:
        return "*"
    lows = split(types, key)
    highs = split(types, end) if end else lows
    return " . ".join(_interval(*field) for field in zip(types, lows, highs, strict=True))


def _interval(type_: Type, low: bytes, high: bytes) -> str:
    if low == high:
        return _value(type_, low)
    bits = prefix_bits(low, high) if type_ in PREFIXES else None
    return f"{_value(type_, low)}-{_value(type_, high)}" if bits is None else f"{_value(type_, low)}/{bits}"


def _value(type_: Type, field: bytes) -> str:
    text = spell(type_, field)
    return f'"{text}"' if type_ in (Type.INTERFACE_NAME, Type.INTERFACE) else text


def prefix_bits(low: bytes, high: bytes) -> int | None:
    """The length of the network that reaches from `low` to `high`, None when it is none."""
    first, last = int.from_bytes(low, "big"), int.from_bytes(high, "big")
    free = (first ^ last).bit_length()
    ones = (1 << free) - 1
    return len(low) * 8 - free if not first & ones and last & ones == ones else None


def _extras(element: Element, counter: bool) -> str:
    words = ""
    if counter or element.packets or element.bytes:
        words += f" counter packets {element.packets} bytes {element.bytes}"
    if element.timeout_ms:
        words += f" timeout {time(element.timeout_ms)}"
    if element.expires_ms:
        words += f" expires {time(element.expires_ms)}"
    if element.comment:
        words += f" comment {quoted(element.comment)}"
    return words


# Transactions.


def changes(changes: Iterable[Change]) -> str:
    """A transaction as `nft -f` takes it, each change on a line of its own."""
    return "".join(f"{change(one)}\n" for one in changes)


def change(change: Change) -> str:
    """One change as one line."""
    where = f"{change.table.family} {change.table.name}"
    match change:
        case AddTable(_, comment):
            return f"add table {where}" + (f" {{ comment {quoted(comment)}; }}" if comment else "")
        case DeleteTable(_, missing_ok):
            return f"add table {where}; delete table {where}" if missing_ok else f"delete table {where}"
        case AddSet(_, kept):
            return f"add {_word(kept)} {where} {kept.name} {{ {_set_body(kept)} }}"
        case DeleteSet(_, name):
            return f"delete set {where} {name}"
        case FlushSet(_, kept):
            return f"flush {_word(kept)} {where} {kept.name}"
        case AddChain(table, chain):
            return f"add chain {where} {chain.name}" + _chain_body(chain, table.family)
        case DeleteChain(_, name):
            return f"delete chain {where} {name}"
        case FlushChain(_, name):
            return f"flush chain {where} {name}"
        case AddRule(table, name, added, first):
            return f"{'insert' if first else 'add'} rule {where} {name} {rule(added, table.family)}"
        case AddElements(_, kept, given):
            return f"add element {where} {kept.name} {{ {', '.join(elements(kept, given))} }}"
        case DeleteElements(_, kept, given):
            return f"delete element {where} {kept.name} {{ {', '.join(_keys(kept, given))} }}"


def _keys(kept: Set, given: Iterable[tuple[bytes, Element]]) -> Iterator[str]:
    types = tuple(field.type for field in kept.key)
    return (spelled_key(types, key, element.end) for key, element in given)


def _set_body(kept: Set) -> str:
    parts = list(_declaration(kept))
    if kept.elements:
        parts.append(f"elements = {{ {', '.join(elements(kept, kept.elements.items()))} }}")
    return "".join(f"{part}; " for part in parts).rstrip()


def _chain_body(chain: Chain, family: str) -> str:
    parts = [hook(chain.hook, family)] if chain.hook is not None else []
    if chain.comment:
        parts.append(f"comment {quoted(chain.comment)};")
    return f" {{ {' '.join(parts)} }}" if parts else ""
