"""A graph drawn: SVG with a layout of our own, and a page of its own around it. Neither loads anything.

Boxes stand in rows by their distance from the first one; a row's boxes are centred above those they lead to.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fairway.trace.graph import COLOURS, Box, Graph

CHARACTER, LINE_HEIGHT, PADDING = 6.7, 16, 10
GAP_X, GAP_Y, MARGIN = 24, 46, 16
MAX_CHARACTERS = 64


@dataclass(frozen=True, slots=True)
class Placed:
    """A box with its corner and size in pixels."""

    box: Box
    x: float
    y: float
    width: float
    height: float


def place(graph: Graph) -> tuple[list[Placed], float, float]:
    """Every box's place, and the size of the whole."""
    children: dict[str, list[str]] = {box.name: [] for box in graph.boxes}
    for arrow in graph.arrows:
        children[arrow.start].append(arrow.end)
    sizes = {box.name: _size(box) for box in graph.boxes}
    depth = _depths(graph, children)
    spans = _spans(graph, children, sizes)
    tops = _tops(graph, depth, sizes)
    left = _lefts(graph, children, spans)
    found = [
        Placed(
            box, left[box.name] + (spans[box.name] - sizes[box.name][0]) / 2, tops[depth[box.name]], *sizes[box.name]
        )
        for box in graph.boxes
    ]
    right = max((p.x + p.width for p in found), default=0.0) + MARGIN
    bottom = max((p.y + p.height for p in found), default=0.0) + MARGIN
    return found, max(right, len(graph.title) * CHARACTER * 1.2 + 2 * MARGIN), bottom


def _size(box: Box) -> tuple[float, float]:
    texts = [box.title, *(line.short for line in box.lines)]
    longest = max(min(len(text), MAX_CHARACTERS) for text in texts)
    return longest * CHARACTER + 2 * PADDING, len(texts) * LINE_HEIGHT + 2 * PADDING - 4


def _depths(graph: Graph, children: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """Boxes come in the order they are told, each after the one it hangs on."""
    depth = {box.name: 0 for box in graph.boxes}
    for box in graph.boxes:
        for child in children[box.name]:
            depth[child] = depth[box.name] + 1
    return depth


def _spans(
    graph: Graph, children: Mapping[str, Sequence[str]], sizes: Mapping[str, tuple[float, float]]
) -> dict[str, float]:
    """The width that a box and all below it take."""
    spans: dict[str, float] = {}
    for box in reversed(graph.boxes):
        below = sum(spans[child] for child in children[box.name])
        below += GAP_X * max(len(children[box.name]) - 1, 0)
        spans[box.name] = max(sizes[box.name][0], below)
    return spans


def _tops(graph: Graph, depth: Mapping[str, int], sizes: Mapping[str, tuple[float, float]]) -> list[float]:
    heights = [0.0] * (max(depth.values(), default=0) + 1)
    for box in graph.boxes:
        heights[depth[box.name]] = max(heights[depth[box.name]], sizes[box.name][1])
    tops, at = [], 2.0 * MARGIN + LINE_HEIGHT
    for height in heights:
        tops.append(at)
        at += height + GAP_Y
    return tops


def _lefts(graph: Graph, children: Mapping[str, Sequence[str]], spans: Mapping[str, float]) -> dict[str, float]:
    lefts: dict[str, float] = {}
    at = float(MARGIN)
    for box in graph.boxes:
        if box.name not in lefts:  # a beginning
            lefts[box.name] = at
            at += spans[box.name] + GAP_X
        below = sum(spans[child] for child in children[box.name]) + GAP_X * max(len(children[box.name]) - 1, 0)
        x = lefts[box.name] + (spans[box.name] - below) / 2
        for child in children[box.name]:
            lefts[child] = x
            x += spans[child] + GAP_X
    return lefts


def svg(graph: Graph) -> str:
    """The drawing as a file of its own. Pointing at a line shows the rule and what it means."""
    placed, width, height = place(graph)
    at = {p.box.name: p for p in placed}
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" '
        f'height="{height:.0f}" role="img" font-family="ui-monospace, monospace" font-size="11">',
        f"<title>{_text(graph.title)}</title>",
        '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
        'orient="auto"><path d="M0 0 L8 4 L0 8 z" fill="#5b6b7b"/></marker></defs>',
        f'<rect width="{width:.0f}" height="{height:.0f}" fill="#ffffff"/>',
        f'<text x="{MARGIN}" y="{MARGIN + 10}" font-weight="bold">{_text(graph.title)}</text>',
    ]
    parts += [_arrow(at[arrow.start], at[arrow.end], arrow.share) for arrow in graph.arrows]
    parts += [_box(p) for p in placed]
    return "\n".join([*parts, "</svg>", ""])


