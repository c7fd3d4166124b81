"""The note that a trace becomes: read as a whole once, and looked at where it must choose its words."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import pytest

from fairway.packet import Outcome, Packet, Protocol, Verdict
from fairway.ruleset.iptables import parse
from fairway.trace import explain, words
from fairway.trace.steps import Event, Hook, State, Step, Trace
from fairway.trace.walk import trace
from tests.golden import nodes
from tests.unit.trace.test_routing import NODE

NAMES = {"10.244.2.0": "node-b", "10.244.1.28": "web-1"}


def golden(number: str, source: str, device: str, destination: str, port: int) -> Trace:
    case = nodes.case(number)
    return trace(nodes.rules(case), case.node, Packet(source, destination, Protocol.TCP, port, in_interface=device))


NOTE = (Path(__file__).parent / "note.txt").read_text()


def test_a_note_from_beginning_to_end() -> None:
    note = explain.text(golden("02", "10.0.0.100", "eth0", "10.96.0.20", 80), names=NAMES)

    assert note == NOTE


def test_the_common_beginning_is_told_once_and_each_branch_once() -> None:
    note = explain.text(golden("01", "10.244.1.5", "cni0", "10.96.203.6", 8080), names=NAMES)

    assert note.count("nat KUBE-SERVICES rule") == 1
    assert "Here chance decides:\n  1  1/3  -> KUBE-SEP-" in note
    for number, endpoint in ((1, "10.244.1.28:80 (web-1)"), (2, "10.244.1.29:80"), (3, "10.244.2.22:80")):
        assert f"\nBranch {number}, 1/3\n" in note
        assert note.count(f"The destination becomes {endpoint}.") == 1
    assert "Of the packets that get here it takes 1/3 (the\n      rule prints 0.33333333349)." in note
    assert "10.244.1.28 (web-1) is on cni0: a pod on this node" in note
    assert "10.244.2.22 lies beyond flannel.1: over the overlay to 10.244.2.0 (node-b)" in note
    assert "Nothing set the mark 0x4000, so the source stays 10.244.1.5." in note
    assert note.rstrip().endswith(
        "  1/3  reaches 10.244.2.22:80 by flannel.1 via 10.244.2.0 (node-b)  the server sees 10.244.1.5"
    )


@pytest.mark.parametrize(
    ("case", "source", "device", "destination", "port", "sentence"),
    [
        (
            "01",
            "10.244.1.28",
            "cni0",
            "10.96.203.6",
            8080,
            "the endpoint calls itself and must not see its own address",
        ),
        ("48", "10.0.0.11", "", "10.0.0.11", 30203, "because its source 10.0.0.11 is an address of this node"),
        ("48", "10.0.0.11", "", "10.0.0.11", 30203, "OUTPUT goes on, with the new destination"),
        ("48", "10.0.0.100", "eth0", "10.0.0.11", 30203, "default/h: has no local endpoints. Dropped; nobody is told."),
        ("48", "10.0.0.100", "eth0", "10.0.0.11", 30203, "Nothing more in this chain: back to KUBE-NODEPORTS."),
        ("48", "10.0.0.11", "", "10.96.1.5", 80, "default/e: has no endpoints. Refused: the sender gets icmp-port-unr"),
        ("48", "10.0.0.100", "eth0", "10.0.0.11", 30201, "Passed over: taken as a new client: not in list KUBE-SEP-"),
        ("37", "10.0.0.100", "eth0", "10.96.0.55", 80, "because it did not come in by cni0"),
        ("04", "127.0.0.1", "", "127.0.0.1", 30000, "Dropped by the kernel: the source 127.0.0.1 is a loopback"),
    ],
)
def test_reasons(case: str, source: str, device: str, destination: str, port: int, sentence: str) -> None:
    assert sentence in explain.text(golden(case, source, device, destination, port))


@pytest.mark.parametrize(
    ("case", "source", "device", "destination", "port", "sentence"),
    [
        ("01", "10.244.1.5", "cni0", "10.96.203.6", 8080, "Not marked: its source 10.244.1.5 is a pod's, in 10.244.0."),
        ("01", "10.244.1.5", "cni0", "10.96.203.6", 8080, "Not marked: its source 10.244.1.5 is not the endpoint itse"),
        ("37", "10.244.1.5", "cni0", "10.96.0.55", 80, "Not marked: it came in by cni0, as pods' packets do."),
        ("48", "10.0.0.100", "eth0", "10.0.0.11", 30203, "Not marked: its source 10.0.0.100 is no address of this no"),
    ],
)
def test_why_a_packet_is_not_to_be_masqueraded(
    case: str, source: str, device: str, destination: str, port: int, sentence: str
) -> None:
    assert sentence in explain.text(golden(case, source, device, destination, port))


def test_a_marked_packet_is_not_told_what_else_would_not_have_marked_it() -> None:
    note = explain.text(golden("01", "10.0.0.100", "eth0", "10.96.203.6", 8080))
    assert "To be masqueraded, because its source 10.0.0.100 is outside 10.244.0.0/16." in note
    assert "Not marked" not in note


def service_of(*endpoints: str) -> str:
    """The nat rules of one Service as a node proxy writes them."""
    names = [f"KUBE-SEP-{letter * 16}" for letter in "ABCDEFGH"[: len(endpoints)]]
    jumps = [
        f"-A KUBE-SVC-XVJHHMIFZ6BOUBWS -m statistic --mode random --probability {1 / left:.11f} -j {name}"
        for name, left in zip(names, range(len(names), 0, -1), strict=True)
    ]
    jumps[-1] = f"-A KUBE-SVC-XVJHHMIFZ6BOUBWS -j {names[-1]}"
    ways = [
        f"-A {name} -s {endpoint}/32 -j KUBE-MARK-MASQ\n-A {name} -p tcp -j DNAT --to-destination {endpoint}:80"
        for name, endpoint in zip(names, endpoints, strict=True)
    ]
    chains = ["KUBE-MARK-MASQ", "KUBE-SVC-XVJHHMIFZ6BOUBWS", *names]
    return "\n".join(
        (
            "*nat",
            *(f":{chain} - [0:0]" for chain in chains),
            "-A PREROUTING -d 10.96.0.20/32 -p tcp --dport 80 -j KUBE-SVC-XVJHHMIFZ6BOUBWS",
            "-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000",
            *jumps,
            *ways,
            "COMMIT",
        )
    )


def told(*endpoints: str) -> str:
    packet = Packet("10.244.0.5", "10.96.0.20", Protocol.TCP, 80, in_interface="cni0")
    return explain.text(trace(parse(service_of(*endpoints)), NODE, packet))


def test_of_many_branches_each_kind_is_told_once() -> None:
    note = told("10.244.0.5", "10.244.1.2", "10.244.0.6", "10.244.1.3", "10.244.1.4")

    branches = [line for line in note.splitlines() if line.startswith("Branch")]
    assert branches == [
        "Branch 1, 1/5",  # the endpoint calls itself
        "Branch 2, 1/5",  # over the overlay
        "Branches 4 and 5 go the way of branch 2, to another endpoint.",
        "Branch 3, 1/5",  # on this node
    ]
    assert note.count("The destination becomes") == 3
    for number in range(1, 6):
        assert f"\n  {number}  1/5  -> KUBE-SEP-" in note
    assert note.count("\n  1/5  reaches 10.244.") == 5


def test_a_single_branch_like_another_is_named_in_the_singular() -> None:
    note = told("10.244.1.1", "10.244.1.2", "10.244.0.6", "10.244.0.5")
    assert "\n\nBranch 2 goes the way of branch 1, to another endpoint.\n\nBranch 3, 1/4\n" in note


def test_few_branches_are_all_told() -> None:
    note = told("10.244.1.1", "10.244.1.2", "10.244.1.3")
    assert note.count("The destination becomes") == 3
    assert "another endpoint" not in note


def test_doubts_are_told_as_doubts() -> None:
    rules = parse("*filter\n:FORWARD ACCEPT\n-A FORWARD -m set --match-set bad src -j DROP\nCOMMIT")
    note = explain.text(trace(rules, NODE, Packet("10.0.0.9", "10.244.0.9", Protocol.TCP, 80, in_interface="eth0")))
    assert (
        "From here on, nobody can tell which:\n  1  maybe  -> drop\n  2  maybe  rule 1 of FORWARD does not apply"
        in note
    )
    assert "Certain, whatever the unknown may be: nothing." in note


def test_ways_that_end_alike_whatever_the_doubt_are_not_more_than_all() -> None:
    rules = parse("*filter\n:FORWARD ACCEPT\n-A FORWARD -m set --match-set bad src -j ACCEPT\nCOMMIT")
    note = explain.text(trace(rules, NODE, Packet("10.0.0.9", "10.244.0.9", Protocol.TCP, 80, in_interface="eth0")))
    assert "\n  maybe  goes on unchanged" in note


def test_colour_adds_escapes_and_changes_no_word() -> None:
    found = golden("01", "10.244.1.5", "cni0", "10.96.203.6", 8080)
    coloured = explain.text(found, colour=True)
    assert "\x1b[1mPREROUTING" in coloured
    for escape in ("\x1b[0m", *(f"\x1b[{code}m" for code in ("1", "2", "31", "32", "33"))):
        coloured = coloured.replace(escape, "")
    assert coloured == explain.text(found)


def test_every_verdict_has_a_sentence() -> None:
    packet = Packet("10.0.0.1", "10.0.0.2", Protocol.TCP, 80)
    sentences = {words.ends(Outcome(verdict, "10.244.1.28:80"), packet, NAMES) for verdict in Verdict}
    assert len(sentences) == len(Verdict)
    assert "reaches 10.244.1.28:80 (web-1)" in sentences


@pytest.mark.parametrize("event", list(Event))
def test_every_event_has_a_sentence(event: Event) -> None:
    state = State("10.0.0.1", "10.0.0.2", Protocol.TCP, 40000, 80)
    assert words.step(Step(Hook.FORWARD, event, state, "filter", "FORWARD", 1, "-j X", "detail"), NODE, {}).endswith(
        "."
    )


def test_json_is_plain_and_whole() -> None:
    found = golden("01", "10.0.0.100", "eth0", "10.96.203.6", 8080)
    told = json.loads(json.dumps(explain.as_json(found, NAMES)))

    assert told["packet"]["destination"] == "10.96.203.6"
    assert [(o["endpoint"], o["probability"], o["masqueraded"]) for o in told["outcomes"]] == [
        ("10.244.1.28:80", "1/3", True),
        ("10.244.1.29:80", "1/3", True),
        ("10.244.2.22:80", "1/3", True),
    ]
    first = told["branches"][0]
    assert Fraction(first["probability"]) == Fraction(1, 3)
    assert (first["egress"], first["sourceSeen"]) == ({"device": "cni0", "via": ""}, "10.244.1.254")
    marked = next(step for step in first["steps"] if step["event"] == "mark")
    assert (marked["hook"], marked["table"], marked["chain"], marked["number"]) == (
        "PREROUTING",
        "nat",
        "KUBE-MARK-MASQ",
        1,
    )
    assert marked["mark"] == 0x4000
    assert {step["service"] for step in first["steps"]} == {None, "default/httpd-svc"}
