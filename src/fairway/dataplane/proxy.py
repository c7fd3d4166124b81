"""The node proxy's loop: objects in by informers, rules out to the kernel, one change at a time or many at once.

Nothing is applied before Services, EndpointSlices and the own Node have been listed: a half-known cluster would take
rules away. A change after quiet time is applied at once; while changes keep coming they are gathered, as `Pace` says.
An apply that fails leaves the last good rules and is tried again, with growing delays. Rules that others changed are
written again as soon as the kernel tells of it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from math import inf
from typing import Any

from fairway.client.base import ApiError, Client, Unreachable
from fairway.client.follow import follow
from fairway.client.informer import Cache, Change
from fairway.dataplane.base import Concern, Programmer, Report, Update
from fairway.dataplane.health import ProxyHealth, healthz, livez
from fairway.dataplane.health_server import HealthCheckPorts
from fairway.dataplane.tracker import Tracker
from fairway.dataplane.upkeep import Upkeep, delays
from fairway.dataplane.watch import Watch
from fairway.desired import view
from fairway.desired.facts import serves_loopback
from fairway.desired.model import HealthCheck, PortKey, Settings
from fairway.desired.options import ProxyOptions
from fairway.kernel.base import KernelError, Notice, Notices, Refused
from fairway.node import Node
from fairway.objects import kinds
from fairway.observe.answer import Answer
from fairway.packet import Family

SERVICE_SELECTOR = f"!{view.HEADLESS_LABEL},!{view.PROXY_NAME_LABEL}"
SLICE_SELECTOR = f"!{view.HEADLESS_LABEL}"
LONGEST_REST = 0.5
"""Seconds; see `Pace.gather`."""
LARGE = 1000
"""So many ports in one update make a transaction during which nobody listens to the kernel."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Pace:
    """When things are done, in seconds.

    `gather`: how long after an apply further changes are collected at least; never for less time than the apply took
    (up to half a second), so that under a storm of changes half the time is left to others. `check`: how often it is
    looked whether our rules still stand; `verify`: how often all of them are compared. `retry`: the first delay after
    a failure, doubled up to `longest_retry`.
    """

    gather: float = 0.02
    check: float = 30.0
    verify: float = 600.0
    retry: float = 0.5
    longest_retry: float = 30.0


@dataclass(slots=True)
class Status:
    """What the proxy has done. `error` is what stands in the way now, "" when the last apply went well."""

    applied: int = 0
    last: Report = field(default_factory=Report)
    error: str = ""
    repaired: int = 0


class Observer:
    """Hears what a proxy does; does nothing about it unless it is derived from. Nothing here may raise or block."""

    def told(self, kind: kinds.Kind, changes: Sequence[Change[Any]]) -> None:
        """Objects changed, and will be applied."""

    async def applied(self, update: Update, report: Report, seconds: float) -> None:
        """The kernel does what `update` says, which took so long."""

    def refused(self, update: Update, error: KernelError) -> None:
        """The kernel does not: the last good rules stay, and it is tried again."""

    def unanswered(self, check: HealthCheck, reason: str) -> None:
        """A healthCheckNodePort cannot be opened. It is tried again with every look and every change."""

    def repaired(self, by: Sequence[Notice], report: Report) -> None:
        """Others had changed our rules, and what was missing was written again. `by` are transactions that may have
        done it; none where the kernel does not tell."""


