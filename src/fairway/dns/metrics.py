"""What the DNS server counts. No I/O.

Names, labels and bounds are those of the CoreDNS project's metrics where it has one for the same thing, so that
dashboards and alerts go on working. Labels are given by place, in the order in which the family lists them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from fairway.observe.exposition import Counts, Histogram, Labels, Value, text


@dataclass(frozen=True, slots=True)
class Family:
    """One metric: what it is called, what it means, its labels' names, and a histogram's upper bounds."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: Labels = ()
    bounds: tuple[float, ...] = ()


SECONDS = tuple(0.00025 * 2**power for power in range(16))
"""Bounds for the time an answer takes: a quarter of a millisecond to eight seconds."""
SLOW_SECONDS = tuple(0.001 * 2**power for power in range(20))
"""Bounds for the time a change takes to arrive: one millisecond to nine minutes."""
OCTETS = (0.0, 100.0, 200.0, 300.0, 400.0, 511.0, 1023.0, 2047.0, 4095.0, 8291.0, 16e3, 32e3, 48e3, 64e3)
"""Bounds for sizes of messages."""

REQUESTS = "coredns_dns_requests_total"
RESPONSES = "coredns_dns_responses_total"
DURATION = "coredns_dns_request_duration_seconds"
REQUEST_SIZE = "coredns_dns_request_size_bytes"
RESPONSE_SIZE = "coredns_dns_response_size_bytes"
PANICS = "coredns_panics_total"
PROGRAMMING = "coredns_kubernetes_dns_programming_duration_seconds"
FORWARD_REQUESTS = "coredns_forward_requests_total"
FORWARD_RESPONSES = "coredns_forward_responses_total"
FORWARD_DURATION = "coredns_forward_request_duration_seconds"
CACHE_HITS = "coredns_cache_hits_total"
CACHE_MISSES = "coredns_cache_misses_total"
FORWARD_REJECTS = "coredns_forward_max_concurrent_rejects_total"
FORWARD_UP = "fairway_dns_upstream_up"
CACHE_ENTRIES = "coredns_cache_entries"
CACHE_OCTETS = "fairway_dns_cache_octets"
CACHE_EVICTIONS = "coredns_cache_evictions_total"
CACHE_PREFETCHES = "coredns_cache_prefetch_total"
CACHE_STALE = "coredns_cache_served_stale_total"

FAMILIES = (
    Family(REQUESTS, "counter", "Questions asked.", ("server", "zone", "type", "proto", "family")),
    Family(RESPONSES, "counter", "Replies given, by their rcode.", ("server", "zone", "rcode")),
    Family(DURATION, "histogram", "Seconds from reading a question to its reply.", ("server",), SECONDS),
    Family(REQUEST_SIZE, "histogram", "Octets of questions.", ("server", "zone", "proto"), OCTETS),
    Family(RESPONSE_SIZE, "histogram", "Octets of replies.", ("server", "zone", "proto"), OCTETS),
    Family(PANICS, "counter", "Questions whose answer could not be made for a fault of ours."),
    Family(
        PROGRAMMING,
        "histogram",
        "Seconds from the change of a headless Service's endpoints to the answers that show it.",
        ("service_kind",),
        SLOW_SECONDS,
    ),
    Family(FORWARD_REQUESTS, "counter", "Queries sent upstream.", ("to",)),
    Family(FORWARD_RESPONSES, "counter", "Answers from upstream, by their rcode.", ("to", "rcode")),
    Family(FORWARD_DURATION, "histogram", "Seconds an upstream took to answer.", ("to", "rcode"), SECONDS),
    Family(CACHE_HITS, "counter", "Answers found in the cache, `success` or `denial`.", ("type",)),
    Family(CACHE_MISSES, "counter", "Questions that the cache had no answer for."),
    Family(FORWARD_REJECTS, "counter", "Questions refused because too many were under way."),
    Family(FORWARD_UP, "gauge", "Whether an upstream answers, and does not lead back here.", ("to",)),
    Family(CACHE_ENTRIES, "gauge", "Answers in the cache."),
    Family(CACHE_OCTETS, "gauge", "Octets they take, about."),
    Family(CACHE_EVICTIONS, "counter", "Answers that made way for others."),
    Family(CACHE_PREFETCHES, "counter", "Answers asked for anew because they were hot and soon gone."),
    Family(CACHE_STALE, "counter", "Answers given past their time because nobody answered."),
)


class Metrics:
    """Counts by name and labels. An unknown name is a KeyError, a wrong number of labels a ValueError: both are
    mistakes of the caller's code."""

    def __init__(self, families: Iterable[Family] = FAMILIES) -> None:
        self._metrics = {family.name: _metric(family) for family in families}
        self._sources: list[Callable[[], None]] = []

    def count(self, name: str, *labels: str, by: float = 1) -> None:
        """Add to a counter."""
        self._value(name, labels).add(by, *labels)

    def put(self, name: str, value: float, *labels: str) -> None:
        """Set a gauge."""
        self._value(name, labels).set(value, *labels)

    def observe(self, name: str, value: float, *labels: str, times: int = 1) -> None:
        """Add a value (seconds, octets) to a histogram, `times` over."""
        self.histogram(name, *labels).add(value, times)

    def histogram(self, name: str, *labels: str) -> Counts:
        """A histogram to add to, for those who do so often."""
        metric = self._metrics[name]
        if not isinstance(metric, Histogram):
            raise ValueError(f"{name} is no histogram")
        _check(metric, labels)
        return metric.of(*labels)

    def value(self, name: str, *labels: str) -> float:
        """A counter's or gauge's value, or the number of values a histogram has seen; 0 if nothing was told."""
        self._gather()
        held = self._metrics[name].samples.get(labels, 0.0)
        return sum(held.buckets) if isinstance(held, Counts) else held

    def gather_from(self, source: Callable[[], None]) -> None:
        """Call `source` before numbers are read: it tells what it has counted by itself in the meantime."""
        self._sources.append(source)

    def text(self) -> str:
        """All that has been told, as Prometheus reads it."""
        self._gather()
        return text(metric for metric in self._metrics.values() if metric.samples)

    def _value(self, name: str, labels: Labels) -> Value:
        metric = self._metrics[name]
        if not isinstance(metric, Value):
            raise ValueError(f"{name} is a histogram")
        _check(metric, labels)
        return metric

    def _gather(self) -> None:
        for source in self._sources:
            source()


def _metric(family: Family) -> Value | Histogram:
    if family.kind == "histogram":
        return Histogram(family.name, family.help, family.bounds, family.labels)
    return Value(family.name, family.help, family.kind, family.labels)


def _check(metric: Value | Histogram, labels: Labels) -> None:
    if len(labels) != len(metric.labels):
        raise ValueError(f"{metric.name} has the labels {metric.labels}, not {labels}")
