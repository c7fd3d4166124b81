"""Metrics and the text in which Prometheus reads them (exposition format 0.0.4). Values in, text out."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Labels: TypeAlias = tuple[str, ...]
"""A sample's label values, in the order of the metric's `labels`."""


class Metric(Protocol):
    """Something that has lines to say."""

    def lines(self) -> Iterator[str]:
        """The lines of one metric with its help and type."""


@dataclass(slots=True)
class Value:
    """A counter or a gauge: one number per set of label values. Without labels it is there from the start, as 0."""

    name: str
    help: str
    type: str = "gauge"
    labels: Labels = ()
    samples: dict[Labels, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.labels:
            self.samples.setdefault((), 0.0)

    def set(self, value: float, *labels: str) -> None:
        self.samples[labels] = value

    def add(self, value: float, *labels: str) -> None:
        self.samples[labels] = self.samples.get(labels, 0.0) + value

    def lines(self) -> Iterator[str]:
        """See `Metric`."""
        yield from _head(self.name, self.help, self.type)
        for values, value in sorted(self.samples.items()):
            yield f"{self.name}{_labelled(self.labels, values)} {_number(value)}"


def counter(name: str, help_: str, *labels: str) -> Value:
    """A number that only grows."""
    return Value(name, help_, "counter", labels)


def gauge(name: str, help_: str, *labels: str) -> Value:
    """A number that goes up and down."""
    return Value(name, help_, "gauge", labels)


@dataclass(slots=True)
class Counts:
    """How many values fell up to each bound and beyond the last, and their sum."""

    bounds: Sequence[float]
    buckets: list[int]
    sum: float = 0.0

    def add(self, value: float, times: int = 1) -> None:
        """Take a value, `times` over."""
        self.buckets[bisect_left(self.bounds, value)] += times
        self.sum += value * times


@dataclass(slots=True)
class Histogram:
    """How often a value was at most each of `bounds`, which ascend."""

    name: str
    help: str
    bounds: Sequence[float]
    labels: Labels = ()
    samples: dict[Labels, Counts] = field(default_factory=dict)

    def observe(self, value: float, *labels: str, times: int = 1) -> None:
        """Take a value, `times` over."""
        self.of(*labels).add(value, times)

    def of(self, *labels: str) -> Counts:
        """The counts of these label values, for those who add to them often."""
        held = self.samples.get(labels)
        if held is None:
            held = self.samples[labels] = Counts(self.bounds, [0] * (len(self.bounds) + 1))
        return held

    def lines(self) -> Iterator[str]:
        """See `Metric`."""
        yield from _head(self.name, self.help, "histogram")
        for values, counts in sorted(self.samples.items()):
            total = 0
            for bound, count in zip((*map(_number, self.bounds), "+Inf"), counts.buckets, strict=True):
                total += count
                yield f"{self.name}_bucket{_labelled((*self.labels, 'le'), (*values, bound))} {total}"
            yield f"{self.name}_sum{_labelled(self.labels, values)} {_number(counts.sum)}"
            yield f"{self.name}_count{_labelled(self.labels, values)} {total}"


def text(metrics: Iterable[Metric]) -> str:
    """All of them as one page."""
    return "".join(f"{line}\n" for metric in metrics for line in metric.lines())


def _head(name: str, help_: str, type_: str) -> Iterator[str]:
    yield f"# HELP {name} " + help_.replace("\\", r"\\").replace("\n", r"\n")
    yield f"# TYPE {name} {type_}"


def _labelled(names: Labels, values: Labels) -> str:
    pairs = [f'{name}="{_escaped(value)}"' for name, value in zip(names, values, strict=True)]
    return "{" + ",".join(pairs) + "}" if pairs else ""


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(value)
