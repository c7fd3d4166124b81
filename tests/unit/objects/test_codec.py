"""The codec: what it reads, what it refuses and where, what it writes."""

import string
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fairway.objects import codec
from fairway.objects.errors import Malformed, TooLarge, UnsupportedMedia
from fairway.objects.kinds import CONFIG_MAP, DEPLOYMENT, LEASE, POD, SECRET, SERVICE

JSON = "application/json"
YAML = "application/yaml"

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)
objects = st.fixed_dictionaries(
    {"metadata": st.dictionaries(st.text(), values, max_size=4)},
    optional={"kind": st.text(), "apiVersion": st.text(), "spec": values, "data": values},
)


@given(objects)
@example({"metadata": {}})
@example({"kind": '"metadata":{', "metadata": {"a": 1}})
@example({"kind": "K", "spec": {"metadata": {}}, "metadata": {"b": {"metadata": {}}}})
def test_what_is_encoded_decodes_to_itself_with_the_revision_added(obj: dict[str, Any]) -> None:
    value = codec.encode(obj)
    assert list(codec.decode(value))[:3] == ["kind", "apiVersion", "metadata"]

    back = codec.decode(codec.with_revision(value, 42))

    assert back["metadata"].pop("resourceVersion") == "42"
    assert back["metadata"] == {key: item for key, item in obj["metadata"].items() if key != "resourceVersion"}
    assert {"kind": "", "apiVersion": "", **obj} == {**back, "metadata": obj["metadata"]}


def test_the_stored_form_is_compact_and_knows_no_revision() -> None:
    obj = {"apiVersion": "v1", "metadata": {"resourceVersion": "7", "name": "web"}, "spec": {}, "kind": "Service"}
    assert codec.encode(obj) == b'{"kind":"Service","apiVersion":"v1","metadata":{"name":"web"},"spec":{}}'


def test_splicing_refuses_what_is_no_stored_object() -> None:
    with pytest.raises(ValueError, match="subsection not found"):
        codec.with_revision(b"{}", 1)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "line 1, column 1: not JSON: Input data was truncated"),
        (b'{\n  "a": x\n}', "line 2, column 8: not JSON: invalid character"),
        (b'{"a": 1} x', "line 1, column 11: not JSON: trailing characters"),
        (b"[]", "must hold an object, not a list"),
        (b"null", "must hold an object, not null"),
        (b'"text"', 'must hold an object, not the string "text"'),
        (b'{"a": NaN}', "line 1, column 7: not JSON: invalid character"),
        (b'{"a": ' * 101 + b"1" + b"}" * 101, "nested deeper than 100 levels"),
        (b"[" * 200_000, "nested deeper than 100 levels"),
    ],
)
def test_broken_json_says_where(body: bytes, message: str) -> None:
    with pytest.raises(Malformed) as caught:
        codec.decode(body, JSON)
    assert str(caught.value) == message


def test_a_hundred_levels_are_read() -> None:
    assert codec.decode(b'{"a":' * 99 + b"{}" + b"}" * 99)


def test_many_shallow_brackets_are_not_depth() -> None:
    assert codec.decode(b'{"a":[' + b",".join([b"{}"] * 500) + b"]}")


def test_a_body_over_the_limit_is_not_read() -> None:
    with pytest.raises(TooLarge):
        codec.decode(b" " * (codec.MAX_BYTES + 1))


@pytest.mark.parametrize("media", ["application/vnd.kubernetes.protobuf", "text/plain", "application/cbor"])
def test_other_media_are_refused(media: str) -> None:
    with pytest.raises(UnsupportedMedia):
        codec.decode(b"{}", media)


@pytest.mark.parametrize(
    "media", ["", JSON, "application/json; charset=utf-8", "application/merge-patch+json", "Application/JSON"]
)
def test_json_media(media: str) -> None:
    assert codec.decode(b'{"a": 1}', media) == {"a": 1}


@pytest.mark.parametrize("media", [YAML, "application/apply-patch+yaml", "text/x-yaml"])
def test_yaml_media(media: str) -> None:
    assert codec.decode(b"a: 1", media) == {"a": 1}


def test_a_json_patch_is_a_list() -> None:
    assert codec.parse(b"[1]", "application/json-patch+json") == [1]


def test_a_manifest_may_hold_many_documents_and_lists() -> None:
    text = b"kind: A\n---\n---\nkind: PodList\nitems:\n- kind: B\n- kind: C\n"
    assert [obj["kind"] for obj in codec.decode_all(text)] == ["A", "B", "C"]
    assert codec.decode_all(b'{\n\t"kind": "A"\n}') == [{"kind": "A"}]


def test_duplicate_members_are_listed_by_path() -> None:
    body = b'{"spec":{"ports":[{"port":1,"port":2}]},"spec":{"a":1,"a":2,"a":3}}'
    assert codec.duplicates(body, codec.parse(body)) == [
        'duplicate field "spec.ports[0].port"',
        'duplicate field "spec"',
        'duplicate field "spec.a"',
    ]
    clean = b'{"a":{"b":1},"c":{"b":1}}'
    assert codec.duplicates(clean, codec.parse(clean)) == []


