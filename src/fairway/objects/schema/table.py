"""The schema tables as values: every type of the API, its fields, how each merges and what it defaults to.

The `*.schema` files beside this module are the program. They hold the names and types of the Kubernetes 1.36 API
reference. A line `package P` gives the OpenAPI package of what follows; `type T` opens a type (`as N`: its OpenAPI
name, where two packages use one name; `atomic`: server-side apply owns it as a whole); an indented line is a field:

    name   type   marks...

Types: string, boolean, int32, int64, quantity, intOrString, time, microTime, bytes (base64 text), any, the name of
another type, `[]T` and `map[string]T`. Marks: `required`; `enum=A|B`; `range=1..65535` (either end may be left out);
`rule=NAME` (a rule of `validate.fields`); `default=JSON` (filled in when absent);
`patch=merge,retainKeys` with `key=k` (strategic merge patch); `map=k,l` or `set` (server-side apply's list type;
a list without either is atomic); `atomic` (a map that is replaced as a whole);
`present` (server-side apply: the field counts as there even when it is empty, so nobody owns its mere presence).
"""

from __future__ import annotations

import json
import pkgutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from types import MappingProxyType
from typing import Any, Literal

from fairway.objects.kinds import Kind

SCALARS = frozenset(
    {"string", "boolean", "int32", "int64", "quantity", "intOrString", "time", "microTime", "bytes", "any"}
)
FILES = (
    "meta",
    "volume",
    "pod",
    "node",
    "service",
    "cluster",
    "workload",
    "network",
    "ingress",
    "policy",
    "rbac",
    "review",
)

_OTHER_SHAPES: Mapping[tuple[str, str], str] = {("Event", "events.k8s.io/v1"): "EventsEvent"}

ShapeKind = Literal["scalar", "object", "list", "map"]


@dataclass(frozen=True, slots=True)
class Shape:
    """What a value looks like. `name` is the scalar's or the object type's name ("" for lists and maps), `element`
    the shape of a list's items or a map's values."""

    kind: ShapeKind
    name: str = ""
    element: Shape | None = None

    def __str__(self) -> str:
        if self.kind == "list":
            return f"[]{self.element}"
        if self.kind == "map":
            return f"map[string]{self.element}"
        return self.name

    @property
    def leaf(self) -> Shape:
        """The shape under all lists and maps."""
        return self if self.element is None else self.element.leaf


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a type.

    `enum` is empty where any value is allowed. `default` is the value filled in when the field is absent
    (`has_default` tells None from "no default"). `minimum` and `maximum` bound integers; `rule` names a rule that texts
    (or each text of a list) obey. `patch_strategy` and `merge_key` rule strategic merge patches;
    `map_keys` (a list of objects told apart by these keys), `is_set`, `atomic` and `present` rule server-side apply.
    """

    name: str
    type: Shape
    required: bool = False
    enum: tuple[str, ...] = ()
    has_default: bool = False
    default: Any = None
    minimum: int | None = None
    maximum: int | None = None
    rule: str = ""
    patch_strategy: frozenset[str] = frozenset()
    merge_key: str = ""
    map_keys: tuple[str, ...] = ()
    is_set: bool = False
    atomic: bool = False
    present: bool = False

    @property
    def target(self) -> Type | None:
        """The object type under the field (through lists and maps), or None for scalars."""
        leaf = self.type.leaf
        return lookup(leaf.name) if leaf.kind == "object" else None

    @property
    def list_type(self) -> Literal["atomic", "set", "map"]:
        """Server-side apply's list type; meaningful for lists only."""
        if self.map_keys:
            return "map"
        return "set" if self.is_set else "atomic"


@dataclass(frozen=True, slots=True)
class Type:
    """An object type. `openapi` is its name in OpenAPI documents (`io.k8s.api.core.v1.ServicePort`)."""

    name: str
    openapi: str
    fields: Mapping[str, Field] = field(repr=False, compare=False, hash=False)
    atomic: bool = False


class SchemaError(Exception):
    """A schema table is wrong; names the file and line. Fairway's own fault."""


class UnknownType(LookupError):
    """No schema table has the type."""


def parse_shape(text: str) -> Shape:
    """The shape written as in the tables: `[]ServicePort`, `map[string]quantity`, `int32`."""
    if text.startswith("[]"):
        return Shape("list", element=parse_shape(text[2:]))
    if text.startswith("map[string]"):
        return Shape("map", element=parse_shape(text[11:]))
    return Shape("scalar" if text in SCALARS else "object", text)


def parse_field(line: str) -> Field:
    """One field's line of a table. Raises ValueError for a mark it does not know."""
    name, shape, *marks = line.split()
    values: dict[str, Any] = {}
    for mark in marks:
        key, _, value = mark.partition("=")
        values |= _mark(key, value)
    return Field(name, parse_shape(shape), **values)


def _mark(key: str, value: str) -> dict[str, Any]:
    match key:
        case "required" | "atomic" | "present":
            return {key: True}
        case "set":
            return {"is_set": True}
        case "enum":
            return {"enum": tuple(value.split("|"))}
        case "default":
            return {"has_default": True, "default": json.loads(value)}
        case "range":
            low, _, high = value.partition("..")
            return {"minimum": int(low) if low else None, "maximum": int(high) if high else None}
        case "rule":
            return {"rule": value}
        case "patch":
            return {"patch_strategy": frozenset(value.split(","))}
        case "key":
            return {"merge_key": value}
        case "map":
            return {"map_keys": tuple(value.split(","))}
    raise ValueError(f"unknown mark {key!r}")


def parse_table(text: str, source: str = "") -> Iterator[Type]:
    """The types of one table. Raises SchemaError with `source` and the line number."""
    package = ""
    fields: dict[str, Field] = {}
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.split("#", 1)[0].rstrip()
        words = line.split()
        try:
            if not words:
                continue
            if line[0].isspace():
                made = parse_field(line)
                fields[made.name] = made
            elif words[0] == "package":
                package = words[1]
            elif words[0] == "type":
                fields = {}
                yield _type(words, package, fields)
            else:
                raise ValueError(f"neither package, type nor field: {line!r}")
        except (ValueError, IndexError) as error:
            raise SchemaError(f"{source}:{number}: {error}") from error


def _type(words: list[str], package: str, fields: dict[str, Field]) -> Type:
    alias = words[words.index("as") + 1] if "as" in words else words[1]
    return Type(words[1], f"{package}.{alias}", MappingProxyType(fields), "atomic" in words[2:])


@cache
def types() -> Mapping[str, Type]:
    """Every type of the tables by name. Read and parsed at the first call."""
    found: dict[str, Type] = {}
    for name in FILES:
        data = pkgutil.get_data(__package__, f"{name}.schema")
        if data is None:
            raise SchemaError(f"{name}.schema is missing from the installation")
        found |= {made.name: made for made in parse_table(data.decode(), f"{name}.schema")}
    return MappingProxyType(found)


def lookup(type_name: str) -> Type:
    """The type named `type_name` ("PodSpec"). Raises UnknownType."""
    try:
        return types()[type_name]
    except KeyError:
        raise UnknownType(f"no schema for type {type_name!r}") from None


def for_kind(kind: Kind, api_version: str = "") -> Type:
    """The type of a kind's whole object, as written in `api_version` (by default the kind's own; most old versions
    look the same)."""
    return lookup(_OTHER_SHAPES.get((kind.name, api_version), kind.name))


def own_shape(kind: Kind, api_version: str) -> bool:
    """Whether the kind has a type of its own in that version."""
    return api_version == kind.api_version or (kind.name, api_version) in _OTHER_SHAPES
