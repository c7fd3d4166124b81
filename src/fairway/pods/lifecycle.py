"""What to do next about a pod (pure): its object and what is known of its processes in, actions out.

The rules are those of the Kubernetes pod lifecycle: init containers one after the other, then all containers at once;
restarts by the pod's restartPolicy with a back-off of 10 s that doubles to 5 min and is forgotten after 10 min of good
running; an end in which sidecars (init containers with restartPolicy Always, KEP-753) outlive the others.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from fairway.pods.view import ALWAYS, NEVER, ON_FAILURE, Container, Pod

FIRST_BACKOFF, LONGEST_BACKOFF, FORGIVEN_AFTER = 10.0, 300.0, 600.0
REMOVED_GRACE = 1  # seconds for a pod whose object is gone: nobody waits for it any more
PENDING, RUNNING, SUCCEEDED, FAILED = "Pending", "Running", "Succeeded", "Failed"


@dataclass(frozen=True, slots=True)
class Run:
    """One attempt to run a container, times in seconds since 1970. `crashes` is how many attempts in a row ended soon
    before this one; `failed` means it could not even be executed (`note` says why). `up` (startup over), `ready` and
    `sick` (the purpose of the probe that gave it up) are what probes say of it while it runs."""

    attempt: int
    crashes: int = 0
    started: float = 0.0
    exited: float | None = None
    code: int = 0
    signal: int = 0
    note: str = ""
    failed: bool = False
    previous: Run | None = None
    up: bool = False
    ready: bool = False
    sick: str = ""

    @property
    def running(self) -> bool:
        return self.exited is None

    @property
    def backoff(self) -> float:
        """Seconds to wait after this attempt's exit before the next one; the first restart is at once."""
        if self.crashes == 0 or self._good:
            return 0.0
        return min(FIRST_BACKOFF * 2.0 ** min(self.crashes - 1, 10), LONGEST_BACKOFF)

    @property
    def next_crashes(self) -> int:
        return 0 if self._good else self.crashes + 1

    @property
    def _good(self) -> bool:
        return self.exited is not None and self.exited - self.started >= FORGIVEN_AFTER


def run_of(record: Mapping[str, Any], *, up: bool = False, ready: bool = False, sick: str = "") -> Run:
    """A sandbox's record of an attempt (see `pods/init.py`) with what probes say."""
    previous = record.get("previous")
    return Run(
        attempt=record["attempt"],
        crashes=record["crashes"],
        started=record["started"],
        exited=record["exited"],
        code=record["code"],
        signal=record["signal"],
        note=record["note"],
        failed=record.get("failed", False),
        previous=run_of(previous) if previous else None,
        up=up,
        ready=ready,
        sick=sick,
    )


@dataclass(frozen=True, slots=True)
class Facts:
    """All that is known of a pod on this node: whether its sandbox is up, each container's latest attempt, which
    containers cannot be started for a fault in their settings (name -> message), whether the object is gone."""

    sandbox: bool = False
    runs: Mapping[str, Run] = field(default_factory=dict)
    blocked: Mapping[str, str] = field(default_factory=dict)
    gone: bool = False

    def run(self, container: Container) -> Run | None:
        return self.runs.get(container.name)


@dataclass(frozen=True, slots=True)
class MakeSandbox:
    """Give the pod namespaces and addresses."""


@dataclass(frozen=True, slots=True)
class Start:
    """Run an attempt of a container."""

    container: Container
    attempt: int
    crashes: int


@dataclass(frozen=True, slots=True)
class Stop:
    """End a container within `grace` seconds; `why` is the reason for the event, "" for the pod's own end."""

    container: Container
    grace: int
    why: str = ""


@dataclass(frozen=True, slots=True)
class EndSandbox:
    """Take namespaces and addresses back; the logs stay."""


@dataclass(frozen=True, slots=True)
class Forget:
    """Nothing of the pod runs: report it, remove its files, and let the API forget it."""


Action: TypeAlias = MakeSandbox | Start | Stop | EndSandbox | Forget


@dataclass(frozen=True, slots=True)
class Plan:
    """Actions to do now, in this order; then think again when something happens, or at `wake` (None: only then)."""

    actions: tuple[Action, ...] = ()
    wake: float | None = None


