"""The pictures of a trace: what is in them, and that hostile names stay text."""

from __future__ import annotations

import itertools
import re
import shutil
import subprocess
from xml.etree import ElementTree

import pytest

from fairway.packet import Packet, Protocol
from fairway.ruleset.iptables import parse
from fairway.trace import drawing
from fairway.trace.graph import Arrow, Graph, dot, graph, joined, mermaid
from fairway.trace.walk import trace
from tests.golden import nodes
from tests.unit.trace.test_journey import CLIENT, DNAT, journey, sent, world
from tests.unit.trace.test_routing import NODE

NAMES = {"10.244.2.0": "node-b", "10.244.1.28": "web-1"}
SVG = "{http://www.w3.org/2000/svg}"


def picture(number: str = "01", destination: str = "10.96.203.6", port: int = 8080) -> Graph:
    case = nodes.case(number)
    packet = Packet("10.244.1.5", destination, Protocol.TCP, port, in_interface="cni0")
    return graph(trace(nodes.rules(case), case.node, packet), NAMES)


def test_ways_part_where_chance_decides_and_each_has_an_end() -> None:
    shown = picture()
    assert [arrow.share for arrow in shown.arrows if arrow.share] == ["1/3", "1/3", "1/3"]
    ends = [box for box in shown.boxes if box.verdict is not None]
    assert [end.lines[0].short for end in ends] == [
        "reaches 10.244.1.28:80 (web-1)",
        "reaches 10.244.1.29:80",
        "reaches 10.244.2.22:80",
    ]


def test_every_box_but_the_first_hangs_on_one_before_it() -> None:
    shown = picture()
    order = {box.name: number for number, box in enumerate(shown.boxes)}
    assert sorted(arrow.end for arrow in shown.arrows) == sorted(box.name for box in shown.boxes[1:])
    assert all(order[arrow.start] < order[arrow.end] for arrow in shown.arrows)


def test_of_forty_endpoints_the_one_that_asks_and_one_other_are_drawn() -> None:
    shown = picture("47", "10.96.0.66", 80)
    assert [arrow.share for arrow in shown.arrows if arrow.share] == ["1/40, and 38 more alike", "1/40"]


@pytest.mark.parametrize("number", ["01", "02", "08"])
def test_no_box_lies_on_another(number: str) -> None:
    placed, width, height = drawing.place(picture(number))
    for a, b in itertools.combinations(placed, 2):
        apart = a.x + a.width <= b.x or b.x + b.width <= a.x or a.y + a.height <= b.y or b.y + b.height <= a.y
        assert apart, (a.box.title, b.box.title)
    assert all(p.x >= 0 and p.x + p.width <= width and p.y + p.height <= height for p in placed)


def test_a_drawing_is_svg_that_says_each_rule_where_one_points() -> None:
    root = ElementTree.fromstring(drawing.svg(picture()))
    titles = [title.text or "" for title in root.iter(f"{SVG}title")]
    assert any("--probability 0.33333333349" in title and "On to KUBE-SEP-" in title for title in titles)


HOSTILE = '</text><script>alert("1")</script> ]]> \\" --> `x`'


def hostile() -> Graph:
    escaped = HOSTILE.replace("\\", "\\\\").replace('"', '\\"')
    rules = f'*nat\n-A PREROUTING -m comment --comment "{escaped}" -j {"</text><script>"}\nCOMMIT\n'
    packet = Packet("10.244.1.5", "10.96.0.1", Protocol.TCP, 80, in_interface="cni0")
    return graph(trace(parse(rules), NODE, packet), {"10.96.0.1": HOSTILE})


def test_hostile_words_are_text_in_every_picture() -> None:
    shown = hostile()
    root = ElementTree.fromstring(drawing.svg(shown))
    assert not list(root.iter(f"{SVG}script"))
    assert "<script" not in drawing.page([(shown, HOSTILE, HOSTILE)])
    assert "<script" not in mermaid(shown)
    assert all(re.fullmatch(r'[^"]*("([^"\\]|\\.)*"[^"]*)*', line) for line in dot(shown).splitlines())


