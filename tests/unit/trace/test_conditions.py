"""Each condition of a rule against one packet: yes, no, by chance, or nobody can tell."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest

from fairway.node import Node
from fairway.packet import Protocol
from fairway.ruleset.iptables_match import understand
from fairway.trace.conditions import Chance, May, Scene, Truth, holds, read
from fairway.trace.steps import Hook, State
from tests.unit.trace.test_routing import NODE

PACKET = State(
    source="10.244.0.7",
    destination="10.96.0.1",
    protocol=Protocol.TCP,
    source_port=40000,
    destination_port=443,
    in_device="cni0",
    out_device="eth0",
    mark=0x4001,
    connection_mark=0x7,
    connected=True,
)
FORWARD = Scene(Hook.FORWARD, NODE)


@pytest.mark.parametrize(
    ("spec", "truth"),
    [
        ("-s 10.244.0.0/24", True),
        ("! -s 10.244.0.0/24", False),
        ("-d 10.96.0.1/32", True),
        ("-d fd00::1", False),
        ("-m iprange --src-range 10.244.0.1-10.244.0.9", True),
        ("-m iprange ! --dst-range 10.96.0.2-10.96.0.9", True),
        ("-p tcp", True),
        ("-p 6", True),
        ("-p all", True),
        ("-p udp", False),
        ("! -p udp", True),
        ("-i cni0", True),
        ("-i cni", False),
        ("-i cn+", True),
        ("! -o eth+", False),
        ("-m tcp --dport 443", True),
        ("-m tcp --dport 1:442", False),
        ("-m multiport --dports 80,400:500", True),
        ("-m multiport --ports 40000", True),
        ("-m multiport --sports 443", False),
        ("-m tcp --syn", True),
        ("-m tcp --tcp-flags ALL NONE", False),
        ("-m mark --mark 0x4000/0x4000", True),
        ("-m mark --mark 0x4000", False),
        ("-m mark ! --mark 0x1/0x1", False),
        ("-m connmark --mark 0x7", True),
        ("-m statistic --mode random --probability 0.5", Chance(Fraction(1, 2))),
        ("-m statistic --mode random ! --probability 0.25", Chance(Fraction(3, 4))),
        ("-m statistic --mode random --probability 1", True),
        ("-m statistic --mode nth --every 4 --packet 3", Chance(Fraction(1, 4))),
        ("-m statistic --mode nth --every 1", True),
        ("-m recent --set --name L", True),
        ("-m recent --rcheck --seconds 60 --name L", False),
        ("-m recent ! --rcheck --name L", True),
        ("-m comment --comment anything", True),
        ("-m addrtype --dst-type LOCAL", False),
        ("-m addrtype ! --dst-type LOCAL", True),
        ("-m addrtype --src-type UNICAST,LOCAL", True),
        ("-m conntrack --ctstate NEW", True),
        ("-m conntrack --ctstate RELATED,ESTABLISHED", False),
        ("-m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT", True),
        ("-m state --state NEW,ESTABLISHED", True),
        ("-m nfacct --nfacct-name x", True),
    ],
)
def test_one_condition(spec: str, truth: bool | Chance) -> None:
    assert holds(understand(spec).matches[-1], PACKET, FORWARD) == truth


@pytest.mark.parametrize(
    "spec", ["-m set --match-set x src", "-m set ! --match-set x src", "-m limit --limit 1/s", "-m nonsense --x"]
)
def test_what_cannot_be_told_neither_holds_nor_fails(spec: str) -> None:
    assert not isinstance(holds(understand(spec).matches[-1], PACKET, FORWARD), bool | Chance)


def test_a_device_the_hook_does_not_have_has_no_name() -> None:
    prerouting = Scene(Hook.PREROUTING, NODE)
    assert holds(understand("-o eth0").matches[0], PACKET, prerouting) is False
    assert holds(understand("! -o eth0").matches[0], PACKET, prerouting) is True


def test_a_device_that_is_not_known_may_be_any() -> None:
    lost = replace(PACKET, out_device="")
    assert not isinstance(holds(understand("-o eth0").matches[0], lost, FORWARD), bool)
    assert holds(understand("-o +").matches[0], lost, FORWARD) is True


def test_local_at_a_node_whose_addresses_are_not_known() -> None:
    truth = holds(understand("-m addrtype --dst-type LOCAL").matches[0], PACKET, Scene(Hook.FORWARD, Node("")))
    assert not isinstance(truth, bool | Chance)


def test_a_translated_connection() -> None:
    translated = replace(PACKET, status=frozenset({"DNAT"}))
    assert holds(understand("-m conntrack --ctstate DNAT").matches[0], translated, FORWARD) is True
    assert holds(understand("-m conntrack --ctstate SNAT").matches[0], translated, FORWARD) is False


def test_an_untracked_packet_is_not_new() -> None:
    untracked = replace(PACKET, tracked=False)
    assert holds(understand("-m conntrack --ctstate NEW").matches[0], untracked, FORWARD) is False
    assert holds(understand("-m conntrack --ctstate UNTRACKED").matches[0], untracked, FORWARD) is True


def test_the_mark_of_no_connection_is_neither_this_nor_that() -> None:
    untracked = replace(PACKET, tracked=False)
    assert holds(understand("-m connmark --mark 0x7").matches[0], untracked, FORWARD) is False
    assert holds(understand("-m connmark ! --mark 0x7").matches[0], untracked, FORWARD) is False


def test_a_list_the_packet_wrote_itself_is_remembered() -> None:
    written = read(understand("-m recent --set --name L").matches, PACKET, FORWARD).state
    check = understand("-m recent --rcheck --name L").matches
    assert read(check, written, FORWARD).holds
    assert not read(check, PACKET, FORWARD).holds
    removed = read(understand("-m recent --remove --name L").matches, written, FORWARD).state
    assert not read(check, removed, FORWARD).holds


@pytest.mark.parametrize(
    ("spec", "truth"),
    [
        ("-m recent --rcheck --name L", True),
        ("-m recent --rcheck --seconds 60 --reap --name L", True),
        ("-m recent --rcheck --seconds 59 --name L", False),
        ("-m recent --rcheck --name M", False),
        ("-m recent --rcheck --rdest --name L", False),
        ("-m recent ! --rcheck --name L", False),
        ("-m recent --rcheck --hitcount 5 --name L", May("how often list L has seen 10.244.0.7 is not known")),
    ],
)
def test_whom_the_kernel_s_lists_hold_is_no_new_client(spec: str, truth: Truth) -> None:
    scene = replace(FORWARD, remembered={"L": {"10.244.0.7": 60.0}})
    assert holds(understand(spec).matches[0], PACKET, scene) == truth
    assert (
        holds(understand("-m recent --rcheck --name L").matches[0], replace(PACKET, source="10.0.0.9"), scene) is False
    )


def test_whom_a_rule_takes_out_of_a_list_is_there_no_more() -> None:
    scene = replace(FORWARD, remembered={"L": {"10.244.0.7": 60.0}})
    removed = read(understand("-m recent --remove --name L").matches, PACKET, scene).state
    check = understand("-m recent --rcheck --name L").matches
    assert read(check, PACKET, scene).holds
    assert not read(check, removed, scene).holds


def test_all_conditions_of_a_rule_together() -> None:
    both = "-p tcp -m statistic --mode random --probability 0.5 -m limit --limit 1/s"
    reading = read(understand(both).matches, PACKET, FORWARD)
    assert (reading.holds, reading.chance, len(reading.mays)) == (True, Fraction(1, 2), 1)
    assert not read(understand("-m limit --limit 1/s -p udp").matches, PACKET, FORWARD).holds
    assert not read(understand("-m statistic --mode random --probability 0").matches, PACKET, FORWARD).holds
