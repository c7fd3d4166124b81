"""Sets of fields: how values divide, and that the algebra of sets is one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.api.fieldsets import both, compare, duplicates, is_member, minus, named, paths, union, well_formed, whole
from fairway.objects import schema

Fields = dict[str, Any]

SERVICE = whole(schema.lookup("Service"))
POD = whole(schema.lookup("Pod"))


def trees() -> st.SearchStrategy[Fields]:
    """Sets over few steps, so that they meet."""
    steps = st.sampled_from(["f:a", "f:b", 'k:{"name":"x"}', 'v:"y"'])
    leaf = st.just({})
    node = st.recursive(leaf, lambda inner: st.dictionaries(st.one_of(steps, st.just(".")), inner, max_size=3))
    return st.dictionaries(steps, node.map(normal), max_size=3)


def normal(node: Fields) -> Fields:
    """A member's dot holds nothing, and stands only beside others."""
    below = {step: normal(inner) for step, inner in node.items() if step != "."}
    return {".": {}, **below} if below and "." in node else below


def members(fields: Fields, at: tuple[str, ...] = ()) -> set[tuple[str, ...]]:
    """The set as a plain one: the other way to say it."""
    found: set[tuple[str, ...]] = set()
    for step, node in fields.items():
        if step != ".":
            found |= {(*at, step)} if is_member(node) else set()
            found |= members(node, (*at, step))
    return found


@given(trees(), trees())
def test_the_algebra_is_that_of_sets(left: Fields, right: Fields) -> None:
    assert members(union(left, right)) == members(left) | members(right)
    assert members(minus(left, right)) == members(left) - members(right)
    assert members(both(left, right)) == members(left) & members(right)
    assert minus(left, left) == {} and union(left, {}) == left and both(left, {}) == {}
    assert len(list(paths(left))) == len(members(left))


@given(trees())
def test_sets_travel_as_they_are(fields: Fields) -> None:
    assert well_formed(json.loads(json.dumps(fields)))


@pytest.mark.parametrize(
    "fields", [[], {"a": {}}, {"f:a": 1}, {".": {"f:a": {}}}, {"k:x": {}}, {"k:[]": {}}, {"v:": {}}]
)
def test_other_values_are_no_sets(fields: Any) -> None:
    assert not well_formed(fields)


def test_values_divide_as_far_as_the_schema_says() -> None:
    spec = {
        "clusterIPs": ["10.96.0.1"],
        "selector": {"app": "web"},
        "ports": [{"port": 53, "protocol": "UDP"}, {"port": 53}],
        "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 1}},
    }
    metadata = {"labels": {"a": "b", "c": "d"}, "finalizers": ["x/y"], "annotations": {}}
    assert sorted(paths(named(SERVICE, {"metadata": metadata, "spec": spec}))) == sorted(
        [
            ".metadata.annotations",
            '.metadata.finalizers[="x/y"]',
            ".metadata.labels.a",
            ".metadata.labels.c",
            ".spec.clusterIPs",
            ".spec.selector",
            '.spec.ports[port=53,protocol="UDP"]',
            '.spec.ports[port=53,protocol="UDP"].port',
            '.spec.ports[port=53,protocol="UDP"].protocol',
            '.spec.ports[port=53,protocol="TCP"]',
            '.spec.ports[port=53,protocol="TCP"].port',
            ".spec.sessionAffinityConfig.clientIP.timeoutSeconds",
        ]
    )


def test_a_change_names_what_is_new_other_and_gone() -> None:
    old = {"spec": {"type": "NodePort", "externalName": "x", "ports": [{"port": 80, "name": "a"}, {"port": 81}]}}
    new = {"spec": {"type": "ClusterIP", "clusterIP": "None", "ports": [{"port": 82}, {"port": 80, "name": "b"}]}}
    change = compare(SERVICE, old, new)
    assert sorted(paths(change.made)) == [
        ".spec.clusterIP",
        '.spec.ports[port=80,protocol="TCP"].name',
        '.spec.ports[port=82,protocol="TCP"]',
        '.spec.ports[port=82,protocol="TCP"].port',
        ".spec.type",
    ]
    assert sorted(paths(change.gone)) == [
        ".spec.externalName",
        '.spec.ports[port=81,protocol="TCP"]',
        '.spec.ports[port=81,protocol="TCP"].port',
    ]
    assert not compare(SERVICE, old, {"spec": {**old["spec"], "ports": old["spec"]["ports"][::-1]}})


def test_what_is_always_there_is_nobodys_doing() -> None:
    pod = {"spec": {"containers": [{"name": "a", "resources": {}}], "securityContext": {}}}
    assert compare(POD, {}, pod).made == {
        "f:spec": {
            "f:containers": {'k:{"name":"a"}': {".": {}, "f:name": {}, "f:resources": {}}},
            "f:securityContext": {},
        }
    }
    asked = {"spec": {**pod["spec"], "containers": [{"name": "a", "resources": {"requests": {"cpu": "1"}}}]}}
    assert list(paths(compare(POD, pod, asked).made)) == [
        '.spec.containers[name="a"].resources.requests',
        '.spec.containers[name="a"].resources.requests.cpu',
    ]
    assert compare(POD, asked, pod).made == {} and compare(POD, pod, {"spec": {}}).made == {}


def test_what_keys_say_twice_is_told() -> None:
    ports = [{"port": 80, "name": "a"}, {"port": 80, "name": "b"}, {"port": 80, "protocol": "UDP"}]
    obj = {"metadata": {"finalizers": ["x", "x"]}, "spec": {"ports": ports}}
    assert list(duplicates(SERVICE, obj)) == [
        '.metadata.finalizers: duplicate entries for key [="x"]',
        '.spec.ports: duplicate entries for key [port=80,protocol="TCP"]',
    ]
