"""A trace as an engineer's note, and as JSON.

The note follows the packet hook by hook: each rule that applied with its number and text, and below it what the rule
means; where chance decides, the choices with their shares, then each branch; at the end a table of what becomes of
the packet.
"""

from __future__ import annotations

import dataclasses
import re
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any, TypeAlias

from fairway.packet import Outcome, Packet, Verdict
from fairway.trace import words
from fairway.trace.causes import Cause, Causes
from fairway.trace.journey import Journey, Leg
from fairway.trace.names import named
from fairway.trace.steps import Event, Hook, Path, Step, Trace
from fairway.trace.story import Choice, Idle, Scene, Segment, Share, scenes, segments, share_of

WIDTH = 100

BOLD, DIM, RED, GREEN, YELLOW = "1", "2", "31", "32", "33"
"""Select Graphic Rendition parameters, ECMA-48 8.3.117."""

COLOURS: Mapping[Verdict, str] = {
    Verdict.ENDPOINT: GREEN,
    Verdict.UNTRANSLATED: YELLOW,
    Verdict.REJECTED: RED,
    Verdict.DROPPED: RED,
    Verdict.UNKNOWN: YELLOW,
}


Journeys: TypeAlias = Mapping[int, Journey]
"""What comes after a trace's branches, by their index."""

Tongue: TypeAlias = Callable[[str], str]
"""Says English sentences in another language (`chinese.translate`)."""


def text(
    trace: Trace,
    *,
    colour: bool = False,
    names: Mapping[str, str] | None = None,
    causes: Causes | None = None,
    journeys: Journeys | None = None,
    say: Tongue = str,
) -> str:
    """The note, with paragraphs of 100 columns; rules and tables stay whole. `names` maps addresses to who has
    them; `colour` adds terminal escapes; `causes` finds the objects behind the steps; `journeys` are told where their
    branches end."""
    return "\n".join(_Note(trace, colour, names or {}, causes, say, journeys or {}).lines()) + "\n"


