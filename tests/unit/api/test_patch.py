"""Patches: the RFCs' own examples, strategic merge for every merge key, and what is refused."""

from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.api.patch import PatchError, json_patch, merge_patch, pointer, same, strategic_merge
from fairway.objects import schema

# RFC 7386, appendix A.
MERGE_EXAMPLES = [
    ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    ({"a": "b"}, {"a": None}, {}),
    ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
    (["a", "b"], ["c", "d"], ["c", "d"]),
    ({"a": "b"}, ["c"], ["c"]),
    ({"a": "foo"}, None, None),
    ({"a": "foo"}, "bar", "bar"),
    ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
    ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
]


@pytest.mark.parametrize(("target", "patch", "result"), MERGE_EXAMPLES)
def test_rfc_7386(target: Any, patch: Any, result: Any) -> None:
    before = deepcopy((target, patch))
    assert merge_patch(target, patch) == result
    assert (target, patch) == before


# RFC 6902, appendix A (A.13 and A.14 are told apart below).
JSON_EXAMPLES = [
    ({"foo": "bar"}, [{"op": "add", "path": "/baz", "value": "qux"}], {"baz": "qux", "foo": "bar"}),
    ({"foo": ["bar", "baz"]}, [{"op": "add", "path": "/foo/1", "value": "qux"}], {"foo": ["bar", "qux", "baz"]}),
    ({"baz": "qux", "foo": "bar"}, [{"op": "remove", "path": "/baz"}], {"foo": "bar"}),
    ({"foo": ["bar", "qux", "baz"]}, [{"op": "remove", "path": "/foo/1"}], {"foo": ["bar", "baz"]}),
    (
        {"baz": "qux", "foo": "bar"},
        [{"op": "replace", "path": "/baz", "value": "boo"}],
        {"baz": "boo", "foo": "bar"},
    ),
    (
        {"foo": {"bar": "baz", "waldo": "fred"}, "qux": {"corge": "grault"}},
        [{"op": "move", "from": "/foo/waldo", "path": "/qux/thud"}],
        {"foo": {"bar": "baz"}, "qux": {"corge": "grault", "thud": "fred"}},
    ),
    (
        {"foo": ["all", "grass", "cows", "eat"]},
        [{"op": "move", "from": "/foo/1", "path": "/foo/3"}],
        {"foo": ["all", "cows", "eat", "grass"]},
    ),
    (
        {"baz": "qux", "foo": ["a", 2, "c"]},
        [{"op": "test", "path": "/baz", "value": "qux"}, {"op": "test", "path": "/foo/1", "value": 2}],
        {"baz": "qux", "foo": ["a", 2, "c"]},
    ),
    (
        {"foo": "bar"},
        [{"op": "add", "path": "/child", "value": {"grandchild": {}}}],
        {"foo": "bar", "child": {"grandchild": {}}},
    ),
    ({"foo": "bar"}, [{"op": "add", "path": "/baz", "value": "qux", "xyz": 123}], {"foo": "bar", "baz": "qux"}),
    ({"/": 9, "~1": 10}, [{"op": "test", "path": "/~01", "value": 10}], {"/": 9, "~1": 10}),
    ({"foo": ["bar"]}, [{"op": "add", "path": "/foo/-", "value": ["abc", "def"]}], {"foo": ["bar", ["abc", "def"]]}),
    ({"a": 1}, [{"op": "copy", "from": "/a", "path": "/b"}], {"a": 1, "b": 1}),
    ({"a": 1}, [{"op": "add", "path": "", "value": [1]}, {"op": "replace", "path": "", "value": [2]}], [2]),
    ({"a": 1}, [{"op": "move", "from": "/a", "path": "/a"}], {"a": 1}),
    ({"a": 1}, [{"op": "replace", "path": "/a", "value": None}], {"a": None}),
]


@pytest.mark.parametrize(("document", "patch", "result"), JSON_EXAMPLES)
def test_rfc_6902(document: Any, patch: Any, result: Any) -> None:
    before = deepcopy((document, patch))
    assert json_patch(document, patch) == result
    assert (document, patch) == before