def test_a_page_loads_nothing() -> None:
    page = drawing.page([(picture(), "Why.", "The note.")])
    assert not re.search(r"(src|href)\s*=|url\((?!#)|@import", page)
    assert "default-src 'none'" in page


def test_dot_and_mermaid_hold_every_box_and_arrow() -> None:
    shown = picture()
    assert dot(shown).count(" -> b") == len(shown.arrows)
    assert mermaid(shown).count(" -->") == len(shown.arrows) + 1


_STRING = r'"((?:[^"\\\n]|\\["\\l])*)"'
_ATTRIBUTES = rf"\[\w+=(?:\w+|{_STRING})(?:, \w+=(?:\w+|{_STRING}))*\]"
DOT = (
    r"digraph trace \{",
    rf"  label={_STRING}; labelloc=t; rankdir=TB;",
    rf"  (?:node|edge) {_ATTRIBUTES};",
    rf"  \w+ {_ATTRIBUTES};",
    rf"  \w+ -> \w+(?: {_ATTRIBUTES})?;",
    r"\}",
)
"""The lines that Graphviz' language is used for here (graphviz.org/doc/info/lang.html)."""

_TEXT = r'"((?:[^"#<>`&|\[\]{}\\]|#\d+;|<br/>)*)"'
MERMAID = (
    r"flowchart TD",
    rf"  \w+\[{_TEXT}\](?::::\w+)?",
    rf"  \w+ -->(?:\|{_TEXT}\|)? \w+",
    r"  classDef \w+ fill:#\w+,stroke:#\w+",
)


@pytest.mark.parametrize("which", ["plain", "forty", "hostile", "two nodes", "answers"])
def test_the_languages_of_pictures_are_kept_to(which: str) -> None:
    shown = {
        "plain": picture,
        "forty": lambda: picture("47", "10.96.0.66", 80),
        "hostile": hostile,
        "two nodes": lambda: joined([picture("02", "10.96.0.20", 80), picture()]),
        "answers": answered,
    }[which]()
    for text, grammar in ((dot(shown), DOT), (mermaid(shown), MERMAID)):
        strange = [line for line in text.splitlines() if not any(re.fullmatch(form, line) for form in grammar)]
        assert strange == []
    boxes = [
        re.search(rf"label={_STRING}", line) for line in dot(shown).splitlines() if re.match(r"  \w*b\d+ \[", line)
    ]
    said = [re.sub(r"\\([\"\\])", r"\1", found[1].replace("\\l", "\n")) for found in boxes if found]
    assert said == ["".join(f"{part}\n" for part in (b.title, *(line.short for line in b.lines))) for b in shown.boxes]


def answered() -> Graph:
    """A way with what comes after it."""
    both = world(DNAT.format("10.244.2.5:8080"))
    found, leg = sent(both.scenes["node-a"], CLIENT)
    return graph(found, {}, journeys={0: journey(both, leg.scene, CLIENT)})


@pytest.mark.skipif(shutil.which("dot") is None, reason="Graphviz is not installed")
def test_graphviz_draws_every_box() -> None:
    for shown in (picture(), hostile(), answered()):
        done = subprocess.run(["dot", "-Tsvg"], input=dot(shown), capture_output=True, text=True, check=True)
        drawn = ElementTree.fromstring(done.stdout).iter(f"{SVG}g")
        assert sum(each.get("class") == "node" for each in drawn) == len(shown.boxes)


def test_the_way_on_at_another_node_hangs_on_the_end() -> None:
    one, two = picture("02", "10.96.0.20", 80), picture()
    whole = joined([one, two])
    assert len(whole.boxes) == len(one.boxes) + len(two.boxes)
    end = f"n0{one.boxes[-1].name}"
    assert Arrow(end, f"n1{two.boxes[0].name}", two.title) in whole.arrows
