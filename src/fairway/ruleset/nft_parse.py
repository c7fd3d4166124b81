"""Reading `nft list ruleset`, of nft 0.9 to 1.1, with or without `-s` and `-a`.

What a rule says that is outside the language of `ruleset.nft` stays as text in it. Declarations without a value here
(named counters, flowtables) are kept as text by their table. Hints to the kernel that change no answer (`policy`,
`gc-interval`, `auto-merge`) are not kept.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator

from fairway.ruleset.nft import Chain, Field, Hook, Ruleset, Set, Table, TableName, Type
from fairway.ruleset.nft_parse_elements import read_elements
from fairway.ruleset.nft_parse_expressions import Expressions, Surroundings
from fairway.ruleset.nft_parse_rules import parse_rule
from fairway.ruleset.nft_values import BRIDGE_PRIORITIES, PRIORITIES, type_of
from fairway.ruleset.nft_words import NotUnderstood, ParseError, Words, milliseconds, unquoted

__all__ = ["ParseError", "parse"]

FAMILIES = frozenset({"ip", "ip6", "inet", "arp", "bridge", "netdev"})

_BLANK = re.compile(r"(?:\s|;|#[^\n]*)*+")
_NAME = re.compile(r'[ \t]*("[^"\n]*"|[^\s{}";#]+)')
_QUOTED = r'"[^"]*"'
_INNER = rf'\{{(?:[^{{}}"]|{_QUOTED})*+\}}'
_BRACES = rf'\{{(?:[^{{}}"]|{_QUOTED}|{_INNER})*+\}}'
_LINE = re.compile(rf'(?:[^\n;{{}}"#]|{_QUOTED}|{_BRACES})++')
_HANDLE = re.compile(r"[ \t]*#[ \t]*handle[ \t]+(\d+)")
_DEVICE = r'(?: devices?(?: =)? (?P<device>"[^"]*"|\{[^}]*\}|\S+))?'
_HOOK = re.compile(rf"type (?P<type>\w+) hook (?P<hook>\w+){_DEVICE} priority (?P<priority>.+)")


def parse(text: str) -> Ruleset:
    """The tables of a listing. Raises ParseError where braces do not match or something else than a table stands."""
    reader = _Reader(text)
    found = Ruleset()
    while reader.skip():
        table = _table(reader)
        found.tables[TableName(table.family, table.name)] = table
    return found


class _Reader:
    """A place in a listing."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def skip(self) -> bool:
        """Go on behind blanks, semicolons and comments; whether anything is left."""
        self.at = _BLANK.match(self.text, self.at).end()  # type: ignore[union-attr]  # it matches nothing, too
        return self.at < len(self.text)

    def name(self) -> str:
        """A word or a quoted name on this line. Raises ParseError."""
        found = _NAME.match(self.text, self.at)
        if found is None:
            raise self.error("a name is missing")
        self.at = found.end()
        return unquoted(found[1])

    def open(self) -> None:
        """Read `{`. Raises ParseError."""
        self.skip()
        if not self.text.startswith("{", self.at):
            raise self.error("an opening brace is missing")
        self.at += 1

    def lines(self) -> Iterator[tuple[str, int]]:
        """What stands up to the closing brace: statement by statement, each with its handle or 0."""
        while self.more():
            line = self.line()
            handle = _HANDLE.match(self.text, self.at)
            yield line, int(handle[1]) if handle else 0

    def more(self) -> bool:
        """Whether something stands before the closing brace, which is read otherwise. Raises ParseError at the end."""
        if not self.skip():
            raise self.error("a closing brace is missing")
        if self.text[self.at] != "}":
            return True
        self.at += 1
        return False

    def line(self) -> str:
        """Up to the end of the line, over braces. Raises ParseError."""
        found = _LINE.match(self.text, self.at)
        if found is None:
            raise self.error("braces or quotes do not match")
        self.at = found.end()
        return found[0].strip()

    def error(self, reason: str, at: int | None = None) -> ParseError:
        """What is wrong at this place, or at an earlier one."""
        return ParseError(reason, self.text.count("\n", 0, self.at if at is None else at) + 1)


def _table(reader: _Reader) -> Table:
    if (word := reader.name()) != "table":
        raise reader.error(f"{word!r} stands where a table should: this is not what `nft list ruleset` prints")
    family = reader.name()
    name = reader.name() if family in FAMILIES else family
    table = Table(family if family in FAMILIES else "ip", name)
    reader.open()
    while reader.more():
        _declared(reader, table)
    return table


