"""A trace as a graph: the steps that branches share are one box, choices are arrows with their shares.

From it come the pictures: Graphviz' DOT, Mermaid, and a drawing of our own (`drawing`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from fairway.packet import Verdict
from fairway.trace import words
from fairway.trace.causes import Causes
from fairway.trace.explain import Journeys, Tongue
from fairway.trace.journey import End, Journey
from fairway.trace.names import named
from fairway.trace.steps import Event, Hook, Path, Step, Trace
from fairway.trace.story import Segment, scenes, segments

MAX_BOXES = 400
"""Boxes of one picture; more cannot be read."""

COLOURS: Mapping[Verdict, tuple[str, str]] = {
    Verdict.ENDPOINT: ("#e5f5e9", "#1b7837"),
    Verdict.UNTRANSLATED: ("#fdf6e3", "#8a6d00"),
    Verdict.REJECTED: ("#fde8e8", "#b2182b"),
    Verdict.DROPPED: ("#fde8e8", "#b2182b"),
    Verdict.UNKNOWN: ("#fdf6e3", "#8a6d00"),
}
"""Fill and line of a box at the end of a way."""

_SHOWN = (
    Event.JUMP, Event.GOTO, Event.DNAT, Event.SNAT, Event.MASQUERADE, Event.MARK, Event.REJECT, Event.DROP, Event.ROUTE,
    Event.MARTIAN, Event.MISSING, Event.UNKNOWN, Event.KNOWN, Event.MAY_NOT,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Line:
    """A line in a box: what it says in short, and all about it (rule and meaning)."""

    short: str
    full: str = ""


@dataclass(slots=True)
class Box:
    """One box; `verdict` is set at the end of a way."""

    name: str
    title: str
    lines: list[Line] = field(default_factory=list)
    verdict: Verdict | None = None


@dataclass(frozen=True, slots=True)
class Arrow:
    """From a box to one that comes after it; `share` is said where ways part."""

    start: str
    end: str
    share: str = ""


@dataclass(slots=True)
class Graph:
    """Boxes in the order they are told; `title` is the packet."""

    title: str
    boxes: list[Box] = field(default_factory=list)
    arrows: list[Arrow] = field(default_factory=list)


def graph(
    trace: Trace,
    names: Mapping[str, str],
    causes: Causes | None = None,
    say: Tongue = str,
    journeys: Journeys | None = None,
) -> Graph:
    """The trace's graph, of MAX_BOXES boxes at most, with the ways of answers behind its ends."""
    return _Builder(trace, names, causes, say, journeys or {}).build()


def joined(graphs: Sequence[Graph]) -> Graph:
    """Graphs of a packet's way over several nodes, each hung on the end of the one before."""
    whole = Graph(graphs[0].title)
    for number, each in enumerate(graphs):
        renamed = {box.name: f"n{number}{box.name}" for box in each.boxes}
        last = next((box.name for box in reversed(whole.boxes) if box.verdict is not None), "")
        whole.boxes += [replace(box, name=renamed[box.name]) for box in each.boxes]
        whole.arrows += [replace(arrow, start=renamed[arrow.start], end=renamed[arrow.end]) for arrow in each.arrows]
        if last and each.boxes:
            whole.arrows.append(Arrow(last, renamed[each.boxes[0].name], each.title))
    return whole


class _Builder:
    def __init__(
        self, trace: Trace, names: Mapping[str, str], causes: Causes | None, say: Tongue, journeys: Journeys
    ) -> None:
        self._trace = trace
        self._journeys = {id(trace.branches[index]): journey for index, journey in journeys.items()}
        self._say = say
        self._names = names
        self._causes = causes
        self._graph = Graph(words.line(trace.packet))
        self._openings: dict[int, tuple[str, str]] = {}  # the number of a segment: the box it hangs on, and its share

    def build(self) -> Graph:
        for segment in segments(self._trace.branches):
            if len(self._graph.boxes) >= MAX_BOXES:
                break
            self._segment(segment)
        return self._graph

    def _segment(self, segment: Segment) -> None:
        start, share = self._openings.get(segment.number, ("", ""))
        if segment.alike:
            share = f"{share}, and {len(segment.alike)} more alike"
        for title, steps in _by_place(segment.steps):
            box = self._add(Box("", title, [self._line(step) for step in steps]), start, share)
            start, share = box.name, ""
        if segment.path is not None:
            end = self._add(self._end(segment.path), start, share)
            if (journey := self._journeys.get(id(segment.path))) is not None:
                self._journey(journey, end.name)
        for choice in segment.choices:
            self._openings[choice.number] = (start, str(choice.share))

    def _journey(self, journey: Journey, start: str) -> None:
        """A box for each node on the way, and one for how the answer ends."""
        for title, legs in (("", journey.onward), ("answer on ", journey.back)):
            for leg in legs:
                there = _Builder(leg.trace, self._names, None, self._say, {})
                shown = [step for _, steps in _by_place(leg.path.steps) for step in steps if step.event in _MOVES]
                lines = [Line(words.line(leg.trace.packet)), *(there._line(step) for step in shown)]
                name = leg.trace.node.name or "the node"
                start = self._add(Box("", f"{title}{name}", lines), start, "").name
        lines = [Line(self._say(part)) for part in _wrapped(words.answer(journey))]
        self._add(Box("", "answer", lines, _ENDS[journey.end]), start, "")

    def _add(self, box: Box, start: str, share: str) -> Box:
        box.name = f"b{len(self._graph.boxes)}"
        self._graph.boxes.append(box)
        if start:
            self._graph.arrows.append(Arrow(start, box.name, share))
        return box

    def _line(self, step: Step) -> Line:
        meaning = words.step(step, self._trace.node, self._names)
        cause = self._causes.of_step(step) if self._causes else None
        full = "\n".join(filter(None, [step.rule, self._say(meaning), self._say(f"By {cause}.") if cause else ""]))
        rule = f"{step.number}: " if step.number else ""
        return Line(rule + _short(step), full)

    def _end(self, path: Path) -> Box:
        end = words.ends(path.outcome, self._trace.packet, self._names)
        lines = [Line(end)]
        if path.outcome.verdict in (Verdict.ENDPOINT, Verdict.UNTRANSLATED):
            lines.append(Line(words.leaving(path.egress, self._trace.node, self._names)))
            masked = ", masqueraded" if path.outcome.masqueraded else ""
            lines.append(Line(f"the server sees {words.source_seen(path)}{masked}"))
        said = [Line(self._say(line.short)) for line in lines]
        return Box("", path.outcome.verdict.value, said, path.outcome.verdict)


