"""Label and field selectors: `app=web,tier in (a,b),!canary` and `spec.nodeName=node-1`, parsed, printed, matched.

Selectors are values. A parse error names the text and the part that cannot be understood.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from fairway.objects import names
from fairway.objects.errors import SelectorError
from fairway.objects.kinds import Kind

Operator = Literal["=", "!=", "in", "notin", "exists", "!", ">", "<"]

_TOKEN = re.compile(r"\s*(==|!=|[=!(),<>]|[^\s=!(),<>]+)")
_FROM_EXPRESSION: Mapping[str, Operator] = {"In": "in", "NotIn": "notin", "Exists": "exists", "DoesNotExist": "!"}


@dataclass(frozen=True, slots=True)
class Requirement:
    """One condition on one label. `values` is sorted; empty for "exists" and "!"."""

    key: str
    operator: Operator
    values: tuple[str, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether the labels meet the condition; an absent label meets "!=", "notin" and "!"."""
        value = labels.get(self.key)
        match self.operator:
            case "=" | "in":
                return value in self.values
            case "!=" | "notin":
                return value not in self.values
            case "exists":
                return value is not None
            case "!":
                return value is None
            case _:
                return value is not None and self._compares(value)

    def _compares(self, value: str) -> bool:
        try:
            number, bound = int(value), int(self.values[0])
        except ValueError:
            return False
        return number > bound if self.operator == ">" else number < bound

    def __str__(self) -> str:
        match self.operator:
            case "exists":
                return self.key
            case "!":
                return f"!{self.key}"
            case "in" | "notin":
                return f"{self.key} {self.operator} ({','.join(self.values)})"
        return f"{self.key}{self.operator}{self.values[0]}"


