"""What comes after the end of a path: other nodes, and the answer's way back to the client."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field, replace

import pytest

from fairway.node import Interface, Node, Route
from fairway.packet import Packet, Protocol
from fairway.ruleset.iptables import parse
from fairway.trace import chinese, explain, words
from fairway.trace.connections import Connections
from fairway.trace.evidence.gathered import Scene
from fairway.trace.graph import dot, graph
from fairway.trace.journey import Alone, End, Journey, Leg, World, travel
from fairway.trace.routing import Settings
from fairway.trace.steps import Egress, Trace
from fairway.trace.walk import Rules, trace
from fairway.trace.why import why

on, net, ip = ipaddress.ip_interface, ipaddress.ip_network, ipaddress.ip_address


def node(letter: str, number: int, other: int) -> Node:
    """A node with pods in 10.244.NUMBER.0/24, and another one's beyond the overlay."""
    return Node(
        f"node-{letter}",
        interfaces=(
            Interface("eth0", (on(f"10.0.0.1{number}/24"),)),
            Interface("cni0", (on(f"10.244.{number}.1/24"),)),
            Interface("flannel.1", (on(f"10.244.{number}.0/32"),)),
        ),
        routes=(
            Route(net("10.0.0.0/24"), "eth0"),
            Route(net(f"10.244.{number}.0/24"), "cni0"),
            Route(net(f"10.244.{other}.0/24"), "flannel.1", via=ip(f"10.244.{other}.0")),
            Route(net("0.0.0.0/0"), "eth0", via=ip("10.0.0.1")),
        ),
        pod_cidrs=(net(f"10.244.{number}.0/24"),),
    )


DNAT = "*nat\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -d 10.96.0.20/32 -p tcp -j DNAT --to-destination {}\nCOMMIT\n"
MASQUERADE = "*nat\n:POSTROUTING ACCEPT [0:0]\n-A POSTROUTING ! -s 10.244.0.0/16 -j MASQUERADE\nCOMMIT\n"
NOTHING = "*filter\n:FORWARD ACCEPT [0:0]\nCOMMIT\n"
NO_ANSWERS = "*filter\n:FORWARD ACCEPT [0:0]\n-A FORWARD -s 10.244.2.5/32 -j DROP\nCOMMIT\n"
POD, CLIENT = ("10.244.1.5", "cni0"), ("192.0.2.9", "eth0")


def scene(text: str, of: Node, **settings: bool) -> Scene:
    return Scene(Rules(parse(text)), of, Settings(**settings), Connections())


@dataclass
class Two(World):
    """node-a and node-b; who asks for `elsewhere` finds nothing."""

    scenes: dict[str, Scene] = field(default_factory=dict)

    def onward(self, node: str, egress: Egress, destination: str) -> tuple[Scene, str] | None:
        names = {"10.244.1.0": "node-a", "10.244.2.0": "node-b", "10.0.0.11": "node-a", "10.0.0.12": "node-b"}
        there = names.get(egress.via or destination, "")
        return (self.scenes[there], egress.device) if there not in ("", node) else None


def world(on_a: str, on_b: str = NOTHING) -> Two:
    return Two({"node-a": scene(on_a, node("a", 1, 2)), "node-b": scene(on_b, node("b", 2, 1))})


def sent(first: Scene, sender: tuple[str, str], to: str = "10.96.0.20") -> tuple[Trace, Leg]:
    source, device = sender
    found = trace(first.rules, first.node, Packet(source, to, Protocol.TCP, 80, in_interface=device))
    return found, Leg(first, found, found.branches[0])


def journey(of: World, first: Scene, sender: tuple[str, str]) -> Journey:
    found = travel([sent(first, sender)[1]], of)
    assert found is not None
    return found


def nodes_of(found: Journey) -> tuple[list[str], list[str]]:
    return [leg.scene.node.name for leg in found.onward], [leg.scene.node.name for leg in found.back]


def test_a_pod_s_packet_and_its_answer_cross_the_overlay() -> None:
    both = world(DNAT.format("10.244.2.5:8080"))
    found = journey(both, both.scenes["node-a"], POD)
    assert nodes_of(found) == (["node-b"], ["node-b", "node-a"])
    assert (found.end, found.seen) == (End.RIGHT, "10.96.0.20:80")
    translated = [step for step in found.back[1].path.steps if step.table == "conntrack" and step.event == "snat"]
    assert [(step.hook, step.packet.source) for step in translated] == [("POSTROUTING", "10.96.0.20")]


