"""What waits for its end, and for how long."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from fairway.api import status
from fairway.api.deletes import Order, doomed, read_order
from fairway.api.requests import Options, Target
from fairway.api.status import Failure
from fairway.objects.errors import Malformed
from fairway.objects.kinds import CONFIG_MAP, DEPLOYMENT, NAMESPACE, POD, REPLICATION_CONTROLLER

NOW = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)
PODS = Target(POD, "v1", "default", "p")


def bound(**metadata: Any) -> dict[str, Any]:
    return {"metadata": {"name": "p", **metadata}, "spec": {"nodeName": "n", "terminationGracePeriodSeconds": 20}}


def test_a_bound_pod_waits_for_its_grace() -> None:
    waiting = doomed(PODS, bound(), Order(), NOW)
    assert waiting and waiting["metadata"]["deletionTimestamp"] == "2026-01-01T12:00:20Z"
    assert waiting["metadata"]["deletionGracePeriodSeconds"] == 20


@pytest.mark.parametrize(
    "pod",
    [
        {"metadata": {}, "spec": {}},
        {"metadata": {}, "spec": {"nodeName": "n"}, "status": {"phase": "Succeeded"}},
        {"metadata": {}, "spec": {"nodeName": "n"}, "status": {"phase": "Failed"}},
    ],
)
def test_a_pod_that_runs_nowhere_goes_at_once(pod: dict[str, Any]) -> None:
    assert doomed(PODS, pod, Order(), NOW) is None


def test_no_grace_means_now() -> None:
    assert doomed(PODS, bound(), Order(grace_seconds=0), NOW) is None


@pytest.mark.parametrize(("asked", "grace", "end"), [(5, 5, "12:00:05"), (90, 20, "12:00:20")])
def test_a_second_delete_may_only_shorten_counted_from_the_first(asked: int, grace: int, end: str) -> None:
    first = doomed(PODS, bound(), Order(), NOW)
    assert first
    later = NOW.replace(second=3)
    second = doomed(PODS, first, Order(grace_seconds=asked), later)
    assert second and second["metadata"]["deletionGracePeriodSeconds"] == grace
    assert second["metadata"]["deletionTimestamp"] == f"2026-01-01T{end}Z"


def test_a_namespace_waits_for_its_controller() -> None:
    namespace = {"metadata": {"name": "x"}, "spec": {"finalizers": ["kubernetes"]}}
    waiting = doomed(Target(NAMESPACE, "v1", "", "x"), namespace, Order(), NOW)
    assert waiting and waiting["status"] == {"phase": "Terminating"}
    assert doomed(Target(NAMESPACE, "v1", "", "x"), {"metadata": {}, "spec": {}}, Order(), NOW) is None


@pytest.mark.parametrize(
    ("target", "propagation", "finalizers"),
    [
        (Target(CONFIG_MAP, "v1"), "", None),
        (Target(CONFIG_MAP, "v1"), "Foreground", ["foregroundDeletion"]),
        (Target(CONFIG_MAP, "v1"), "Orphan", ["orphan"]),
        (Target(REPLICATION_CONTROLLER, "v1"), "", ["orphan"]),
        (Target(REPLICATION_CONTROLLER, "v1"), "Background", None),
        (Target(DEPLOYMENT, "apps/v1"), "", None),
        (Target(DEPLOYMENT, "apps/v1beta1"), "", ["orphan"]),
    ],
)
def test_the_default_for_dependents_is_that_of_the_version(
    target: Target, propagation: Any, finalizers: list[str] | None
) -> None:
    waiting = doomed(target, {"metadata": {}, "spec": {}}, Order(propagation=propagation), NOW)
    assert (waiting and waiting["metadata"]["finalizers"]) == finalizers


def test_other_finalizers_stay_when_the_policy_changes() -> None:
    held = {"metadata": {"finalizers": ["orphan", "a.example/b"]}}
    waiting = doomed(Target(CONFIG_MAP, "v1"), held, Order(propagation="Foreground"), NOW)
    assert waiting and waiting["metadata"]["finalizers"] == ["a.example/b", "foregroundDeletion"]


def test_the_body_wins_over_the_query() -> None:
    options = Options(grace_seconds=7, propagation="Orphan")
    assert read_order(options, "application/json", b"") == Order(7, "Orphan")
    body = b'{"gracePeriodSeconds":1,"propagationPolicy":"Foreground","preconditions":{"uid":"u"},"dryRun":["All"]}'
    assert read_order(options, "application/json", body) == Order(1, "Foreground", uid="u", dry_run=True)
    assert read_order(Options(), "application/json", b'{"orphanDependents":true}').propagation == "Orphan"


@pytest.mark.parametrize(
    "body",
    [
        b'{"gracePeriodSeconds":-1}',
        b'{"gracePeriodSeconds":"1"}',
        b'{"propagationPolicy":"Sometimes"}',
        b'{"dryRun":["Some"]}',
        b'{"kind":"Pod"}',
        b"[]",
    ],
)
def test_orders_nobody_can_follow_are_400(body: bytes) -> None:
    with pytest.raises((Failure, Malformed)) as caught:
        read_order(Options(), "application/json", body)
    failure = status.of(caught.value)
    assert failure and failure.code == 400
