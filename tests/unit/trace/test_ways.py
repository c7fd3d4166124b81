"""The chains of a trace as one graph."""

from __future__ import annotations

from fractions import Fraction

import pytest

from fairway.packet import Packet, Protocol, Verdict
from fairway.ruleset.iptables import parse
from fairway.trace.walk import trace
from fairway.trace.ways import Ways, ways
from tests.golden import cases, nodes
from tests.unit.trace.test_routing import NODE


def graph(number: str, destination: str, port: int) -> Ways:
    case = nodes.case(number)
    packet = Packet("10.244.1.5", destination, Protocol.TCP, port, in_interface="cni0")
    return ways(trace(nodes.rules(case), case.node, packet))


def chains(found: Ways) -> list[str]:
    return [stop.place[2] for stop in found.stops if stop.place is not None]


def test_the_way_to_three_endpoints() -> None:
    found = graph("01", "10.96.203.6", 8080)
    assert chains(found)[:2] == ["PREROUTING", "KUBE-SERVICES"]
    kinds = [name.rpartition("-")[0] for name in chains(found)[2:]]
    assert sorted(kinds) == ["KUBE-SEP", "KUBE-SEP", "KUBE-SEP", "KUBE-SVC"]
    ends = [stop.outcome for stop in found.stops if stop.outcome is not None]
    assert [end.verdict for end in ends] == [Verdict.ENDPOINT] * 3
    assert [line.share.chance for line in found.lines if line.end == 1] == [Fraction(1)]


def test_chains_that_only_mark_are_left_out() -> None:
    assert "KUBE-MARK-MASQ" not in chains(graph("04", "10.0.0.11", 30080))


def test_a_refusal_ends_in_the_chain_that_refuses() -> None:
    found = graph("03", "10.96.0.21", 80)
    (end,) = [stop.outcome for stop in found.stops if stop.outcome is not None]
    assert end.verdict is Verdict.REJECTED


def test_all_of_it_arrives_somewhere() -> None:
    found = graph("47", "10.96.0.66", 80)
    arriving = [
        sum((line.share.chance for line in found.lines if line.end == n), Fraction(0)) for n in range(len(found.stops))
    ]
    ends = [n for n, stop in enumerate(found.stops) if stop.outcome is not None]
    assert sum(arriving[n] for n in ends) == 1
    assert len(ends) == 40


@pytest.mark.parametrize("name", cases.NAMES)
def test_lines_never_lead_in_a_circle(name: str) -> None:
    found = graph(name.partition("-")[0], "10.96.0.1", 80)
    after = {line.start: {other.end for other in found.lines if other.start == line.start} for line in found.lines}

    def reached(stop: int, seen: frozenset[int]) -> None:
        assert stop not in seen
        for following in after.get(stop, ()):
            reached(following, seen | {stop})

    reached(0, frozenset())


def test_a_chain_that_drops_after_the_choice_is_the_end() -> None:
    rules = parse(
        "*nat\n:PREROUTING ACCEPT\n"
        "-A PREROUTING -d 10.96.0.9/32 -p tcp -j DNAT --to-destination 10.244.2.7:80\nCOMMIT\n"
        "*filter\n:FORWARD ACCEPT\n:MINE -\n-A FORWARD -j MINE\n-A MINE -d 10.244.2.7/32 -j DROP\nCOMMIT\n"
    )
    packet = Packet("10.244.1.5", "10.96.0.9", Protocol.TCP, 80, in_interface="cni0")
    found = ways(trace(rules, NODE, packet))
    assert chains(found) == ["PREROUTING", "MINE"]
    assert [(found.stops[line.start].place or ("", "", ""))[2] for line in found.lines] == ["", "PREROUTING", "MINE"]