def _arrow(start: Placed, end: Placed, share: str) -> str:
    x1, y1 = start.x + start.width / 2, start.y + start.height
    x2, y2 = end.x + end.width / 2, end.y
    bend = y2 - GAP_Y / 2
    path = f"M{x1:.1f} {y1:.1f} C{x1:.1f} {bend:.1f} {x2:.1f} {bend:.1f} {x2:.1f} {y2:.1f}"
    drawn = f'<path d="{path}" fill="none" stroke="#5b6b7b" marker-end="url(#head)"/>'
    if not share:
        return drawn
    return drawn + f'<text x="{x2 + 6:.1f}" y="{y2 - 8:.1f}" fill="#2b3a4a" font-weight="bold">{_text(share)}</text>'


def _box(placed: Placed) -> str:
    box = placed.box
    fill, stroke = COLOURS[box.verdict] if box.verdict else ("#f4f6f8", "#5b6b7b")
    parts = [
        f'<g><rect x="{placed.x:.1f}" y="{placed.y:.1f}" width="{placed.width:.1f}" height="{placed.height:.1f}" '
        f'rx="6" fill="{fill}" stroke="{stroke}"/>'
    ]
    x, y = placed.x + PADDING, placed.y + PADDING + 9
    parts.append(f'<text x="{x:.1f}" y="{y:.1f}" font-weight="bold" fill="{stroke}">{_cut(box.title)}</text>')
    for line in box.lines:
        y += LINE_HEIGHT
        title = f"<title>{_text(line.full)}</title>" if line.full else ""
        parts.append(f'<text x="{x:.1f}" y="{y:.1f}" fill="#1d2733">{_cut(line.short)}{title}</text>')
    return "".join([*parts, "</g>"])


def _cut(text: str) -> str:
    return _text(text if len(text) <= MAX_CHARACTERS else text[: MAX_CHARACTERS - 1] + "…")


def _text(text: str) -> str:
    """Escaped, without the control characters that XML 1.0 has no way to write."""
    return html.escape("".join(c if c >= " " or c in "\n\t" else "\ufffd" for c in text))


STEPS = {"en": "Step by step", "zh": "逐步说明"}
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 1.5rem; color: #1d2733; background: #fff; }
figure { margin: 1rem 0; overflow-x: auto; border: 1px solid #d5dbe1; border-radius: 6px; }
pre { font: 12px/1.5 ui-monospace, monospace; background: #f4f6f8; padding: 1rem; overflow-x: auto; }
h1 { font-size: 1.25rem; } h2 { font-size: 1.05rem; margin-top: 2rem; }
"""


def page(parts: Sequence[tuple[Graph, str, str]], language: str = "en") -> str:
    """A page for one trace or several that follow each other: of each its graph, its paragraph and its note."""
    title = _text(parts[0][0].title) if parts else "no packet"
    head = (
        '<!DOCTYPE html>\n<html lang="' + language + '"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        f"<title>{title}</title><style>{STYLE}</style></head><body>\n"
    )
    body = [
        f"<h1>{_text(graph.title)}</h1>\n<p>{_text(paragraph)}</p>\n<figure>{svg(graph)}</figure>\n"
        f"<h2>{STEPS[language]}</h2>\n<pre>{_text(note)}</pre>\n"
        for graph, paragraph, note in parts
    ]
    return head + "".join(body) + "</body></html>\n"