def _declared(reader: _Reader, table: Table) -> None:
    start = reader.at
    word = reader.name()
    if word == "chain":
        chain = _chain(reader, table)
        table.chains[chain.name] = chain
    elif word in ("set", "map"):
        kept = _set(reader, table)
        table.sets[kept.name] = kept
    elif word == "comment":
        table.comment = reader.name()
    elif word == "flags":
        table.flags = frozenset(_listed(reader.line()))
    else:
        reader.at = start
        head, _, body = _HANDLE.sub("", reader.line()).partition("{")
        table.others.append(f"{head}{{{textwrap.dedent(body)}")


def _listed(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


# Chains.


def _chain(reader: _Reader, table: Table) -> Chain:
    chain = Chain(reader.name())
    around = Surroundings(table.family, table.sets)
    reader.open()
    for line, handle in reader.lines():
        if line.startswith("type ") and (found := _HOOK.match(line)):
            chain.hook = _hook(found, table.family, reader)
        elif line.startswith("policy ") and chain.hook is not None:
            chain.hook = Hook(chain.hook.type, chain.hook.hook, chain.hook.priority, line.split()[1], chain.hook.device)
        elif line.startswith("comment "):
            chain.comment = unquoted(line.removeprefix("comment ").strip())
        else:
            chain.rules.append(parse_rule(line, around, handle))
    return chain


def _hook(found: re.Match[str], family: str, reader: _Reader) -> Hook:
    device = unquoted((found["device"] or "").strip("{} "))
    try:
        return Hook(found["type"], found["hook"], priority(found["priority"], family), device=device)
    except ValueError as error:
        raise reader.error(str(error)) from None


def priority(text: str, family: str) -> int:
    """`dstnat - 10`, `filter`, `-110`. Raises ValueError."""
    words = text.replace("-", " - ").replace("+", " + ").split()
    names = BRIDGE_PRIORITIES if family == "bridge" else PRIORITIES
    total, sign = 0, 1
    for word in words:
        if word in "+-":
            sign = -1 if word == "-" else 1
        elif word in names:
            total += sign * names[word]
        elif word.isdigit():
            total += sign * int(word)
        else:
            raise ValueError(f"{text!r} is no priority")
    return total


# Sets.


def _set(reader: _Reader, table: Table) -> Set:
    kept = Set(reader.name(), ())
    written, place = "", 0
    reader.open()
    for line, _ in reader.lines():
        word, _, rest = line.partition(" ")
        if word in ("type", "typeof"):
            _types(kept, rest, word == "typeof", table.family)
        elif word == "elements":
            written, place = _inside(reader, rest), reader.at
        else:
            try:
                _property(kept, word, rest.strip())
            except (ValueError, IndexError, NotUnderstood):
                raise reader.error(f"{line!r} says nothing of a set") from None
    if written:
        read_elements(kept, written, lambda reason: reader.error(reason, place))
    return kept


def _inside(reader: _Reader, text: str) -> str:
    """What the braces of `= { ... }` hold."""
    opening = text.find("{")
    if opening < 0 or not text.endswith("}"):
        raise reader.error("elements are missing")
    return text[opening + 1 : -1]


def _property(kept: Set, word: str, rest: str) -> None:
    match word:
        case "size":
            kept.size = int(rest.split()[0])
        case "flags":
            kept.flags = frozenset(_listed(rest))
        case "timeout":
            kept.timeout_ms = milliseconds(rest)
        case "counter":
            kept.counter = True
        case "comment":
            kept.comment = unquoted(rest)


def _types(kept: Set, text: str, by_expression: bool, family: str) -> None:
    key, colon, data = text.partition(" : ")
    fields = _expressions if by_expression else _names
    kept.key = fields(key, family)
    if colon:
        kept.data = "verdict" if data.strip() == "verdict" else fields(data, family)


def _names(text: str, family: str) -> tuple[Field, ...]:
    known = {type_.value: type_ for type_ in Type}
    return tuple(Field(known.get(name.strip(), Type.UNKNOWN)) for name in text.split(" . "))


def _expressions(text: str, family: str) -> tuple[Field, ...]:
    words = Words(text)
    expressions = Expressions(words, Surroundings(family, {}))
    try:
        found = expressions.parts()
    except NotUnderstood:
        return tuple(Field(Type.UNKNOWN) for _ in text.split(" . "))
    if not words.done:
        return tuple(Field(Type.UNKNOWN) for _ in text.split(" . "))
    return tuple(Field(type_of(part), part) for part in found)
