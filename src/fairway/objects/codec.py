"""The strict codec: bodies to objects and back, and which fields of an object its kind does not have.

Reading is bounded (`MAX_BYTES`, `MAX_DEPTH`). What is stored is compact JSON whose first keys are `kind`,
`apiVersion`, `metadata`, without a resourceVersion: that is the store's revision, spliced in when the object leaves.
"""

from __future__ import annotations

import binascii
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from fairway.objects import schema
from fairway.objects.errors import Malformed, TooLarge, UnsupportedMedia, show
from fairway.objects.kinds import Kind
from fairway.objects.schema import Shape, Type

MAX_BYTES = 3 * 1024 * 1024
"""What the API server reads of one request body."""
MAX_DEPTH = 100
"""How deep lists and maps may be nested."""

PIECE = 256 * 1024
"""Bytes a long list is cut into."""

_METADATA = b'"metadata":{'
_METADATA_OPEN = b'"metadata":{"'
_BYTE = re.compile(r" \(byte (\d+)\)$")
_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)")

# Fields that only an old group version has; its conversion deals with them.
_LEGACY: Mapping[tuple[str, str], frozenset[str]] = {
    ("Deployment", "apps/v1beta1"): frozenset({"spec.rollbackTo"}),
    ("Deployment", "extensions/v1beta1"): frozenset({"spec.rollbackTo"}),
}


def decode(body: bytes, content_type: str = "application/json") -> dict[str, Any]:
    """The one object a body holds. Raises Malformed (with line and column), TooLarge, UnsupportedMedia."""
    value = parse(body, content_type)
    if not isinstance(value, dict):
        raise Malformed(f"must hold an object, not {_noun(value)}")
    return value


def parse(body: bytes, content_type: str = "application/json") -> Any:
    """The one JSON value a body holds, in JSON or YAML as `content_type` says (a JSON patch is a list). Raises as
    decode does."""
    if len(body) > MAX_BYTES:
        raise TooLarge(f"is {len(body)} bytes long; at most {MAX_BYTES} are read")
    match _language(content_type):
        case "json":
            return _parse_json(body)
        case "yaml":
            return _parse_yaml(body)
    raise UnsupportedMedia(f"content type {content_type!r} is not supported; send JSON or YAML")


def decode_all(text: bytes, limit: int = MAX_BYTES) -> list[dict[str, Any]]:
    """The objects of a manifest of at most `limit` bytes: several YAML documents or one JSON value, the items of a
    `List` in place of it. Items of a typed list (`ServiceList`), which an API server sends without their kind, get it.
    Raises as decode does."""
    from fairway.objects.documents import parse_documents

    if len(text) > limit:
        raise TooLarge(f"is {len(text)} bytes long; at most {limit} are read")
    found: list[dict[str, Any]] = []
    # JSON may be indented by tabs, which YAML refuses; no line of one JSON value begins with dashes.
    one = text.lstrip()[:1] == b"{" and b"\n---" not in text
    values = [_parse_json(text)] if one else parse_documents(_text(text), MAX_DEPTH)
    for value in values:
        if not isinstance(value, dict):
            raise Malformed(f"a document must hold an object, not {_noun(value)}")
        kind = str(value.get("kind", ""))
        items = value.get("items") if kind.endswith("List") else None
        if not isinstance(items, list):
            found.append(value)
            continue
        implied = {"kind": kind.removesuffix("List"), "apiVersion": value.get("apiVersion")} if kind != "List" else {}
        found.extend({**implied, **item} if isinstance(item, dict) else item for item in items)
    return found


def _language(content_type: str) -> str:
    subtype = content_type.split(";", 1)[0].strip().lower().rpartition("/")[2].rpartition("+")[2]
    return {"": "json", "json": "json", "yaml": "yaml", "x-yaml": "yaml"}.get(subtype, "")


def _text(body: bytes) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        raise Malformed("is not UTF-8", *_position(body, error.start)) from error


def _parse_yaml(body: bytes) -> Any:
    from fairway.objects.documents import parse_documents

    values = list(parse_documents(_text(body), MAX_DEPTH))
    if len(values) != 1:
        raise Malformed(f"must hold one document, not {len(values)}")
    return values[0]


def _parse_json(body: bytes) -> Any:
    try:
        value = msgspec.json.decode(body)
    except msgspec.DecodeError as error:
        found = _BYTE.search(str(error))
        offset = int(found[1]) if found else len(body)
        detail = _BYTE.sub("", str(error)).removeprefix("JSON is malformed: ")
        raise Malformed(f"not JSON: {detail}", *_position(body, offset)) from error
    except RecursionError as error:
        raise Malformed(f"nested deeper than {MAX_DEPTH} levels") from error
    # Counting brackets is far cheaper than a walk and clears nearly every body.
    if body.count(b"{") + body.count(b"[") > MAX_DEPTH and _deeper(value, MAX_DEPTH):
        raise Malformed(f"nested deeper than {MAX_DEPTH} levels")
    return value


