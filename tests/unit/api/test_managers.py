"""Who owns what through updates and applies, and the laws that hold whatever is applied."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairway.api.fieldsets import both, named, paths, whole
from fairway.api.managers import LAST_APPLIED, MOST_UPDATERS, Author, Contested, after_apply, after_update, chosen
from fairway.objects import schema

Object = dict[str, Any]
Entry = dict[str, Any]

TYPE = schema.lookup("Service")
NOW = "2026-01-01T00:00:00Z"
LATER = "2026-01-01T00:01:00Z"


def config(**parts: Any) -> Object:
    return {"kind": "Service", "apiVersion": "v1", "metadata": {"name": "web", **parts.pop("metadata", {})}, **parts}


class Thing:
    """An object that is written, and its owners."""

    def __init__(self) -> None:
        self.obj: Object = {}
        self.entries: list[Entry] = []

    def apply(self, who: str, wanted: Object, *, force: bool = False, now: str = NOW, version: str = "v1") -> None:
        made = after_apply(TYPE, self.live, wanted, Author(who, version), now, force=force)
        self.obj, self.entries = made.obj, made.entries

    def update(self, who: str, new: Object, *, now: str = NOW, door: str = "", version: str = "v1") -> None:
        self.entries = after_update(TYPE, self.obj, new, self.entries, Author(who, version, door), now)
        self.obj = new

    @property
    def live(self) -> Object:
        if not self.obj:
            return {}
        return {**self.obj, "metadata": {**self.obj["metadata"], "managedFields": self.entries}}

    def owned(self) -> dict[str, list[str]]:
        return {f"{entry['manager']} {entry['operation']}": sorted(paths(entry["fieldsV1"])) for entry in self.entries}


ports = st.lists(
    st.fixed_dictionaries(
        {"port": st.sampled_from([80, 81, 82]), "protocol": st.sampled_from(["TCP", "UDP"])},
        optional={"name": st.sampled_from("ab")},
    ),
    min_size=1,
    max_size=3,
    unique_by=lambda port: (port["port"], port["protocol"]),
)
words = st.dictionaries(st.sampled_from("abc"), st.sampled_from("xyz"), max_size=3)
specs = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["ClusterIP", "NodePort"]),
        "selector": words,
        "ports": ports,
        "externalIPs": st.sampled_from([["1.1.1.1"], ["2.2.2.2"], ["1.1.1.1", "2.2.2.2"]]),
        "sessionAffinityConfig": st.just({"clientIP": {"timeoutSeconds": 5}}),
    },
)
configs = st.builds(
    lambda labels, finalizers, spec: config(metadata={"labels": labels, "finalizers": finalizers}, spec=spec),
    words,
    st.lists(st.sampled_from(["f/1", "f/2"]), max_size=2, unique=True),
    specs,
)


def plain(obj: Object) -> Any:
    """The object without what is empty, and its keyed lists in order of their keys."""
    if isinstance(obj, dict):
        return {name: part for name, value in obj.items() if (part := plain(value)) not in ({}, [])}
    if isinstance(obj, list):
        return sorted(map(plain, obj), key=lambda item: json.dumps(item, sort_keys=True))
    return obj


@given(configs, configs)
def test_an_apply_twice_is_an_apply_once(base: Object, wanted: Object) -> None:
    thing = Thing()
    thing.update("someone", base)
    thing.apply("me", wanted, force=True)
    before, owners = thing.obj, thing.entries
    thing.apply("me", wanted, now=LATER)
    assert thing.obj == before and thing.entries == owners


@given(configs, configs)
def test_what_was_applied_onto_nothing_of_it_is_taken_back_whole(base: Object, wanted: Object) -> None:
    """Fields that others had meanwhile not touched come and go with their only owner."""
    thing = Thing()
    thing.apply("base", base)
    before = thing.obj
    try:
        thing.apply("me", wanted)
    except Contested:
        return
    thing.apply("me", config())
    assert plain(thing.obj) == plain(before)
    assert list(thing.owned()) in ([], ["base Apply"])


@given(configs, configs)
def test_conflicts_name_exactly_what_both_set_differently(first: Object, second: Object) -> None:
    thing = Thing()
    thing.apply("one", first)
    shared = both(named(whole(TYPE), bare(first)), named(whole(TYPE), bare(second)))
    different = {path for path in paths(shared) if plain(look(first, path)) != plain(look(second, path))}
    try:
        thing.apply("two", second)
        contested: set[str] = set()
    except Contested as error:
        contested = {cause["field"] for cause in error.causes()}
        assert {cause["message"] for cause in error.causes()} == {'conflict with "one"'}
    assert contested == different


@given(configs, configs)
def test_force_takes_what_is_contested_and_leaves_the_rest(first: Object, second: Object) -> None:
    thing = Thing()
    thing.apply("one", first)
    thing.apply("two", second, force=True)
    owned = {entry["manager"]: entry["fieldsV1"] for entry in thing.entries}
    assert owned.get("two", {}) == named(whole(TYPE), bare(second))
    for path in paths(both(owned.get("one", {}), owned.get("two", {}))):
        assert look(first, path) == look(second, path)
    thing.apply("two", second)


@settings(max_examples=60)
@given(st.lists(st.tuples(st.sampled_from(["one", "two", "three"]), st.booleans(), configs), min_size=1, max_size=6))
def test_whatever_happens_owners_own_what_is_there(story: list[tuple[str, bool, Object]]) -> None:
    thing = Thing()
    for who, applies, wanted in story:
        if applies or not thing.obj:
            thing.apply(who, wanted, force=True)
        else:
            thing.update(who, wanted)
    there = set(paths(named(whole(TYPE), bare(thing.obj))))
    for entry in thing.entries:
        leaves = {path for path in paths(entry["fieldsV1"]) if look(thing.obj, path) not in (None, {}, [])}
        assert {path for path in leaves if not isinstance(look(thing.obj, path), (dict, list))} <= there


def bare(obj: Object) -> Object:
    metadata = {name: part for name, part in obj["metadata"].items() if name != "name"}
    return {"metadata": metadata, "spec": obj.get("spec", {})}


def look(obj: Any, path: str) -> Any:
    """The value at a path such as `.spec.ports[port=80,protocol="TCP"].name`; items and set members are True."""
    value: Any = obj
    for name, keys in re.findall(r"\.([^.\[]+(?:\.\d+)*)|\[([^\]]*)\]", path):
        if value is None:
            return None
        value = value.get(name) if name else item_of(value, keys)
    return True if path.endswith("]") and value is not None else value


def item_of(items: Any, keys: str) -> Any:
    if keys.startswith("="):
        return json.loads(keys[1:]) if json.loads(keys[1:]) in items else None
    wanted = {name: json.loads(text) for name, text in (pair.split("=", 1) for pair in keys.split(","))}
    defaults = {"protocol": "TCP"}
    return next((item for item in items if wanted.items() <= (defaults | item).items()), None)


def test_the_last_writer_of_a_field_owns_it() -> None:
    thing = Thing()
    thing.update("one", config(metadata={"labels": {"a": "1", "b": "1"}}))
    thing.update("two", config(metadata={"labels": {"a": "2", "b": "1"}}), now=LATER)
    assert thing.owned() == {
        "one Update": [".metadata.labels", ".metadata.labels.b"],
        "two Update": [".metadata.labels.a"],
    }
    assert [entry["time"] for entry in thing.entries] == [NOW, LATER]
    owners = thing.entries
    thing.update("three", thing.obj)
    assert thing.entries is owners
    thing.update("three", config())
    assert thing.owned() == {}


def test_doors_and_versions_are_owners_apart_but_applies_are_not() -> None:
    thing = Thing()
    thing.update("one", config(spec={"type": "NodePort"}))
    thing.update("one", config(spec={"type": "NodePort"}, status={"loadBalancer": {"ingress": []}}), door="status")
    thing.update("one", config(spec={"type": "ClusterIP"}), version="v1beta1")
    assert [(entry["apiVersion"], entry.get("subresource")) for entry in thing.entries] == [("v1beta1", None)]
    thing.apply("two", config(spec={"selector": {"a": "b"}}))
    thing.apply("two", config(spec={"externalName": "x"}), version="v1beta1")
    assert thing.owned()["two Apply"] == [".spec.externalName"] and "selector" not in thing.obj["spec"]


def test_an_item_stays_while_another_owns_something_in_it() -> None:
    thing = Thing()
    thing.apply("one", config(spec={"ports": [{"port": 80, "name": "a"}, {"port": 81}]}))
    ported = {"port": 80, "name": "a", "nodePort": 30000}
    thing.update("two", config(spec={"ports": [ported, {"port": 81, "protocol": "TCP"}]}))
    thing.apply("one", config())
    assert thing.obj["spec"] == {"ports": [{"port": 80, "nodePort": 30000}, {"port": 81, "protocol": "TCP"}]}


def test_items_come_in_the_order_they_are_applied_in() -> None:
    thing = Thing()
    thing.apply("one", config(spec={"ports": [{"port": 80}, {"port": 81}, {"port": 82}]}))
    thing.apply("two", config(spec={"ports": [{"port": 90}, {"port": 82}, {"port": 81}]}))
    assert [port["port"] for port in thing.obj["spec"]["ports"]] == [80, 90, 82, 81]


def test_what_was_there_before_anybody_was_written_down_is_contested() -> None:
    live = config(spec={"type": "NodePort"})
    with pytest.raises(Contested, match='"before-first-apply" using v1'):
        after_apply(TYPE, live, config(spec={"type": "ClusterIP"}), Author("me", "v1"), NOW, force=False)


def test_kubectl_may_change_what_its_client_side_apply_set() -> None:
    said = json.dumps({"spec": {"type": "NodePort", "externalName": "a"}})
    live = config(metadata={"annotations": {LAST_APPLIED: said}}, spec={"type": "NodePort", "externalName": "changed"})
    wanted = config(spec={"type": "ClusterIP"})
    made = after_apply(TYPE, live, wanted, Author("kubectl", "v1"), NOW, force=False)
    assert made.obj["spec"]["type"] == "ClusterIP"
    assert json.loads(made.obj["metadata"]["annotations"][LAST_APPLIED])["spec"] == {"type": "ClusterIP"}
    with pytest.raises(Contested):
        after_apply(TYPE, live, wanted, Author("other", "v1"), NOW, force=False)
    with pytest.raises(Contested, match="externalName"):
        # Since changed by others: not its own any more.
        again = config(spec={"externalName": "b"})
        after_apply(TYPE, live, again, Author("kubectl", "v1"), NOW, force=False)


@pytest.mark.parametrize("text", ["", "[]", "1", '{"spec":[]}', '{"spec":{"ports":[1]}}', '{"metadata":1}'])
def test_an_annotation_that_says_nothing_excuses_nothing(text: str) -> None:
    live = config(metadata={"annotations": {LAST_APPLIED: text}}, spec={"type": "NodePort"})
    with pytest.raises(Contested):
        after_apply(TYPE, live, config(spec={"type": "ClusterIP"}), Author("kubectl", "v1"), NOW, force=False)


def test_the_oldest_of_many_updaters_are_put_together() -> None:
    thing = Thing()
    labels: dict[str, str] = {}
    for number in range(MOST_UPDATERS + 4):
        labels = {**labels, f"l{number:02}": "x"}
        thing.update(f"m{number:02}", config(metadata={"labels": labels}), now=f"2026-01-01T00:00:{number:02}Z")
    assert len(thing.entries) == MOST_UPDATERS
    assert thing.entries[0]["manager"] == "ancient-changes"
    assert set(paths(thing.entries[0]["fieldsV1"])) >= {".metadata.labels.l00", ".metadata.labels.l04"}
    owned = [path for entry in thing.entries for path in paths(entry["fieldsV1"])]
    assert sorted(owned) == [".metadata.labels", *(f".metadata.labels.{name}" for name in sorted(labels))]


def test_entries_that_are_sent_along_hold_when_they_can_be_read() -> None:
    entry = Author("me", "v1").entry("Apply", {"f:spec": {"f:type": {}}}, NOW)
    kept = [Author("old", "v1").entry("Update", {"f:spec": {"f:type": {}}}, NOW)]
    assert chosen([entry], kept) == [entry]
    assert chosen([{}], kept) == []
    for unreadable in (
        None,
        [],
        [{}, {}],
        [entry | {"operation": "Patch"}],
        [entry | {"fieldsV1": {"x": {}}}],
        "x",
        [1],
    ):
        assert chosen(unreadable, kept) == kept
