"""That everything the tracer says is said in Chinese, too."""

from __future__ import annotations

import re
import unicodedata
from ipaddress import ip_network

import pytest

from fairway.node import Node, Route
from fairway.packet import Packet, Protocol, Verdict
from fairway.ruleset.iptables import parse
from fairway.trace import chinese, explain, words
from fairway.trace.names import CHAINS, KINDS
from fairway.trace.routing import Settings
from fairway.trace.steps import Trace
from fairway.trace.walk import trace
from fairway.trace.why import why
from tests.golden import cases, nodes
from tests.unit.trace import test_dumps
from tests.unit.trace.test_routing import NODE

ENGLISH = re.compile(r"\b(the|is|not|it|of|to|by|here|and|that|for|this|packet|source|goes|chain|rules?)\b")
COMMENTS = re.compile(r"`[^`]*`|\w+( LOCAL)? traffic for external destinations|traffic not accepted by \S+")
"""Words of the rules themselves."""
NAMES = {
    "10.244.2.0": "node-b",
    "10.244.1.28": "shop/web-1",
    "198.51.100.9": "the outside client",
    "198.51.100.7": "the client behind the router",
}


def gaps(found: Trace) -> list[str]:
    """What of a note and of its paragraph is still English, quoted rules left out."""
    heard: list[str] = []

    def listen(text: str) -> str:
        heard.append(text)
        return text

    explain.text(found, names=NAMES, say=listen)
    heard.append(why(found, NAMES))
    said = [COMMENTS.sub("", chinese.translate(text)) for text in heard]
    return [text for text in said if ENGLISH.search(text)]


def packets(case: cases.Case) -> list[Packet]:
    """To every address and port that the golden's rules name, from a pod, the node, and a client outside."""
    rules = nodes.rules(case).tables.get("nat")
    services = rules.chains["KUBE-SERVICES"].rules if rules else []
    places = {(m[1], int(m[2])) for r in services if (m := re.search(r"-d (\S+)/32 .*--dport (\d+)", r))}
    ports = {int(m[1]) for r in services if (m := re.search(r"--dport (\d+)", r))} | {30000}
    places |= {("10.0.0.11", port) for port in ports}
    ways = [("10.244.1.5", "cni0"), ("10.0.0.11", ""), ("198.51.100.9", "eth0")]
    return [Packet(s, a, Protocol.TCP, p, in_interface=d) for a, p in sorted(places)[:6] for s, d in ways]


@pytest.mark.parametrize("name", cases.NAMES)
def test_every_sentence_about_the_goldens(name: str) -> None:
    case = nodes.case(name.partition("-")[0])
    for packet in packets(case):
        assert gaps(trace(nodes.rules(case), case.node, packet)) == []


@pytest.mark.parametrize("name", sorted(path.stem for path in test_dumps.DUMPS.glob("*.txt")))
def test_every_sentence_about_the_dumps(name: str) -> None:
    for destination, port in (
        ("10.98.51.150", 80),
        ("10.0.0.252", 8000),
        ("10.98.128.179", 80),
        ("192.168.1.5", 30000),
    ):
        assert gaps(test_dumps.send(name, "10.244.0.9", destination, port, "cni0")) == []


@pytest.mark.parametrize(
    "rule",
    [
        "-j DROP",
        "-m limit --limit 5/min -j ACCEPT",
        "-m nonsense --foo -j ACCEPT",
        "-j NONSENSE --foo",
        "-j DNAT --to-destination 10.0.0.1-10.0.0.9",
        "-i eth9 -j ACCEPT",
        "-j CT --notrack",
        "-m recent --name seen --rcheck --seconds 60 -j ACCEPT",
        "-g ELSEWHERE",
        "",
    ],
)
def test_every_sentence_about_hand_made_rules(rule: str) -> None:
    for table in ("raw", "nat"):
        text = f"*{table}\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING {rule}\nCOMMIT\n"
        packet = Packet("10.244.1.5", "10.96.0.1", Protocol.TCP, 80, in_interface="cni0")
        assert gaps(trace(parse(text), NODE, packet, settings=Settings(reverse_path={"all": 1}))) == []
        away = Packet("198.51.100.7", "10.96.0.1", Protocol.TCP, 80, in_interface="cni0")
        assert gaps(trace(parse(text), NODE, away, settings=Settings(reverse_path={"all": 1}))) == []
        assert gaps(trace(parse(text), NODE, packet, settings=Settings(ip_forward=False))) == []


@pytest.mark.parametrize("verdict", Verdict)
def test_every_verdict(verdict: Verdict) -> None:
    sentence = words.VERDICTS[verdict].format(endpoint="10.0.0.1:80", destination="10.0.0.1:80")
    assert chinese.missing(sentence) == []


@pytest.mark.parametrize("purpose", [*CHAINS.values(), *KINDS.values()])
def test_every_purpose_of_a_chain(purpose: str) -> None:
    if " " in purpose and not purpose.startswith("empty;"):  # no packet is sent to the empty ones
        assert chinese.missing(purpose) == []


def test_a_sentence_without_a_pattern_stays_and_is_named() -> None:
    assert chinese.translate("Nobody ever said this. Counted, and on to the next rule.").startswith("Nobody ever")
    assert chinese.missing("Nobody ever said this.") == ["Nobody ever said this."]


def test_words_and_addresses_stay() -> None:
    said = chinese.translate("To be masqueraded, because its source 198.51.100.9 is outside 10.244.0.0/16.")
    assert said == "将做地址伪装，因为源地址 198.51.100.9 不在 10.244.0.0/16 之内。"


def test_lines_are_a_hundred_columns_of_a_terminal_and_begin_with_no_punctuation() -> None:
    case = nodes.case("01")
    packet = Packet("10.244.1.5", "10.96.203.6", Protocol.TCP, 8080, in_interface="cni0")
    note = explain.text(trace(nodes.rules(case), case.node, packet), say=chinese.translate)
    for line in note.splitlines():
        if "/* " not in line and " rule " not in line and not line.startswith("  1/3"):
            assert sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in line) <= explain.WIDTH + 2, line
        assert line.strip()[:1] not in tuple("，。：；）")
        assert "\u200b" not in line


@pytest.mark.parametrize(
    ("refusal", "because"),
    [
        ("", "no route leads to 10.96.0.1"),
        ("unreachable", "the route to 10.96.0.1 is `unreachable 10.96.0.0/12`"),
        ("blackhole", "the route to 10.96.0.1 is `blackhole 10.96.0.0/12`"),
    ],
)
def test_every_sentence_about_ways_that_lead_nowhere(refusal: str, because: str) -> None:
    there = Route(ip_network("10.96.0.0/12"), "", refusal=refusal)
    node = Node("n", routes=(Route(ip_network("10.0.0.0/24"), "eth0"), *([there] if refusal else [])))
    found = trace(parse(""), node, Packet("10.0.0.9", "10.96.0.1", Protocol.TCP, 80, in_interface="eth0"))
    assert f"That is because {because}." in why(found, {})
    assert gaps(found) == []
