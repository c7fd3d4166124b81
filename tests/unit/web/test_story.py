"""Traces as the page tells them, on the rules of the goldens."""

from __future__ import annotations

from typing import Any

import msgspec

from fairway.packet import Packet, Protocol
from fairway.trace import chinese
from fairway.trace.walk import Rules, trace
from fairway.web.listing import AROUND
from fairway.web.story import MAX_BRANCHES, Telling, tell
from tests.golden import nodes


def told(number: str, destination: str, port: int, source: str = "10.244.1.5", **how: Any) -> Any:
    case = nodes.case(number)
    rules = nodes.rules(case)
    packet = Packet(source, destination, Protocol.TCP, port, in_interface="cni0")
    story = tell(trace(rules, case.node, packet), Telling(Rules(rules), how.pop("names", {}), **how))
    return msgspec.json.decode(msgspec.json.encode(story))


def test_every_end_has_its_share_and_its_way() -> None:
    story = told("01", "10.96.203.6", 8080, names={"10.244.1.28": "default/web-1"})
    assert [(each["share"], each["end"], each["branches"]) for each in story["outcomes"]] == [
        ("1/3", "reaches 10.244.1.28:80 (default/web-1)", [0]),
        ("1/3", "reaches 10.244.1.29:80", [1]),
        ("1/3", "reaches 10.244.2.22:80", [2]),
    ]
    assert story["outcomes"][0]["pod"] == "default/web-1"
    hooks = [scene["hook"] for scene in story["branches"][0]["scenes"]]
    assert hooks == ["PREROUTING", "routing", "FORWARD", "POSTROUTING"]


def test_steps_that_ways_share_stand_once() -> None:
    story = told("01", "10.96.203.6", 8080)
    ways = [
        [part for scene in branch["scenes"] for part in scene["parts"] if isinstance(part, int)]
        for branch in story["branches"]
    ]
    assert ways[0][:3] == ways[1][:3] == ways[2][:3]
    assert len({tuple(way) for way in ways}) == 3
    assert {number for way in ways for number in way} == set(range(len(story["steps"])))


def test_every_rule_of_a_step_stands_in_the_listing_of_its_chain() -> None:
    story = told("48", "10.96.1.1", 80)
    for step in story["steps"]:
        if step["number"]:
            listed = story["chains"][0][f"{step['table']} {step['chain']}"]
            assert [step["number"], f"-A {step['chain']} {step['rule']}"] in listed["rules"]


def test_of_a_long_chain_the_rules_around_those_that_applied_are_listed() -> None:
    story = told("47", "10.96.0.66", 80)
    chain = next(found for found in story["chains"][0].values() if found["total"] == 41)
    assert len(chain["rules"]) == 41  # each of the forty applies to somebody
    assert all(len(found["rules"]) <= 40 * (2 * AROUND + 1) for found in story["chains"][0].values())


def test_ways_are_bounded_and_outcomes_count_all() -> None:
    story = told("47", "10.96.0.66", 80)
    assert len(story["branches"]) == min(len(story["outcomes"]), MAX_BRANCHES) == 40
    assert abs(sum(each["part"] for each in story["outcomes"]) - 1) < 1e-9


def test_the_graph_parts_where_chance_decides() -> None:
    story = told("01", "10.96.203.6", 8080)
    stops, lines = story["ways"]["stops"], story["ways"]["lines"]
    assert [stop["kind"] for stop in stops].count("end") == 3
    forks = [line for line in lines if line["share"] == "1/3" and stops[line["to"]]["kind"] == "chain"]
    assert [line["branches"] for line in forks] == [[0], [1], [2]]
    assert [line["rules"] for line in forks] == [[2], [3], [4]]


def test_in_chinese_no_sentence_stays_english() -> None:
    story = told("14", "203.0.113.10", 80, source="203.0.113.9", say=chinese.translate)
    said = [story["why"], *story["notes"], *(step["meaning"] for step in story["steps"])]
    said += [scene["heading"] for branch in story["branches"] for scene in branch["scenes"]]
    assert [text for text in said if not any("\u4e00" <= character <= "\u9fff" for character in text)] == []
