"""Protobuf bodies, byte by byte: what kubectl 1.32 really sends, and what strangers might."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.api.protobuf import MAGIC, decode, layouts
from fairway.objects import schema
from fairway.objects.errors import Malformed
from fairway.objects.kinds import KINDS


def varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def text(number: int, value: bytes | str) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(data)) + data


def integer(number: int, value: int) -> bytes:
    return varint(number << 3) + varint(value & (1 << 64) - 1)


def body(kind: str, message: bytes, api_version: str = "v1") -> bytes:
    return MAGIC + text(1, text(1, api_version) + text(2, kind)) + text(2, message)


def test_what_kubectl_create_namespace_sends() -> None:
    # Recorded from kubectl 1.32: unset strings and times are written, and mean nothing.
    recorded = bytes.fromhex(
        "6b3873000a0f0a02763112094e616d657370616365121a0a120a02743312001a0022002a0032003800420012001a020a001a002200"
    )
    assert decode(recorded) == ({"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": "t3"}}, [])


def test_a_service_with_ports_maps_and_either_kind_of_target() -> None:
    first = text(1, "web") + text(2, "TCP") + integer(3, 80) + text(4, integer(1, 0) + integer(2, 8080))
    second = text(1, "") + integer(3, 81) + text(4, integer(1, 1) + text(3, "http")) + integer(5, 0)
    spec = text(1, first) + text(1, second) + text(2, text(1, "app") + text(2, "web")) + text(4, "NodePort")
    obj, unknown = decode(body("Service", text(1, text(1, "s")) + text(2, spec)))
    assert unknown == []
    assert obj["spec"] == {
        "ports": [
            {"name": "web", "protocol": "TCP", "port": 80, "targetPort": 8080},
            {"port": 81, "targetPort": "http"},
        ],
        "selector": {"app": "web"},
        "type": "NodePort",
    }


def test_a_zero_that_was_set_is_a_zero() -> None:
    obj, _ = decode(body("Deployment", text(2, integer(1, 0) + integer(5, 0)), "apps/v1"))
    assert obj["spec"] == {"replicas": 0}  # minReadySeconds is always written, replicas only when set


def test_embedded_structs_belong_to_their_owner() -> None:
    probe = text(1, text(2, text(1, "/ready") + text(2, integer(2, 80)))) + integer(2, 5)
    container = text(1, "c") + text(10, probe)
    obj, unknown = decode(body("Pod", text(2, text(2, container))))
    assert unknown == []
    (shown,) = obj["spec"]["containers"]
    assert shown["livenessProbe"] == {"httpGet": {"path": "/ready", "port": 80}, "initialDelaySeconds": 5}


def test_times_bytes_and_negative_numbers() -> None:
    metadata = text(1, "x") + text(8, integer(1, 1_700_000_000))
    obj, _ = decode(body("Secret", text(1, metadata) + text(2, text(1, "k") + text(2, b"\x00\xff"))))
    assert obj["metadata"]["creationTimestamp"] == "2023-11-14T22:13:20Z" and obj["data"] == {"k": "AP8="}
    renewed = text(4, integer(1, 1) + integer(2, 2_000)) + integer(2, -5)
    lease, _ = decode(body("Lease", text(2, renewed), "coordination.k8s.io/v1"))
    assert lease["spec"] == {"renewTime": "1970-01-01T00:00:01.000002Z", "leaseDurationSeconds": -5}


def test_a_field_without_a_place_is_told_by_its_number() -> None:
    assert decode(body("Service", text(2, text(99, "?"))))[1] == ['unknown field "spec.#99"']


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"k8s\x00\x0a",
        body("Cat", b""),
        body("Service", b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"),
        body("Service", integer(2, 5)),
        body("Service", text(1, text(1, b"\xff"))),
        body("Service", b"\x0b"),
        body("Service", text(1, text(8, integer(1, 1 << 62)))),
    ],
)
def test_what_is_no_such_message_is_malformed(data: bytes) -> None:
    with pytest.raises(Malformed):
        decode(data)


@given(st.binary(max_size=200), st.sampled_from(["Service", "Pod", "Deployment", "Secret"]))
def test_no_bytes_do_worse_than_malformed(message: bytes, kind: str) -> None:
    try:
        decode(body(kind, message))
    except Malformed:
        pass


def test_every_kind_has_its_message_and_every_field_its_type() -> None:
    for kind in KINDS:
        assert kind.name in layouts()
    for layout in layouts().values():
        for member in layout.members.values():
            leaf = member.shape.leaf
            assert leaf.kind == "scalar" or leaf.name in layouts()


def test_the_numbers_are_of_fields_the_schema_has() -> None:
    for name, layout in layouts().items():
        if name in schema.types():
            known = schema.lookup(name).fields
            assert all(member.name in known for member in layout.members.values()), name
