"""What a node proxy counts, under kube-proxy 1.36's names and labels.

Both families are programmed in one go; a family for which there was nothing to do takes no part in a sync.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any

from fairway.client.informer import Change
from fairway.dataplane.base import Report, Update, Work
from fairway.dataplane.proxy import Observer
from fairway.desired.model import Policy, PortKey, ServicePort
from fairway.kernel.base import KernelError, Notice
from fairway.objects import kinds
from fairway.observe.exposition import Histogram, Metric, Value, counter, gauge
from fairway.packet import Family

_SYNC_BOUNDS = tuple(0.001 * 2**i for i in range(15))
_PROGRAMMING_BOUNDS = (0.25, 0.5, *range(1, 60), *range(60, 120, 5), *range(120, 301, 30))
_FAMILIES = tuple(Family)
_IP = ("ip_family",)
_KINDS = {kinds.SERVICE: "service", kinds.ENDPOINT_SLICE: "endpoint"}
_SYNC = "kubeproxy_sync_proxy_rules"
_RECONCILER = "kubeproxy_conntrack_reconciler"


class ProxyMetrics(Observer):
    """The numbers of one proxy in `mode` ("iptables" or "nftables"). `clock` is the time of day in seconds."""

    def __init__(self, mode: str, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._begun = clock()
        self._triggers: list[tuple[str, float]] = []  # family, and when it happened
        self._pending: dict[str, int] = dict.fromkeys(_KINDS.values(), 0)
        self._lost: dict[PortKey, tuple[str, ...]] = {}
        self._synced = False
        self.healthz = counter("kubeproxy_proxy_healthz_total", "Answers of /healthz.", "code")
        self.livez = counter("kubeproxy_proxy_livez_total", "Answers of /livez.", "code")
        self._duration = Histogram(f"{_SYNC}_duration_seconds", "How long a sync took.", _SYNC_BOUNDS, _IP)
        self._full = Histogram("kubeproxy_sync_full_proxy_rules_duration_seconds", "Of all rules.", _SYNC_BOUNDS, _IP)
        self._partial = Histogram(
            "kubeproxy_sync_partial_proxy_rules_duration_seconds", "Of what changed.", _SYNC_BOUNDS, _IP
        )
        self._programming = Histogram(
            "kubeproxy_network_programming_duration_seconds",
            "From a change of Pods or of a Service to the kernel's rules, by the slices' annotation.",
            _PROGRAMMING_BOUNDS,
            _IP,
        )
        self._last = gauge(f"{_SYNC}_last_timestamp_seconds", "When rules were last synced.", *_IP)
        self._queued = gauge(f"{_SYNC}_last_queued_timestamp_seconds", "When a sync was last asked for.", *_IP)
        self._changes = {
            word: (
                gauge(f"{_SYNC}_{word}_changes_pending", f"Changes ({word}) that wait."),
                counter(f"{_SYNC}_{word}_changes_total", f"Changes ({word}) so far."),
            )
            for word in _KINDS.values()
        }
        self._failures = _failures(mode)
        self._cleanups = counter(
            f"{_SYNC}_nftables_cleanup_failures_total", "Times an earlier proxy's rules could not be removed.", *_IP
        )
        self._without = gauge(
            f"{_SYNC}_no_local_endpoints_total",
            "Service ports whose policy is Local and that no endpoint of this node serves.",
            "traffic_policy",
            *_IP,
        )
        self._flows = counter(f"{_RECONCILER}_deleted_entries_total", "Connections deleted as they became stale.", *_IP)
        self._sweeps = Histogram(
            f"{_RECONCILER}_sync_duration_seconds", "How long it took to find and delete them.", _SYNC_BOUNDS, _IP
        )
        self._owned = gauge(f"{_SYNC}_iptables_total", "Rules in chains of ours.", "table", *_IP)
        self._written = gauge(f"{_SYNC}_iptables_last", "Rules written by the last sync.", "table", *_IP)
        self._of_mode = (self._owned, self._written) if mode == "iptables" else (self._cleanups,)
        self._lines = counter(f"fairway_proxy_{mode}_lines_total", "Lines or elements sent to the kernel.")
        self._repairs = counter("fairway_proxy_repairs_total", "Times others had changed our rules.", "program")
        self._withheld = gauge("fairway_proxy_withheld_ports", "Service ports that the kernel refuses.")

    def metrics(self) -> Iterator[Metric]:
        """Everything there is to tell."""
        yield from (self.healthz, self.livez, self._duration, self._full, self._partial, self._programming)
        yield from (self._last, self._queued)
        for pending, total in self._changes.values():
            yield from (pending, total)
        yield from (*self._failures, *self._of_mode, self._without, self._flows, self._sweeps)
        yield from (self._lines, self._repairs, self._withheld)

    def told(self, kind: kinds.Kind, changes: Sequence[Change[Any]]) -> None:
        """See `Observer`."""
        now = self._clock()
        _each(self._queued.set, now)
        word = _KINDS.get(kind)
        if word is None:
            return
        self._pending[word] += len(changes)
        pending, total = self._changes[word]
        pending.set(self._pending[word])
        total.add(len(changes))
        if kind is kinds.ENDPOINT_SLICE:
            self._triggers += (trigger for trigger in _triggers(changes) if trigger[1] >= self._begun)

    async def applied(self, update: Update, report: Report, seconds: float) -> None:
        """See `Observer`."""
        now = self._clock()
        for family, work in report.families.items():
            self._worked(family, work, now)
        for family, swept in report.swept.items():
            self._flows.add(swept.deleted, family)
            self._sweeps.observe(swept.seconds, family)
        for word, moment in self._triggers:
            self._programming.observe(max(now - moment, 0.0), word)
        self._triggers.clear()
        for word, (pending, _) in self._changes.items():
            self._pending[word] = 0
            pending.set(0)
        self._count_without(update, None if not self._synced else update.changed)
        self._lines.add(report.lines)
        self._withheld.set(len(report.refused))
        for family, times in report.uncleaned.items():
            self._cleanups.add(times, family)
        self._synced = True

    def refused(self, update: Update, error: KernelError) -> None:
        """See `Observer`."""
        for failures in self._failures[: 2 if self._synced else 1]:
            for family in error.families or _FAMILIES:
                failures.add(1, family)

    def repaired(self, by: Sequence[Notice], report: Report) -> None:
        """See `Observer`."""
        self._repairs.add(1, ",".join(sorted({notice.program for notice in by if notice.program})))
        self._lines.add(report.lines)

    def _worked(self, family: Family, work: Work, now: float) -> None:
        self._last.set(now, family)
        for histogram in (self._duration, self._partial if self._synced else self._full):
            histogram.observe(work.seconds, family)
        for gauge_, numbers in ((self._owned, work.owned), (self._written, work.written)):
            for table in work.owned:
                gauge_.set(numbers.get(table, 0), table, family)

    def _count_without(self, update: Update, changed: Iterable[PortKey] | None) -> None:
        for key in update.ports if changed is None else changed:
            for word in self._lost.pop(key, ()):
                self._without.add(-1, word, key[2])
            port = update.ports.get(key)
            if port is not None and (words := _lost(port)):
                self._lost[key] = words
                for word in words:
                    self._without.add(1, word, key[2])


def _failures(mode: str) -> tuple[Value, ...]:
    if mode == "nftables":
        return (counter(f"{_SYNC}_nftables_sync_failures_total", "Transactions that were refused.", *_IP),)
    return (
        counter(f"{_SYNC}_iptables_restore_failures_total", "Transactions that were refused.", *_IP),
        counter(f"{_SYNC}_iptables_partial_restore_failures_total", "Those of changed rules alone.", *_IP),
    )


def _each(do: Callable[..., None], value: float) -> None:
    for family in _FAMILIES:
        do(value, family)


def _lost(port: ServicePort) -> tuple[str, ...]:
    """The policies under which this node has nobody, though others have."""
    if port.local or not port.reachable:
        return ()
    words = {"internal": port.internal_policy, "external": port.external_policy if port.external else Policy.CLUSTER}
    return tuple(word for word, policy in words.items() if policy is Policy.LOCAL)


def _triggers(changes: Iterable[Change[Any]]) -> Iterator[tuple[str, float]]:
    """When what the slices tell happened, in seconds since the epoch, and of which family they are."""
    for change in changes:
        annotations = change.new.metadata.annotations if change.new is not None else None
        if change.new is not None and annotations is not None and annotations.changed:
            try:
                yield change.new.address_type, datetime.fromisoformat(annotations.changed).timestamp()
            except ValueError:
                continue
