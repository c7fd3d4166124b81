"""Metadata."""

# ruff: noqa: E501  (a message stands on one line, as users read it)

from copy import deepcopy
from typing import Any

import pytest

from fairway.objects import admit
from fairway.objects.kinds import CONFIG_MAP, IP_ADDRESS, NAMESPACE, NODE, Kind
from tests.unit.objects.people import created, named, update_faults

OWNER = {"apiVersion": "v1", "kind": "Pod", "name": "a", "uid": "u"}


def faults(kind: Kind, **metadata: Any) -> list[str]:
    spec = {"spec": {"parentRef": {"resource": "services", "name": "a"}}} if kind == IP_ADDRESS else {}
    return [error.message() for error in admit.validate_create(kind, named(kind, {"metadata": metadata, **spec}))]


@pytest.mark.parametrize(
    ("kind", "metadata", "starts"),
    [
        (CONFIG_MAP, {}, []),
        (CONFIG_MAP, {"name": "a.b-c"}, []),
        (CONFIG_MAP, {"name": ""}, ["metadata.name: Required value: name or generateName is required"]),
        (CONFIG_MAP, {"name": "A"}, ['metadata.name: Invalid value: "A": a lowercase RFC 1123 subdomain']),
        (CONFIG_MAP, {"name": "a" * 254}, [f'metadata.name: Invalid value: "{"a" * 254}": must be no more than 253 characters']),
        (CONFIG_MAP, {"generateName": "web-"}, []),
        (CONFIG_MAP, {"generateName": "Web-"}, ['metadata.generateName: Invalid value: "Web-": a lowercase']),
        (CONFIG_MAP, {"namespace": ""}, ["metadata.namespace: Required value"]),
        (CONFIG_MAP, {"namespace": "a.b"}, ['metadata.namespace: Invalid value: "a.b": a lowercase RFC 1123 label']),
        (NODE, {"namespace": "default"}, ["metadata.namespace: Forbidden: not allowed on this type"]),
        (NAMESPACE, {"name": "a.b"}, ['metadata.name: Invalid value: "a.b": a lowercase RFC 1123 label']),
        (IP_ADDRESS, {"name": "10.96.0.1"}, []),
        (IP_ADDRESS, {"name": "web"}, ['metadata.name: Invalid value: "web": must be a valid IP address']),
        (CONFIG_MAP, {"labels": {"a/b/c": "x"}}, ['metadata.labels: Invalid value: "a/b/c": prefix part a lowercase']),
        (CONFIG_MAP, {"labels": {"a": "b c"}}, ['metadata.labels: Invalid value: "b c": a valid label must be empty or']),
        (CONFIG_MAP, {"annotations": {"Example.com/Key": "any ✓ text"}}, []),
        (CONFIG_MAP, {"annotations": {"a b": ""}}, ['metadata.annotations: Invalid value: "a b": name part must consist']),
        (
            CONFIG_MAP,
            {"annotations": {"a": "x" * 262144}},
            ["metadata.annotations: Too long: may not be more than 262144 bytes"],
        ),
        (CONFIG_MAP, {"finalizers": ["example.com/x", "a b"]}, ['metadata.finalizers[1]: Invalid value: "a b": name part']),
        (CONFIG_MAP, {"finalizers": ["orphan"]}, []),
        (CONFIG_MAP, {"finalizers": ["hold"]}, ['metadata.finalizers[0]: Invalid value: "hold": name is neither a standard']),
        (
            CONFIG_MAP,
            {"finalizers": ["orphan", "foregroundDeletion"]},
            ['metadata.finalizers: Invalid value: ["orphan","foregroundDeletion"]: orphan and foregroundDeletion cannot'],
        ),
        (CONFIG_MAP, {"ownerReferences": [OWNER]}, []),
        (
            CONFIG_MAP,
            {"ownerReferences": [{**OWNER, "kind": "Event"}]},
            ['metadata.ownerReferences[0]: Invalid value: {"apiVersion":"v1","kind":"Event","name":"a","uid":"u"}: events'],
        ),
        (
            CONFIG_MAP,
            {"ownerReferences": [{"kind": "Pod", "name": "a"}]},
            ["metadata.ownerReferences[0].apiVersion: Required value: must not be empty",
             "metadata.ownerReferences[0].uid: Required value: must not be empty"],
        ),
        (
            CONFIG_MAP,
            {"ownerReferences": [{**OWNER, "controller": True}, {**OWNER, "name": "b", "controller": True}]},
            ['metadata.ownerReferences: Invalid value: [{"apiVersion":"v1","kind":"Pod","name":"a","uid":"u","controller":true}'],
        ),
    ],
)  # fmt: skip
def test_metadata(kind: Kind, metadata: dict[str, Any], starts: list[str]) -> None:
    found = faults(kind, **metadata)
    assert len(found) == len(starts), found
    assert all(fault.startswith(start) for fault, start in zip(found, starts, strict=True)), found


@pytest.mark.parametrize("field", ["name", "namespace", "uid", "creationTimestamp"])
def test_identity_is_for_life(field: str) -> None:
    old = created(CONFIG_MAP, {"metadata": {"uid": "u", "creationTimestamp": "2026-01-01T00:00:00Z"}})
    new = deepcopy(old)
    new["metadata"][field] = "other"
    assert f'metadata.{field}: Invalid value: "other": field is immutable' in update_faults(CONFIG_MAP, old, new)


def test_a_dying_object_gets_no_new_finalizers_and_may_lose_its_old_ones() -> None:
    old = created(CONFIG_MAP, {"metadata": {"finalizers": ["a.b/c"]}})
    old["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    new = deepcopy(old)
    new["metadata"]["finalizers"] = ["a.b/d"]
    assert update_faults(CONFIG_MAP, old, new) == [
        "metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, "
        "found new finalizers ['a.b/d']"
    ]
    new["metadata"]["finalizers"] = []
    assert update_faults(CONFIG_MAP, old, new) == []