def test_an_answer_to_a_masqueraded_client_comes_by_the_node_that_hid_it() -> None:
    both = world(DNAT.format("10.244.2.5:8080") + MASQUERADE)
    found = journey(both, both.scenes["node-a"], CLIENT)
    assert nodes_of(found) == (["node-b"], ["node-b", "node-a"])
    assert found.back[0].trace.packet.destination == "10.244.1.0"  # the end of the overlay that hid it
    assert (found.end, found.seen) == (End.RIGHT, "10.96.0.20:80")


def test_an_answer_that_passes_by_the_translating_node_is_refused() -> None:
    both = world(DNAT.format("10.244.2.5:8080"))
    found = journey(both, both.scenes["node-a"], CLIENT)
    assert nodes_of(found) == (["node-b"], ["node-b"])
    assert (found.end, found.seen) == (End.STRANGE, "10.244.2.5:8080")
    assert "does not come by node-a" in found.why


def test_the_same_is_said_of_a_node_that_nobody_looked_at() -> None:
    alone = scene(DNAT.format("10.244.2.5:8080"), node("a", 1, 2))
    assert journey(Alone(), alone, CLIENT).end is End.STRANGE
    assert (journey(Alone(), alone, POD).end, journey(Alone(), alone, POD).seen) == (End.RIGHT, "10.96.0.20:80")


def test_pods_of_one_bridge_answer_each_other_beside_rules_that_the_bridge_does_not_ask() -> None:
    of = node("a", 1, 2)
    asked, unasked = (scene(DNAT.format("10.244.1.6:80"), of, bridge_rules=on) for on in (True, False))
    assert journey(Alone(), asked, POD).end is End.RIGHT
    found = journey(Alone(), unasked, POD)
    assert (found.end, found.seen) == (End.STRANGE, "10.244.1.6:80")
    assert "bridge-nf-call-iptables is 0" in found.why


@pytest.mark.parametrize("who", ["node-a", "node-b"])
def test_an_answer_that_a_rule_drops_is_lost(who: str) -> None:
    rules = {"node-a": NOTHING, "node-b": NOTHING} | {who: NO_ANSWERS}
    both = world(DNAT.format("10.244.2.5:8080") + rules["node-a"], rules["node-b"])
    found = journey(both, both.scenes["node-a"], POD)
    assert (found.end, found.why) == (End.LOST, f"{who} does not let the answer through")


def test_a_packet_that_the_next_node_drops_is_lost() -> None:
    gone = "*filter\n:FORWARD DROP [0:0]\nCOMMIT\n"
    both = world(DNAT.format("10.244.2.5:8080"), gone)
    found = journey(both, both.scenes["node-a"], POD)
    assert (found.end, found.back, found.why) == (End.LOST, (), "node-b does not let the packet through")


def test_an_untracked_packet_s_answer_is_given_nothing_back() -> None:
    raw = "*raw\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -j NOTRACK\nCOMMIT\n"
    alone = scene(raw, node("a", 1, 2))
    (path,) = trace(alone.rules, alone.node, Packet("10.244.1.5", "192.0.2.9", Protocol.TCP, 80, 4, "cni0")).branches
    leg = Leg(alone, Trace(Packet("10.244.1.5", "192.0.2.9", Protocol.TCP, 80, 4, "cni0"), alone.node, (path,)), path)
    found = travel([leg], Alone())
    assert found is not None and found.end is End.RIGHT  # nothing was translated


def test_what_does_not_arrive_has_no_answer() -> None:
    shut = scene("*filter\n:FORWARD DROP [0:0]\nCOMMIT\n", node("a", 1, 2))
    assert travel([sent(shut, POD)[1]], Alone()) is None


def test_the_way_back_is_told_in_every_form_and_in_chinese() -> None:
    both = world(DNAT.format("10.244.2.5:8080"))
    found, leg = sent(both.scenes["node-a"], CLIENT)
    ways = {0: journey(both, leg.scene, CLIENT)}
    note = explain.text(found, journeys=ways)
    assert "Further on: TCP 192.0.2.9:40000 -> 10.244.2.5:8080, in by flannel.1 on node-b" in note
    assert "The answer: TCP 10.244.2.5:8080 -> 192.0.2.9:40000, in by cni0 on node-b" in note
    assert words.answer(ways[0]) in " ".join(note.split())
    assert words.answer(ways[0]) in why(found, {}, None, str, ways)
    told = explain.as_json(found, journeys=ways)["branches"][0]["journey"]
    assert (told["end"], told["seen"], [leg["node"] for leg in told["back"]]) == (
        "strange",
        "10.244.2.5:8080",
        ["node-b"],
    )
    assert 'label="answer on node-b' in dot(graph(found, {}, journeys=ways))
    for said in (words.answer(ways[0]), words.answer(replace(ways[0], end=End.LOST)), ways[0].why):
        assert chinese.missing(said) == []
