"""Label and field selectors."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.objects.errors import SelectorError
from fairway.objects.kinds import EVENT, KINDS, NODE, POD, SERVICE
from fairway.objects.selectors import (
    FieldSelector,
    FieldTerm,
    LabelSelector,
    Requirement,
    from_label_selector,
    from_map,
    parse_fields,
    parse_labels,
    selectable,
)

WEB = {"app": "web", "tier": "front", "n": "7", "empty": ""}


@pytest.mark.parametrize(
    ("text", "selected"),
    [
        ("", True),
        ("app=web", True), ("app==web", True), ("app = web", True), ("app=db", False), ("gone=web", False),
        ("app!=db", True), ("app!=web", False), ("gone!=x", True),
        ("tier in (front, back)", True), ("tier in (back)", False), ("gone in (x)", False),
        ("tier notin (back)", True), ("tier notin (front,back)", False), ("gone notin (x)", True),
        ("app", True), ("gone", False), ("!app", False), ("!gone", True), ("! gone", True),
        ("n>6", True), ("n>7", False), ("n<8", True), ("app>1", False), ("gone<1", False),
        ("empty=", True), ("empty in (,x)", True), ("app=", False),
        ("app=web,tier=front,!gone", True), ("app=web,tier=back", False),
        ("in=x", False), ("notin", False),
    ],
)  # fmt: skip
def test_what_a_label_selector_selects(text: str, selected: bool) -> None:
    assert parse_labels(text).matches(WEB) is selected


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("app=web,", "name part must be non-empty"),
        ("=web", "'='"),
        ("app web", "found 'web' after 'app'"),
        ("app in x", "expected '('"),
        ("app in (x", "expected ',' or ')'"),
        ("app in (x y)", "found 'y'"),
        ("app=web)", "found ')'"),
        ("app=web tier=front", "found 'tier'"),
        ("-app", "'-app'"),
        ("a/b/c=d", "'a/b/c'"),
        ("app=" + "x" * 64, "63 characters"),
        ("app=-x", "'-x'"),
        ("n>x", "no integer"),
        ("!", "name part must be non-empty"),
        ("!app=web", "found '='"),
    ],
)
def test_a_label_selector_that_makes_no_sense_is_quoted(text: str, part: str) -> None:
    with pytest.raises(SelectorError) as caught:
        parse_labels(text)
    assert repr(text) in str(caught.value) and part in str(caught.value)


keys = st.sampled_from(["app", "tier", "example.com/role"])
words = st.sampled_from(["", "web", "db", "a_b.c"])
requirements = st.one_of(
    st.builds(Requirement, keys, st.sampled_from(["=", "!="]), st.tuples(words)),
    st.builds(
        Requirement, keys, st.sampled_from(["in", "notin"]), st.sets(words, min_size=1).map(lambda s: tuple(sorted(s)))
    ),
    st.builds(Requirement, keys, st.sampled_from(["exists", "!"])),
    st.builds(Requirement, keys, st.sampled_from([">", "<"]), st.tuples(st.integers(0, 99).map(str))),
)


@given(st.lists(requirements, max_size=4).map(tuple))
def test_label_selectors_print_and_parse(found: tuple[Requirement, ...]) -> None:
    selector = LabelSelector(found)
    assert parse_labels(str(selector)) == selector


@given(st.text(max_size=40))
def test_any_text_is_a_selector_or_a_selector_error(text: str) -> None:
    for parse in (parse_labels, parse_fields):
        try:
            parse(text)
        except SelectorError as error:
            assert repr(text) in str(error)


def test_selector_objects() -> None:
    selector = from_label_selector(
        {
            "matchLabels": {"app": "web"},
            "matchExpressions": [
                {"key": "tier", "operator": "In", "values": ["front", "back"]},
                {"key": "gone", "operator": "DoesNotExist"},
                {"key": "app", "operator": "Exists"},
                {"key": "n", "operator": "NotIn", "values": ["8"]},
            ],
        }
    )
    assert selector.matches(WEB)
    assert not selector.matches({**WEB, "gone": ""})
    assert str(selector) == "app=web,tier in (back,front),!gone,app,n notin (8)"


def test_no_selector_selects_nothing_and_an_empty_one_everything() -> None:
    assert not from_label_selector(None).matches({})
    assert from_label_selector({}).matches({}) and from_label_selector({}).everything
    assert not from_map({}).matches({}) and not from_map(None).matches(WEB)
    assert from_map({"app": "web"}).matches(WEB)


@pytest.mark.parametrize(
    "expression",
    [
        {"key": "a", "operator": "Near", "values": ["b"]},
        {"key": "a", "operator": "In"},
        {"key": "a", "operator": "Exists", "values": ["b"]},
    ],
)
def test_an_expression_that_makes_no_sense_is_quoted(expression: dict[str, Any]) -> None:
    with pytest.raises(SelectorError, match="'operator'"):
        from_label_selector({"matchExpressions": [expression]})


POD_A = {
    "metadata": {"name": "a", "namespace": "default"},
    "spec": {"nodeName": "node-a", "hostNetwork": True},
    "status": {"phase": "Running"},
}


@pytest.mark.parametrize(
    ("text", "selected"),
    [
        ("", True),
        ("metadata.name=a", True), ("metadata.name==a", True), ("metadata.name!=a", False), ("metadata.name=b", False),
        ("spec.nodeName=node-a,status.phase=Running", True), ("spec.nodeName=node-a,status.phase!=Running", False),
        ("spec.nodeName=", False), ("status.podIP=", True), ("spec.hostNetwork=true", True),
        ("metadata.namespace=default", True),
    ],
)  # fmt: skip
def test_what_a_field_selector_selects(text: str, selected: bool) -> None:
    assert parse_fields(text).matches(POD, POD_A) is selected


def test_fields_have_defaults_and_kinds_their_own() -> None:
    assert parse_fields("spec.unschedulable=false").matches(NODE, {"metadata": {"name": "n"}})
    assert parse_fields("spec.clusterIP=None,spec.type=ClusterIP").matches(
        SERVICE, {"spec": {"clusterIP": "None", "type": "ClusterIP"}}
    )
    event = {"involvedObject": {"kind": "Pod", "name": "a"}, "source": {"component": "kubelet"}, "reason": "Killing"}
    assert parse_fields("involvedObject.kind=Pod,involvedObject.name=a,source=kubelet,reason!=Pulled").matches(
        EVENT, event
    )


def test_a_field_that_cannot_be_selected_by_is_named_with_those_that_can() -> None:
    selector = parse_fields("spec.replicas=1")
    with pytest.raises(
        SelectorError, match=r'"spec.replicas" is not a known field selector of services: .*"spec.type"'
    ):
        selector.check(SERVICE)
    with pytest.raises(SelectorError):
        selector.matches(SERVICE, {})
    with pytest.raises(SelectorError, match="nodes"):
        parse_fields("metadata.namespace=x").check(NODE)


def test_every_kind_is_selectable_by_name() -> None:
    for kind in KINDS:
        assert selectable(kind)["metadata.name"]({"metadata": {"name": "x"}}) == "x"
        assert ("metadata.namespace" in selectable(kind)) is kind.namespaced


@pytest.mark.parametrize("text", ["a", "a>b", "=b", "a=b=c", "a=b\\", "a=b,c"])
def test_a_field_selector_that_makes_no_sense_is_quoted(text: str) -> None:
    with pytest.raises(SelectorError) as caught:
        parse_fields(text)
    assert repr(text) in str(caught.value)


def test_empty_terms_say_nothing() -> None:
    assert parse_fields("a=b,,c=d,") == parse_fields("a=b,c=d")


@given(st.text(alphabet="ab,=\\", max_size=8), st.booleans())
def test_field_selectors_print_and_parse(value: str, equal: bool) -> None:
    selector = FieldSelector((FieldTerm("metadata.name", equal, value), FieldTerm("spec.type", True, "x")))
    assert parse_fields(str(selector)) == selector


def test_an_exact_name_can_be_read_off() -> None:
    selector = parse_fields("status.phase!=Failed,metadata.name=a")
    assert selector.exact("metadata.name") == "a"
    assert selector.exact("status.phase") is None
