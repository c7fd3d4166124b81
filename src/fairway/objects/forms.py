"""A quick yes: the schema tables compiled into typed structures that judge a whole object in one call.

What fits is exactly as `codec.check` and `validate.fields.check_fields` want it and need not be walked by them; what
does not fit is walked, and they find the words (or find that it is right after all: a form may be narrower than the
rule, never wider). Compiled at first use, kind by kind.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, Literal, Union

import msgspec
from msgspec import UNSET, Meta, UnsetType

from fairway.objects import names, schema
from fairway.objects.kinds import Kind
from fairway.objects.schema import Field, Shape

# Required by the schema, yet the empty text is a value.
MAY_BE_EMPTY = frozenset({("HTTPHeader", "value"), ("Sysctl", "value")})

# Kinds whose spec is held against its marks even when the writer gave none.
SPEC_IMPLIED = frozenset({"ReplicaSet", "Deployment", "Service"})

_TIME = r"\A\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)\Z"
_BASE64 = r"\A(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?\Z"
_QUANTITY = r"\A\d{1,9}(?:\.\d{1,3})?(?:m|k|M|G|T|Ki|Mi|Gi|Ti)?\Z"
_ANYTHING_BUT_NULL = Union[str, bool, int, float, list[Any], dict[str, Any]]  # noqa: UP007

# One rule of `validate.fields.RULES` as a pattern; those without one (addresses) are never taken for right here.
PATTERNS: Mapping[str, str] = {
    "label": names.PATTERNS.label,
    "subdomain": names.PATTERNS.subdomain,
    "qualified": names.PATTERNS.qualified,
    "label_value": names.PATTERNS.label_value,
    "port_name": names.PATTERNS.port_name,
    "env_name": r"[ -<>-~]+",
    "config_key": r"(?!\.\Z|\.\.)[-._a-zA-Z0-9]{1,253}",
    "header": r"[-A-Za-z0-9]+",
}
LABELS = dict[
    Annotated[str, Meta(pattern=rf"\A{names.PATTERNS.qualified}\Z")],
    Annotated[str, Meta(pattern=rf"\A{names.PATTERNS.label_value}\Z")],
]


def typed(kind: Kind, obj: Mapping[str, Any]) -> bool:
    """Whether every field is one of the kind's, of its type, and none is null: then `codec.check` finds nothing and
    `codec.prune` removes nothing. False says nothing."""
    return fits(obj, _form(kind.name, False))


def sound(kind: Kind, obj: Mapping[str, Any]) -> bool:
    """Whether the marks of the tables (required, enum, range, rule) hold as well, status aside: then `check_fields`
    finds nothing. False says nothing."""
    return fits(obj, _whole(kind.name))


def fits(obj: Mapping[str, Any], form: type[msgspec.Struct]) -> bool:
    """Whether an object is of a form."""
    try:
        msgspec.convert(obj, form)
    except (msgspec.ValidationError, RecursionError):
        return False
    return True


@cache
def _whole(name: str) -> type[msgspec.Struct]:
    """The form of a kind's whole object as a writer is held to it: a status is the system's own word."""
    fields = [
        (field.name, Any if field.name == "status" else _marked(name, field), _optional(name, field))
        for field in schema.lookup(name).fields.values()
    ]
    return _struct(name, fields)


@cache
def _form(name: str, marked: bool) -> type[msgspec.Struct]:
    fields = [
        (field.name, _marked(name, field) if marked else _plain(field.type), not marked or _optional(name, field))
        for field in schema.lookup(name).fields.values()
    ]
    return _struct(name, fields)


def _optional(owner: str, field: Field) -> bool:
    return not (field.required or (field.name == "spec" and owner in SPEC_IMPLIED))


def _struct(name: str, fields: list[tuple[str, Any, bool]]) -> type[msgspec.Struct]:
    # JSON names need not be Python names ("from").
    attributes: list[Any] = [
        (f"f{index}", Union[form, UnsetType], UNSET) if optional else (f"f{index}", form)  # noqa: UP007
        for index, (_, form, optional) in enumerate(fields)
    ]
    renamed = {f"f{index}": field for index, (field, _, _) in enumerate(fields)}
    return msgspec.defstruct(name, attributes, rename=renamed, forbid_unknown_fields=True, kw_only=True, gc=False)


def _plain(shape: Shape) -> Any:
    """The form of a value of the right type."""
    match shape:
        case Shape(kind="object"):
            return _form(shape.name, False)
        case Shape(kind="list", element=Shape() as element):
            return list[_plain(element)]  # type: ignore[misc]
        case Shape(kind="map", element=Shape() as element):
            return dict[str, _plain(element)]  # type: ignore[misc]
    return _SCALARS[shape.name]


def _marked(owner: str, field: Field) -> Any:
    """The form of a field's value that the field's marks allow."""
    if field.type.name == "ObjectMeta":
        return _plain(field.type)
    if field.rule == "labels":
        return LABELS
    if field.type.element is None:
        return _form(field.type.name, True) if field.type.kind == "object" else _scalar(field, _empty(owner, field))
    inner = _nested(field, field.type)
    return Annotated[inner, Meta(min_length=1)] if field.required and field.type.kind == "list" else inner


def _empty(owner: str, field: Field) -> bool:
    """Whether the empty text counts as absent and may be."""
    return not field.required or (owner, field.name) in MAY_BE_EMPTY


def _nested(field: Field, shape: Shape) -> Any:
    if shape.element is None:
        return _form(shape.name, True) if shape.kind == "object" else _scalar(field, False, inner=True)
    element = _nested(field, shape.element)
    return list[element] if shape.kind == "list" else dict[str, element]  # type: ignore[valid-type]


def _scalar(field: Field, empty: bool, inner: bool = False) -> Any:
    """One value. `empty`: the empty text passes whatever the marks; `inner`: of a list, where nothing is required."""
    name = field.type.leaf.name
    integer = Annotated[int, Meta(ge=_low(field), le=_high(field))]
    match name:
        case "int32" | "int64":
            return integer
        case "intOrString":
            return Union[integer, _text(field, empty, inner)]  # noqa: UP007
        case "string":
            return _text(field, empty, inner)
        case "quantity":
            return Union[Annotated[str, Meta(pattern=_QUANTITY)], Annotated[int, Meta(ge=0, le=2**62)]]  # noqa: UP007
    return _SCALARS[name]


def _text(field: Field, empty: bool, inner: bool) -> Any:
    if field.enum:
        return Literal[(*field.enum, "")] if empty else Literal[field.enum]
    if not field.rule:
        return str if empty or inner else Annotated[str, Meta(min_length=1)]
    if field.rule == "port":
        pattern = names.PATTERNS.port_name
    elif field.rule in PATTERNS:
        pattern = PATTERNS[field.rule]
    else:
        return Literal[""] if empty else UnsetType
    return Annotated[str, Meta(pattern=rf"\A(?:{pattern})?\Z" if empty else rf"\A(?:{pattern})\Z")]


def _low(field: Field) -> int:
    bits = 63 if field.type.leaf.name == "int64" else 31
    ruled = 1 if field.rule == "port" else -(1 << bits)
    return max(ruled, field.minimum if field.minimum is not None else ruled)


def _high(field: Field) -> int:
    bits = 63 if field.type.leaf.name == "int64" else 31
    ruled = 65535 if field.rule == "port" else (1 << bits) - 1
    # A lower end alone is the only mark without an upper one; an upper end alone is not judged by the rules.
    return min(ruled, field.maximum) if field.maximum is not None and field.minimum is not None else ruled


_SCALARS: Mapping[str, Any] = {
    "string": str,
    "boolean": bool,
    "int32": Annotated[int, Meta(ge=-(1 << 31), le=(1 << 31) - 1)],
    "int64": Annotated[int, Meta(ge=-(1 << 63), le=(1 << 63) - 1)],
    "quantity": Union[str, int, float],  # noqa: UP007
    "intOrString": Union[str, Annotated[int, Meta(ge=-(1 << 31), le=(1 << 31) - 1)]],  # noqa: UP007
    "time": Annotated[str, Meta(pattern=_TIME)],
    "microTime": Annotated[str, Meta(pattern=_TIME)],
    "bytes": Annotated[str, Meta(pattern=_BASE64)],
    "any": _ANYTHING_BUT_NULL,
}
