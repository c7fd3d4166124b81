"""OpenAPI v2 and v3 of everything served, drawn from the schema tables: what `kubectl explain`, client-side validation
and `kubectl apply` read. Pure; made at the first request and kept.

Only what those readers look at is told: the types with their merge strategies, and for each kind the patch operation
with its query parameters, from which kubectl learns that the server validates fields itself (KEP-2885).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

import msgspec

from fairway.api import status
from fairway.api.accept import parse_media_types
from fairway.api.answers import Answer, json_answer
from fairway.api.discovery import KUBERNETES_VERSION
from fairway.api.incoming import PATCH_TYPES
from fairway.api.requests import Plain
from fairway.objects import schema
from fairway.objects.kinds import KINDS, REVIEWS, Kind
from fairway.objects.schema import Field, Shape, Type, descriptions

Object = dict[str, Any]

EVERY = (*KINDS, *REVIEWS)

# Clients ask with an "@", which is no legal media type (RFC 6838, section 4.2): the answer says it with a dot.
V2_ASKED = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
V2_PROTOBUF = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
_V2_BASE = "#/definitions/"
_GVK = "x-kubernetes-group-version-kind"
_PATCH_PARAMETERS = ("dryRun", "fieldManager", "fieldValidation", "pretty", "force")

_SCALARS: dict[str, Object] = {
    "string": {"type": "string"},
    "boolean": {"type": "boolean"},
    "int32": {"type": "integer", "format": "int32"},
    "int64": {"type": "integer", "format": "int64"},
    "quantity": {"type": "string"},
    "intOrString": {"type": "string", "format": "int-or-string"},
    "time": {"type": "string", "format": "date-time"},
    "microTime": {"type": "string", "format": "date-time"},
    "bytes": {"type": "string", "format": "byte"},
    "any": {"type": "object"},  # an empty schema, which would say the same, is one that `kubectl explain` gives up on
}


def answer(request: Plain) -> Answer:
    """`/openapi/v2`, `/openapi/v3`, `/openapi/v3/api/v1`, ... Raises 404, 406."""
    path = request.path.removeprefix("/openapi/")
    if path == "v2":
        return _v2(request.accept)
    if path == "v3":
        return json_answer({"paths": {name: {"serverRelativeURL": _url(name)} for name in _v3_names()}})
    name = path.removeprefix("v3/")
    if name not in _v3_names():
        raise status.no_such_path()
    return Answer(200, _v3_bytes(name), headers=(("etag", f'"{_hash(name)}"'),))


def _v2(accept: str) -> Answer:
    for media in parse_media_types(accept or "application/json"):
        if media.name in (V2_ASKED, V2_PROTOBUF):
            return Answer(200, _v2_protobuf(), V2_PROTOBUF)
        if media.name in ("application/json", "*/*"):
            return Answer(200, _v2_json())
    raise status.not_acceptable(("application/json", V2_PROTOBUF))


@cache
def _v2_json() -> bytes:
    return msgspec.json.encode(v2_document())


@cache
def _v2_protobuf() -> bytes:
    from fairway.api.openapi_proto import encode_document

    return encode_document(v2_document())


@cache
def _v3_bytes(name: str) -> bytes:
    return msgspec.json.encode(v3_document(name))


@cache
def _hash(name: str) -> str:
    return hashlib.sha256(_v3_bytes(name)).hexdigest()[:32].upper()


def _url(name: str) -> str:
    return f"/openapi/v3/{name}?hash={_hash(name)}"


@cache
def _v3_names() -> tuple[str, ...]:
    """`api/v1`, `apis/apps/v1`, ...: the documents of OpenAPI v3."""
    versions = {version for kind in EVERY for version in (kind.api_version, *kind.old)}
    return tuple(sorted(_document_name(version) for version in versions))


def _document_name(api_version: str) -> str:
    return f"apis/{api_version}" if "/" in api_version else f"api/{api_version}"


def v2_document() -> Object:
    """Swagger 2.0 of all kinds and types."""
    paths = {}
    for kind, api_version in _served(EVERY):
        operation = _operation(kind, api_version, consumes=list(PATCH_TYPES))
        operation["parameters"] = [_parameter(name) | _kind_of_parameter(name) for name in _PATCH_PARAMETERS]
        paths[_path(kind, api_version)] = {"patch": operation}
    definitions = {type_.openapi: _type(type_, _V2_BASE) for type_ in schema.types().values()}
    _name_kinds(definitions)
    return {"swagger": "2.0", "info": _info(), "paths": paths, "definitions": definitions}


def v3_document(name: str) -> Object:
    """OpenAPI 3.0 of one group/version and the types its kinds reach."""
    kinds = [kind for kind in EVERY if name in map(_document_name, (kind.api_version, *kind.old))]
    paths = {}
    for kind, api_version in _served(kinds):
        if _document_name(api_version) != name:
            continue
        content = {media: {"schema": {"type": "object"}} for media in PATCH_TYPES}
        operation = _operation(kind, api_version, requestBody={"content": content})
        operation["parameters"] = [
            _parameter(known) | {"schema": _kind_of_parameter(known)} for known in _PATCH_PARAMETERS
        ]
        paths[_path(kind, api_version)] = {"patch": operation}
    reached: dict[str, Type] = {}
    for kind, api_version in _served(kinds):
        if _document_name(api_version) == name:
            _reach(schema.for_kind(kind, api_version), reached)
    schemas = {type_.openapi: _type(type_, "#/components/schemas/") for type_ in reached.values()}
    _name_kinds(schemas)
    return {"openapi": "3.0.0", "info": _info(), "paths": paths, "components": {"schemas": schemas}}


def _served(kinds: Sequence[Kind]) -> Iterator[tuple[Kind, str]]:
    return ((kind, version) for kind in kinds for version in (kind.api_version, *kind.old))


def _info() -> Object:
    return {"title": "Kubernetes", "version": "v" + ".".join(KUBERNETES_VERSION)}


def _path(kind: Kind, api_version: str) -> str:
    middle = "namespaces/{namespace}/" if kind.namespaced else ""
    return f"/{_document_name(api_version)}/{middle}{kind.plural}/{{name}}"


def _operation(kind: Kind, api_version: str, **more: Any) -> Object:
    responses = {"200": {"description": "OK"}}
    gvk = _group_version_kind(kind, api_version)
    return {**more, "responses": responses, "x-kubernetes-action": "patch", _GVK: gvk}


def _parameter(name: str) -> Object:
    return {"name": name, "in": "query"}


def _kind_of_parameter(name: str) -> Object:
    return {"type": "boolean" if name == "force" else "string"}


def _group_version_kind(kind: Kind, api_version: str) -> Object:
    group, _, version = api_version.rpartition("/")
    return {"group": group, "version": version, "kind": kind.name}


def _name_kinds(definitions: Object) -> None:
    """Tell of which kinds a type is the whole object. Old versions without a type of their own are not named: theirs
    differ (a selector was not required), and clients let pass what they find no type for."""
    for kind, api_version in _served(EVERY):
        definition = definitions.get(schema.for_kind(kind, api_version).openapi)
        if definition is not None and schema.own_shape(kind, api_version):
            definition[_GVK] = [_group_version_kind(kind, api_version)]


def _reach(type_: Type, reached: dict[str, Type]) -> None:
    if type_.name in reached:
        return
    reached[type_.name] = type_
    for field in type_.fields.values():
        if target := field.target:
            _reach(target, reached)


def _type(type_: Type, base: str) -> Object:
    shown: Object = {"type": "object"}
    if text := descriptions.of_type(type_):
        shown["description"] = text
    if type_.fields:
        shown["properties"] = {field.name: _described(type_, field, base) for field in type_.fields.values()}
    if required := [field.name for field in type_.fields.values() if field.required]:
        shown["required"] = required
    return shown


def _described(type_: Type, field: Field, base: str) -> Object:
    shown = _field(field, base)
    text = descriptions.of_field(type_, field.name)
    if not text:
        return shown
    if "$ref" in shown and base != _V2_BASE:
        # OpenAPI 3.0 lets nothing stand beside a reference.
        shown = {"allOf": [{"$ref": shown.pop("$ref")}], **shown}
    return {"description": text, **shown}


def _field(field: Field, base: str) -> Object:
    shown = _shape(field.type, base)
    if field.enum:
        shown["enum"] = list(field.enum)
    if field.patch_strategy:
        shown["x-kubernetes-patch-strategy"] = ",".join(sorted(field.patch_strategy))
    if field.merge_key:
        shown["x-kubernetes-patch-merge-key"] = field.merge_key
    if field.type.kind == "list":
        shown["x-kubernetes-list-type"] = field.list_type
        if field.map_keys:
            shown["x-kubernetes-list-map-keys"] = list(field.map_keys)
    return shown


def _shape(shape: Shape, base: str) -> Object:
    if shape.kind == "scalar":
        return dict(_SCALARS[shape.name])
    if shape.element is None:
        return {"$ref": base + schema.lookup(shape.name).openapi}
    inner = _shape(shape.element, base)
    return (
        {"type": "array", "items": inner}
        if shape.kind == "list"
        else {
            "type": "object",
            "additionalProperties": inner,
        }
    )
