"""What a namespace says of itself while it goes."""

from __future__ import annotations

from typing import Any

from fairway.client.base import Object
from fairway.control.namespaces import report
from fairway.control.writes import Update
from fairway.objects.kinds import CONFIG_MAP, NAMESPACE, POD, Kind

SHOP: Object = {
    "metadata": {"name": "shop", "deletionTimestamp": "2026-01-01T00:00:00Z"},
    "status": {"phase": "Terminating"},
}


def obj(*finalizers: str) -> Object:
    return {"metadata": {"name": "x", "namespace": "shop", **({"finalizers": [*finalizers]} if finalizers else {})}}


def told(namespace: Object, left: dict[Kind, list[Object]]) -> Any:
    """The namespace as it is written, or None when nothing is."""
    writes = report(namespace, left, 0.0).writes
    if not writes:
        return None
    (write,) = writes
    assert isinstance(write, Update) and (write.kind, write.subresource) == (NAMESPACE, "status")
    return write.obj


def conditions(namespace: Object) -> list[tuple[str, str, str, str]]:
    found = namespace["status"]["conditions"]
    return [(each["type"], each["status"], each["reason"], each["message"]) for each in found]


def test_what_is_left_and_who_holds_it_is_counted() -> None:
    left = {POD: [obj(), obj("example.com/a")], CONFIG_MAP: [obj("example.com/a", "example.com/b")]}
    assert conditions(told(SHOP, left)) == [
        (
            "NamespaceContentRemaining",
            "True",
            "SomeResourcesRemain",
            "Some resources are remaining: configmaps (1), pods (2)",
        ),
        (
            "NamespaceFinalizersRemaining",
            "True",
            "SomeFinalizersRemain",
            "Some finalizers are remaining: example.com/a (2), example.com/b (1)",
        ),
    ]


def test_pods_that_only_take_their_time_are_held_by_nobody() -> None:
    (_, held) = conditions(told(SHOP, {POD: [obj()]}))
    assert held[1:] == ("False", "ContentHasNoFinalizers", "No finalizers are remaining")


def test_what_was_said_is_not_said_again() -> None:
    said = told(SHOP, {POD: [obj()]})
    assert said["status"]["phase"] == "Terminating"
    assert told(said, {POD: [obj()]}) is None
    assert told(said, {POD: [obj(), obj()]}) is not None
