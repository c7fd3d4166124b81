"""Looking values up in sets and maps, in place or named, single or concatenated, exact or by interval."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from fairway.ruleset.nft import (
    AnonymousMap,
    Concat,
    Element,
    Expression,
    Literal,
    Range,
    Set,
    Table,
    Type,
    Verdict,
)
from fairway.ruleset.nft_parse_expressions import PREFIXED
from fairway.ruleset.nft_values import SIZES, number, split

Numbers: TypeAlias = tuple[int, ...]


class Unknowable(Exception):  # a state of knowledge
    """Nobody can tell from here, for this reason."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def numbers(types: Sequence[Type], key: bytes) -> Numbers:
    """The fields of a packed key as numbers that compare as the kernel compares them."""
    return tuple(number(type_, part) for type_, part in zip(types, split(types, key), strict=True))


# Sets in place.


def among(elements: Iterable[Expression], types: Sequence[Type], key: bytes) -> bool:
    """Whether one of a rule's elements holds the key. Raises Unknowable."""
    fields = numbers(types, key)
    return any(_holds(element, types, fields) for element in elements)


def in_place(given: AnonymousMap, types: Sequence[Type], key: bytes) -> Expression | Verdict | None:
    """What a rule's own map has for the key. Raises Unknowable."""
    fields = numbers(types, key)
    for element, data in given.elements:
        if element is None or _holds(element, types, fields):
            return data
    return None


def _holds(element: Expression, types: Sequence[Type], fields: Numbers) -> bool:
    parts = element.parts if isinstance(element, Concat) else (element,)
    return len(parts) == len(fields) and all(
        low <= value <= high for value, (low, high) in zip(fields, map(_ends, parts, types), strict=True)
    )


def _ends(part: Expression, type_: Type) -> tuple[int, int]:
    """The lowest and highest number that a constant stands for."""
    if isinstance(part, Range):
        return _number(part.low), _number(part.high)
    if not isinstance(part, Literal) or part.type is not type_:
        raise Unknowable("an element of a set that is not understood")
    found = _number(part)
    if part.prefix_bits is None:
        return found, found
    if type_ not in PREFIXED:
        raise Unknowable("devices by the beginning of their names")
    ones = (1 << (SIZES[type_] * 8 - part.prefix_bits)) - 1
    return found & ~ones, found | ones


def _number(part: Literal) -> int:
    return number(part.type, part.value.ljust(SIZES[part.type], b"\0"))


def constant(expression: Literal | Range | Concat, types: Sequence[Type], key: bytes) -> bool:
    """Whether the key is this constant, within this network or in this range. Raises Unknowable."""
    if isinstance(expression, Literal) and expression.type is Type.INTERFACE_NAME:
        name = expression.value
        return key.startswith(name) if expression.prefix_bits is not None else key.rstrip(b"\0") == name
    return _holds(expression, types, numbers(types, key))


# Named sets.


@dataclass(slots=True)
class Index:
    """A table's sets, each made ready for lookups when it is first asked."""

    table: Table
    _sets: dict[str, _Lookup] = field(default_factory=dict)

    def find(self, name: str, key: bytes) -> tuple[Set, Element | None]:
        """What the set has for the key, None when it has nothing. Raises Unknowable when nobody can tell."""
        lookup = self._sets.get(name)
        if lookup is None:
            kept = self.table.sets.get(name)
            if kept is None:
                raise Unknowable(f"the rules at hand lack set {name}")
            lookup = self._sets[name] = _Lookup(kept)
        return lookup.kept, lookup.find(key)


class _Lookup:
    def __init__(self, kept: Set) -> None:
        self.kept = kept
        self._types = tuple(field.type for field in kept.key)

    def find(self, key: bytes) -> Element | None:
        if Type.UNKNOWN in self._types:
            raise Unknowable(f"the keys of set {self.kept.name} are not understood")
        found: Element | None = self.kept.elements.get(key)
        if found is None and self._intervals:
            found = self._between(numbers(self._types, key))
        return self.kept.elements.get(b"") if found is None else found

    def _between(self, fields: Numbers) -> Element | None:
        for lows, highs, element in self._intervals.get(fields[0], []) + self._intervals.get(None, []):
            if all(low <= value <= high for low, value, high in zip(lows, fields, highs, strict=True)):
                return element
        return None

    @functools.cached_property
    def _intervals(self) -> Mapping[int | None, list[tuple[Numbers, Numbers, Element]]]:
        """The elements that are intervals, by the number of their first field, None where that is an interval too."""
        found: dict[int | None, list[tuple[Numbers, Numbers, Element]]] = {}
        for key, element in self.kept.elements.items():
            if element.end:
                lows, highs = numbers(self._types, key), numbers(self._types, element.end)
                found.setdefault(lows[0] if lows[0] == highs[0] else None, []).append((lows, highs, element))
        return found