class _Note:
    def __init__(
        self,
        trace: Trace,
        colour: bool,
        names: Mapping[str, str],
        causes: Causes | None,
        say: Tongue,
        journeys: Journeys,
    ) -> None:
        self._trace = trace
        self._journeys = {id(trace.branches[index]): journey for index, journey in journeys.items()}
        self._say = say
        self._causes = causes
        self._colour = colour
        self._names = names

    def lines(self) -> Iterator[str]:
        yield from self._wrap(self._title(), paint=BOLD)
        for segment in segments(self._trace.branches):
            yield from self._segment(segment)
        yield from self._summary()
        if self._trace.notes:
            yield ""
            yield self._paint(BOLD, self._say("To bear in mind"))
            for note in self._trace.notes:
                yield from self._wrap(note, "  ")

    def _title(self) -> str:
        packet, node = self._trace.packet, self._trace.node.name or "a node"
        way = f"in by {packet.in_interface} on {node}" if packet.in_interface else f"from a process of {node}"
        known = any(step.event is Event.KNOWN for path in self._trace.branches for step in path.steps)
        what = "a packet of a connection that is known" if known else "the first packet of a connection"
        return f"{words.line(packet)}, {what}, {way}"

    def _segment(self, segment: Segment) -> Iterator[str]:
        if segment.number:
            yield ""
            yield self._paint(BOLD, self._say(f"Branch {segment.number}, {segment.share}"))
        before = segment.before
        for scene in scenes(segment.steps):
            yield from self._scene(scene, continues=before is not None and before.hook is scene.hook)
            before = None
        if segment.choices:
            yield from self._choices(segment.choices)
        if (journey := self._journeys.get(id(segment.path))) is not None:
            yield from self._journey(journey)
        if segment.alike:
            numbers = _listed([str(number) for number in segment.alike])
            branches, go = ("Branches", "go") if len(segment.alike) > 1 else ("Branch", "goes")
            yield ""
            yield from self._wrap(f"{branches} {numbers} {go} the way of branch {segment.number}, to another endpoint.")

    def _journey(self, journey: Journey) -> Iterator[str]:
        """The packet on further nodes, and its answer on all of them."""
        for title, legs in (("Further on", journey.onward), ("The answer", journey.back)):
            for leg in legs:
                yield ""
                packet, node = leg.trace.packet, leg.trace.node.name or "the node"
                way = f"in by {packet.in_interface} on {node}" if packet.in_interface else f"from a process of {node}"
                yield from self._wrap(f"{title}: {words.line(packet)}, {way}", paint=BOLD)
                there = _Note(leg.trace, self._colour, self._names, None, self._say, {})
                for scene in scenes(leg.path.steps):
                    yield from there._scene(scene, continues=False)
        yield ""
        yield from self._wrap(words.answer(journey))

    def _scene(self, scene: Scene, continues: bool) -> Iterator[str]:
        if not scene.parts:
            return
        if not continues:
            yield ""
        if scene.hook is not Hook.ROUTING and not continues:
            yield self._paint(BOLD, self._say(words.hook(scene.hook, scene.packet, self._trace.node)))
        for part in scene.parts:
            yield from self._idle(part) if isinstance(part, Idle) else self._step(part)

    def _idle(self, idle: Idle) -> Iterator[str]:
        yield from self._wrap(f"{idle.table} {_listed(idle.chains)}: nothing there for this packet.", "  ")

    def _step(self, step: Step) -> Iterator[str]:
        meaning = words.step(step, self._trace.node, self._names)
        if step.hook is Hook.ROUTING:
            yield from self._wrap(f"Routing: {meaning}")
            return
        place = " ".join(filter(None, (step.table, step.chain, f"rule {step.number}" if step.number else "")))
        yield f"  {place}" + (f"   {self._paint(DIM, step.rule)}" if step.rule else "")
        yield from self._wrap(meaning, "      ")
        if self._causes is not None and (cause := self._causes.of_step(step)) is not None:
            yield from self._wrap(f"By {cause}.", "      ")

    def _choices(self, choices: Sequence[Choice]) -> Iterator[str]:
        chance = all(choice.first.event is not Event.MAY_NOT for choice in choices)
        yield ""
        yield self._paint(BOLD, self._say("Here chance decides:" if chance else "From here on, nobody can tell which:"))
        rows = [(str(choice.number), self._say(str(choice.share)), *self._way(choice)) for choice in choices]
        yield from _table(rows)

    def _way(self, choice: Choice) -> tuple[str, str]:
        """Where a choice leads: the chain, and the endpoint and Service behind it, as far as rules tell."""
        first = choice.first
        if first.event is Event.MAY_NOT:
            return self._say(f"rule {first.number} of {first.chain} does not apply"), ""
        chain = first.detail.partition(";")[0] if first.event in (Event.JUMP, Event.GOTO) else first.event.value
        about = named(first)
        endpoint = (about.endpoint if about else "") or choice.endpoint
        return f"-> {chain}", " ".join(part for part in (endpoint, f"({about})" if about else "") if part)

    def _summary(self) -> Iterator[str]:
        yield ""
        yield self._paint(BOLD, self._say("What becomes of it"))
        rows = list(self._ends())
        for (outcome, *_), line in zip(
            rows, _table([[self._say(cell) for cell in row[1:]] for row in rows]), strict=True
        ):
            yield self._paint(COLOURS[outcome.verdict], line)
        if not all(path.certain for path in self._trace.branches):
            sure = "; ".join(
                f"{Share(part)} {words.ends(outcome, self._trace.packet, self._names)}"
                for outcome, part in self._trace.shares.items()
                if outcome.verdict is not Verdict.UNKNOWN
            )
            yield from self._wrap(f"Certain, whatever the unknown may be: {sure or 'nothing'}.", "  ")

    def _ends(self) -> Iterator[tuple[Outcome, str, str, str]]:
        """The rows of the closing table; paths that look the same from both ends are one row."""
        merged: dict[tuple[Outcome, str, str], list[Path]] = {}
        for path in self._trace.branches:
            key = (path.outcome, *self._end(path))
            merged.setdefault(key, []).append(path)
        for (outcome, end, seen), paths in merged.items():
            yield outcome, str(share_of(paths)), end, seen

    def _end(self, path: Path) -> tuple[str, str]:
        what = words.ends(path.outcome, self._trace.packet, self._names)
        if path.outcome.verdict not in (Verdict.ENDPOINT, Verdict.UNTRANSLATED):
            return what, ""
        way = words.leaving(path.egress, self._trace.node, self._names)
        masked = ", masqueraded" if path.outcome.masqueraded else ""
        return f"{what} {way}", f"the server sees {words.source_seen(path)}{masked}"

    def _paint(self, code: str, line: str) -> str:
        return f"\x1b[{code}m{line}\x1b[0m" if self._colour else line

    def _wrap(self, paragraph: str, indent: str = "", paint: str = "") -> Iterator[str]:
        lines = wrapped(self._say(paragraph), indent)
        yield from (self._paint(paint, line) if paint else line for line in lines)


