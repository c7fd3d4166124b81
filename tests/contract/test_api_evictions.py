"""Evictions ask the pod's PodDisruptionBudget, and count."""

from __future__ import annotations

from typing import Any

import pytest

from tests.contract.session import Object, Session, pod, told

PODS = "/api/v1/namespaces/default/pods"
BUDGETS = "/apis/policy/v1/namespaces/default/poddisruptionbudgets"
EVICTION = {"kind": "Eviction", "apiVersion": "policy/v1"}
READY = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
SICK = {"phase": "Running", "conditions": [{"type": "Ready", "status": "False"}]}


def budget(name: str = "b", **spec: Any) -> Object:
    wanted = {"selector": {"matchLabels": {"app": "web"}}, **spec}
    return {"kind": "PodDisruptionBudget", "apiVersion": "policy/v1", "metadata": {"name": name}, "spec": wanted}


async def with_pods(me: Session, *names: str, status: Object = READY) -> None:
    for name in names:
        made = await me.ok("POST", PODS, pod(name, labels={"app": "web"}))
        await me.ok("PUT", f"{PODS}/{name}/status", {**made, "status": status})


async def counted(me: Session, allowed: int, healthy: int = 2, wanted: int = 1, **spec: Any) -> None:
    """A budget with the numbers its controller would have found."""
    made = await me.ok("POST", BUDGETS, budget(**(spec or {"minAvailable": 1})))
    numbers = {"disruptionsAllowed": allowed, "currentHealthy": healthy, "desiredHealthy": wanted, "expectedPods": 2}
    await me.ok("PUT", f"{BUDGETS}/b/status", {**made, "status": {**numbers, "observedGeneration": 1}})


def evict(me: Session, name: str, query: str = "") -> Any:
    return me.ask("POST", f"{PODS}/{name}/eviction{query}", {**EVICTION, "metadata": {"name": name}})


def test_a_budget_is_spent_and_then_says_no() -> None:
    async def story(me: Session) -> None:
        await with_pods(me, "one", "two")
        await counted(me, allowed=1)
        assert (await evict(me, "one", "?dryRun=All"))[0] == 201
        assert (await evict(me, "one"))[0] == 201
        assert (await me.refused("GET", f"{PODS}/one"))[0] == 404
        status = (await me.ok("GET", f"{BUDGETS}/b"))["status"]
        assert status["disruptionsAllowed"] == 0 and set(status["disruptedPods"]) == {"one"}

        code, said, _ = await evict(me, "two")
        assert (code, said["reason"]) == (429, "TooManyRequests")
        assert said["message"] == "Cannot evict pod as it would violate the pod's disruption budget."
        why = "The disruption budget b needs 1 healthy pods and has 2 currently"
        assert said["details"]["causes"] == [{"reason": "DisruptionBudget", "message": why}]
        await me.ok("GET", f"{PODS}/two")
        await me.ok("DELETE", f"{PODS}/two")

    told(story)


def test_a_budget_that_nobody_has_counted_yet_lets_nobody_go() -> None:
    async def story(me: Session) -> None:
        await with_pods(me, "one")
        made = await me.ok("POST", BUDGETS, budget(maxUnavailable="50%"))
        numbers = ("currentHealthy", "desiredHealthy", "disruptionsAllowed", "expectedPods")
        assert made["status"] == dict.fromkeys(numbers, 0) and made["metadata"]["generation"] == 1
        code, said, answer = await evict(me, "one")
        assert code == 429 and "still being processed" in said["details"]["causes"][0]["message"]
        assert ("retry-after", "10") in answer.headers

    told(story)


def test_several_budgets_are_a_mistake_and_none_is_no_question() -> None:
    async def story(me: Session) -> None:
        await with_pods(me, "one")
        await me.ok("POST", BUDGETS, budget("other", selector={"matchLabels": {"app": "db"}}))
        await counted(me, allowed=1)
        await me.ok("POST", BUDGETS, budget("third", selector={}))
        code, said, _ = await evict(me, "one")
        assert code == 500 and "more than one PodDisruptionBudget" in said["message"]
        await me.ok("DELETE", BUDGETS)
        assert (await evict(me, "one"))[0] == 201
        assert (await evict(me, "one"))[0] == 404

    told(story)


@pytest.mark.parametrize(
    ("spec", "healthy", "code"),
    [
        ({"minAvailable": 1}, 0, 429),
        ({"minAvailable": 1}, 1, 201),
        ({"minAvailable": 1, "unhealthyPodEvictionPolicy": "IfHealthyBudget"}, 0, 429),
        ({"minAvailable": 1, "unhealthyPodEvictionPolicy": "AlwaysAllow"}, 0, 201),
    ],
)
def test_a_sick_pod_goes_while_enough_others_are_well_or_always(spec: Object, healthy: int, code: int) -> None:
    async def story(me: Session) -> None:
        await with_pods(me, "one", status=SICK)
        await counted(me, allowed=0, healthy=healthy, wanted=1, **spec)
        assert (await evict(me, "one"))[0] == code
        assert (await me.ok("GET", f"{BUDGETS}/b"))["status"]["disruptionsAllowed"] == 0

    told(story)


def test_a_pod_that_does_not_run_yet_is_free_to_go() -> None:
    async def story(me: Session) -> None:
        await with_pods(me, "one", status={"phase": "Pending"})
        await counted(me, allowed=0, healthy=0)
        assert (await evict(me, "one"))[0] == 201

    told(story)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"minAvailable": 1, "maxUnavailable": 1}, "minAvailable and maxUnavailable cannot be both set"),
        ({"minAvailable": "half"}, "spec.minAvailable: Invalid value"),
        ({"maxUnavailable": -1}, "spec.maxUnavailable: Invalid value"),
        ({"minAvailable": "120%"}, "spec.minAvailable: Invalid value"),
        ({"unhealthyPodEvictionPolicy": "Never"}, "spec.unhealthyPodEvictionPolicy: Unsupported value"),
    ],
)
def test_budgets_that_make_no_sense(spec: Object, said: str) -> None:
    async def story(me: Session) -> None:
        code, _, message = await me.refused("POST", BUDGETS, budget(**spec))
        assert code == 422 and said in message

    told(story)
