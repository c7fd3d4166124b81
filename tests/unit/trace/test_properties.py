"""Whatever the rules: probabilities sum to 1, the work is bounded, and every path is told."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.packet import Packet, Protocol
from fairway.ruleset.iptables import Ruleset
from fairway.trace import explain, iptables
from fairway.trace.steps import JumpLoop
from fairway.trace.walk import trace
from tests.unit.trace.test_routing import NODE

CONDITIONS = st.sampled_from(
    [
        *("-p tcp", "! -p tcp", "-d 10.0.0.11/32", "! -s 10.244.0.0/16", "-i eth0", "-o cni+", "--dport 80"),
        *("-m mark --mark 0x1/0x1", "-m mark ! --mark 0x2/0x2", "-m conntrack --ctstate NEW,DNAT", "-m odd --thing"),
        *("-m statistic --mode random --probability 0.33333333349", "-m statistic --mode nth --every 4"),
        *("-m limit --limit 1/s", "-m addrtype --dst-type LOCAL", "-m recent --set --name L"),
        *("-m recent --rcheck --seconds 9 --name L", "-m set --match-set s src"),
    ]
)
CHAINS = ("A", "B", "C")
TARGETS = st.sampled_from(
    [
        *("", "-j ACCEPT", "-j DROP", "-j RETURN", "-j REJECT", "-j MARK --set-xmark 0x1/0x1", "-j LOG", "-j NOTRACK"),
        *("-j A", "-j B", "-g B", "-j C", "-g C", "-j GONE", "-j NFQUEUE --x 1", "-j MASQUERADE"),
        *("-j DNAT --to-destination 10.244.0.9:80", "-j DNAT --to-destination 10.0.0.11", "-j REDIRECT --to-ports 1"),
    ]
)
RULES = st.lists(
    st.builds(lambda c, t: " ".join([*c, t]).strip(), st.lists(CONDITIONS, max_size=2), TARGETS), max_size=5
)
HOOKS = {
    "raw": ("PREROUTING", "OUTPUT"),
    "mangle": ("PREROUTING", "FORWARD", "POSTROUTING"),
    "nat": ("PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"),
    "filter": ("INPUT", "FORWARD", "OUTPUT"),
}
PACKETS = st.builds(
    Packet,
    source=st.sampled_from(["10.244.0.7", "10.0.0.100", "10.0.0.11"]),
    destination=st.sampled_from(["10.244.0.9", "10.0.0.11", "10.96.0.1", "8.8.8.8"]),
    protocol=st.sampled_from(list(Protocol)),
    destination_port=st.sampled_from([80, 30000]),
    in_interface=st.sampled_from(["", "eth0", "cni0"]),
)


@st.composite
def rulesets(draw: st.DrawFn) -> Ruleset:
    found = Ruleset()
    for table, hooks in HOOKS.items():
        for chain in (*hooks, *CHAINS):
            found.table(table).chain(chain).rules = draw(RULES)
    return found


@given(rulesets(), PACKETS)
def test_probabilities_sum_to_one(rules: Ruleset, packet: Packet) -> None:
    try:
        found = trace(rules, NODE, packet)
    except JumpLoop as loop:
        assert loop.chain in CHAINS
        return
    assert sum(found.outcomes().values()) == 1
    assert len(found.branches) <= iptables.MAX_BRANCHES
    if all(path.certain for path in found.branches):
        assert sum((path.chance for path in found.branches), Fraction(0)) == 1
        assert set(found.outcomes()) == {path.outcome for path in found.branches}
    assert len(explain.as_json(found)["branches"]) == len(found.branches)
    assert "What becomes of it" in explain.text(found)


def many_doubts(count: int) -> Ruleset:
    found = Ruleset()
    found.table("filter").chain("FORWARD").rules = ["-m limit --limit 1/s -j LOG"] * count
    return found


PACKET = Packet("10.0.0.100", "10.244.0.9", Protocol.TCP, 80, in_interface="eth0")


def test_branches_are_bounded() -> None:
    found = trace(many_doubts(40), NODE, PACKET)  # two to the power of forty ways to go
    assert len(found.branches) <= iptables.MAX_BRANCHES
    assert sum(found.outcomes().values()) == 1
    assert any("stopped after" in path.reason for path in found.branches)


def test_rules_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(iptables, "MAX_RULES", 100)
    rules = Ruleset()
    rules.table("filter").chain("FORWARD").rules = ["-p udp -j DROP"] * 1000
    (path,) = trace(rules, NODE, PACKET).branches
    assert path.reason == "stopped after 100 rules"


def test_a_thousand_endpoints_are_told_without_running_out_of_stack() -> None:
    rules = Ruleset()
    chain = rules.table("nat").chain("PREROUTING").rules
    chain += [
        f"-m statistic --mode random --probability {1 / n:.11f} -j DNAT --to-destination 10.1.{n // 256}.{n % 256}"
        for n in range(1000, 1, -1)
    ]
    chain += ["-j DNAT --to-destination 10.1.0.1"]
    found = trace(rules, NODE, PACKET)
    assert len(found.branches) == 1000
    assert explain.text(found).count("The destination becomes") == 1000


def test_a_long_row_of_doubts_is_told_without_running_out_of_stack() -> None:
    rules = Ruleset()
    rules.table("filter").chain("FORWARD").rules = ["-m limit --limit 1/s -j DROP"] * 1500
    assert "Branch" in explain.text(trace(rules, NODE, PACKET))
