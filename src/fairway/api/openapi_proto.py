"""OpenAPI v2 as the protobuf that kubectl asks for first (and, until 1.26, understands only). Pure.

Field numbers are those of gnostic's openapi.v2 messages. Wire format: protobuf encoding
guide, "Message structure": a tag is `number << 3 | wire type`, text and messages have wire type 2.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

Object = Mapping[str, Any]


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _delimited(number: int, value: bytes | str) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _named(number: int, name: str, value: bytes) -> bytes:
    """An entry of a map as gnostic keeps maps: a message of name and value."""
    return _delimited(number, _delimited(1, name) + _delimited(2, value))


def _extensions(number: int, values: Object) -> Iterator[bytes]:
    """`x-...` members: any value as YAML text, of which JSON is a part."""
    for name, value in values.items():
        if name.startswith("x-"):
            yield _named(number, name, _delimited(2, msgspec.json.encode(value)))


def encode_document(document: Object) -> bytes:
    """The message `openapi.v2.Document` of a Swagger document as `openapi.v2_document` makes it."""
    info = _delimited(1, document["info"]["title"]) + _delimited(2, document["info"]["version"])
    paths = b"".join(_named(2, name, _path_item(item)) for name, item in document["paths"].items())
    definitions = b"".join(_named(1, name, _schema(value)) for name, value in document["definitions"].items())
    return b"".join(
        (
            _delimited(1, document["swagger"]),
            _delimited(2, info),
            _delimited(8, paths),
            _delimited(9, definitions),
        )
    )


def _path_item(item: Object) -> bytes:
    return _delimited(8, _operation(item["patch"]))


def _operation(operation: Object) -> bytes:
    parts = [_delimited(7, media) for media in operation["consumes"]]
    parts += [_delimited(8, _parameter(parameter)) for parameter in operation["parameters"]]
    responses = b"".join(_named(1, code, _response(response)) for code, response in operation["responses"].items())
    parts.append(_delimited(9, responses))
    parts += _extensions(13, operation)
    return b"".join(parts)


def _parameter(parameter: Object) -> bytes:
    """ParametersItem > Parameter > NonBodyParameter > QueryParameterSubSchema."""
    query = b"".join(
        (_delimited(2, parameter["in"]), _delimited(4, parameter["name"]), _delimited(6, parameter["type"]))
    )
    return _delimited(1, _delimited(2, _delimited(3, query)))


def _response(response: Object) -> bytes:
    return _delimited(1, _delimited(1, response["description"]))


def _schema(value: Object) -> bytes:
    parts: list[bytes] = []
    if "$ref" in value:
        parts.append(_delimited(1, value["$ref"]))
    if "format" in value:
        parts.append(_delimited(2, value["format"]))
    if "description" in value:
        parts.append(_delimited(4, value["description"]))
    parts += [_delimited(19, name) for name in value.get("required", ())]
    parts += [_delimited(20, _delimited(2, msgspec.json.encode(word))) for word in value.get("enum", ())]
    if "additionalProperties" in value:
        parts.append(_delimited(21, _delimited(1, _schema(value["additionalProperties"]))))
    if "type" in value:
        parts.append(_delimited(22, _delimited(1, value["type"])))
    if "items" in value:
        parts.append(_delimited(23, _delimited(1, _schema(value["items"]))))
    if "properties" in value:
        properties = (_named(1, name, _schema(inner)) for name, inner in value["properties"].items())
        parts.append(_delimited(25, b"".join(properties)))
    parts += _extensions(31, value)
    return b"".join(parts)