_MOVES = (Event.DNAT, Event.SNAT, Event.MASQUERADE, Event.ROUTE, Event.KNOWN, Event.DROP, Event.REJECT, Event.MARTIAN)
_ENDS = {
    End.RIGHT: Verdict.ENDPOINT,
    End.STRANGE: Verdict.REJECTED,
    End.LOST: Verdict.DROPPED,
    End.UNKNOWN: Verdict.UNKNOWN,
}


def _wrapped(sentence: str) -> list[str]:
    """At the colon, where a reason follows."""
    head, colon, reason = sentence.partition(": ")
    return [head + colon.strip(), reason] if reason else [head]


def _by_place(steps: Sequence[Step]) -> Iterator[tuple[str, list[Step]]]:
    """The steps worth showing, by hook, table and chain."""
    title, group = "", list[Step]()
    told = (part for scene in scenes(steps) for part in scene.parts)
    for step in told:
        if not isinstance(step, Step) or step.event not in _SHOWN:
            continue
        place = "routing" if step.hook is Hook.ROUTING else f"{step.hook.value} {step.table} {step.chain}".strip()
        if place != title and group:
            yield title, group
            group = []
        title = place
        group.append(step)
    if group:
        yield title, group


def _short(step: Step) -> str:
    detail = step.detail.partition(";")[0]
    match step.event:
        case Event.JUMP | Event.GOTO:
            about = named(step)
            return f"-> {detail}" + (f"  ({about})" if about else "")
        case Event.DNAT:
            return f"destination = {detail}"
        case Event.SNAT | Event.MASQUERADE:
            return f"source = {step.packet.source or 'the address of the device'}"
    return f"{step.event.value}: {detail}" if detail else step.event.value


def dot(picture: Graph) -> str:
    """Graphviz' language."""
    lines = ["digraph trace {", f"  label={_quoted(picture.title)}; labelloc=t; rankdir=TB;"]
    lines.append('  node [shape=box, style="filled,rounded", fillcolor="#f4f6f8", fontname="sans-serif", fontsize=10];')
    lines.append('  edge [fontname="sans-serif", fontsize=10];')
    for box in picture.boxes:
        text = "\\l".join(_escaped(part) for part in (box.title, *(line.short for line in box.lines))) + "\\l"
        fill, stroke = COLOURS[box.verdict] if box.verdict else ("#f4f6f8", "#5b6b7b")
        lines.append(f'  {box.name} [label="{text}", fillcolor="{fill}", color="{stroke}"];')
    for arrow in picture.arrows:
        lines.append(f"  {arrow.start} -> {arrow.end}" + (f" [label={_quoted(arrow.share)}];" if arrow.share else ";"))
    return "\n".join([*lines, "}", ""])


def _quoted(text: str) -> str:
    return f'"{_escaped(text)}"'


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", " ")


def mermaid(picture: Graph) -> str:
    """A Mermaid flowchart, as Markdown viewers draw it."""
    lines = ["flowchart TD", f'  title["{_entities(picture.title)}"]']
    for box in picture.boxes:
        text = "<br/>".join(_entities(part) for part in (box.title, *(line.short for line in box.lines)))
        lines.append(f'  {box.name}["{text}"]' + (f":::{box.verdict.value}" if box.verdict else ""))
    if picture.boxes:
        lines.append(f"  title --> {picture.boxes[0].name}")
    for arrow in picture.arrows:
        share = f'|"{_entities(arrow.share)}"|' if arrow.share else ""
        lines.append(f"  {arrow.start} -->{share} {arrow.end}")
    for verdict, (fill, stroke) in COLOURS.items():
        lines.append(f"  classDef {verdict.value} fill:{fill},stroke:{stroke}")
    return "\n".join([*lines, ""])


def _entities(text: str) -> str:
    """Mermaid reads `#NUMBER;` as a character, and quotes, brackets and backticks as its own."""
    special = '#"<>`&|[]{}\\'
    return "".join(f"#{ord(c)};" if c in special or c < " " else c for c in text)
