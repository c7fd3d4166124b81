"""How many pods may be evicted, by what a budget says and what is there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from fairway.client.base import ApiError, Object
from fairway.control import disruption
from fairway.control.times import stamp
from fairway.control.writes import Update
from fairway.objects.kinds import DEPLOYMENT, POD, POD_DISRUPTION_BUDGET
from tests.unit.control.stage import play, staged, workload

NOW = 1_700_000_000.0


def budget(status: Object | None = None, **spec: Any) -> Object:
    metadata = {"name": "b", "namespace": "default", "uid": "u", "generation": 3}
    return {"metadata": metadata, "spec": {"selector": {}, **spec}, "status": status or {}}


def pod(name: str, *, ready: bool = True, owner: str = "web", going: bool = False) -> Object:
    metadata: Object = {"name": name, "namespace": "default"}
    if owner:
        metadata["ownerReferences"] = [{"kind": "ReplicaSet", "name": owner, "uid": owner, "controller": True}]
    if going:
        metadata["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    state = {"type": "Ready", "status": "True" if ready else "False"}
    return {"metadata": metadata, "spec": {}, "status": {"conditions": [state]}}


def ten(owner: Mapping[str, Any], namespace: str) -> int | None:
    return 10 if owner["name"] == "web" else None


def status(plan: disruption.Plan) -> Object:
    [write] = plan.writes
    assert isinstance(write, Update) and write.subresource == "status"
    return dict(write.obj["status"])


@pytest.mark.parametrize(
    ("spec", "healthy", "expected", "wanted", "allowed"),
    [
        ({"minAvailable": 2}, 3, 4, 2, 1),
        ({"minAvailable": 2}, 2, 4, 2, 0),
        ({"minAvailable": 2}, 1, 4, 2, 0),
        ({"minAvailable": "25%"}, 4, 10, 3, 1),
        ({"minAvailable": "0%"}, 4, 10, 0, 4),
        ({"maxUnavailable": 8}, 4, 10, 2, 2),
        ({"maxUnavailable": "75%"}, 4, 10, 2, 2),
        ({"maxUnavailable": 20}, 4, 10, 0, 4),
        ({}, 4, 4, 0, 4),
    ],
)
def test_the_numbers(spec: Object, healthy: int, expected: int, wanted: int, allowed: int) -> None:
    members = [pod(f"p{n}", ready=n < healthy) for n in range(4)]
    found = status(disruption.plan(budget(**spec), members, ten, NOW))
    assert (found["currentHealthy"], found["expectedPods"]) == (healthy, expected)
    assert (found["desiredHealthy"], found["disruptionsAllowed"], found["observedGeneration"]) == (wanted, allowed, 3)
    [condition] = found["conditions"]
    assert (condition["status"], condition["reason"]) == (
        ("True", "SufficientPods") if allowed else ("False", "InsufficientPods")
    )


def test_without_pods_nothing_may_be_disrupted() -> None:
    assert status(disruption.plan(budget(minAvailable=0), [], ten, NOW))["disruptionsAllowed"] == 0


def test_the_evicted_do_not_count_until_they_have_stayed_too_long() -> None:
    members = [pod("a"), pod("b"), pod("c", going=True)]
    noted = {"a": stamp(NOW - 60), "c": stamp(NOW - 60), "gone": stamp(NOW - 60)}
    plan = disruption.plan(budget({"disruptedPods": noted}, minAvailable=1), members, ten, NOW)
    found = status(plan)
    assert (found["disruptedPods"], found["currentHealthy"], found["disruptionsAllowed"]) == ({"a": noted["a"]}, 1, 0)
    assert plan.again == 61.0
    late = status(disruption.plan(budget(found, minAvailable=1), members, ten, NOW + 61))
    assert "disruptedPods" not in late and (late["currentHealthy"], late["disruptionsAllowed"]) == (2, 1)


def test_a_settled_budget_is_left_alone_and_its_condition_keeps_its_time() -> None:
    members = [pod("a"), pod("b")]
    first = status(disruption.plan(budget(minAvailable=1), members, ten, NOW))
    assert disruption.plan(budget(first, minAvailable=1), members, ten, NOW + 5).writes == []
    third = status(disruption.plan(budget(first, minAvailable=1), [*members, pod("c")], ten, NOW + 5))
    assert third["conditions"][0]["lastTransitionTime"] == stamp(NOW)


def test_pods_without_a_controller_are_told_of_where_a_share_is_asked() -> None:
    [write] = disruption.plan(budget(maxUnavailable=1), [pod("a", owner=""), pod("b")], ten, NOW).writes
    assert write.told is not None and write.told.reason == "UnmanagedPods" and write.told.message.endswith(": a")
    [write] = disruption.plan(budget(minAvailable=1), [pod("a", owner="")], ten, NOW).writes
    assert write.told is None


def test_a_deployment_is_drained_one_pod_after_the_other() -> None:
    async def scene() -> None:
        async with staged(POD, POD_DISRUPTION_BUDGET) as stage:
            await stage.client.create(DEPLOYMENT, workload(DEPLOYMENT, "web", 3))
            spec = {"maxUnavailable": 1, "selector": {"matchLabels": {"app": "web"}}}
            obj = {"kind": "PodDisruptionBudget", "apiVersion": "policy/v1", "metadata": {"name": "b"}, "spec": spec}
            await stage.client.create(POD_DISRUPTION_BUDGET, obj, "default")

            def state(allowed: int) -> bool:
                found = stage.items(POD_DISRUPTION_BUDGET)[0]["status"]
                return (found["disruptionsAllowed"], found["expectedPods"]) == (allowed, 3)

            await stage.until(lambda: len(stage.items(POD)) == 3 and state(1))
            first, second = (each["metadata"]["name"] for each in stage.items(POD)[:2])
            stage.deaf |= {"node-a", "node-b", "node-c"}  # no new pod becomes ready

            async def evict(name: str) -> None:
                eviction = {"kind": "Eviction", "apiVersion": "policy/v1", "metadata": {"name": name}}
                await stage.client.post(POD, name, "default", "eviction", eviction)

            await evict(first)
            with pytest.raises(ApiError, match="violate the pod's disruption budget"):
                await evict(second)
            await stage.until(lambda: state(0))

    play(scene)