def wrapped(paragraph: str, indent: str = "") -> list[str]:
    """The lines of a paragraph, of 100 columns at most; addresses and rules stay whole."""
    lines = textwrap.wrap(
        _breakable(paragraph),
        WIDTH,
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return [line.replace(_BREAK, "").rstrip(_BREAK) for line in lines]


_BREAK = "\u200b "
"""Where a line may end between characters that are two columns wide; taken out again, with the space it cost, which is
the second column. None is before punctuation, which does not begin a line."""
_WIDE = re.compile(r"([\u2e80-\u9fff\uff00-\uffef])")
_BREAKS = re.compile(r"([\u2e80-\u9fff\uff00-\uffef])(?![，。：；、）])")


def _breakable(paragraph: str) -> str:
    return _BREAKS.sub(rf"\1{_BREAK}", paragraph)


def _columns(cell: str) -> int:
    return len(cell) + len(_WIDE.findall(cell))


def _listed(items: Sequence[str]) -> str:
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"


def _table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(_columns(cell) for cell in column) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell + " " * (width - _columns(cell)) for cell, width in zip(row, widths, strict=True))
        yield "  " + "  ".join(cells).rstrip()


def as_json(
    trace: Trace,
    names: Mapping[str, str] | None = None,
    causes: Causes | None = None,
    journeys: Journeys | None = None,
) -> dict[str, Any]:
    """The trace in plain dicts, lists, strings and numbers. Probabilities are strings ("1/3"), null where nobody can
    tell; so is the journey of a branch that does not arrive, or whose answer was not followed."""
    known, answered = names or {}, journeys or {}
    return {
        "packet": _packet(trace.packet),
        "node": trace.node.name,
        "outcomes": [{**_outcome(outcome), "probability": str(part)} for outcome, part in trace.shares.items()],
        "branches": [
            {**_path(path, trace, known, causes), "journey": _told(answered.get(index), known)}
            for index, path in enumerate(trace.branches)
        ],
        "notes": list(trace.notes),
    }


def _packet(packet: Packet) -> dict[str, Any]:
    return {
        "source": packet.source,
        "sourcePort": packet.source_port,
        "destination": packet.destination,
        "destinationPort": packet.destination_port,
        "protocol": packet.protocol.value,
        "inInterface": packet.in_interface,
    }


def _outcome(outcome: Outcome) -> dict[str, Any]:
    return {"verdict": outcome.verdict.value, "endpoint": outcome.endpoint, "masqueraded": outcome.masqueraded}


def _path(path: Path, trace: Trace, names: Mapping[str, str], causes: Causes | None) -> dict[str, Any]:
    return {
        "probability": _fraction(path.probability),
        "outcome": _outcome(path.outcome),
        "egress": {"device": path.egress.device, "via": path.egress.via},
        "sourceSeen": path.source_seen,
        "cause": _cause(causes.of_path(path, trace) if causes else None),
        "steps": list(_steps(path.steps, trace, names, causes)),
    }


def _told(journey: Journey | None, names: Mapping[str, str]) -> dict[str, Any] | None:
    if journey is None:
        return None
    return {
        "onward": [_leg(leg, names) for leg in journey.onward],
        "back": [_leg(leg, names) for leg in journey.back],
        "end": journey.end.value,
        "seen": journey.seen,
        "why": journey.why,
        "meaning": words.answer(journey),
    }


def _leg(leg: Leg, names: Mapping[str, str]) -> dict[str, Any]:
    about = {"node": leg.trace.node.name, "packet": _packet(leg.trace.packet)}
    return about | _path(leg.path, leg.trace, names, None)


def _cause(cause: Cause | None) -> dict[str, str] | None:
    return None if cause is None else dataclasses.asdict(cause)


def _steps(
    steps: Iterable[Step], trace: Trace, names: Mapping[str, str], causes: Causes | None
) -> Iterator[dict[str, Any]]:
    for step in steps:
        about = named(step)
        yield {
            **step.place(),
            "detail": step.detail,
            "meaning": words.step(step, trace.node, names),
            "service": str(about) if about else None,
            "cause": _cause(causes.of_step(step) if causes else None),
            "probability": _fraction(step.probability),
            "packet": words.line(step.packet),
            "mark": step.packet.mark,
        }


def _fraction(value: Fraction | None) -> str | None:
    return None if value is None else str(value)
