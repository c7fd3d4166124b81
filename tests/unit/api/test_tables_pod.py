"""The words for pods."""

from datetime import UTC, datetime
from typing import Any

import pytest

from fairway.api.tables_pod import readiness_gates, summarize

NOW = datetime(2026, 5, 1, 12, 0, 0, tzinfo=UTC)
RUNNING = {"running": {"startedAt": "2026-05-01T11:00:00Z"}}


def waiting(reason: str) -> dict[str, Any]:
    return {"waiting": {"reason": reason}}


def ended(code: int = 0, reason: str = "", signal: int = 0) -> dict[str, Any]:
    return {"terminated": {"exitCode": code, "reason": reason, "signal": signal}}


def status(state: dict[str, Any], name: str = "a", *, ready: bool = False, **more: Any) -> dict[str, Any]:
    return {"name": name, "state": state, "ready": ready, **more}


def pod(phase: str, *containers: dict[str, Any], inits: tuple[dict[str, Any], ...] = (), **more: Any) -> dict[str, Any]:
    sidecars = more.pop("sidecars", ())
    spec = {
        "containers": [{"name": one["name"]} for one in containers] or [{"name": "a"}],
        "initContainers": [
            {"name": one["name"]} | ({"restartPolicy": "Always"} if one["name"] in sidecars else {}) for one in inits
        ],
    }
    metadata = {"deletionTimestamp": "2026-05-01T12:00:00Z"} if more.pop("deleting", False) else {}
    words = {"phase": phase, "containerStatuses": list(containers), "initContainerStatuses": list(inits), **more}
    return {"metadata": metadata, "spec": spec, "status": words}


READY = [{"type": "Ready", "status": "True"}]
INIT_DONE = status(ended(), "i")
A_UP, B_UP = status(RUNNING, ready=True), status(RUNNING, "b", ready=True)
A_DONE = status(ended(0, "Completed"))
SIDECAR_UP = status(RUNNING, "s", ready=True, started=True)


@pytest.mark.parametrize(
    ("obj", "word", "ready"),
    [
        ({}, "Unknown", "0/0"),
        (pod("Pending"), "Pending", "0/1"),
        (pod("Pending", status(waiting("ContainerCreating"))), "ContainerCreating", "0/1"),
        (pod("Running", A_UP), "Running", "1/1"),
        (pod("Running", status(RUNNING)), "Running", "0/1"),
        (pod("Running", status(waiting("CrashLoopBackOff")), B_UP), "CrashLoopBackOff", "1/2"),
        (pod("Running", status(waiting("ImagePullBackOff")), B_UP), "ImagePullBackOff", "1/2"),
        (pod("Succeeded", A_DONE), "Completed", "0/1"),
        (pod("Failed", status(ended(1, "Error"))), "Error", "0/1"),
        (pod("Failed", status(ended(137, "OOMKilled"))), "OOMKilled", "0/1"),
        (pod("Failed", status(ended(2))), "ExitCode:2", "0/1"),
        (pod("Failed", status(ended(137, signal=9))), "Signal:9", "0/1"),
        (pod("Failed", reason="Evicted"), "Evicted", "0/1"),
        (pod("Running", A_DONE, B_UP, conditions=READY), "Running", "1/2"),
        (pod("Running", A_DONE, B_UP), "NotReady", "1/2"),
        (pod("Running", A_UP, deleting=True), "Terminating", "1/1"),
        (pod("Running", A_UP, deleting=True, reason="NodeLost"), "Unknown", "1/1"),
        (pod("Succeeded", A_DONE, deleting=True), "Completed", "0/1"),
        (pod("Pending", conditions=[{"type": "PodScheduled", "reason": "SchedulingGated"}]), "SchedulingGated", "0/1"),
        (pod("Pending", inits=(status(RUNNING, "i"), status(waiting("PodInitializing"), "j"))), "Init:0/2", "0/1"),
        (pod("Pending", inits=(INIT_DONE, status(waiting("PodInitializing"), "j"))), "Init:1/2", "0/1"),
        (pod("Pending", inits=(status(waiting("CrashLoopBackOff"), "i"),)), "Init:CrashLoopBackOff", "0/1"),
        (pod("Pending", inits=(status(ended(1, "Error"), "i"),)), "Init:Error", "0/1"),
        (pod("Pending", inits=(status(ended(3), "i"),)), "Init:ExitCode:3", "0/1"),
        (pod("Pending", inits=(status(ended(137, signal=9), "i"),)), "Init:Signal:9", "0/1"),
        (pod("Pending", status(waiting("PodInitializing")), inits=(INIT_DONE,)), "PodInitializing", "0/1"),
        (
            pod("Running", A_UP, inits=(SIDECAR_UP,), sidecars="s"),
            "Running",
            "2/2",
        ),
        (pod("Pending", inits=(status(RUNNING, "s", started=False),), sidecars="s"), "Init:0/1", "0/2"),
    ],
)  # fmt: skip
def test_words(obj: dict[str, Any], word: str, ready: str) -> None:
    summary = summarize(obj)
    assert (summary.word, f"{summary.ready}/{summary.total}") == (word, ready)


def test_restarts_and_the_time_of_the_last() -> None:
    again = {"restartCount": 2, "lastState": {"terminated": {"finishedAt": "2026-05-01T11:57:00Z"}}}
    before = {"restartCount": 1, "lastState": {"terminated": {"finishedAt": "2026-05-01T11:00:00Z"}}}
    crashing = pod("Running", status(RUNNING, **again), status(RUNNING, "b", **before))
    assert summarize(crashing).restarts_cell(NOW) == "3 (3m ago)"
    assert summarize(pod("Running", status(RUNNING, restartCount=2))).restarts_cell(NOW) == "2"
    assert summarize(pod("Running", status(RUNNING))).restarts_cell(NOW) == "0"


def test_restarts_of_finished_init_containers_are_history() -> None:
    inits = (status(ended(), "i", restartCount=5), status(RUNNING, "s", started=True, restartCount=1))
    assert summarize(pod("Running", status(RUNNING), inits=inits, sidecars="s")).restarts == 1
    assert summarize(pod("Pending", inits=(status(ended(1), "i", restartCount=5),))).restarts == 5


def test_readiness_gates() -> None:
    obj = {"spec": {"readinessGates": [{"conditionType": "a"}, {"conditionType": "b"}]},
           "status": {"conditions": [{"type": "a", "status": "True"}]}}  # fmt: skip
    assert readiness_gates(obj) == "1/2"
    assert readiness_gates({}) == "<none>"