@pytest.mark.parametrize(
    ("patch", "message"),
    [
        ({"op": "add"}, "a JSON patch is a list of operations"),
        (["add"], "operation 0: an operation is an object with op and path"),
        ([{"op": "add", "path": "/b"}], "operation 0: add needs a value"),
        ([{"op": "add", "value": 1}], "operation 0: None is no JSON pointer: it must be empty or start with '/'"),
        ([{"op": "remove", "path": "b"}], "operation 0: 'b' is no JSON pointer: it must be empty or start with '/'"),
        ([{"op": "paint", "path": "/b"}], "operation 0: op 'paint' is none of add, remove, replace, move, copy, test"),
        ([{"op": "remove", "path": "/l"}, {"op": "remove", "path": "/gone"}], "operation 1: /gone does not exist"),
        ([{"op": "replace", "path": "/gone", "value": 1}], "operation 0: /gone does not exist"),
        ([{"op": "add", "path": "/x/y", "value": 1}], "operation 0: /x does not exist"),
        ([{"op": "add", "path": "/a/y", "value": 1}], "operation 0: /a is neither an object nor a list"),
        ([{"op": "test", "path": "/a", "value": True}], "operation 0: testing value /a failed"),
        ([{"op": "test", "path": "/a", "value": "1"}], "operation 0: testing value /a failed"),
        ([{"op": "add", "path": "/l/3", "value": 1}], "operation 0: /l/3: '3' is no index of a list of 3"),
        ([{"op": "add", "path": "/l/01", "value": 1}], "operation 0: /l/01: '01' is no index of a list of 3"),
        ([{"op": "remove", "path": "/l/-"}], "operation 0: /l/-: '-' is no index of a list of 2"),
        ([{"op": "remove", "path": ""}], "operation 0: the whole document cannot be removed"),
        ([{"op": "move", "from": "/l", "path": "/l/0"}], "operation 0: /l cannot be moved into itself"),
        ([{"op": "copy", "path": "/b"}], "operation 0: None is no JSON pointer: it must be empty or start with '/'"),
    ],
)  # fmt: skip
def test_a_json_patch_that_does_not_fit(patch: Any, message: str) -> None:
    with pytest.raises(PatchError) as caught:
        json_patch({"a": 1, "l": [1, 2]}, patch)
    assert caught.value.message == message


def test_copying_cannot_double_without_bound() -> None:
    with pytest.raises(PatchError, match="copies more than"):
        json_patch({"a": ["x" * 1000]}, [{"op": "copy", "from": "", "path": "/a/-"}] * 16)


def test_a_json_patch_has_a_bounded_number_of_operations() -> None:
    with pytest.raises(PatchError, match="at most 10000 operations"):
        json_patch({}, [{"op": "test", "path": "", "value": {}}] * 10001)


@pytest.mark.parametrize(
    ("left", "right", "equal"),
    [(1, 1.0, True), (1, True, False), (0, False, False), ([1, {}], [1, {}], True), ({"a": 1}, {"a": True}, False),
     ("1", 1, False), (None, False, False), ([1], [1, 2], False)],
)  # fmt: skip
def test_json_equality(left: Any, right: Any, equal: bool) -> None:
    assert same(left, right) is equal


def test_pointers() -> None:
    assert pointer("/a~1b/m~0n/~01/") == ["a/b", "m~n", "~1", ""]
    assert pointer("") == []


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc$"), inner, max_size=3),
    max_leaves=8,
)


@given(json_values, json_values)
def test_merging_twice_is_merging_once(target: Any, patch: Any) -> None:
    once = merge_patch(target, patch)
    assert merge_patch(once, patch) == once


pointers = st.text("/ab01-~", max_size=6)
operations = st.fixed_dictionaries(
    {"op": st.sampled_from(["add", "remove", "replace", "move", "copy", "test", "x"]), "path": pointers},
    optional={"from": pointers, "value": json_values},
)


@given(json_values, st.lists(operations, max_size=5) | json_values)
def test_any_json_patch_applies_or_is_refused(document: Any, patch: Any) -> None:
    before = deepcopy(document)
    try:
        json_patch(document, patch)
    except PatchError as error:
        assert error.message
    assert document == before


def merge(type_name: str, obj: dict[str, Any], patch: Any) -> dict[str, Any]:
    before = deepcopy((obj, patch))
    merged = strategic_merge(obj, patch, schema.lookup(type_name))
    assert (obj, patch) == before
    return merged


MERGE_KEYS = [
    (type_.name, field.name, field.merge_key)
    for type_ in schema.types().values()
    for field in type_.fields.values()
    if field.merge_key
]


@pytest.mark.parametrize(("type_name", "field", "key"), MERGE_KEYS)
def test_every_keyed_list_merges_adds_and_deletes_items(type_name: str, field: str, key: str) -> None:
    obj = {field: [{key: "a", "x": 1}, {key: "b"}, {key: "c"}]}
    patch = {field: [{key: "a", "y": 2}, {"$patch": "delete", key: "b"}, {key: "d"}]}
    assert merge(type_name, obj, patch) == {field: [{key: "a", "x": 1, "y": 2}, {key: "d"}, {key: "c"}]}


