"""A trace arranged for telling: what all branches share once, then each branch's own part once.

Telling leaves out what does not move the packet: chains that had nothing for it are only named, and policies that
accept are not worth a line. Of many branches, those that differ only in the endpoint are told once. `Segment`s come in
the order they are told.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

from fairway.trace.names import chain_kind, named
from fairway.trace.steps import Event, Hook, Path, State, Step


@dataclass(frozen=True, slots=True)
class Share:
    """A part of the packets; not `certain`: only if something is so that nobody can tell."""

    chance: Fraction = Fraction(0)
    certain: bool = True

    def __add__(self, other: Share) -> Share:
        return Share(self.chance + other.chance, self.certain and other.certain)

    def __str__(self) -> str:
        """ "1/3", "always", "maybe 1/3", "maybe"."""
        if self.certain:
            return "always" if self.chance == 1 else str(self.chance)
        return "maybe" if self.chance == 1 else f"maybe {self.chance}"


@dataclass(frozen=True, slots=True)
class Choice:
    """One of several ways on: the number of its segment, its share of all packets, its first step, and the endpoint
    it leads to in the end, "" when to none or several."""

    number: int
    share: Share
    first: Step
    endpoint: str = ""


@dataclass(frozen=True, slots=True)
class Segment:
    """Steps that one or more branches have in common; `number` 0 is the beginning. It ends either in `choices`, told
    by later segments, or in one `path`'s end. `before` is the step that led here. `alike` are the numbers of the
    branches that go the same way to other endpoints and so are not told."""

    number: int
    share: Share
    steps: tuple[Step, ...]
    before: Step | None = None
    choices: tuple[Choice, ...] = ()
    path: Path | None = None
    alike: tuple[int, ...] = ()


MANY = 3
"""Of more choices than these, those that differ only in the endpoint are told once."""


def segments(paths: Sequence[Path]) -> Iterator[Segment]:
    """Arrange the branches of a trace."""
    numbers = itertools.count(1)
    waiting = [_Way(Choice(0, share_of(paths), paths[0].steps[0]), tuple(paths), 0)] if paths else []
    while waiting:
        this, group, start, alike = waiting.pop()
        end = _common(group, start)
        before = group[0].steps[start - 1] if start else None
        steps = group[0].steps[start:end]
        if len(group) == 1:
            yield Segment(this.number, this.share, steps, before, path=group[0], alike=alike)
            continue
        groups = [tuple(way) for _, way in itertools.groupby(group, key=lambda path: id(path.steps[end]))]
        ways = [_Way(_choice(next(numbers), way, end), way, end) for way in groups]
        yield Segment(this.number, this.share, steps, before, choices=tuple(way.choice for way in ways))
        waiting.extend(reversed(_told(ways)))


class _Way(NamedTuple):
    """A choice, the paths that begin with it, and the index of the step where they do."""

    choice: Choice
    paths: tuple[Path, ...]
    start: int
    alike: tuple[int, ...] = ()


def _told(ways: Sequence[_Way]) -> list[_Way]:
    """The ways worth telling: all of a few, and of many each kind once."""
    if len(ways) <= MANY:
        return list(ways)
    kinds: dict[object, list[_Way]] = {}
    for way in ways:
        kinds.setdefault(_kind(way), []).append(way)
    return [first._replace(alike=tuple(other.choice.number for other in others)) for first, *others in kinds.values()]


def _kind(way: _Way) -> object:
    """Equal for ways that differ in nothing but the endpoint; a way that forks again is like no other."""
    if len(way.paths) > 1:
        return way.choice.number
    path = way.paths[0]
    steps = tuple(_step_kind(step) for step in path.steps[way.start :])
    return steps, path.outcome.verdict, path.outcome.masqueraded, path.egress.device, path.source_seen, path.certain


def _step_kind(step: Step) -> object:
    """What a step has in common with that of another endpoint: chains of one endpoint or Service go by their kind."""
    kind = chain_kind(step.chain)
    place: object = kind or (step.chain, step.number)
    return step.hook, step.event, step.table, place, step.packet.out_device, step.packet.mark


def _choice(number: int, way: Sequence[Path], at: int) -> Choice:
    endpoints = {path.outcome.endpoint for path in way}
    return Choice(number, share_of(way), way[0].steps[at], endpoints.pop() if len(endpoints) == 1 else "")


def _common(group: Sequence[Path], start: int) -> int:
    """The index of the first step that the paths do not share. Shared steps are the same objects. Paths that fork
    differ before either ends, so no path is another's beginning."""
    if len(group) == 1:
        return len(group[0].steps)
    end = start
    while all(path.steps[end] is group[0].steps[end] for path in group):
        end += 1
    return end


def share_of(paths: Iterable[Path]) -> Share:
    """The part of the packets that takes one of these paths; never more than all, as paths that hang on the same
    doubt exclude each other."""
    total = sum((Share(path.chance, path.certain) for path in paths), start=Share())
    return Share(min(total.chance, Fraction(1)), total.certain)


@dataclass(frozen=True, slots=True)
class Idle:
    """Chains of a table that the packet went through without anything in them being for it, the outer ones first."""

    table: str
    chains: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Scene:
    """What happened at one hook."""

    hook: Hook
    parts: tuple[Step | Idle, ...]
    packet: State


def scenes(steps: Sequence[Step]) -> Iterator[Scene]:
    """The steps of a segment by hook, with what did not matter folded away. `packet` is the state after a scene's
    first step."""
    for hook, group in itertools.groupby(steps, key=lambda step: step.hook):
        told = list(group)
        yield Scene(hook, _fold(told), told[0].packet)


def _fold(steps: Iterable[Step]) -> tuple[Step | Idle, ...]:
    kept: list[Step | Idle] = []
    for step in steps:
        if step.event is Event.END:
            _fold_chain(kept, step)
        elif step.event is not Event.POLICY or step.detail.upper() != "ACCEPT":
            kept.append(step)
    return tuple(kept)


def _fold_chain(kept: list[Step | Idle], end: Step) -> None:
    """A chain has ended: if nothing happened since the jump to it, only its name stays. A jump that a Service's
    address caused stays, and so does the end of its chain."""
    inner: Idle | None = None
    if kept and isinstance(last := kept[-1], Idle):
        inner = last
        kept.pop()
    jump = kept[-1] if kept else None
    if isinstance(jump, Step) and jump.event is Event.UNMARKED and jump.chain == end.chain:
        kept.append(end)
    elif isinstance(jump, Step) and jump.event is Event.JUMP and jump.detail == end.chain:
        if named(jump) is None:
            kept.pop()
            _add_idle(kept, Idle(end.table, (end.chain, *(inner.chains if inner else ()))))
            return
        inner = None
        kept.append(end)
    if inner is not None:
        kept.append(inner)


def _add_idle(kept: list[Step | Idle], idle: Idle) -> None:
    before = kept[-1] if kept else None
    if isinstance(before, Idle) and before.table == idle.table:
        kept[-1] = Idle(idle.table, tuple(dict.fromkeys((*before.chains, *idle.chains))))
    else:
        kept.append(idle)