def _position(body: bytes, offset: int) -> tuple[int, int]:
    before = body[:offset]
    return before.count(b"\n") + 1, offset - (before.rfind(b"\n") + 1) + 1


def _deeper(value: Any, limit: int) -> bool:
    level = [value]
    for _ in range(limit + 1):
        level = [child for item in level for child in _children(item)]
        if not level:
            return False
    return True


def _children(value: Any) -> Iterator[Any]:
    if isinstance(value, dict):
        yield from value.values()
    elif isinstance(value, list):
        yield from value


class _Pairs(list[tuple[str, Any]]):
    """A JSON object with all its members, also the repeated ones."""


def duplicates(body: bytes, value: Any) -> list[str]:
    """`duplicate field "spec.ports"` for each member a JSON body gives twice; `value` is what `parse` made of it."""
    # Decoding keeps one of each: a text that is the same after a round trip has no member twice.
    if msgspec.json.format(body, indent=-1) == msgspec.json.encode(value):
        return []
    try:
        value = json.loads(body, object_pairs_hook=_Pairs)
    except ValueError:
        return []
    return [f'duplicate field "{path}"' for path in dict.fromkeys(_repeated(value, ""))]


def _repeated(value: Any, path: str) -> Iterator[str]:
    if isinstance(value, _Pairs):
        seen: set[str] = set()
        for key, member in value:
            inner = f"{path}.{key}" if path else key
            if key in seen:
                yield inner
            seen.add(key)
            yield from _repeated(member, inner)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _repeated(item, f"{path}[{index}]")


@dataclass(frozen=True, slots=True)
class Problem:
    """A value of the wrong type at `path`."""

    path: str
    detail: str

    def message(self) -> str:
        """`spec.ports[0].port: must be an integer, not the string "http"`."""
        return f"{self.path}: {self.detail}"


@dataclass(frozen=True, slots=True)
class Checked:
    """What the schema says against an object: values of the wrong type, and fields the kind does not have, each
    already worded (`unknown field "spec.prots"`) as strict decoding reports them."""

    problems: list[Problem] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)

    def unknown_paths(self) -> list[str]:
        """The paths alone: `spec.prots`."""
        return [text.removeprefix('unknown field "')[:-1] for text in self.unknown]


def check(kind: Kind, obj: dict[str, Any], *, api_version: str | None = None) -> Checked:
    """Holds `obj` against the kind's schema. `api_version` is the version it was written in (default: the kind's
    own); a null counts as absent."""
    found = Checked()
    legacy = _LEGACY.get((kind.name, api_version or kind.api_version), frozenset())
    _check_object(schema.for_kind(kind, api_version or ""), obj, "", found, legacy)
    return found


def _check_object(type_: Type, value: dict[str, Any], path: str, found: Checked, legacy: frozenset[str]) -> None:
    fields = type_.fields
    for name, item in value.items():
        inner = f"{path}.{name}" if path else name
        known = fields.get(name)
        if known is None:
            if inner not in legacy:
                found.unknown.append(f'unknown field "{inner}"')
        elif item is not None:
            _check_value(known.type, item, inner, found, legacy)


def _check_value(shape: Shape, value: Any, path: str, found: Checked, legacy: frozenset[str]) -> None:
    if shape.kind == "scalar":
        wanted, right = _SCALARS[shape.name]
        if not right(value):
            found.problems.append(Problem(path, f"must be {wanted}, not {_noun(value)}"))
    elif shape.kind == "list":
        if not isinstance(value, list):
            found.problems.append(Problem(path, f"must be a list, not {_noun(value)}"))
            return
        for index, item in enumerate(value):
            _check_value(_element(shape), item, f"{path}[{index}]", found, legacy)
    elif not isinstance(value, dict):
        found.problems.append(Problem(path, f"must be an object, not {_noun(value)}"))
    elif shape.kind == "object":
        _check_object(schema.lookup(shape.name), value, path, found, legacy)
    else:
        for key, item in value.items():
            _check_value(_element(shape), item, f"{path}[{key}]", found, legacy)


def _element(shape: Shape) -> Shape:
    assert shape.element is not None, "lists and maps have an element by construction"
    return shape.element


def _noun(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, str):
        return f"the string {show(value[:64])}"
    return f"the {'boolean' if isinstance(value, bool) else 'number'} {show(value)}"


