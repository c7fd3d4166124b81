"""What the DNS server counts, and the text in which Prometheus asks for it (exposition format 0.0.4). No I/O.

Names, labels and bounds are those of the CoreDNS project's metrics where it has one for the same thing, so that
dashboards and alerts go on working. Labels are given by place, in the order in which the family lists them.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal

Labels = tuple[str, ...]


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


@dataclass(slots=True)
class Histogram:
    """How many values fell up to each bound and beyond the last, and their sum."""

    bounds: tuple[float, ...]
    counts: list[int]
    sum: float = 0.0

    def add(self, value: float, times: int = 1) -> None:
        """Take a value, `times` over."""
        self.counts[bisect_left(self.bounds, value)] += times
        self.sum += value * times


@dataclass(slots=True)
class _Series:
    """A family and what has been told of it, by labels."""

    family: Family
    numbers: dict[Labels, float] = field(default_factory=dict)
    histograms: dict[Labels, Histogram] = field(default_factory=dict)


class Metrics:
    """Counts by name and labels. An unknown name is a KeyError, a wrong number of labels a ValueError: both are
    mistakes of the caller's code."""

    def __init__(self, families: Iterable[Family] = FAMILIES) -> None:
        self._series = {family.name: _Series(family) for family in families}
        self._sources: list[Callable[[], None]] = []

    def count(self, name: str, *labels: str, by: float = 1) -> None:
        """Add to a counter."""
        numbers = self._series[name].numbers
        if labels not in numbers:
            self._check(name, labels)
        numbers[labels] = numbers.get(labels, 0) + by

    def put(self, name: str, value: float, *labels: str) -> None:
        """Set a gauge."""
        self._check(name, labels)
        self._series[name].numbers[labels] = value

    def observe(self, name: str, value: float, *labels: str, times: int = 1) -> None:
        """Add a value (seconds, octets) to a histogram, `times` over."""
        self.histogram(name, *labels).add(value, times)

    def histogram(self, name: str, *labels: str) -> Histogram:
        """A histogram to add to, for those who do so often."""
        series = self._series[name]
        held = series.histograms.get(labels)
        if held is None:
            self._check(name, labels)
            held = Histogram(series.family.bounds, [0] * (len(series.family.bounds) + 1))
            series.histograms[labels] = held
        return held

    def value(self, name: str, *labels: str) -> float:
        """A counter's or gauge's value, or the number of values a histogram has seen; 0 if nothing was told."""
        self._gather()
        series = self._series[name]
        if labels in series.histograms:
            return sum(series.histograms[labels].counts)
        return series.numbers.get(labels, 0)

    def gather_from(self, source: Callable[[], None]) -> None:
        """Call `source` before numbers are read: it tells what it has counted by itself in the meantime."""
        self._sources.append(source)

    def text(self) -> str:
        """All that has been told, as Prometheus reads it."""
        self._gather()
        return "".join(line + "\n" for series in self._series.values() for line in _lines(series))

    def _gather(self) -> None:
        for source in self._sources:
            source()

    def _check(self, name: str, labels: Labels) -> None:
        if len(labels) != len(self._series[name].family.labels):
            raise ValueError(f"{name} has the labels {self._series[name].family.labels}, not {labels}")


def _lines(series: _Series) -> Iterator[str]:
    family = series.family
    if not series.numbers and not series.histograms:
        return
    yield f"# HELP {family.name} {family.help}"
    yield f"# TYPE {family.name} {family.kind}"
    for labels, number in sorted(series.numbers.items()):
        yield f"{family.name}{_braces(family.labels, labels)} {_number(number)}"
    for labels, held in sorted(series.histograms.items(), key=lambda each: each[0]):
        yield from _histogram_lines(family, labels, held)


def _histogram_lines(family: Family, labels: Labels, held: Histogram) -> Iterator[str]:
    total = 0
    for bound, count in zip((*family.bounds, float("inf")), held.counts, strict=True):
        total += count
        yield f"{family.name}_bucket{_braces((*family.labels, 'le'), (*labels, _number(bound)))} {total}"
    yield f"{family.name}_sum{_braces(family.labels, labels)} {_number(held.sum)}"
    yield f"{family.name}_count{_braces(family.labels, labels)} {total}"


def _braces(names: Labels, values: Labels) -> str:
    pairs = ",".join(f'{name}="{_escape(value)}"' for name, value in zip(names, values, strict=True))
    return f"{{{pairs}}}" if pairs else ""


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    """As short as it can be read back: whole numbers without a point, infinity as `+Inf`."""
    if value == float("inf"):
        return "+Inf"
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(float(value))
