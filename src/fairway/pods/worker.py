"""EDGE. One pod's worker: asks `lifecycle` what to do, does it, reports the status, waits for something to happen."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from fairway.client.base import ApiError, Client, Unreachable
from fairway.kernel.base import KernelError
from fairway.objects.kinds import POD
from fairway.pods import lifecycle, mounts, status
from fairway.pods.config import AgentConfig
from fairway.pods.errors import ConfigProblem, NetworkProblem, PodError, SandboxProblem
from fairway.pods.events import EventType, Recorder
from fairway.pods.launch import Launcher
from fairway.pods.lifecycle import EndSandbox, Facts, Forget, MakeSandbox, Run, Start, Stop
from fairway.pods.network import PodNetwork, forwards
from fairway.pods.probes import Purpose
from fairway.pods.probing import ContainerProbes, Target, perform
from fairway.pods.records import PodDir, PodRecord
from fairway.pods.sandbox import ExecResult, Sandbox
from fairway.pods.view import Container, Handler, Pod
from fairway.pods.volumes import Volumes

FIRST_RETRY, LAST_RETRY = 0.1, 10.0
HOOK_EXTRA = 2.0  # seconds a container has at least after its preStop hook, as the kubelet grants

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Ground:
    """What the workers of one node share. `making` bounds how many sandboxes are made at once."""

    client: Client
    config: AgentConfig
    network: PodNetwork
    recorder: Recorder
    launcher: Launcher
    clock: Callable[[], float]
    making: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(8))


class Worker:
    """Keeps one pod as its object says, from first sight to its end; `run` returns when nothing of it is left.

    `update`, `disappear` and `kick` may be called at any time. Cancelling `run` leaves the pod's processes alone: a
    later worker finds them by the pod's directory.
    """

    def __init__(self, ground: Ground, pod: Pod, *, gone: bool = False) -> None:
        self.pod = pod
        self.directory = PodDir(ground.config.state_dir / "pods" / pod.uid)
        self._ground = ground
        self._gone = gone
        self._done = False
        self._adopted = False
        self._event = asyncio.Event()
        self._sandbox: Sandbox | None = None
        self._addresses: tuple[str, ...] = ()
        self._records: Mapping[str, dict[str, Any]] = {}
        self._probes: dict[str, tuple[int, ContainerProbes]] = {}
        self._blocked: dict[str, tuple[str, float]] = {}
        self._stopping: dict[tuple[str, int], float] = {}
        self._ended: set[tuple[str, int]] = set()
        self._hooks: set[asyncio.Task[None]] = set()
        self._retry = FIRST_RETRY
        self._volumes = Volumes(ground.client, self.directory.volumes)

    # - told from outside

    def update(self, pod: Pod) -> None:
        """The API has a newer object."""
        known = {container.name for container in self.pod.spec.ephemeral_containers}
        before, now = self.pod.metadata, pod.metadata
        if (before.labels, before.annotations) != (now.labels, now.annotations):
            self._volumes.look_again(pod, self._ground.clock())
        self.pod = pod
        for name in (container.name for container in pod.spec.ephemeral_containers if container.name not in known):
            self._say("Warning", "Failed", f"Ephemeral container {name} is not run: this agent runs none; use exec")
        self.kick()

    def disappear(self) -> None:
        """The API has the pod no more."""
        self._gone = True
        self.kick()

    def kick(self) -> None:
        """Something happened: think again."""
        self._event.set()

    # - the loop

    async def run(self) -> None:
        """Work until the pod's end."""
        try:
            while not self._done:
                self._event.clear()
                wake = await self._turn()
                if not self._done:
                    await self._wait(wake)
        finally:
            await self._let_go()

    async def _turn(self) -> float | None:
        """Do what is to be done now; when to look again at the latest (in the clock's time), None for never."""
        try:
            if not self._adopted:
                await self._adopt()
                self._adopted = True
            await self._refresh()
            while True:
                await self._notice()
                facts = self.facts()
                plan = lifecycle.plan(self.pod, facts, self._ground.clock())
                for action in plan.actions:
                    await self._perform(action)
                if self._done or self.facts() == facts:
                    break
            if not self._done:
                await self._report()
            self._retry = FIRST_RETRY
        except (PodError, KernelError, ApiError, Unreachable, OSError) as error:
            _log.warning("pod %s: %s", self.pod, error)
            return self._later()
        except Exception:  # a fault of ours: it must not cost the node's other pods their agent
            _log.exception("pod %s", self.pod)
            return self._later()
        return min(
            (t for t in (plan.wake, self._volumes.due, *(until for _, until in self._blocked.values())) if t),
            default=None,
        )

    def _later(self) -> float:
        self._retry, delay = min(self._retry * 2, LAST_RETRY), self._retry
        return self._ground.clock() + delay

    async def _wait(self, wake: float | None) -> None:
        try:
            async with asyncio.timeout(None if wake is None else max(0.0, wake - self._ground.clock())):
                await self._event.wait()
        except TimeoutError:
            pass

    async def _let_go(self) -> None:
        for hook in self._hooks:
            hook.cancel()
        for _, probes in self._probes.values():
            await probes.end()
        if self._sandbox is not None:
            self._sandbox.close()

    # - what is known

    def facts(self) -> Facts:
        """All that is known of the pod's processes now."""
        alive = self._sandbox is not None and self._sandbox.alive
        records = self._sandbox.records if self._sandbox is not None else self._records
        runs = {name: self._run_of(name, record, alive) for name, record in records.items()}
        return Facts(alive, runs, {name: message for name, (message, _) in self._blocked.items()}, self._gone)

    def _run_of(self, name: str, record: Mapping[str, Any], alive: bool) -> Run:
        if not alive and record["exited"] is None:
            record = {**record, "exited": record["started"], "code": 137, "signal": 9, "note": "its sandbox was lost"}
        attempt, probes = self._probes.get(name, (-1, None))
        if probes is None or attempt != record["attempt"]:
            return lifecycle.run_of(record)
        return lifecycle.run_of(record, up=probes.up, ready=probes.ready, sick=probes.sick)

    async def _adopt(self) -> None:
        """Find again what an earlier agent left running."""
        record = self.directory.read()
        if record is None:
            return
        self._records = self.directory.state()
        self._addresses = record.addresses
        self._sandbox = self._sandbox or await Sandbox.find(self.directory, self.kick)
        if self._sandbox is None:
            return
        if record.addresses and not self._gone:
            await self._ground.network.ready.wait()
            if not self._ground.network.holds(self.pod.uid, record.addresses):
                await self._end_sandbox()
                return
            await self._attach(self._sandbox)
        self._volumes.look_again(self.pod, self._ground.clock())
        for container in self.pod.all_containers:
            found = self._sandbox.records.get(container.name)
            if found is not None and found["exited"] is None:
                self._begin_probes(container, lifecycle.run_of(found), adopted=True)
            elif found is not None:
                self._ended.add((container.name, found["attempt"]))

    async def _notice(self) -> None:
        """Take in what happened since: a lost sandbox, ended containers, problems whose time is over."""
        now = self._ground.clock()
        self._blocked = {name: (why, until) for name, (why, until) in self._blocked.items() if until > now}
        if self._sandbox is not None and not self._sandbox.alive:
            self._say("Warning", "SandboxChanged", "The pod's sandbox was lost and is made anew.")
            await self._end_sandbox()
        for container in self.pod.all_containers:
            run = self.facts().run(container)
            if run is not None and not run.running and (container.name, run.attempt) not in self._ended:
                self._ended.add((container.name, run.attempt))
                await self._end_probes(container.name)
                self._say_back_off(container, run)

    def _say_back_off(self, container: Container, run: Run) -> None:
        ending = self._gone or self.pod.deleting
        if run.backoff and not ending and lifecycle.will_restart(run, lifecycle.policy(self.pod, container)):
            message = f"Back-off restarting failed container {container.name} in pod {self.pod}"
            self._say("Warning", "BackOff", message, container)

    # - what is done

    async def _perform(self, action: lifecycle.Action) -> None:
        match action:
            case MakeSandbox():
                await self._make_sandbox()
            case Start():
                await self._start(action)
            case Stop():
                await self._stop(action)
            case EndSandbox():
                await self._end_sandbox()
            case Forget():
                await self._forget()

    async def _make_sandbox(self) -> None:
        pod, network, launcher = self.pod, self._ground.network, self._ground.launcher
        own = not pod.spec.host_network
        if own and not network.ready.is_set():
            raise NetworkProblem("waiting for the node's pod range")
        try:
            self._addresses = network.allocate(pod.uid) if own else ()
            record = PodRecord(
                uid=pod.uid,
                namespace=pod.metadata.namespace,
                name=pod.metadata.name,
                host_network=not own,
                hostname=launcher.hostname(pod),
                addresses=self._addresses,
                forwards=forwards(pod, self._addresses),
                containers=tuple(container.name for container in (*pod.spec.containers, *pod.spec.init_containers)),
            )
            self.directory.create(record, launcher.etc_files(pod, self._addresses))
            await self._fill_volumes()
            async with self._ground.making:
                sandbox = await Sandbox.make(self.directory, record.hostname, record.host_network, self.kick)
            self._sandbox = sandbox
            if own:
                await self._attach(sandbox)
        except (PodError, KernelError) as error:
            self._say("Warning", "FailedCreatePodSandBox", f"Failed to create pod sandbox: {error}")
            await self._end_sandbox()
            raise

    async def _attach(self, sandbox: Sandbox) -> None:
        ports = forwards(self.pod, self._addresses)
        await self._ground.network.attach(self.pod.uid, sandbox.network_namespace, self._addresses, ports)

    async def _fill_volumes(self) -> None:
        place = self._ground.launcher.place(self.pod, self._pod_ips())
        try:
            await self._volumes.fill(self.pod, place, self._ground.clock())
        except ConfigProblem as error:
            self._say("Warning", "FailedMount", f"MountVolume.SetUp failed for {error}")
            raise

    async def _refresh(self) -> None:
        """Make anew what will not be good for long; if that fails, the old is good for a while still."""
        if self._gone or self.pod.deleting or self._sandbox is None:
            return
        place = self._ground.launcher.place(self.pod, self._pod_ips())
        try:
            await self._volumes.refresh(self.pod, place, self._ground.clock())
        except (PodError, ApiError, Unreachable, OSError) as error:
            _log.warning("volumes of pod %s: %s", self.pod, error)

    async def _end_sandbox(self) -> None:
        """End the sandbox and take link and addresses back; what its containers did stays known."""
        for name in list(self._probes):
            await self._end_probes(name)
        await self._ground.network.detach(self.pod.uid)
        if self._sandbox is not None:
            await self._sandbox.end()
            self._sandbox = None
        self._records = self.directory.state()

    async def _start(self, action: Start) -> None:
        container = action.container
        if self._sandbox is None or container.name in self._blocked:
            return
        try:
            launch, request = await self._ground.launcher.request(self.pod, container, self._pod_ips())
        except ConfigProblem as error:
            self._blocked[container.name] = (str(error), self._ground.clock() + LAST_RETRY)
            self._say("Warning", "Failed", f"Error: {error}", container)
            return
        if launch.stand_in and action.attempt == 0:
            what = f'Image "{container.image}" is not in this node\'s table of programs: running the stand-in server'
            self._say("Normal", "StandIn", what, container)
        for path, argv in launch.tools.items():
            self.directory.equip(mounts.tool_name(path), argv)
        missing = mounts.missing(self.pod, container)
        if missing and action.attempt == 0:
            paths = ", ".join(f"{mount.name} at {mount.mount_path}" for mount in missing)
            what = f"No such volumes in this lab: container {container.name} does without {paths}"
            self._say("Warning", "VolumesNotMounted", what, container)
        record = await self._sandbox.start(container.name, action.attempt, {**request, "crashes": action.crashes})
        if record.get("failed"):
            self._say("Warning", "Failed", f"Error: {record['note']}", container)
            return
        self._say("Normal", "Started", f"Started container {container.name}", container)
        self._begin_probes(container, lifecycle.run_of(record))

    async def _stop(self, action: Stop) -> None:
        container, run = action.container, self.facts().run(action.container)
        if self._sandbox is None or run is None:
            return
        key, deadline = (container.name, run.attempt), self._ground.clock() + action.grace
        if self._stopping.get(key, float("inf")) <= deadline:
            return
        first, self._stopping[key] = key not in self._stopping, deadline
        if first:
            because = f" ({action.why} probe failed)" if action.why else ""
            self._say("Normal", "Killing", f"Stopping container {container.name}{because}", container)
        hook = container.lifecycle.pre_stop
        if first and hook is not None and not self._gone and action.grace > 0:
            self._in_background(self._stop_after(hook, container, action.grace))
        else:
            await self._sandbox.stop(container.name, action.grace)

    async def _stop_after(self, hook: Handler, container: Container, grace: float) -> None:
        begun = self._ground.clock()
        verdict = await perform(hook, self._target(container), grace)
        if not verdict.passed:
            self._say("Warning", "FailedPreStopHook", f"PreStopHook failed: {verdict.why}", container)
        if self._sandbox is not None:
            rest = grace - (self._ground.clock() - begun)
            await self._sandbox.stop(container.name, max(rest, HOOK_EXTRA))

    async def _forget(self) -> None:
        """Report the end, let the API forget the pod, remove its files: in this order, so that whatever is cut short
        is taken up again by the next try."""
        if not self._gone:
            await self._report()
        if not self._gone:
            name, namespace = self.pod.metadata.name, self.pod.metadata.namespace
            try:
                await self._ground.client.delete(POD, name, namespace, grace_seconds=0, uid=self.pod.uid)
            except ApiError as error:
                if error.code not in (404, 409):  # gone already, or a namesake lives in its place
                    raise
        await self._ground.network.detach(self.pod.uid)
        self.directory.remove()
        self._done = True

    async def _report(self) -> None:
        """Make the API's status say what is true."""
        if self._gone:
            return
        addresses = status.Addresses(self._pod_ips(), self._ground.config.node_ips)
        wanted = status.build(self.pod, self.facts(), addresses, self._ground.clock())
        changed = status.difference(self.pod.status, wanted)
        if not changed:
            return
        patch = {"metadata": {"uid": self.pod.uid}, "status": changed}
        pod = self.pod
        try:
            answer = await self._ground.client.patch(
                POD, pod.metadata.name, patch, pod.metadata.namespace, subresource="status"
            )
        except ApiError as error:
            if error.code not in (404, 409):
                raise
            self._gone = True  # deleted, perhaps a namesake in its place: the informer will say the same
            self.kick()
            return
        if self.pod is pod:
            self.pod = msgspec.structs.replace(pod, status=answer.get("status") or {})

    # - probes and hooks

    def _begin_probes(self, container: Container, run: Run, *, adopted: bool = False) -> None:
        def failed(purpose: Purpose, why: str) -> None:
            self._say("Warning", "Unhealthy", f"{purpose} probe failed: {why}", container)

        probes = ContainerProbes(self._target(container), self.kick, failed)
        self._probes[container.name] = (run.attempt, probes)
        said = self._reported(container, run) if adopted else {}
        hook = container.lifecycle.post_start
        if hook is not None and not adopted:
            self._in_background(self._begin_after(hook, container, probes))
        else:
            age = self._ground.clock() - run.started
            probes.begin(age, up=bool(said.get("started")), ready=bool(said.get("ready")))

    async def _begin_after(self, hook: Handler, container: Container, probes: ContainerProbes) -> None:
        verdict = await perform(hook, self._target(container), self.pod.grace_seconds)
        if verdict.passed:
            probes.begin(0.0)
        else:
            self._say("Warning", "FailedPostStartHook", f"PostStartHook failed: {verdict.why}", container)
            probes.sick = "PostStart"
        self.kick()

    def _reported(self, container: Container, run: Run) -> Mapping[str, Any]:
        """What the API's status says of this very attempt: readiness found out before a restart of the agent."""
        own = status.container_id(self.pod, container, run)
        statuses = (self.pod.status.get(f"{kind}ontainerStatuses") or [] for kind in ("c", "initC"))
        return next((s for group in statuses for s in group if s.get("containerID") == own), {})

    async def _end_probes(self, name: str) -> None:
        _, probes = self._probes.pop(name, (-1, None))
        if probes is not None:
            await probes.end()

    def _target(self, container: Container) -> Target:
        async def run(argv: Sequence[str], timeout: float) -> ExecResult:
            if self._sandbox is None:
                raise SandboxProblem("the pod's sandbox is gone")
            return await self._sandbox.run(container.name, argv, timeout)

        return Target(container, next(iter(self._pod_ips()), self._ground.config.node_ip), run)

    def _pod_ips(self) -> tuple[str, ...]:
        return self._ground.config.node_ips if self.pod.spec.host_network else self._addresses

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(self._guarded(work))
        self._hooks.add(task)
        task.add_done_callback(self._hooks.discard)

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except PodError as error:
            _log.warning("pod %s: %s", self.pod, error)

    def _say(self, kind: EventType, reason: str, message: str, container: Container | None = None) -> None:
        self._ground.recorder.say(self.pod, kind, reason, message, container.name if container else "")
