"""Events in their two groups: the same objects under the other's names."""

from __future__ import annotations

from typing import Any

from fairway.objects import codec, convert
from fairway.objects.kinds import EVENT

EVENTS = "events.k8s.io/v1"
NEW: dict[str, Any] = {
    "kind": "Event",
    "apiVersion": EVENTS,
    "metadata": {"name": "e", "namespace": "default"},
    "regarding": {"kind": "Pod", "name": "p", "namespace": "default"},
    "note": "it happened",
    "reportingController": "c",
    "deprecatedCount": 2,
    "eventTime": "2026-01-01T00:00:00.000000Z",
}


def test_there_and_back() -> None:
    stored = convert.to_storage(EVENT, NEW, EVENTS)
    assert stored["apiVersion"] == "v1" and stored["message"] == "it happened" and stored["count"] == 2
    assert stored["involvedObject"]["name"] == "p" and stored["reportingComponent"] == "c"
    assert convert.from_storage(EVENT, stored, EVENTS) == NEW
    assert codec.check(EVENT, stored) == codec.Checked() == codec.check(EVENT, NEW, api_version=EVENTS)


def test_each_group_knows_only_its_own_names() -> None:
    assert codec.check(EVENT, {**NEW, "message": "x"}, api_version=EVENTS).unknown
    assert codec.check(EVENT, NEW).unknown
