"""The node proxy's loop: objects in by informers, rules out to the kernel, one change at a time or many at once.

Nothing is applied before Services, EndpointSlices and the own Node have been listed: a half-known cluster would take
rules away. A change after quiet time is applied at once; while changes keep coming they are gathered, as `Pace` says.
An apply that fails leaves the last good rules and is tried again, with growing delays.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from fairway.client.base import ApiError, Client, Unreachable
from fairway.client.follow import follow
from fairway.client.informer import Cache, Change
from fairway.dataplane.alarm import Alarm
from fairway.dataplane.base import Programmer, Report, Update
from fairway.dataplane.health import Answer, ProxyHealth, healthz, livez
from fairway.dataplane.health_server import HealthCheckPorts
from fairway.dataplane.tracker import Tracker
from fairway.desired import view
from fairway.desired.facts import serves_loopback
from fairway.desired.model import Settings
from fairway.desired.options import ProxyOptions
from fairway.kernel.base import KernelError
from fairway.node import Node
from fairway.objects import kinds
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


class Proxy:
    """One node's proxy, in the mode of its `programmer`. `alarm` tells at once when somebody else is at its tables.

    `node` tells the node's name, interfaces and routes when asked (it may block for a moment); labels and pod ranges
    come from the API. `status` and `health` may be read at any time; `ready` is set after the first apply.
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
        alarm: Alarm | None = None,
    ) -> None:
        self.status = Status()
        self.health = ProxyHealth()
        self.ready = asyncio.Event()
        self._client = client
        self._node = node
        self._clock = clock
        self._pace = pace
        self._observers = observers
        self._alarm = alarm
        self._stirred = asyncio.Event()
        self._whom = "somebody"
        self._tracker = Tracker(options)
        self._guarding = options.guarded_cidrs == ()
        self._rules = programmer
        self._health_checks = HealthCheckPorts(lambda: self.health.live(self._clock()))
        self._changed = asyncio.Event()
        self._unlisted = {kinds.SERVICE, kinds.ENDPOINT_SLICE, kinds.NODE}
        self._seen = Node("")
        self._working: asyncio.Future[Any] | None = None
        self._forgotten = False

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
            if self._alarm is not None:
                self._alarm.rest()
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
        self._changed.set()
        self._stirred.set()

    def _disturbed(self, who: str) -> None:
        """Somebody was at our tables: look after the rules now."""
        self._whom = who
        self._stirred.set()

    async def _keep_applied(self) -> None:
        """Apply when something changed; look after the rules when nothing does."""
        delay = self._pace.retry
        verified = self._clock()
        while True:
            await self._change_or(self._pace.check)
            if self._unlisted:
                self._changed.clear()
                continue
            try:
                if not self._changed.is_set():
                    verify = self._clock() - verified >= self._pace.verify
                    verified = self._clock() if verify else verified
                    if await self._stands(verify):
                        continue
                begun = self._clock()
                await self._apply()
                rest = max(self._pace.gather, min(self._clock() - begun, LONGEST_REST))
                if await self._moved():
                    self._wake()
                delay = self._pace.retry
            except KernelError as error:
                self.status.error = str(error)
                _log.error("the kernel's rules stay as they are: %s; next attempt in %.1f s", error, delay)
                self._wake()
                await asyncio.sleep(delay)
                delay = min(delay * 2, self._pace.longest_retry)
            else:
                await asyncio.sleep(rest)

    async def _change_or(self, seconds: float) -> None:
        """Until something changed, or somebody was at the rules, or so long."""
        try:
            async with asyncio.timeout(seconds):
                await self._stirred.wait()
        except TimeoutError:
            pass
        self._stirred.clear()

    async def _apply(self) -> None:
        self._changed.clear()
        update = self._tracker.update(self._seen)
        waiting, self.health.waiting_since = self.health.waiting_since, None
        begun = self._clock()
        self._listen(not self.ready.is_set() or self._forgotten or len(update.changed or ()) > LARGE)
        try:
            report = await self._work(self._rules.sync, update)
        except KernelError as error:
            self.health.waiting_since = waiting
            for observer in self._observers:
                observer.refused(update, error)
            raise
        self._applied(report)
        self._listen(False)
        for observer in self._observers:
            await observer.applied(update, report, self._clock() - begun)
        await self._health_checks.update(self._tracker.health_checks, self._node_port_addresses(update.settings))
        for problem in self._health_checks.problems.values():
            _log.warning("%s", problem)

    def _applied(self, report: Report) -> None:
        self.status.applied += 1
        self.status.last = report
        self.status.error = ""
        self._forgotten = False
        self.health.updated = self._clock()
        if not self.ready.is_set():
            for family, reason in self._rules.unavailable.items():
                _log.warning("%s Services are not served: %s", family, reason)
        self.ready.set()

    async def _stands(self, verify: bool) -> bool:
        """Whether the node has the addresses it had, and our rules are as we left them. Rules that are not are read
        again and made whole at the next apply."""
        if not self.ready.is_set() or await self._moved():
            return False
        who, self._whom = self._whom, "somebody"
        if await self._work(self._rules.unchanged if verify else self._rules.intact):
            return True
        _log.warning("%s changed the proxy's rules; programming them again", who)
        self._rules.forget()
        self._forgotten = True
        self.status.repaired += 1
        return False

    async def _moved(self) -> bool:
        """Look at the node again, which no change waits for; whether its addresses are others than before."""
        before = self._seen.interfaces
        self._seen = await self._work(self._node)
        return self._seen.interfaces != before

    async def _work(self, call: Callable[..., Any], *arguments: object) -> Any:
        """Run a blocking call in a thread. When this task is cancelled the call goes on, and `run` waits for it."""
        self._working = asyncio.ensure_future(asyncio.to_thread(call, *arguments))
        try:
            return await asyncio.shield(self._working)
        finally:
            if self._alarm is not None and self._alarm.own_programs:
                self._alarm.forget()

    def _listen(self, large: bool) -> None:
        """Hear of others at our tables, but not during a large transaction."""
        if self._alarm is None:
            return
        if large:
            self._alarm.rest()
        elif self.ready.is_set():
            self._alarm.listen(self._disturbed)

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


def sysctls(options: ProxyOptions) -> Mapping[str, str]:
    """The kernel settings that the rules need, for whoever sets them. Node ports on loopback need packets to loopback
    routed like others; the rules bring the guard that this calls for."""
    return {"net.ipv4.conf.all.route_localnet": "1"} if serves_loopback(options) else {}
