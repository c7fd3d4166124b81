"""What to do next about a pod: tables of states and actions, and a simulation that must always end well."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.pods import lifecycle
from fairway.pods.lifecycle import EndSandbox, Facts, Forget, MakeSandbox, Run, Start, Stop
from fairway.pods.view import Pod

NOW = 1_000_000.0
RUNNING = Run(0, started=NOW - 5, up=True, ready=True)


def pod(
    *names: str, init: tuple[str, ...] = (), sidecars: tuple[str, ...] = (), deleting: bool = False, **spec: Any
) -> Pod:
    inits = [{"name": n, "restartPolicy": "Always"} for n in sidecars] + [{"name": n} for n in init]
    metadata: dict[str, Any] = {"name": "p", "namespace": "default", "uid": "u"}
    if deleting:
        metadata |= {"deletionTimestamp": "2026-01-01T00:00:00Z", "deletionGracePeriodSeconds": 7}
    status = spec.pop("status", {})
    containers = [{"name": n} for n in names or ("web",)]
    return msgspec.convert(
        {"metadata": metadata, "spec": {"containers": containers, "initContainers": inits, **spec}, "status": status},
        Pod,
    )


def exited(code: int = 0, *, ago: float = 0.0, crashes: int = 0, ran: float = 1.0, attempt: int = 0) -> Run:
    return Run(attempt, crashes, started=NOW - ago - ran, exited=NOW - ago, code=code)


def actions(of: Pod, sandbox: bool = True, gone: bool = False, **runs: Run) -> list[Any]:
    return list(lifecycle.plan(of, Facts(sandbox, runs, gone=gone), NOW).actions)


def started(of: Pod, **runs: Any) -> list[tuple[str, int]]:
    return [(a.container.name, a.attempt) for a in actions(of, **runs) if isinstance(a, Start)]


def test_a_new_pod_gets_a_sandbox_then_all_its_containers() -> None:
    assert actions(pod(), sandbox=False) == [MakeSandbox()]
    assert started(pod("a", "b")) == [("a", 0), ("b", 0)]
    assert actions(pod(), web=RUNNING) == []


def test_init_containers_run_one_after_the_other() -> None:
    both = pod(init=("one", "two"))
    assert started(both) == [("one", 0)]
    assert started(both, one=RUNNING) == []
    assert started(both, one=exited()) == [("two", 0)]
    assert started(both, one=exited(), two=exited()) == [("web", 0)]


def test_a_failing_init_container_is_tried_again_unless_never() -> None:
    assert started(pod(init=("one",)), one=exited(1)) == [("one", 1)]
    never = pod(init=("one",), restartPolicy="Never")
    assert started(never, one=exited(1)) == []
    assert lifecycle.phase(never, Facts(True, {"one": exited(1)})) == "Failed"


def test_sidecars_start_first_and_let_the_others_start_once_up() -> None:
    with_sidecar = pod(sidecars=("proxy",))
    assert started(with_sidecar) == [("proxy", 0)]
    assert started(with_sidecar, proxy=replace(RUNNING, up=False)) == []
    assert started(with_sidecar, proxy=RUNNING) == [("web", 0)]
    assert started(with_sidecar, proxy=exited(0, attempt=3), web=RUNNING) == [("proxy", 4)]


@pytest.mark.parametrize(
    ("policy", "code", "again"),
    [("Always", 0, True), ("Always", 1, True), ("OnFailure", 0, False), ("OnFailure", 1, True), ("Never", 1, False)],
)
def test_restart_policies(policy: str, code: int, again: bool) -> None:
    assert bool(started(pod(restartPolicy=policy), web=exited(code))) is again


@pytest.mark.parametrize(
    ("crashes", "delay"), [(0, 0), (1, 10), (2, 20), (3, 40), (4, 80), (5, 160), (6, 300), (7, 300), (5000, 300)]
)
def test_back_off_doubles_from_ten_seconds_to_five_minutes(crashes: int, delay: float) -> None:
    run = exited(1, crashes=crashes)
    assert run.backoff == delay
    due = lifecycle.plan(pod(), Facts(True, {"web": run}), NOW)
    assert (due.wake, bool(due.actions)) == ((NOW + delay, False) if delay else (None, True))
    late = exited(1, crashes=crashes, ago=delay, attempt=9)
    [start] = actions(pod(), web=late)
    assert (start.attempt, start.crashes) == (10, crashes + 1)


def test_ten_good_minutes_forgive_all_crashes() -> None:
    [start] = actions(pod(), web=exited(1, crashes=6, ran=600))
    assert start.crashes == 0


def test_a_sick_container_is_stopped_and_then_restarted() -> None:
    [stop] = actions(pod(terminationGracePeriodSeconds=4), web=replace(RUNNING, sick="Liveness"))
    assert isinstance(stop, Stop)
    assert (stop.container.name, stop.why, stop.grace) == ("web", "Liveness", 4)


def test_deletion_stops_everything_with_the_grace_asked_for_then_forgets() -> None:
    doomed = pod("a", "b", deleting=True)
    stops = actions(doomed, a=RUNNING, b=RUNNING)
    assert [(s.container.name, s.grace) for s in stops] == [("a", 7), ("b", 7)]
    assert actions(doomed, a=exited(), b=exited()) == [EndSandbox()]
    assert actions(doomed, sandbox=False, a=exited(), b=exited()) == [Forget()]


def test_sidecars_are_stopped_after_the_others() -> None:
    doomed = pod(sidecars=("proxy",), deleting=True)
    assert [s.container.name for s in actions(doomed, proxy=RUNNING, web=RUNNING)] == ["web"]
    assert [s.container.name for s in actions(doomed, proxy=RUNNING, web=exited())] == ["proxy"]


def test_a_pod_gone_from_the_api_is_not_waited_for() -> None:
    [stop] = actions(pod(), gone=True, web=RUNNING)
    assert stop.grace == lifecycle.REMOVED_GRACE


def test_a_pod_that_never_started_is_forgotten_at_once() -> None:
    assert actions(pod(deleting=True), sandbox=False) == [Forget()]


def test_a_finished_pod_gives_its_sandbox_back_and_stays() -> None:
    done = pod(restartPolicy="Never")
    assert actions(done, web=exited()) == [EndSandbox()]
    assert actions(done, sandbox=False, web=exited()) == []
    assert actions(pod(status={"phase": "Failed"}), sandbox=False) == []


@pytest.mark.parametrize(
    ("policy", "runs", "phase"),
    [
        ("Always", {}, "Pending"),
        ("Always", {"web": RUNNING}, "Running"),
        ("Always", {"web": exited(1, crashes=3)}, "Running"),
        ("Never", {"web": exited(0)}, "Succeeded"),
        ("Never", {"web": exited(1)}, "Failed"),
        ("OnFailure", {"web": exited(1)}, "Running"),
        ("OnFailure", {"web": exited(0)}, "Succeeded"),
    ],
)
def test_phases(policy: str, runs: dict[str, Run], phase: str) -> None:
    assert lifecycle.phase(pod(restartPolicy=policy), Facts(True, runs)) == phase


def test_an_ended_deletion_has_a_final_phase() -> None:
    assert lifecycle.phase(pod(deleting=True), Facts(False, {"web": exited(0)})) == "Succeeded"
    assert lifecycle.phase(pod(deleting=True), Facts(False, {"web": exited(143)})) == "Failed"


@given(st.data())
def test_deletion_always_comes_to_its_end(data: st.DataObject) -> None:
    """Whatever runs, in whatever order it exits, carrying out the plans ends in Forget and starts nothing."""
    doomed = pod("a", "b", init=("i",), sidecars=("s",), deleting=True)
    states = st.sampled_from([None, RUNNING, exited(0), exited(1)])
    runs = {name: run for name in ("a", "b", "i", "s") if (run := data.draw(states)) is not None}
    facts = Facts(data.draw(st.booleans()), runs)
    for _ in range(20):
        acts = lifecycle.plan(doomed, facts, NOW).actions
        assert acts
        assert not any(isinstance(act, Start | MakeSandbox) for act in acts)
        if acts == (Forget(),):
            return
        for act in acts:
            if isinstance(act, EndSandbox):
                facts = replace(facts, sandbox=False)
        stopped = [act.container.name for act in acts if isinstance(act, Stop)]
        if stopped:
            name = data.draw(st.sampled_from(stopped))
            facts = replace(facts, runs={**facts.runs, name: replace(facts.runs[name], exited=NOW, code=143)})
    raise AssertionError("the pod was never forgotten")


@given(st.integers(0, 12), st.floats(0, 700), st.floats(0, 400))
def test_an_ended_container_is_either_started_or_waited_for(crashes: int, ran: float, ago: float) -> None:
    plan = lifecycle.plan(pod(), Facts(True, {"web": exited(1, crashes=crashes, ran=ran, ago=ago)}), NOW)
    assert bool(plan.actions) != (plan.wake is not None)
    assert plan.wake is None or NOW < plan.wake <= NOW + lifecycle.LONGEST_BACKOFF
