"""OpenAPI documents: what kubectl reads in them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from fairway.api import openapi
from fairway.api.openapi_proto import encode_document
from fairway.api.requests import Plain
from fairway.api.status import Failure

PROTOBUF = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if "$ref" in value:
            yield value["$ref"]
        for inner in value.values():
            yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


def test_every_reference_leads_somewhere() -> None:
    two = openapi.v2_document()
    assert {ref.removeprefix("#/definitions/") for ref in references(two)} <= set(two["definitions"])
    three = openapi.v3_document("apis/apps/v1")
    names = {ref.removeprefix("#/components/schemas/") for ref in references(three)}
    assert names <= set(three["components"]["schemas"])


def test_ports_are_merged_by_port_and_services_are_named() -> None:
    definitions = openapi.v2_document()["definitions"]
    ports = definitions["io.k8s.api.core.v1.ServiceSpec"]["properties"]["ports"]
    assert (ports["x-kubernetes-patch-strategy"], ports["x-kubernetes-patch-merge-key"]) == ("merge", "port")
    service = definitions["io.k8s.api.core.v1.Service"]
    assert service["x-kubernetes-group-version-kind"] == [{"group": "", "version": "v1", "kind": "Service"}]


def test_fields_say_what_they_are_for_and_nothing_stands_beside_a_reference() -> None:
    two = openapi.v2_document()["definitions"]["io.k8s.api.apps.v1.DeploymentSpec"]["properties"]["strategy"]
    assert two["description"].startswith("How old pods") and two["$ref"].endswith("DeploymentStrategy")
    schemas = openapi.v3_document("apis/apps/v1")["components"]["schemas"]
    three = schemas["io.k8s.api.apps.v1.DeploymentSpec"]["properties"]["strategy"]
    assert three == {
        "description": two["description"],
        "allOf": [{"$ref": "#/components/schemas/io.k8s.api.apps.v1.DeploymentStrategy"}],
        "x-kubernetes-patch-strategy": "retainKeys",
    }
    assert schemas["io.k8s.api.apps.v1.Deployment"]["properties"]["status"]["description"].startswith("What the system")


def test_the_patch_of_every_version_tells_that_the_server_validates_fields() -> None:
    paths = openapi.v3_document("apis/apps/v1beta1")["paths"]
    operation = paths["/apis/apps/v1beta1/namespaces/{namespace}/deployments/{name}"]["patch"]
    assert operation["x-kubernetes-group-version-kind"]["version"] == "v1beta1"
    assert "fieldValidation" in [parameter["name"] for parameter in operation["parameters"]]


def test_documents_are_found_by_the_index_and_come_in_the_asked_encoding() -> None:
    index = openapi.answer(Plain("get", "/openapi/v3")).bytes()
    assert b'"apis/discovery.k8s.io/v1"' in index and b"?hash=" in index
    assert openapi.answer(Plain("get", "/openapi/v3/api/v1")).headers[0][0] == "etag"
    answer = openapi.answer(Plain("get", "/openapi/v2", PROTOBUF))
    # A media type may not hold an "@"; clients parse the answer's.
    assert "@" not in answer.content_type and answer.bytes().startswith(b"\x0a\x032.0")
    assert openapi.answer(Plain("get", "/openapi/v2", "*/*")).content_type == "application/json"
    for path, accept, code in (("/openapi/v3/apis/cats/v1", "", 404), ("/openapi/v2", "image/png", 406)):
        with pytest.raises(Failure) as caught:
            openapi.answer(Plain("get", path, accept))
        assert caught.value.code == code


def test_a_small_document_in_protobuf_is_what_the_encoding_guide_says() -> None:
    document = {
        "swagger": "2.0",
        "info": {"title": "T", "version": "1"},
        "paths": {},
        "definitions": {"A": {"type": "object", "properties": {"b": {"$ref": "#/definitions/B"}}, "x-y": 1}},
    }
    reference = b"\x0a\x0f#/definitions/B"
    b = b"\x0a\x16" + b"\x0a\x01b" + b"\x12\x11" + reference
    properties = b"\xca\x01\x18" + b
    extension = b"\xfa\x01\x0a" + b"\x0a\x03x-y" + b"\x12\x03\x12\x011"
    schema = b"\xb2\x01\x08\x0a\x06object" + properties + extension
    named = b"\x0a\x01A" + b"\x12" + bytes([len(schema)]) + schema
    definitions = b"\x0a" + bytes([len(named)]) + named
    expected = b"\x0a\x032.0" + b"\x12\x06\x0a\x01T\x12\x011" + b"\x42\x00" + b"\x4a" + bytes([len(definitions)])
    assert encode_document(document) == expected + definitions