class Proxy:
    """One node's proxy, in the mode of its `programmer`.

    `node` tells the node's name, interfaces and routes when asked (it may block for a moment); labels and pod ranges
    come from the API. `status` and `health` may be read at any time; `ready` is set after the first apply. `listen`
    opens the kernel's notices of what others do to rules; None: that is found out at intervals.
    """

    def __init__(
        self,
        client: Client,
        programmer: Programmer,
        node: Callable[[], Node],
        options: ProxyOptions,
        *,
        clock: Callable[[], float] = time.monotonic,
        pace: Pace = Pace(),
        observers: Sequence[Observer] = (),
        listen: Callable[[], Notices] | None = None,
    ) -> None:
        self.status = Status()
        self.health = ProxyHealth()
        self.ready = asyncio.Event()
        self._client = client
        self._node = node
        self._clock = clock
        self._pace = pace
        self._observers = observers
        self._tracker = Tracker(options)
        self._guarding = options.guarded_cidrs == ()
        self._rules = programmer
        self._bell = asyncio.Event()  # something is to be done: changes, or what `_watch` has heard
        self._watch = Watch(listen, programmer.concern, self._bell.set) if listen else None
        self._upkeep = Upkeep.begin(clock(), pace.check, pace.verify, pace.retry)
        self._withheld: Mapping[PortKey, Refused] = {}
        self._withheld_until = inf
        self._withholding = delays(pace.retry, 4 * pace.longest_retry)
        self._health_checks = HealthCheckPorts(lambda: self.health.live(self._clock()))
        self._changed = False
        self._unlisted = {kinds.SERVICE, kinds.ENDPOINT_SLICE, kinds.NODE}
        self._seen = Node("")
        self._working: asyncio.Future[Any] | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """Keep the node's rules in step until `stop` is set; the rules stay. Servers and kernels that fail are
        retried; only a node that cannot tell its name at the start is an error (what `node` raises)."""
        self._seen = await asyncio.to_thread(self._node)
        jobs = [asyncio.create_task(job) for job in (*self._followers(self._seen.name), self._keep_applied())]
        ending = asyncio.create_task(stop.wait())
        try:
            done, _ = await asyncio.wait([*jobs, ending], return_when=asyncio.FIRST_COMPLETED)
            for job in done - {ending}:
                job.result()
        finally:
            for task in (*jobs, ending):
                task.cancel()
            await asyncio.gather(*jobs, ending, return_exceptions=True)
            if self._working is not None:
                # a transaction that has begun is let finish
                await asyncio.gather(self._working, return_exceptions=True)
            if self._watch is not None:
                self._watch.close()
            await self._health_checks.close()

    def _followers(self, name: str) -> Sequence[Coroutine[Any, Any, Any]]:
        """The informers. Each tells the tracker, then wakes the loop."""
        tracker, client = self._tracker, self._client
        guarding = (self._follow_cidrs(),) if self._guarding else ()
        return (
            *guarding,
            follow(
                client,
                kinds.SERVICE,
                Cache(view.service),
                label_selector=SERVICE_SELECTOR,
                on_change=lambda changes: self._told(kinds.SERVICE, tracker.services_changed, changes),
                on_synced=lambda: self._listed(kinds.SERVICE),
            ),
            follow(
                client,
                kinds.ENDPOINT_SLICE,
                Cache(view.endpoint_slice),
                label_selector=SLICE_SELECTOR,
                on_change=lambda changes: self._told(kinds.ENDPOINT_SLICE, tracker.slices_changed, changes),
                on_synced=lambda: self._listed(kinds.ENDPOINT_SLICE),
            ),
            follow(
                client,
                kinds.NODE,
                Cache(view.node),
                field_selector=f"metadata.name={name}",
                on_change=lambda changes: self._told(kinds.NODE, tracker.node_changed, changes),
                on_synced=lambda: self._listed(kinds.NODE),
            ),
        )

    async def _follow_cidrs(self) -> None:
        """Learn which ranges to guard. Nothing waits for it, and servers before 1.31 may not know."""
        try:
            await self._client.list(kinds.SERVICE_CIDR, limit=1)
        except ApiError as error:
            if error.code in (403, 404):
                _log.warning("addresses that no Service has are not guarded: the server tells no ranges: %s", error)
                await asyncio.Event().wait()
        except Unreachable:
            pass  # the loop below has the patience
        await follow(
            self._client,
            kinds.SERVICE_CIDR,
            Cache(view.service_cidr),
            on_change=lambda changes: self._told(kinds.SERVICE_CIDR, self._tracker.cidrs_changed, changes),
        )

    def _told(
        self, kind: kinds.Kind, track: Callable[[Sequence[Change[Any]]], None], changes: Sequence[Change[Any]]
    ) -> None:
        track(changes)
        for observer in self._observers:
            observer.told(kind, changes)
        self.health.node_eligible = self._tracker.node_eligible
        self._wake()

    def _listed(self, kind: kinds.Kind) -> None:
        self._unlisted.discard(kind)
        self._wake()

    def _wake(self) -> None:
        if self.health.waiting_since is None:
            self.health.waiting_since = self._clock()
        self._changed = True
        self._bell.set()

    async def _keep_applied(self) -> None:
        """Apply what changes; look after the rules when others were at them, and now and then."""
        failures = delays(self._pace.retry, self._pace.longest_retry)
        while True:
            if self._unlisted:
                await self._bell.wait()
                self._bell.clear()
                continue
            await self._something()
            begun = self._clock()
            try:
                await self._look_after()
                if not self._changed:
                    continue
                await self._apply()
                if await self._moved():
                    self._wake()
                failures.reset()
            except KernelError as error:
                delay = failures.next()
                self.status.error = str(error)
                _log.error("the kernel's rules stay as they are: %s; next attempt in %.1f s", error, delay)
                self._wake()
                await asyncio.sleep(delay)
            else:
                await asyncio.sleep(max(self._pace.gather, min(self._clock() - begun, LONGEST_REST)))

    async def _something(self) -> None:
        """Until something changed, somebody was at the rules, or it is time to look or to try again."""
        if self._changed:
            self._bell.clear()
            return
        now = self._clock()
        disturbed = self._watch is not None and self._watch.disturbed
        try:
            async with asyncio.timeout(min(self._upkeep.due(now, disturbed), max(self._withheld_until - now, 0.0))):
                await self._bell.wait()
        except TimeoutError:
            pass
        self._bell.clear()
        if self._clock() >= self._withheld_until:
            self._wake()
            self._bell.clear()

    async def _look_after(self) -> None:
        """Find out whether the node has the addresses it had, and our rules are as we left them; write what is
        missing."""
        if not self.ready.is_set():
            return
        concern = self._upkeep.look(self._clock())
        heard: Sequence[Notice] = ()
        if concern:
            self._unanswered(await self._health_checks.open())
            if await self._moved():
                self._wake()
        if self._watch is not None and not self._upkeep.held(self._clock()):
            heard = self._watch.take()
            concern = max([concern, *map(self._rules.concern, heard)])
        if concern is Concern.NONE or (concern is Concern.LOOK and await self._work(self._rules.intact)):
            return
        try:
            report = await self._work(self._rules.mend)
        except KernelError:
            self._rules.forget()
            raise
        if report.transactions:
            self._repaired(heard, report)

    def _repaired(self, heard: Sequence[Notice], report: Report) -> None:
        if self._watch is not None:
            # who came while we looked has said so meanwhile; what else he did is for the next look
            heard = [*heard, *self._watch.overheard()]
        who = " and ".join(culprits(heard)) or "somebody"
        _log.warning("%s changed the proxy's rules; %d lines were written again", who, report.lines)
        self.status.repaired += 1
        self._upkeep.repaired(self._clock())
        for observer in self._observers:
            observer.repaired(heard, report)

    async def _apply(self) -> None:
        self._changed = False
        update = self._tracker.update(self._seen)
        if self._clock() >= self._withheld_until and update.changed is not None:
            update = replace(update, changed=update.changed | self._withheld.keys())
        waiting, self.health.waiting_since = self.health.waiting_since, None
        begun = self._clock()
        if self._watch is not None and len(update.changed or ()) > LARGE:
            self._watch.close()  # listening makes the kernel describe each element of a transaction
        try:
            report = await self._work(self._rules.sync, update)
        except KernelError as error:
            self.health.waiting_since = waiting
            for observer in self._observers:
                observer.refused(update, error)
            raise
        self._applied(report)
        self._withhold(report.refused)
        for observer in self._observers:
            await observer.applied(update, report, self._clock() - begun)
        addresses = self._node_port_addresses(update.settings)
        self._unanswered(await self._health_checks.update(self._tracker.health_checks, addresses))

    def _unanswered(self, checks: Iterable[HealthCheck]) -> None:
        for check in checks:
            reason = self._health_checks.problems[check.port]
            _log.warning("%s/%s: %s", check.namespace, check.service, reason)
            for observer in self._observers:
                observer.unanswered(check, reason)

    def _withhold(self, refused: Mapping[PortKey, Refused]) -> None:
        """Some Services the kernel does not take. They are tried again when they change, and with growing delays."""
        if not refused:
            self._withheld, self._withheld_until = refused, inf
            self._withholding.reset()
            return
        self.status.error = "; ".join({f"{key[0]}: {error}": None for key, error in refused.items()})
        if self._clock() >= self._withheld_until or refused.keys() != self._withheld.keys():
            delay = self._withholding.next()
            self._withheld_until = self._clock() + delay
            _log.error("Services stay as they were: %s; next attempt in %.1f s", self.status.error, delay)
        self._withheld = refused

    def _applied(self, report: Report) -> None:
        self.status.applied += 1
        self.status.last = report
        self.status.error = ""
        self.health.updated = self._clock()
        if not self.ready.is_set():
            for family, reason in self._rules.unavailable.items():
                _log.warning("%s Services are not served: %s", family, reason)
        if self._watch is not None and self._watch.begin():
            self._upkeep.soon()  # somebody may have come while nobody listened
        self.ready.set()

    async def _moved(self) -> bool:
        """Look at the node again, which no change waits for; whether its addresses are others than before."""
        before = self._seen.interfaces
        self._seen = await self._work(self._node)
        return self._seen.interfaces != before

    async def _work(self, call: Callable[..., Any], *arguments: object) -> Any:
        """Run a blocking call in a thread. When this task is cancelled the call goes on, and `run` waits for it."""
        self._working = asyncio.ensure_future(asyncio.to_thread(call, *arguments))
        return await asyncio.shield(self._working)

    @staticmethod
    def _node_port_addresses(settings: Settings) -> Sequence[str] | None:
        """Where node ports are served: health checks are asked for at the same addresses. None: everywhere."""
        chosen = [settings.node(family).node_ports_on for family in Family]
        if all(addresses is None for addresses in chosen):
            return None
        return [address for addresses in chosen for address in addresses or ()]

    def answer(self, path: str) -> Answer:
        """What is said at `/healthz` and `/livez`."""
        answers: Mapping[str, Callable[[ProxyHealth, float, datetime], Answer]] = {"/healthz": healthz, "/livez": livez}
        answer = answers.get(path)
        return answer(self.health, self._clock(), datetime.now(UTC)) if answer else Answer(404, b"not found\n")


def culprits(heard: Sequence[Notice]) -> list[str]:
    """Who made these transactions, each once: `iptables (process 1234)`."""
    return list({f"{notice.program} (process {notice.process})": None for notice in heard if notice.program})


def sysctls(options: ProxyOptions) -> Mapping[str, str]:
    """The kernel settings that the rules need, for whoever sets them. Node ports on loopback need packets to loopback
    routed like others; the rules bring the guard that this calls for."""
    return {"net.ipv4.conf.all.route_localnet": "1"} if serves_loopback(options) else {}