@dataclass(frozen=True, slots=True)
class LabelSelector:
    """All requirements must hold; none at all selects everything, unless `nothing`."""

    requirements: tuple[Requirement, ...] = ()
    nothing: bool = False

    @property
    def everything(self) -> bool:
        """Whether it selects without looking."""
        return not self.requirements and not self.nothing

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether an object with these labels is selected."""
        if self.nothing:
            return False
        return all(requirement.matches(labels) for requirement in self.requirements)

    def __str__(self) -> str:
        return ",".join(map(str, self.requirements))


def parse_labels(text: str) -> LabelSelector:
    """The selector of a `labelSelector` parameter; "" selects everything. Raises SelectorError."""
    if not text.strip():
        return LabelSelector()
    parser = _LabelParser(text)
    return LabelSelector(tuple(parser.requirements()))


def from_label_selector(selector: Mapping[str, Any] | None) -> LabelSelector:
    """The selector of a `matchLabels`/`matchExpressions` object: {} selects everything, None nothing. Raises
    SelectorError."""
    if selector is None:
        return LabelSelector(nothing=True)
    found = [Requirement(key, "=", (value,)) for key, value in sorted((selector.get("matchLabels") or {}).items())]
    for expression in selector.get("matchExpressions") or []:
        operator = _FROM_EXPRESSION.get(expression.get("operator", ""))
        values = tuple(sorted(expression.get("values") or []))
        if operator is None or bool(values) is not (operator in ("in", "notin")):
            raise SelectorError(f"{expression!r} is no label selector requirement")
        found.append(Requirement(expression.get("key", ""), operator, values))
    return LabelSelector(tuple(found))


def from_map(labels: Mapping[str, str] | None) -> LabelSelector:
    """The selector of a Service or ReplicationController: all these labels; none selects nothing."""
    if not labels:
        return LabelSelector(nothing=True)
    return LabelSelector(tuple(Requirement(key, "=", (value,)) for key, value in sorted(labels.items())))


class _LabelParser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = self._split(text)
        self._at = 0

    def _split(self, text: str) -> list[str]:
        tokens, at = [], 0
        stripped = text.rstrip()
        while at < len(stripped):
            found = _TOKEN.match(stripped, at)
            assert found is not None, "every character but a space is part of some token"
            tokens.append(found[1])
            at = found.end()
        return tokens

    def requirements(self) -> list[Requirement]:
        found = [self._requirement()]
        while self._peek() == ",":
            self._next()
            found.append(self._requirement())
        if self._peek():
            raise self._fault(f"found {self._peek()!r}, expected ',' or the end")
        return found

    def _requirement(self) -> Requirement:
        absent = self._peek() == "!"
        if absent:
            self._next()
        key = self._next()
        self._require(names.qualified(key), key)
        if absent:
            return Requirement(key, "!")
        operator = self._peek()
        if operator in ("", ","):
            return Requirement(key, "exists")
        self._next()
        return self._compared(key, operator)

    def _compared(self, key: str, operator: str) -> Requirement:
        match operator:
            case "=" | "==":
                return Requirement(key, "=", (self._value(),))
            case "!=":
                return Requirement(key, "!=", (self._value(),))
            case ">" | "<":
                value = self._value()
                if not re.fullmatch(r"[-+]?\d+", value):
                    raise self._fault(f"{value!r} is no integer to compare with")
                return Requirement(key, ">" if operator == ">" else "<", (value,))
            case "in" | "notin":
                return Requirement(key, "in" if operator == "in" else "notin", self._values())
        raise self._fault(f"found {operator!r} after {key!r}, expected one of = == != in notin > <")

    def _value(self) -> str:
        """A value; nothing before the next comma or the end is the empty value."""
        value = "" if self._peek() in ("", ",", ")") else self._next()
        self._require(names.label_value(value), value)
        return value

    def _values(self) -> tuple[str, ...]:
        if self._peek() != "(":
            raise self._fault(f"found {self._peek()!r}, expected '('")
        values = set()
        while self._next() in ("(", ","):
            values.add(self._value())
            if self._peek() not in (",", ")"):
                raise self._fault(f"found {self._peek()!r}, expected ',' or ')'")
        return tuple(sorted(values))

    def _peek(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def _next(self) -> str:
        token = self._peek()
        self._at += 1
        return token

    def _require(self, problems: list[str], value: str) -> None:
        if problems:
            raise self._fault(f"{value!r}: {'; '.join(problems)}")

    def _fault(self, detail: str) -> SelectorError:
        return SelectorError(f"unable to parse label selector {self._text!r}: {detail}")


@dataclass(frozen=True, slots=True)
class FieldTerm:
    """One comparison of one field with one value."""

    path: str
    equal: bool
    value: str

    def __str__(self) -> str:
        escaped = re.sub(r"([\\,=])", r"\\\1", self.value)
        return f"{self.path}{'=' if self.equal else '!='}{escaped}"


@dataclass(frozen=True, slots=True)
class FieldSelector:
    """All terms must hold; no terms select everything."""

    terms: tuple[FieldTerm, ...] = ()

    def check(self, kind: Kind) -> None:
        """Raises SelectorError if a field cannot be selected by for this kind."""
        for term in self.terms:
            _reader(kind, term.path)

    def matches(self, kind: Kind, obj: Mapping[str, Any]) -> bool:
        """Whether the object is selected. Raises as check does."""
        return all((_reader(kind, term.path)(obj) == term.value) is term.equal for term in self.terms)

    def exact(self, path: str) -> str | None:
        """The one value the field must have, if the selector says so: lets `metadata.name=x` become a get."""
        return next((term.value for term in self.terms if term.path == path and term.equal), None)

    def __str__(self) -> str:
        return ",".join(map(str, self.terms))


def parse_fields(text: str) -> FieldSelector:
    """The selector of a `fieldSelector` parameter; "" selects everything. Raises SelectorError."""
    parts = re.findall(r"(?:\\.|[^,])+", text) if text.strip() else []
    return FieldSelector(tuple(_term(text, part) for part in parts))


def _term(text: str, part: str) -> FieldTerm:
    found = re.fullmatch(r"\s*([A-Za-z][\w./-]*)\s*(==|!=|=)((?:\\[\\,=]|[^\\=])*)", part)
    if found is None:
        raise SelectorError(f"unable to parse field selector {text!r}: {part!r} is not FIELD=VALUE or FIELD!=VALUE")
    return FieldTerm(found[1], found[2] != "!=", re.sub(r"\\(.)", r"\1", found[3]).strip())


Reader = Callable[[Mapping[str, Any]], str]


def _at(path: str, default: str = "") -> Reader:
    *parents, last = path.split(".")

    def read(obj: Mapping[str, Any]) -> str:
        value: Any = obj
        for name in parents:
            value = value.get(name) or {}
        found = value.get(last)
        if isinstance(found, bool):
            return "true" if found else "false"
        return default if found is None else str(found)

    return read


def _event_source(event: Mapping[str, Any]) -> str:
    return str((event.get("source") or {}).get("component") or event.get("reportingComponent") or "")


_COMMON: Mapping[str, Reader] = {"metadata.name": _at("metadata.name")}
_NAMESPACED: Mapping[str, Reader] = {**_COMMON, "metadata.namespace": _at("metadata.namespace")}

# Fields beyond the name that each kind can be selected by.
_FIELDS: Mapping[str, Mapping[str, Reader]] = {
    "Pod": {
        path: _at(path)
        for path in (
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "status.phase",
            "status.podIP",
            "status.nominatedNodeName",
        )
    }
    | {"spec.hostNetwork": _at("spec.hostNetwork", "false")},
    "Node": {"spec.unschedulable": _at("spec.unschedulable", "false")},
    "Namespace": {"status.phase": _at("status.phase")},
    "Service": {"spec.clusterIP": _at("spec.clusterIP"), "spec.type": _at("spec.type")},
    "Secret": {"type": _at("type")},
    "ReplicationController": {"status.replicas": _at("status.replicas", "0")},
    "ReplicaSet": {"status.replicas": _at("status.replicas", "0")},
    "Event": {
        f"involvedObject.{name}": _at(f"involvedObject.{name}")
        for name in ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")
    }
    | {
        f"regarding.{name}": _at(f"involvedObject.{name}")
        for name in ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")
    }
    | {"reportingController": _at("reportingComponent")}
    | {name: _at(name) for name in ("reason", "reportingComponent", "type")}
    | {"source": _event_source},
}


def selectable(kind: Kind) -> Mapping[str, Reader]:
    """The fields a kind can be selected by, each with how it is read."""
    return {**(_NAMESPACED if kind.namespaced else _COMMON), **_FIELDS.get(kind.name, {})}


def _reader(kind: Kind, path: str) -> Reader:
    fields = _FIELDS.get(kind.name, {})
    reader = fields.get(path) or (_NAMESPACED if kind.namespaced else _COMMON).get(path)
    if reader is None:
        known = ", ".join(f'"{name}"' for name in selectable(kind))
        raise SelectorError(f'"{path}" is not a known field selector of {kind.plural}: only {known}')
    return reader