def test_fields_merge_and_null_removes() -> None:
    obj = {"type": "ClusterIP", "selector": {"app": "web", "tier": "front"}, "clusterIP": "10.96.0.5"}
    patch = {"type": "NodePort", "selector": {"tier": None, "zone": "a"}, "sessionAffinity": None}
    assert merge("ServiceSpec", obj, patch) == {
        "type": "NodePort",
        "selector": {"app": "web", "zone": "a"},
        "clusterIP": "10.96.0.5",
    }


def test_lists_without_a_key_are_replaced() -> None:
    obj = {"tolerations": [{"key": "a"}], "containers": []}
    assert merge("PodSpec", obj, {"tolerations": [{"key": "b"}]})["tolerations"] == [{"key": "b"}]


def test_lists_in_lists_merge_as_deep_as_the_schema_goes() -> None:
    obj = {"template": {"spec": {"containers": [{"name": "a", "image": "1", "env": [{"name": "X", "value": "1"}]}]}}}
    patch = {"template": {"spec": {"containers": [{"name": "a", "image": "2", "env": [{"name": "Y", "value": "2"}]}]}}}
    (container,) = merge("DeploymentSpec", obj, patch)["template"]["spec"]["containers"]
    assert container == {
        "name": "a",
        "image": "2",
        "env": [{"name": "Y", "value": "2"}, {"name": "X", "value": "1"}],
    }


def test_without_an_order_the_items_of_the_patch_keep_theirs() -> None:
    # The walk through `kubectl patch` in the Kubernetes documentation: the container that is added comes first.
    obj = {"containers": [{"name": "patch-demo-ctr", "image": "nginx"}]}
    patch = {"containers": [{"name": "patch-demo-ctr-2", "image": "redis"}]}
    assert [item["image"] for item in merge("PodSpec", obj, patch)["containers"]] == ["redis", "nginx"]
    finalizers = {"finalizers": ["a", "b", "c"]}
    assert merge("ObjectMeta", finalizers, {"finalizers": ["c", "new", "a"]})["finalizers"] == ["b", "c", "new", "a"]


def test_directives_in_objects() -> None:
    obj = {"selector": {"app": "web"}, "type": "ClusterIP"}
    assert merge("ServiceSpec", obj, {"selector": {"$patch": "replace", "zone": "a"}})["selector"] == {"zone": "a"}
    assert merge("ServiceSpec", obj, {"selector": {"$patch": "delete"}})["selector"] == {}
    assert merge("ServiceSpec", obj, {"selector": {"$patch": "merge", "b": "c"}})["selector"] == {
        "app": "web",
        "b": "c",
    }


def test_a_list_is_replaced_on_request() -> None:
    obj = {"containers": [{"name": "a"}, {"name": "b"}]}
    patch = {"containers": [{"$patch": "replace"}, {"name": "c"}]}
    assert merge("PodSpec", obj, patch) == {"containers": [{"name": "c"}]}


def test_an_item_that_says_replace_says_nothing_else() -> None:
    obj = {"containers": [{"name": "a", "image": "1"}]}
    patch = {"containers": [{"$patch": "replace", "name": "a"}, {"name": "b"}]}
    assert merge("PodSpec", obj, patch) == {"containers": [{"name": "b"}]}


def test_retained_keys_drop_what_the_new_choice_excludes() -> None:
    obj = {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}
    patch = {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}
    assert merge("DeploymentSpec", obj, patch) == {"strategy": {"type": "Recreate"}}

    volumes = {"volumes": [{"name": "v", "emptyDir": {}}]}
    change = {"volumes": [{"$retainKeys": ["name", "hostPath"], "name": "v", "hostPath": {"path": "/x"}}]}
    assert merge("PodSpec", volumes, change) == {"volumes": [{"name": "v", "hostPath": {"path": "/x"}}]}


def test_primitive_lists_that_merge() -> None:
    obj = {"finalizers": ["a", "b", "c"]}
    assert merge("ObjectMeta", obj, {"finalizers": ["c", "d"]}) == {"finalizers": ["a", "b", "c", "d"]}
    assert merge("ObjectMeta", obj, {"$deleteFromPrimitiveList/finalizers": ["a", "x"]}) == {"finalizers": ["b", "c"]}
    assert merge(
        "ObjectMeta",
        obj,
        {
            "$deleteFromPrimitiveList/finalizers": ["b"],
            "$setElementOrder/finalizers": ["d", "c", "a"],
            "finalizers": ["d"],
        },
    ) == {"finalizers": ["d", "c", "a"]}


