"""The status a node reports of a pod."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from fairway.pods import status
from fairway.pods.lifecycle import Facts, Run
from fairway.pods.status import Addresses
from fairway.pods.view import Pod
from tests.unit.pods.test_lifecycle import NOW, RUNNING, exited, pod

HERE = Addresses(("10.244.0.5",), ("10.0.0.11",))
STAMP = "1970-01-12T13:46:40Z"  # of NOW


def build(of: Pod, sandbox: bool = True, blocked: dict[str, str] | None = None, **runs: Run) -> dict[str, Any]:
    return status.build(of, Facts(sandbox, runs, blocked or {}), HERE, NOW)


def condition(made: dict[str, Any], kind: str) -> tuple[str, str]:
    found = next(c for c in made["conditions"] if c["type"] == kind)
    return found["status"], found.get("reason", "")


def state(made: dict[str, Any]) -> tuple[str, str]:
    [(kind, detail)] = made["containerStatuses"][0]["state"].items()
    return kind, detail.get("reason", "")


def test_a_running_pod() -> None:
    made = build(pod(), web=RUNNING)
    assert made["phase"] == "Running"
    assert (made["podIP"], made["podIPs"]) == ("10.244.0.5", [{"ip": "10.244.0.5"}])
    assert made["hostIP"] == "10.0.0.11"
    assert made["startTime"] == made["containerStatuses"][0]["state"]["running"]["startedAt"] < STAMP
    assert (
        condition(made, "Ready") == condition(made, "ContainersReady") == condition(made, "Initialized") == ("True", "")
    )
    [container] = made["containerStatuses"]
    assert (container["ready"], container["started"], container["restartCount"]) == (True, True, 0)
    assert container["containerID"].startswith("fairway://")


def test_a_pod_begins_when_it_is_first_reported() -> None:
    assert build(pod())["startTime"] == STAMP


def test_a_container_that_is_not_ready_is_named() -> None:
    made = build(pod("a", "b"), a=RUNNING, b=replace(RUNNING, ready=False))
    assert condition(made, "Ready") == ("False", "ContainersNotReady")
    assert made["conditions"][2]["message"] == "containers with unready status: [b]"


@pytest.mark.parametrize(
    ("of", "runs", "shown"),
    [
        (pod(), {}, ("waiting", "ContainerCreating")),
        (pod(init=("i",)), {"i": RUNNING}, ("waiting", "PodInitializing")),
        (pod(), {"web": exited(1, crashes=2)}, ("waiting", "CrashLoopBackOff")),
        (pod(), {"web": exited(1)}, ("terminated", "Error")),
        (pod(restartPolicy="Never"), {"web": exited(0)}, ("terminated", "Completed")),
        (pod(restartPolicy="Never"), {"web": replace(exited(128), failed=True)}, ("terminated", "StartError")),
        (pod(deleting=True), {"web": exited(143, crashes=2)}, ("terminated", "Error")),
    ],
)
def test_what_kubectl_shows_of_a_container(of: Pod, runs: dict[str, Any], shown: tuple[str, str]) -> None:
    assert state(build(of, **runs)) == shown


def test_back_off_says_how_long_and_keeps_the_last_end() -> None:
    made = build(pod(), web=exited(3, crashes=5, attempt=5))
    [container] = made["containerStatuses"]
    assert container["state"]["waiting"]["message"] == "back-off 2m40s restarting failed container=web pod=p_default(u)"
    assert container["lastState"]["terminated"]["exitCode"] == 3
    assert container["restartCount"] == 5


def test_a_restarted_container_keeps_its_last_end() -> None:
    made = build(pod(), web=replace(RUNNING, attempt=1, previous=exited(7)))
    assert made["containerStatuses"][0]["lastState"]["terminated"]["exitCode"] == 7


def test_a_config_problem_is_shown() -> None:
    made = build(pod(), blocked={"web": 'ConfigMap "default/x" not found'})
    waiting = made["containerStatuses"][0]["state"]["waiting"]
    assert waiting == {"reason": "CreateContainerConfigError", "message": 'ConfigMap "default/x" not found'}


def test_a_terminating_pod_that_still_serves_is_ready() -> None:
    """So that its endpoints are `serving` while they are `terminating` (KEP-1672)."""
    assert condition(build(pod(deleting=True), web=RUNNING), "Ready") == ("True", "")
    assert condition(build(pod(deleting=True), web=exited()), "Ready")[0] == "False"


def test_a_readiness_gate_must_hold_too() -> None:
    gated = pod(readinessGates=[{"conditionType": "lb"}])
    assert condition(build(gated, web=RUNNING), "Ready") == ("False", "ReadinessGatesNotReady")
    held = pod(readinessGates=[{"conditionType": "lb"}], status={"conditions": [{"type": "lb", "status": "True"}]})
    assert condition(build(held, web=RUNNING), "Ready") == ("True", "")


def test_conditions_of_others_stay_and_unchanged_ones_keep_their_time() -> None:
    before = [
        {"type": "lb", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"},
        {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"},
        {"type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"},
    ]
    made = build(pod(status={"conditions": before}), web=RUNNING)
    assert made["conditions"][:3] == before
    lost = build(pod(status={"conditions": before}), web=replace(RUNNING, ready=False))
    assert lost["conditions"][1]["lastTransitionTime"] == STAMP


def test_reporting_twice_changes_nothing() -> None:
    first = build(pod(), web=RUNNING)
    again = status.build(pod(status=first), Facts(True, {"web": RUNNING}), HERE, NOW + 60)
    assert status.difference(first, again) == {}


def test_only_what_changed_is_patched() -> None:
    first = build(pod(), web=replace(RUNNING, ready=False))
    then = status.build(pod(status=first), Facts(True, {"web": RUNNING}), HERE, NOW)
    assert set(status.difference(first, then)) == {"conditions", "containerStatuses"}
