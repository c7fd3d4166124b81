"""YAML documents as JSON values: what kubectl's YAML means, bounded in depth and size, with duplicate keys refused.

Built on the parser's events rather than on a ready-made loader, so that depth and alias expansion are bounded before
anything grows. Scalars follow the rules that Kubernetes tools apply to manifests (YAML 1.1 booleans, octal with a
leading zero, times stay text, no base-60 numbers), because `8080:80` in a manifest is text.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from fairway.objects.errors import Malformed

MAX_NODES = 1_000_000
"""Values a document may hold once its aliases are written out."""

_TAG = "tag:yaml.org,2002:"
_NULL = frozenset({"", "~", "null", "Null", "NULL"})
_TRUE = frozenset({"y", "Y", "yes", "Yes", "YES", "on", "On", "ON", "true", "True", "TRUE"})
_FALSE = frozenset({"n", "N", "no", "No", "NO", "off", "Off", "OFF", "false", "False", "FALSE"})
_INT = re.compile(r"[-+]?(0b[01_]+|0o[0-7_]+|0x[0-9a-fA-F_]+|0[0-7_]*|[1-9][0-9_]*)")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_JSON = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")


def parse_documents(text: str, max_depth: int) -> Iterator[Any]:
    """Each document's value in turn; empty documents are left out. Raises Malformed with line and column."""
    try:
        composer = _Composer(yaml.parse(text, Loader=yaml.CSafeLoader), max_depth)
        yield from composer.documents()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
        raise Malformed(error.problem or "not YAML", line, column) from error
    except yaml.YAMLError as error:
        raise Malformed(f"not YAML: {error}") from error


def resolve(text: str) -> Any:
    """What a plain (unquoted) scalar means. Raises ValueError for what JSON cannot hold."""
    if text in _NULL:
        return None
    if text in _TRUE or text in _FALSE:
        return text in _TRUE
    if _INT.fullmatch(text):
        return _integer(text.replace("_", ""))
    if _FLOAT.fullmatch(text):
        return _number(float(text))
    if _NOT_JSON.fullmatch(text):
        raise ValueError(f"{text} is not a number that JSON can hold")
    return text


def _integer(digits: str) -> int:
    sign = -1 if digits.startswith("-") else 1
    bare = digits.lstrip("+-")
    octal = len(bare) > 1 and bare[0] == "0" and bare[1].isdigit()
    return sign * (int(bare, 8) if octal else int(bare, 0))


def _number(value: float) -> int | float:
    if not math.isfinite(value):
        raise ValueError("number out of range")
    return int(value) if value.is_integer() and abs(value) < 2**63 else value


@dataclass(frozen=True, slots=True)
class _Made:
    """A finished value with how many values and how many levels it holds."""

    value: Any
    size: int = 1
    height: int = 0


class _Composer:
    """Turns the parser's events into values. One use per stream."""

    def __init__(self, events: Iterator[Any], max_depth: int) -> None:
        self._events = events
        self._max_depth = max_depth
        self._anchors: dict[str, _Made] = {}
        self._size = 0

    def documents(self) -> Iterator[Any]:
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                self._anchors.clear()
                self._size = 0
                made = self._node(next(self._events), 0)
                if made.value is not None:
                    yield made.value

    def _node(self, event: Any, depth: int) -> _Made:
        if isinstance(event, yaml.AliasEvent):
            made = self._alias(event)
        elif isinstance(event, yaml.ScalarEvent):
            made = _Made(self._scalar(event))
        elif isinstance(event, yaml.SequenceStartEvent):
            made = self._sequence(event, depth)
        else:
            made = self._mapping(event, depth)
        if depth + made.height > self._max_depth:
            raise _fault(event, f"nested deeper than {self._max_depth} levels")
        if getattr(event, "anchor", None) and not isinstance(event, yaml.AliasEvent):
            self._anchors[event.anchor] = made
        return made

    def _alias(self, event: Any) -> _Made:
        made = self._anchors.get(event.anchor)
        if made is None:
            raise _fault(event, f"alias *{event.anchor} has no anchor before it")
        self._count(event, made.size)
        return made

    def _count(self, event: Any, size: int) -> None:
        self._size += size
        if self._size > MAX_NODES:
            raise _fault(event, f"holds more than {MAX_NODES} values once aliases are written out")

    def _scalar(self, event: Any) -> Any:
        self._count(event, 1)
        tag = (event.tag or "").removeprefix(_TAG)
        if tag in ("str", "binary") or (not tag and not event.implicit[0]) or tag == "!":
            return event.value
        if tag not in ("", "null", "bool", "int", "float", "timestamp"):
            raise _fault(event, f"unknown tag {event.tag}")
        try:
            return resolve(event.value)
        except ValueError as error:
            raise _fault(event, str(error)) from error

    def _sequence(self, start: Any, depth: int) -> _Made:
        self._descend(start, depth)
        items: list[_Made] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            items.append(self._node(event, depth + 1))
        return _whole([item.value for item in items], items)

    def _mapping(self, start: Any, depth: int) -> _Made:
        self._descend(start, depth)
        values: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        parts: list[_Made] = []
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            plain = isinstance(event, yaml.ScalarEvent) and event.implicit[0]
            key = _key(event, self._node(event, depth + 1).value)
            parts.append(self._node(next(self._events), depth + 1))
            if key == "<<" and plain:
                merged = _merge_key(event, parts[-1].value) | merged
            elif key in values:
                raise _fault(event, f"key {key!r} appears twice")
            else:
                values[key] = parts[-1].value
        return _whole(merged | values, parts)

    def _descend(self, event: Any, depth: int) -> None:
        self._count(event, 1)
        if depth >= self._max_depth:
            raise _fault(event, f"nested deeper than {self._max_depth} levels")


def _whole(value: Any, parts: list[_Made]) -> _Made:
    size = 1 + sum(part.size for part in parts)
    return _Made(value, size, 1 + max((part.height for part in parts), default=0))


def _key(event: Any, value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return str(value)
    raise _fault(event, "a key must be a plain value")


def _merge_key(event: Any, value: Any) -> dict[str, Any]:
    sources = value if isinstance(value, list) else [value]
    if not all(isinstance(source, dict) for source in sources):
        raise _fault(event, "<< merges mappings only")
    merged: dict[str, Any] = {}
    for source in sources:
        merged = source | merged
    return merged


def _fault(event: Any, detail: str) -> Malformed:
    return Malformed(detail, event.start_mark.line + 1, event.start_mark.column + 1)