def plan(pod: Pod, facts: Facts, now: float) -> Plan:
    """What to do now about a pod."""
    if facts.gone or pod.deleting:
        grace = REMOVED_GRACE if facts.gone else pod.grace_seconds
        return Plan(tuple(_ending(pod, facts, grace)) or (Forget(),))
    if phase(pod, facts) in (SUCCEEDED, FAILED):
        return Plan(tuple(_ending(pod, facts, pod.grace_seconds)))
    if not facts.sandbox:
        return Plan((MakeSandbox(),))
    steps = list(_steps(pod, facts, now))
    actions = tuple(step for step in steps if not isinstance(step, float))
    return Plan(actions, min((step for step in steps if isinstance(step, float)), default=None))


def _ending(pod: Pod, facts: Facts, grace: int) -> Iterator[Action]:
    """Stop what runs, sidecars last; then the sandbox."""
    running = [c for c in pod.all_containers if (run := facts.run(c)) is not None and run.running and facts.sandbox]
    first = [container for container in running if not is_sidecar(container)]
    for container in first or running:
        yield Stop(container, grace)
    if not running and facts.sandbox:
        yield EndSandbox()


def _steps(pod: Pod, facts: Facts, now: float) -> Iterator[Action | float]:
    """What each container needs: an action, or the time at which it will need one."""
    for container in pod.spec.init_containers:
        yield from _step(pod, container, facts.run(container), now)
        if not (init_done(container, facts) or initialized(pod, facts)):
            return
    for container in pod.spec.containers:
        yield from _step(pod, container, facts.run(container), now)


def _step(pod: Pod, container: Container, run: Run | None, now: float) -> Iterator[Action | float]:
    if run is None:
        yield Start(container, 0, 0)
    elif run.exited is None:
        if run.sick:
            yield Stop(container, _sick_grace(pod, container, run), run.sick)
    elif will_restart(run, policy(pod, container)):
        due = run.exited + run.backoff
        yield due if now < due else Start(container, run.attempt + 1, run.next_crashes)


def _sick_grace(pod: Pod, container: Container, run: Run) -> int:
    probe = container.startup_probe if run.sick == "Startup" else container.liveness_probe
    own = probe.termination_grace_period_seconds if probe is not None else None
    return own if own is not None else pod.grace_seconds


def is_sidecar(container: Container) -> bool:
    """Whether an init container keeps running beside the others (KEP-753)."""
    return container.restart_policy == ALWAYS


def policy(pod: Pod, container: Container) -> str:
    """The restart policy that holds for a container; that of init containers is never "Always", unless sidecars."""
    if is_sidecar(container):
        return ALWAYS
    if container in pod.spec.init_containers and pod.spec.restart_policy == ALWAYS:
        return ON_FAILURE
    return pod.spec.restart_policy


def will_restart(run: Run, restart_policy: str) -> bool:
    """Whether an ended attempt is followed by another."""
    if restart_policy == NEVER:
        return False
    return restart_policy == ALWAYS or run.code != 0


def init_done(container: Container, facts: Facts) -> bool:
    """Whether the containers after this init container may start."""
    run = facts.run(container)
    if run is None:
        return False
    if is_sidecar(container):
        return run.running and run.up
    return not run.running and run.code == 0


def initialized(pod: Pod, facts: Facts) -> bool:
    """Whether all init containers are done, or were when the first container started."""
    if any(facts.run(container) is not None for container in pod.spec.containers):
        return True
    return all(init_done(container, facts) for container in pod.spec.init_containers)


def phase(pod: Pod, facts: Facts) -> str:
    """The pod's phase. One that the API already has as Succeeded or Failed stays so."""
    reported = str(pod.status.get("phase", ""))
    if reported in (SUCCEEDED, FAILED):
        return reported
    if not initialized(pod, facts):
        broken = any(_gave_up(pod, container, facts) for container in pod.spec.init_containers)
        return FAILED if broken else PENDING
    runs = [facts.run(container) for container in pod.spec.containers]
    if any(run is None for run in runs):
        return PENDING
    final = [run for run in runs if run is not None]
    ending = pod.deleting or facts.gone
    if any(run.running or (will_restart(run, pod.spec.restart_policy) and not ending) for run in final):
        return RUNNING
    return SUCCEEDED if all(run.code == 0 for run in final) else FAILED


def _gave_up(pod: Pod, container: Container, facts: Facts) -> bool:
    run = facts.run(container)
    ended = run is not None and not run.running and run.code != 0
    return ended and policy(pod, container) == NEVER
