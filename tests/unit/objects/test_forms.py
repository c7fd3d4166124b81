"""A quick yes must never be a wrong one: whatever a form takes, the walks that find the words find nothing in."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fairway.objects import codec, forms, schema
from fairway.objects.kinds import CONFIG_MAP, DEPLOYMENT, ENDPOINT_SLICE, NODE, POD, SERVICE, Kind
from fairway.objects.schema import Field, Shape
from fairway.objects.validate.fields import RULES, check_fields

KINDS = (SERVICE, ENDPOINT_SLICE, CONFIG_MAP, POD, DEPLOYMENT, NODE)

LABELS = [
    "a",
    "web",
    "web-1",
    "-web",
    "web-",
    "Web",
    "a.b",
    "a..b",
    "example.com/x",
    "/x",
    "a/b/c",
    "a--b",
    "http",
    "80",
    "1",
    "10.0.0.1",
    "a=b",
    ".",
    "..",
    "ä",
]
WORDS = ["500m", "1Gi", "-1", "1e3", "TCP", "ClusterIP", "None", "IPv4", "===", "YQ==", "YQ", "2026-01-01T00:00:00Z"]
LONG = ["x" * 63, "x" * 64, "x" * 254, ("a" * 60 + ".") * 5]
TEXTS = st.sampled_from(["", "a\n", "\n", *LABELS, *WORDS, *LONG])
NUMBERS = st.sampled_from([-(1 << 63), -(1 << 31) - 1, -1, 0, 1, 80, 65535, 65536, 86400, 86401, 1 << 31, 1 << 63])
JUNK = st.one_of(TEXTS, NUMBERS, st.none(), st.booleans(), st.just(1.5), st.just([]), st.just({}), st.just([None]))


def values(field: Field, shape: Shape, depth: int) -> st.SearchStrategy[Any]:
    """Mostly values as the shape has them, sometimes junk."""
    if shape.kind == "object":
        right: st.SearchStrategy[Any] = objects(shape.name, depth - 1)
    elif shape.element is not None:
        inner = values(field, shape.element, depth)
        right = st.lists(inner, max_size=2) if shape.kind == "list" else st.dictionaries(TEXTS, inner, max_size=2)
    elif field.enum:
        right = st.sampled_from([*field.enum, "", "Other"])
    else:
        right = {"boolean": st.booleans(), "int32": NUMBERS, "int64": NUMBERS}.get(shape.name, TEXTS)
    return st.integers(0, 19).flatmap(lambda chance: right if chance else JUNK)


def objects(name: str, depth: int = 4) -> st.SearchStrategy[dict[str, Any]]:
    fields = schema.lookup(name).fields
    if depth <= 0:
        return st.just({})

    def build(chosen: list[str]) -> st.SearchStrategy[dict[str, Any]]:
        wanted = set(chosen) | {field.name for field in fields.values() if field.required}
        known = {name: values(fields[name], fields[name].type, depth) for name in wanted if name in fields}
        return st.fixed_dictionaries(known | ({"strange": JUNK} if "strange" in wanted else {}))

    return st.lists(st.sampled_from([*fields] * 3 + ["strange"]), max_size=4).flatmap(build)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_what_fits_has_nothing_wrong_with_it(kind: Kind, data: st.DataObject) -> None:
    obj = data.draw(objects(kind.name))
    if forms.typed(kind, obj):
        assert codec.check(kind, obj) == codec.Checked()
        assert codec.prune(kind, obj) == obj
    if forms.sound(kind, obj):
        body = {name: value for name, value in obj.items() if name != "status"}
        assert list(check_fields(schema.for_kind(kind), body, "")) == []


@pytest.mark.parametrize("field", ["port", "label", "qualified", "subdomain", "label_value", "port_name", "config_key"])
@given(text=st.one_of(TEXTS, st.text("aB1-_./\n", max_size=70)))
def test_a_pattern_takes_no_text_that_its_rule_refuses(field: str, text: str) -> None:
    pattern = forms.PATTERNS["port_name" if field == "port" else field]
    if re.search(rf"\A(?:{pattern})\Z", text):
        assert RULES[field](text) == []


def test_ordinary_objects_fit_so_that_the_walks_are_spared() -> None:
    service = {
        "kind": "Service",
        "apiVersion": "v1",
        "metadata": {"name": "web", "labels": {"app": "web"}, "annotations": {"example.com/a": "b"}},
        "spec": {"selector": {"app": "web"}, "ports": [{"name": "http", "port": 80, "targetPort": "http"}]},
    }
    pod = {
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": {"name": "web"},
        "spec": {"containers": [{"name": "c", "image": "httpd", "resources": {"limits": {"memory": "64Mi"}}}]},
        "status": {"startTime": "2026-01-01T00:00:00Z"},
    }
    for kind, obj in ((SERVICE, service), (POD, pod)):
        assert forms.typed(kind, obj) and forms.sound(kind, obj)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("port", 0),
        ("port", None),
        ("port", "80"),
        ("protocol", "ICMP"),
        ("nodePort", 1 << 31),
        ("strange", 1),
        ("appProtocol", "a/b/c"),
    ],
)
def test_what_is_wrong_never_fits(path: str, value: Any) -> None:
    service = {"kind": "Service", "apiVersion": "v1", "metadata": {}, "spec": {"ports": [{"port": 80, path: value}]}}
    assert not forms.sound(SERVICE, service)


def test_a_spec_that_is_implied_does_not_fit_when_it_is_missing() -> None:
    assert not forms.sound(DEPLOYMENT, {"kind": "Deployment", "apiVersion": "apps/v1", "metadata": {}})