@pytest.mark.parametrize(
    ("kind", "obj", "problem"),
    [
        (SERVICE, {"spec": {"ports": [{"port": "http"}]}}, 'spec.ports[0].port: must be an integer of 32 bits, not the string "http"'),  # noqa: E501
        (SERVICE, {"spec": {"ports": {}}}, "spec.ports: must be a list, not an object"),
        (SERVICE, {"spec": []}, "spec: must be an object, not a list"),
        (SERVICE, {"spec": {"ports": [None]}}, "spec.ports[0]: must be an object, not null"),
        (SERVICE, {"spec": {"ports": [{"targetPort": 1.5}]}}, "spec.ports[0].targetPort: must be an integer or a string, not the number 1.5"),  # noqa: E501
        (SERVICE, {"spec": {"selector": {"a": 1}}}, "spec.selector[a]: must be a string, not the number 1"),
        (POD, {"spec": {"hostNetwork": "yes"}}, 'spec.hostNetwork: must be true or false, not the string "yes"'),
        (POD, {"spec": {"priority": True}}, "spec.priority: must be an integer of 32 bits, not the boolean true"),
        (POD, {"spec": {"priority": 2**31}}, "spec.priority: must be an integer of 32 bits, not the number 2147483648"),
        (POD, {"metadata": {"creationTimestamp": "now"}}, 'metadata.creationTimestamp: must be a time as in RFC 3339, not the string "now"'),  # noqa: E501
        (SECRET, {"data": {"a": "*"}}, 'data[a]: must be text in base64, not the string "*"'),
        (CONFIG_MAP, {"metadata": "x"}, 'metadata: must be an object, not the string "x"'),
    ],
)  # fmt: skip
def test_values_of_the_wrong_type(kind: Any, obj: dict[str, Any], problem: str) -> None:
    checked = codec.check(kind, obj)
    assert [found.message() for found in checked.problems] == [problem]
    assert checked.unknown == []


@pytest.mark.parametrize(
    ("kind", "obj"),
    [
        (SERVICE, {"spec": {"ports": [{"targetPort": "http"}, {"targetPort": 80}]}}),
        (POD, {"metadata": {"creationTimestamp": None}, "spec": {"overhead": {"cpu": "1", "memory": 5}}}),
        (LEASE, {"spec": {"renewTime": "2026-01-01T10:00:00.123456Z"}}),
        (SECRET, {"data": {"a": "aGk=", "b": ""}}),
        (DEPLOYMENT, {"spec": {"strategy": {"rollingUpdate": {"maxSurge": "25%", "maxUnavailable": 0}}}}),
    ],
)
def test_values_of_the_right_type(kind: Any, obj: dict[str, Any]) -> None:
    assert codec.check(kind, obj) == codec.Checked()


def test_unknown_fields_are_named_by_path() -> None:
    obj = {"spec": {"prots": [], "ports": [{"prot": 1}]}, "extra": None}
    assert codec.check(SERVICE, obj).unknown == [
        'unknown field "spec.prots"',
        'unknown field "spec.ports[0].prot"',
        'unknown field "extra"',
    ]


def test_an_old_version_may_have_a_field_that_the_current_one_lost() -> None:
    obj = {"spec": {"rollbackTo": {"revision": 1}}}
    assert codec.check(DEPLOYMENT, obj, api_version="apps/v1beta1").unknown == []
    assert codec.check(DEPLOYMENT, obj).unknown == ['unknown field "spec.rollbackTo"']


def test_pruning_drops_unknown_fields_and_nulls_and_nothing_else() -> None:
    obj = {
        "metadata": {"labels": {"a": "b", "c": None}, "creationTimestamp": None},
        "spec": {"prots": 1, "ports": [{"port": 1, "prot": 2, "name": ""}], "selector": {}},
        "status": None,
    }
    assert codec.prune(SERVICE, obj) == {
        "metadata": {"labels": {"a": "b"}},
        "spec": {"ports": [{"port": 1, "name": ""}], "selector": {}},
    }


@given(st.dictionaries(st.sampled_from(["metadata", "spec", "status", "kind"]), values))
def test_any_json_is_checked_and_pruned_without_a_crash(obj: dict[str, Any]) -> None:
    codec.check(POD, obj)
    pruned = codec.prune(POD, obj)
    assert codec.check(POD, pruned).unknown == []


@given(st.binary(max_size=200) | st.text(alphabet=string.printable, max_size=200).map(str.encode))
def test_any_bytes_decode_or_are_refused(body: bytes) -> None:
    for media in (JSON, YAML):
        try:
            value = codec.decode(body, media)
        except Malformed as error:
            assert str(error)
        else:
            assert msgspec.json.decode(msgspec.json.encode(value)) == value


@given(st.lists(st.tuples(st.text(max_size=20), st.integers(1, 10**9)), max_size=30), st.integers(1, 400))
def test_joined_items_are_what_each_is_alone(objects: list[tuple[str, int]], piece: int) -> None:
    stored = [
        (codec.encode({"kind": "A", "apiVersion": "v1", "metadata": {"name": n}, "x": {"metadata": {"a": n}}}), r)
        for n, r in objects
    ]
    pieces = codec.joined(stored, piece)
    assert b"".join(pieces) == b",".join(codec.with_revision(value, revision) for value, revision in stored)