def _integer(bits: int) -> Callable[[Any], bool]:
    limit = 1 << (bits - 1)
    return lambda value: type(value) is int and -limit <= value < limit


def _is_base64(value: Any) -> bool:
    if not isinstance(value, str):
        return False
    try:
        binascii.a2b_base64(value.replace("\n", "").replace("\r", ""), strict_mode=True)
    except (binascii.Error, ValueError):
        return False
    return True


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_time(value: Any) -> bool:
    return isinstance(value, str) and _TIME.fullmatch(value) is not None


_SCALARS: Mapping[str, tuple[str, Callable[[Any], bool]]] = {
    "string": ("a string", lambda value: isinstance(value, str)),
    "boolean": ("true or false", lambda value: isinstance(value, bool)),
    "int32": ("an integer of 32 bits", _integer(32)),
    "int64": ("an integer of 64 bits", _integer(64)),
    "quantity": ("a quantity", lambda value: isinstance(value, str) or _is_number(value)),
    "intOrString": ("an integer or a string", lambda value: isinstance(value, str) or _integer(32)(value)),
    "time": ("a time as in RFC 3339", _is_time),
    "microTime": ("a time as in RFC 3339", _is_time),
    "bytes": ("text in base64", _is_base64),
    "any": ("any value", lambda value: True),
}


def prune(kind: Kind, obj: dict[str, Any], *, api_version: str = "") -> dict[str, Any]:
    """The object without fields its kind does not have and without nulls, which mean "absent". The rest is shared
    with `obj` where it did not change; wrong types are left for `check` to report. `api_version` is the version it is
    written in (default: the kind's own)."""
    return _prune_object(schema.for_kind(kind, api_version), obj)


def _prune_object(type_: Type, value: dict[str, Any]) -> dict[str, Any]:
    fields = type_.fields
    return {
        name: _prune_value(fields[name].type, item)
        for name, item in value.items()
        if item is not None and name in fields
    }


def _prune_value(shape: Shape, value: Any) -> Any:
    if shape.kind == "object" and isinstance(value, dict):
        return _prune_object(schema.lookup(shape.name), value)
    if shape.leaf.kind == "object" and shape.element is not None:
        if isinstance(value, list):
            return [_prune_value(shape.element, item) for item in value]
        if isinstance(value, dict):
            return {key: _prune_value(shape.element, item) for key, item in value.items()}
    if shape.kind == "map" and isinstance(value, dict) and None in value.values():
        return {key: item for key, item in value.items() if item is not None}
    return value


def copied(obj: dict[str, Any]) -> dict[str, Any]:
    """A deep copy of what is made of JSON's types, at a tenth of `copy.deepcopy`'s price."""
    copy: dict[str, Any] = msgspec.to_builtins(obj)
    return copy


def encode(obj: dict[str, Any]) -> bytes:
    """The object as it is stored: `kind`, `apiVersion` and `metadata` first, no resourceVersion."""
    metadata = {key: value for key, value in (obj.get("metadata") or {}).items() if key != "resourceVersion"}
    head = {"kind": obj.get("kind", ""), "apiVersion": obj.get("apiVersion", ""), "metadata": metadata}
    return msgspec.json.encode(head | {key: value for key, value in obj.items() if key not in head})


def joined(stored: Iterable[tuple[bytes, int]], piece: int = PIECE) -> list[bytes]:
    """Stored objects, each with its revision as `with_revision` splices it in, between commas: the items of a list of
    ten thousands, in pieces of about `piece` bytes. Their metadata must not be empty; that of a stored object never is.
    """
    bodies = [
        value.replace(_METADATA_OPEN, b'"metadata":{"resourceVersion":"%d","' % revision, 1)
        for value, revision in stored
    ]
    if not bodies:
        return []
    count = max(1, piece * len(bodies) // max(1, sum(map(len, bodies))))
    starts = range(0, len(bodies), count)
    return [(b"," if start else b"") + b",".join(bodies[start : start + count]) for start in starts]


def with_revision(value: bytes, revision: int) -> bytes:
    """The stored bytes of an object with `metadata.resourceVersion` spliced in. Raises ValueError for bytes that
    `encode` did not make.

    The first `"metadata":{` is the object's own: only `kind` and `apiVersion` stand before it, and inside a JSON
    string its quotes would be escaped.
    """
    at = value.index(_METADATA) + len(_METADATA)
    comma = b"" if value[at : at + 1] == b"}" else b","
    return b'%b"resourceVersion":"%d"%b%b' % (value[:at], revision, comma, value[at:])
