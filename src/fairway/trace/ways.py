"""The chains that all branches of a trace were led through, as one graph: which chain calls which, with what share.

It ends where the packet's fate is decided: at the endpoint that a rule chose, at a refusal, or where the trail is lost.
Chains that did nothing to the packet, and those that only mark it, are left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from fairway.packet import Outcome
from fairway.trace.steps import Event, Hook, Path, Step, Trace
from fairway.trace.story import Share, scenes

MAX_STOPS = 300
"""Stops of one graph; of more, those that come last are left out."""

Place: TypeAlias = tuple[Hook, str, str]
"""Hook, table and chain."""

_CALLS = (Event.JUMP, Event.GOTO)
_ENDS = (Event.REJECT, Event.DROP, Event.POLICY, Event.MARTIAN, Event.MISSING, Event.UNKNOWN)
_DEEDS = (Event.DNAT, Event.SNAT, Event.MASQUERADE, Event.KNOWN, *_ENDS)


@dataclass(frozen=True, slots=True)
class Stop:
    """A chain (`place`, with the first rule's text that led here as `rule`), an end (`outcome`), or, with neither, the
    packet at its beginning."""

    place: Place | None = None
    outcome: Outcome | None = None
    rule: Step | None = None


@dataclass(slots=True)
class Line:
    """From one stop to another, by their indices: the share of all packets that goes this way, the branches that do,
    and the numbers of the rules that lead there (of the chain at `start`)."""

    start: int
    end: int
    share: Share = field(default_factory=Share)
    branches: list[int] = field(default_factory=list)
    rules: list[int] = field(default_factory=list)


@dataclass(slots=True)
class Ways:
    """Stops in the order they are come to, the beginning first; lines never lead back. `left_out` counts branches that
    are not in it."""

    stops: list[Stop] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    left_out: int = 0


def ways(trace: Trace) -> Ways:
    """The graph of a trace."""
    return _Builder(trace).build()


class _Builder:
    def __init__(self, trace: Trace) -> None:
        self._trace = trace
        self._ways = Ways([Stop()])
        self._places: dict[Place, int] = {}
        self._ends: dict[tuple[int, Outcome], int] = {}
        self._lines: dict[tuple[int, int], Line] = {}

    def build(self) -> Ways:
        for number, path in enumerate(self._trace.branches):
            if len(self._ways.stops) >= MAX_STOPS:
                self._ways.left_out = len(self._trace.branches) - number
                break
            self._branch(number, path)
        self._ways.lines = list(self._lines.values())
        return self._ways

    def _branch(self, number: int, path: Path) -> None:
        """Each line once per branch, however often the branch takes it."""
        last, taken, seen = 0, set[int](), set[Place]()
        for step in _telling(path.steps):
            here = (step.hook, step.table, step.chain)
            at = self._stop(here, None)
            if here not in seen:  # a base chain: nobody called it
                self._line(last, at, number, path, taken)
                seen.add(here)
            last = at
            if step.event in _CALLS:
                target = (step.hook, step.table, step.detail.partition(";")[0])
                seen.add(target)
                last = self._stop(target, step)
                self._line(at, last, number, path, taken, step.number)
        self._line(last, self._end(last, path.outcome), number, path, taken)

    def _stop(self, place: Place, by: Step | None) -> int:
        if place not in self._places:
            self._places[place] = len(self._ways.stops)
            self._ways.stops.append(Stop(place, rule=by))
        return self._places[place]

    def _end(self, last: int, outcome: Outcome) -> int:
        """Ends of one chain that are the same are one; the same end of two chains is two, as lines would cross."""
        if (last, outcome) not in self._ends:
            self._ends[last, outcome] = len(self._ways.stops)
            self._ways.stops.append(Stop(outcome=outcome))
        return self._ends[last, outcome]

    def _line(self, start: int, end: int, branch: int, path: Path, taken: set[int], rule: int = 0) -> None:
        line = self._lines.setdefault((start, end), Line(start, end))
        if rule and rule not in line.rules:
            line.rules.append(rule)
        if id(line) in taken:
            return
        taken.add(id(line))
        line.share += Share(path.chance, path.certain)
        line.branches.append(branch)


def _telling(steps: Sequence[Step]) -> Iterator[Step]:
    """The steps that decide about the way: calls that led to something and deeds; once the destination has been
    chosen, only what ends the packet after all."""
    told = [part for scene in scenes(steps) for part in scene.parts if isinstance(part, Step)]
    settled = False
    for index, step in enumerate(told):
        if step.hook is Hook.ROUTING:
            continue
        if step.event in _CALLS and not settled and not _only_marks(told, index):
            yield step
        elif step.event in (_ENDS if settled else _DEEDS):
            yield step
            settled = settled or step.event is Event.DNAT


def _only_marks(told: Sequence[Step], index: int) -> bool:
    """Whether the chain called at `index` does nothing but mark the packet."""
    call = told[index]
    chain = call.detail.partition(";")[0]
    inside = list(_inside(told[index + 1 :], chain))
    return bool(inside) and all(step.event in (Event.MARK, Event.END, Event.RETURN) for step in inside)


def _inside(following: Iterable[Step], chain: str) -> Iterator[Step]:
    for step in following:
        if step.chain != chain:
            return
        yield step