@pytest.mark.parametrize(
    ("server", "patched", "order", "result"),
    [
        ("abc", "", "cba", "cba"),
        ("abc", "d", "adbc", "adbc"),
        ("axb", "", "ba", "xba"),  # x, which the writer does not know, stays before b
        ("xab", "", "ba", "xba"),
        ("abx", "", "ba", "bax"),
        ("ab", "c", "cab", "cab"),
    ],
)
def test_the_order_that_was_asked_for(server: str, patched: str, order: str, result: str) -> None:
    def items(names: str) -> list[dict[str, str]]:
        return [{"name": name} for name in names]

    patch = {"containers": items(patched), "$setElementOrder/containers": items(order)}
    assert merge("PodSpec", {"containers": items(server)}, patch) == {"containers": items(result)}


def test_ports_of_one_number_and_two_protocols_are_told_apart() -> None:
    obj = {"ports": [{"port": 53, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}]}
    patch = {"ports": [{"port": 53, "protocol": "UDP", "targetPort": 5353}]}
    assert merge("ServiceSpec", obj, patch) == {
        "ports": [{"port": 53, "protocol": "TCP"}, {"port": 53, "protocol": "UDP", "targetPort": 5353}]
    }
    only = {"ports": [{"port": 53, "protocol": "TCP"}]}
    assert merge("ServiceSpec", only, {"ports": [{"port": 53, "protocol": "UDP"}]}) == {
        "ports": [{"port": 53, "protocol": "UDP"}]
    }


def test_deletions_go_before_changes_of_the_same_key() -> None:
    # What kubectl sends when one of two ports with the same number goes.
    obj = {"ports": [{"port": 53, "protocol": "TCP", "targetPort": 5353}, {"port": 53, "protocol": "UDP"}]}
    patch = {
        "$setElementOrder/ports": [{"port": 53}],
        "ports": [{"port": 53, "name": "a", "protocol": None}, {"$patch": "delete", "port": 53}],
    }
    assert merge("ServiceSpec", obj, patch) == {"ports": [{"port": 53, "name": "a"}]}


def test_new_objects_are_cleared_of_directives_and_nulls() -> None:
    patch = {
        "template": {
            "spec": {"$setElementOrder/containers": [{"name": "a"}], "containers": [{"name": "a", "image": None}]}
        }
    }
    assert merge("DeploymentSpec", {}, patch) == {"template": {"spec": {"containers": [{"name": "a"}]}}}


@pytest.mark.parametrize(
    ("patch", "message"),
    [
        ([], "a strategic merge patch is an object"),
        ({"$patch": "burn"}, "$patch: 'burn' is none of replace, delete, merge"),
        ({"containers": ["a"]}, "an item of containers does not contain its merge key name"),
        ({"containers": [{"image": "x"}]}, "an item of containers does not contain its merge key name"),
        ({"containers": [{"name": {}}]}, "an object or a list stands where a plain value tells items apart"),
        ({"$retainKeys": "x"}, "$retainKeys must be a list of field names"),
        ({"$retainKeys": ["a"], "b": 1}, "$retainKeys does not name b, which the patch sets"),
        ({"$setElementOrder/containers": 1}, "$setElementOrder/containers must be a list"),
        ({"$setElementOrder/containers": [{}]}, "an item of containers does not contain its merge key name"),
        ({"$deleteFromPrimitiveList/containers": 1}, "$deleteFromPrimitiveList/containers must be a list"),
    ],
)
def test_a_strategic_patch_that_makes_no_sense(patch: Any, message: str) -> None:
    with pytest.raises(PatchError) as caught:
        merge("PodSpec", {"containers": [{"name": "a"}]}, patch)
    assert caught.value.message == message


patches = st.recursive(
    st.none() | st.integers(0, 3) | st.sampled_from(["a", "replace", "delete"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["name", "containers", "env", "ports", "containerPort", "tolerations", "$patch", "$retainKeys",
                 "$setElementOrder/containers", "$deleteFromPrimitiveList/tolerations", "$setElementOrder/env"]
            ),
            inner,
            max_size=3,
        )
    ),
    max_leaves=10,
)  # fmt: skip


@given(patches)
def test_any_strategic_patch_applies_or_is_refused(patch: Any) -> None:
    obj = {
        "containers": [{"name": "a", "env": [{"name": "a"}], "ports": [{"containerPort": 1}]}, {"name": "b"}],
        "tolerations": [{"key": "a"}],
    }
    try:
        merge("PodSpec", obj, patch)
    except PatchError as error:
        assert error.message
