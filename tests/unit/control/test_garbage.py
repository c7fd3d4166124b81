"""What becomes of dependents: background, foreground, orphan."""

from __future__ import annotations

from typing import Any

import pytest

from fairway.client.base import Object
from fairway.control.garbage import Dependent, OwnerState, plan
from fairway.control.writes import Delete, Patch
from fairway.objects.kinds import POD, REPLICA_SET


def obj(name: str, *owners: str, **metadata: Any) -> Object:
    references = [{"uid": uid, "kind": "X", "name": uid, "blockOwnerDeletion": uid != "lax"} for uid in owners]
    base = {"name": name, "namespace": "default", "uid": name, "resourceVersion": "7"}
    return {"metadata": {**base, **({"ownerReferences": references} if owners else {}), **metadata}}


def decide(subject: Object, dependents: list[Object] | None = None, **states: OwnerState) -> list[Any]:
    found = [Dependent(POD, each) for each in dependents or []]
    writes = []
    for write in plan(REPLICA_SET, subject, states, found).writes:
        match write:
            case Delete():
                writes.append(("delete", write.name, write.uid, write.propagation))
            case Patch():
                assert write.patch["metadata"]["resourceVersion"] == "7"
                (said,) = (value for name, value in write.patch["metadata"].items() if name != "resourceVersion")
                assert said != [], "null removes the field, an empty list would stay"
                writes.append(
                    ("patch", write.name, [getattr(each, "get", {"": each}.get)("uid", each) for each in said or []])
                )
    return writes


@pytest.mark.parametrize(
    ("states", "writes"),
    [
        ({"x": "solid", "y": "solid"}, []),
        ({"x": "absent", "y": "solid"}, [("patch", "p", ["y"])]),
        ({"x": "waiting", "y": "solid"}, [("patch", "p", ["y"])]),
        ({"x": "absent", "y": "absent"}, [("delete", "p", "p", "Background")]),
        ({"x": "absent", "y": "waiting"}, [("delete", "p", "p", "Background")]),
    ],
)
def test_an_object_lives_as_long_as_one_owner(states: dict[str, OwnerState], writes: list[Any]) -> None:
    assert decide(obj("p", "x", "y"), **states) == writes


def test_foreground_goes_down_the_tree() -> None:
    assert decide(obj("rs", "d"), [obj("p", "rs")], d="waiting") == [("delete", "rs", "rs", "Foreground")]


def test_an_owner_waits_for_dependents_that_block_and_only_for_them() -> None:
    going = obj("rs", deletionTimestamp="now", finalizers=["foregroundDeletion", "mine"])
    assert decide(going, [obj("p", "rs")]) == []
    lax = obj("lax", deletionTimestamp="now", finalizers=["foregroundDeletion", "mine"])
    assert decide(lax, [obj("p", "lax")]) == [("patch", "lax", ["mine"])]
    assert decide(going) == [("patch", "rs", ["mine"])]


def test_orphans_are_set_free_before_their_owner_goes() -> None:
    going = obj("rs", deletionTimestamp="now", finalizers=["orphan"])
    dependents = [obj("p", "rs"), obj("q", "rs", "other")]
    assert decide(going, dependents) == [("patch", "p", []), ("patch", "q", ["other"]), ("patch", "rs", [])]


def test_what_has_no_owner_is_left_alone() -> None:
    assert decide(obj("p")) == []
    assert decide(obj("p", deletionTimestamp="now", finalizers=["mine"])) == []
