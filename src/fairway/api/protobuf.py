"""Protobuf bodies to objects: what the typed clients of newer kubectl (`kubectl create namespace`) send. Pure.

The envelope is four bytes of magic and a `runtime.Unknown` with the type and the raw message (API concepts, "Alternate
representations of resources"). Field numbers are in `protobuf.schema`; answers are always JSON, which such clients
accept as well. Wire format: protobuf encoding guide.
"""

from __future__ import annotations

import base64
import pkgutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from typing import Any, Literal

from fairway.objects.codec import MAX_BYTES, MAX_DEPTH
from fairway.objects.errors import Malformed, TooLarge
from fairway.objects.schema import Shape
from fairway.objects.schema.table import parse_shape

Object = dict[str, Any]

MEDIA_TYPE = "application/vnd.kubernetes.protobuf"
MAGIC = b"k8s\x00"

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_INTEGERS = {"int32", "int64"}


@dataclass(frozen=True, slots=True)
class Member:
    """One field on the wire. `zero` says what an unset value looks like: "absent" (never written), "empty" (written
    as zero), "told" (zero is a value)."""

    name: str
    shape: Shape
    zero: Literal["absent", "empty", "told"]


@dataclass(slots=True)
class Layout:
    """A message: its members by number, and messages whose members belong to this one (Go's embedded structs)."""

    members: dict[int, Member] = field(default_factory=dict)
    embedded: dict[int, Layout] = field(default_factory=dict)


@cache
def layouts() -> Mapping[str, Layout]:
    """Every message by type name; one that looks different in another version also by NAME@APIVERSION."""
    data = pkgutil.get_data("fairway.api", "protobuf.schema")
    assert data is not None, "the table is part of the package"
    found: dict[str, Layout] = {}
    layout = Layout()
    for line in data.decode().splitlines():
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        # An indented "type" is a field of that name.
        if not line[0].isspace():
            layout = found.setdefault(words[1], Layout())
        else:
            _add(layout, *words)
    return found


def _add(layout: Layout, name: str, number: str, shape: str) -> None:
    zero: Literal["absent", "empty", "told"] = "empty"
    if number.endswith("?"):
        zero = "absent"
    elif number.endswith("!"):
        zero = "told"
    *outer, last = map(int, number.rstrip("?!").split("."))
    for step in outer:
        layout = layout.embedded.setdefault(step, Layout())
    layout.members[last] = Member(name, parse_shape(shape), zero)


def decode(body: bytes) -> tuple[Object, list[str]]:
    """The object in a body, and its fields that have no place here, worded as strict decoding reports them.

    Raises Malformed, TooLarge.
    """
    if len(body) > MAX_BYTES:
        raise TooLarge(f"is {len(body)} bytes long; at most {MAX_BYTES} are read")
    if not body.startswith(MAGIC):
        raise Malformed("not protobuf of Kubernetes: it does not begin with the magic bytes")
    envelope = {number: value for number, value in _fields(body[len(MAGIC) :]) if isinstance(value, bytes)}
    meta = {number: value for number, value in _fields(envelope.get(1, b"")) if isinstance(value, bytes)}
    kind, api_version = _text(meta.get(2, b"")), _text(meta.get(1, b""))
    layout = layouts().get(f"{kind}@{api_version}") or layouts().get(kind)
    if layout is None:
        raise Malformed(f"protobuf of the kind {kind!r} is not understood; send JSON")
    unknown: list[str] = []
    obj = _message(layout, envelope.get(2, b""), "", unknown, 0)
    return {"kind": kind, "apiVersion": api_version, **obj}, unknown


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, wire = tag >> 3, tag & 7
        if wire == _VARINT:
            value, at = _varint(data, at)
            yield number, value
            continue
        if wire == _BYTES:
            size, at = _varint(data, at)
        elif wire in (_FIXED64, _FIXED32):
            size = 8 if wire == _FIXED64 else 4
        else:
            raise Malformed(f"protobuf has the unknown wire type {wire}")
        if at + size > len(data):
            raise Malformed("protobuf ends within a field")
        yield number, data[at : at + size]
        at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            break
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, at
    raise Malformed("protobuf holds a number that does not end")


def _message(layout: Layout, data: bytes, path: str, unknown: list[str], depth: int) -> Object:
    if depth > MAX_DEPTH:
        raise Malformed(f"nested deeper than {MAX_DEPTH} levels")
    obj: Object = {}
    for number, value in _fields(data):
        if number in layout.embedded and isinstance(value, bytes):
            obj |= _message(layout.embedded[number], value, path, unknown, depth + 1)
        elif (member := layout.members.get(number)) is None:
            unknown.append(f'unknown field "{path}#{number}"')
        else:
            _put(obj, member, value, f"{path}{member.name}", unknown, depth)
    return obj


def _put(obj: Object, member: Member, value: int | bytes, path: str, unknown: list[str], depth: int) -> None:
    shape = member.shape
    if shape.element is None:
        decoded = _value(shape, value, path, unknown, depth)
        if decoded is not None and (decoded or member.zero != "empty"):
            obj[member.name] = decoded
    elif shape.kind == "list":
        obj.setdefault(member.name, []).append(_value(shape.element, value, path, unknown, depth))
    else:
        entry = dict(_fields(_data(value)))
        found = entry.get(2, b"" if _is_delimited(shape.element) else 0)
        decoded = _value(shape.element, found, path, unknown, depth)
        obj.setdefault(member.name, {})[_text(_data(entry.get(1, b"")))] = decoded


def _value(shape: Shape, value: int | bytes, path: str, unknown: list[str], depth: int) -> Any:
    if shape.kind == "object":
        return _message(layouts()[shape.name], _data(value), f"{path}.", unknown, depth + 1)
    match shape.name:
        case "boolean":
            return bool(value)
        case "int32" | "int64":
            return _signed(value)
        case "bytes":
            return base64.b64encode(_data(value)).decode()
        case "quantity":
            return _text(_data(dict(_fields(_data(value))).get(1, b"")))
        case "intOrString":
            return _int_or_string(dict(_fields(_data(value))))
        case "time" | "microTime":
            return _time(dict(_fields(_data(value))), micro=shape.name == "microTime")
    return _text(_data(value))


def _is_delimited(shape: Shape) -> bool:
    return shape.name not in _INTEGERS and shape.name != "boolean"


def _int_or_string(fields: Mapping[int, int | bytes]) -> int | str:
    """`type` 0 is a number, 1 a text."""
    return _text(_data(fields.get(3, b""))) if fields.get(1) else _signed(fields.get(2, 0))


def _time(fields: Mapping[int, int | bytes], micro: bool) -> str | None:
    """RFC 3339; an empty message is no time at all."""
    if not fields:
        return None
    try:
        moment = datetime.fromtimestamp(_signed(fields.get(1, 0)), UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise Malformed("protobuf holds a time outside of the calendar") from error
    text = moment.strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{_signed(fields.get(2, 0)) // 1000:06d}Z" if micro else f"{text}Z"


def _signed(value: int | bytes) -> int:
    if isinstance(value, bytes):
        raise Malformed("protobuf holds bytes where a number belongs")
    return value - (1 << 64) if value >= 1 << 63 else value


def _data(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise Malformed("protobuf holds a number where bytes belong")
    return value


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise Malformed("protobuf holds text that is not UTF-8") from error
