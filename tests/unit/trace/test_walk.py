"""A packet's way through small rule sets: the order of hooks and tables, and what each deed leads to.

Each test writes the rules as iptables-save would print them and sends one packet.
"""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction

import pytest

from fairway.packet import Outcome, Packet, Protocol, Verdict
from fairway.ruleset.iptables import BUILTIN, parse
from fairway.trace.routing import Settings
from fairway.trace.steps import Event, JumpLoop, Trace
from fairway.trace.walk import Rules, trace
from tests.golden import nodes
from tests.unit.trace.test_routing import NODE

POD = ("10.244.0.7", "cni0")
CLIENT = ("10.0.0.100", "eth0")
PROCESS = ("10.0.0.11", "")
UNTRANSLATED, DROPPED, REJECTED = (
    Outcome(verdict) for verdict in (Verdict.UNTRANSLATED, Verdict.DROPPED, Verdict.REJECTED)
)
UNKNOWN = Outcome(Verdict.UNKNOWN)
ONE = Fraction(1)


def rules(**tables: Iterable[str]) -> str:
    """`nat=["-A PREROUTING ..."]` as iptables-save would print it, every chain that has rules declared."""
    lines: list[str] = []
    for table, specs in tables.items():
        chains = dict.fromkeys(spec.split()[1] for spec in specs)
        declared = [f":{chain} {'ACCEPT' if chain in BUILTIN[table] else '-'} [0:0]" for chain in chains]
        lines += [f"*{table}", *declared, *specs, "COMMIT"]
    return "\n".join(lines)


def send(text: str, sender: tuple[str, str], destination: str, port: int = 80, **settings: bool) -> Trace:
    address, device = sender
    packet = Packet(address, destination, Protocol.TCP, port, in_interface=device)
    return trace(parse(text), NODE, packet, settings=Settings(**settings))


def way(found: Trace) -> list[str]:
    """The hooks and rules of the only path: "nat PREROUTING 1 dnat"."""
    (path,) = found.branches
    told = (step for step in path.steps if step.event is not Event.POLICY)
    return [
        " ".join(str(p) for p in (s.table, s.chain or s.hook.value, s.number or "", s.event.value) if p) for s in told
    ]


LOG_EVERYWHERE = rules(
    raw=["-A PREROUTING -j LOG", "-A OUTPUT -j LOG"],
    mangle=[f"-A {hook} -j LOG" for hook in ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING")],
    nat=[f"-A {hook} -j LOG" for hook in ("PREROUTING", "INPUT", "OUTPUT", "POSTROUTING")],
    filter=[f"-A {hook} -j LOG" for hook in ("INPUT", "FORWARD", "OUTPUT")],
)


@pytest.mark.parametrize(
    ("sender", "destination", "order"),
    [
        (
            CLIENT,
            "10.244.0.7",
            "raw PREROUTING, mangle PREROUTING, nat PREROUTING, routing, mangle FORWARD, filter FORWARD, "
            "mangle POSTROUTING, nat POSTROUTING",
        ),
        (
            CLIENT,
            "10.0.0.11",
            "raw PREROUTING, mangle PREROUTING, nat PREROUTING, routing, mangle INPUT, filter INPUT, nat INPUT",
        ),
        (
            PROCESS,
            "10.244.0.7",
            "routing, raw OUTPUT, mangle OUTPUT, nat OUTPUT, filter OUTPUT, mangle POSTROUTING, nat POSTROUTING",
        ),
        (  # over lo: nat has had its look at both ends of the connection on the way out
            PROCESS,
            "10.0.0.11",
            "routing, raw OUTPUT, mangle OUTPUT, nat OUTPUT, filter OUTPUT, mangle POSTROUTING, nat POSTROUTING, "
            "raw PREROUTING, mangle PREROUTING, routing, mangle INPUT, filter INPUT",
        ),
    ],
)
def test_the_order_of_hooks_and_tables(sender: tuple[str, str], destination: str, order: str) -> None:
    found = send(LOG_EVERYWHERE, sender, destination)

    (path,) = found.branches
    places = [f"{s.table} {s.hook}".strip() for s in path.steps if s.event is not Event.POLICY]
    assert ", ".join(places) == order
    assert found.outcomes() == {UNTRANSLATED: ONE}


def test_a_packet_that_is_translated_is_routed_by_its_new_destination() -> None:
    text = rules(nat=["-A PREROUTING -d 10.96.0.1/32 -j DNAT --to-destination 10.244.1.9:8080"])

    found = send(text, POD, "10.96.0.1")

    assert way(found) == ["nat PREROUTING 1 dnat", "routing route"]
    assert found.outcomes() == {Outcome(Verdict.ENDPOINT, "10.244.1.9:8080"): ONE}
    assert (found.branches[0].egress.device, found.branches[0].egress.via) == ("flannel.1", "10.244.1.0")


def test_a_process_s_packet_is_routed_twice_when_output_translates_it() -> None:
    text = rules(
        nat=["-A OUTPUT -d 10.96.0.1/32 -j DNAT --to-destination 10.244.0.9"],
        filter=["-A OUTPUT -o cni0 -j DROP", "-A OUTPUT -o eth0 -j LOG"],
        mangle=["-A POSTROUTING -o cni0 -j LOG"],
    )

    found = send(text, PROCESS, "10.96.0.1")

    assert way(found) == [
        "routing route",
        "nat OUTPUT 1 dnat",
        "routing route",
        "filter OUTPUT 2 counted",  # the rest of OUTPUT still sees the first decision's device
        "mangle POSTROUTING 1 counted",
    ]


def test_a_mark_made_in_one_table_is_seen_in_the_next() -> None:
    text = rules(
        mangle=["-A PREROUTING -j MARK --set-mark 0x1", "-A PREROUTING -m mark --mark 0x1 -j MARK --or-mark 0x8"],
        filter=["-A FORWARD -m mark --mark 0x9 -j DROP"],
    )
    assert send(text, CLIENT, "10.244.0.7").outcomes() == {DROPPED: ONE}


def test_a_mark_survives_the_loopback_device() -> None:
    text = rules(mangle=["-A OUTPUT -j MARK --set-mark 0x1"], filter=["-A INPUT -m mark --mark 0x1 -j REJECT"])
    assert send(text, PROCESS, "10.0.0.11").outcomes() == {REJECTED: ONE}


def test_a_mark_put_on_the_connection_and_fetched_again() -> None:
    text = rules(
        mangle=[
            "-A PREROUTING -j MARK --set-mark 0x5",
            "-A PREROUTING -j CONNMARK --save-mark",
            "-A PREROUTING -j MARK --set-mark 0x0",
            "-A FORWARD -j CONNMARK --restore-mark --mask 0x4",
        ],
        filter=["-A FORWARD -m mark --mark 0x4 -j DROP"],
    )
    assert send(text, CLIENT, "10.244.0.7").outcomes() == {DROPPED: ONE}


def test_the_mark_of_a_connection_that_is_not_there_is_left_alone() -> None:
    text = rules(
        raw=["-A PREROUTING -j NOTRACK"],
        mangle=["-A PREROUTING -j MARK --set-mark 0x5", "-A PREROUTING -j CONNMARK --restore-mark"],
        filter=["-A FORWARD -m mark --mark 0x5 -j DROP"],
    )
    assert send(text, CLIENT, "10.244.0.7").outcomes() == {DROPPED: ONE}


def test_masquerade_takes_the_address_of_the_way_out() -> None:
    text = rules(nat=["-A POSTROUTING ! -o cni0 -s 10.244.0.0/24 -j MASQUERADE"])

    (out,) = send(text, POD, "8.8.8.8").branches
    (stays,) = send(text, CLIENT, "10.244.0.7").branches

    assert (out.source_seen, out.outcome) == ("10.0.0.11", Outcome(Verdict.UNTRANSLATED, masqueraded=True))
    assert (stays.source_seen, stays.outcome) == ("10.0.0.100", UNTRANSLATED)


def test_snat_to_a_fixed_address() -> None:
    (path,) = send(rules(nat=["-A POSTROUTING -j SNAT --to-source 10.0.0.99"]), POD, "8.8.8.8").branches
    assert (path.source_seen, path.outcome.masqueraded) == ("10.0.0.99", True)


def test_what_is_delivered_here_never_meets_postrouting() -> None:
    text = rules(
        nat=["-A PREROUTING -d 10.96.0.1/32 -j DNAT --to-destination 10.0.0.11:53", "-A POSTROUTING -j MASQUERADE"]
    )
    (path,) = send(text, CLIENT, "10.96.0.1").branches
    assert (path.outcome, path.egress.device) == (Outcome(Verdict.ENDPOINT, "10.0.0.11:53"), "lo")


@pytest.mark.parametrize(("sender", "endpoint"), [(CLIENT, "10.0.0.11:15001"), (PROCESS, "127.0.0.1:15001")])
def test_redirect_leads_to_the_node_itself(sender: tuple[str, str], endpoint: str) -> None:
    text = rules(nat=[f"-A {hook} -p tcp -j REDIRECT --to-ports 15001" for hook in ("PREROUTING", "OUTPUT")])
    assert send(text, sender, "8.8.8.8").outcomes() == {Outcome(Verdict.ENDPOINT, endpoint): ONE}


def test_an_untracked_packet_never_meets_nat() -> None:
    text = rules(raw=["-A PREROUTING -j NOTRACK"], nat=["-A PREROUTING -j DNAT --to-destination 10.244.0.9"])
    assert send(text, CLIENT, "10.244.0.7").outcomes() == {UNTRANSLATED: ONE}


def test_a_translation_to_the_same_place_is_none_to_the_kernel() -> None:
    text = rules(
        nat=["-A PREROUTING -j DNAT --to-destination 10.244.0.7:80"],
        filter=["-A FORWARD -m conntrack --ctstate DNAT -j DROP"],
    )
    assert send(text, CLIENT, "10.244.0.8").outcomes() == {DROPPED: ONE}
    assert send(text, CLIENT, "10.244.0.7").outcomes() == {Outcome(Verdict.ENDPOINT, "10.244.0.7:80"): ONE}


def test_before_tracking_the_raw_table_knows_no_connection() -> None:
    text = rules(
        raw=["-A PREROUTING -m conntrack --ctstate NEW -j DROP", "-A PREROUTING -m conntrack --ctstate INVALID"],
        filter=["-A FORWARD -m conntrack --ctstate NEW -j REJECT"],
    )
    found = send(text, CLIENT, "10.244.0.7")
    assert way(found) == ["raw PREROUTING 2 counted", "routing route", "filter FORWARD 1 reject"]


def test_a_packet_over_lo_keeps_its_connection_whatever_raw_says() -> None:
    text = rules(raw=["-A PREROUTING -j NOTRACK"], filter=["-A INPUT -m conntrack --ctstate NEW -j DROP"])
    assert send(text, PROCESS, "10.0.0.11").outcomes() == {DROPPED: ONE}
    assert send(text, CLIENT, "10.0.0.11").outcomes() == {UNTRANSLATED: ONE}


def test_nat_asks_no_further_rule_once_it_has_translated() -> None:
    first, second = (f"-A PREROUTING -j DNAT --to-destination 10.244.0.{n}" for n in (8, 9))
    found = send(rules(nat=[first, second]), CLIENT, "10.96.0.1", 443)
    assert found.outcomes() == {Outcome(Verdict.ENDPOINT, "10.244.0.8:443"): ONE}


def test_the_policy_decides_at_the_end() -> None:
    text = "*filter\n:FORWARD DROP [0:0]\n-A FORWARD -i eth0 -j ACCEPT\nCOMMIT"
    assert send(text, CLIENT, "10.244.0.7").outcomes() == {UNTRANSLATED: ONE}
    assert send(text, POD, "8.8.8.8").outcomes() == {DROPPED: ONE}


def test_return_goes_back_one_chain_and_from_a_built_in_chain_to_its_policy() -> None:
    text = rules(
        filter=[
            "-A FORWARD -j OUTER",
            "-A FORWARD -j RETURN",
            "-A FORWARD -j DROP",
            "-A OUTER -j INNER",
            "-A OUTER -j LOG",
            "-A INNER -j RETURN",
            "-A INNER -j DROP",
        ]
    )
    assert way(send(text, CLIENT, "10.244.0.7")) == [
        "routing route",
        "filter FORWARD 1 jump",
        "filter OUTER 1 jump",
        "filter INNER 1 return",
        "filter OUTER 2 counted",
        "filter OUTER end",
        "filter FORWARD 2 return",
    ]


def test_goto_does_not_come_back_to_where_it_left() -> None:
    text = rules(
        filter=[
            "-A FORWARD -j OUTER",
            "-A FORWARD -j REJECT",
            "-A OUTER -g INNER",
            "-A OUTER -j DROP",
            "-A INNER -j LOG",
        ]
    )
    assert send(text, CLIENT, "10.244.0.7").outcomes() == {REJECTED: ONE}


def test_a_goto_from_a_built_in_chain_ends_in_its_policy() -> None:
    text = "*filter\n:FORWARD DROP\n:AWAY -\n-A FORWARD -g AWAY\n-A FORWARD -j ACCEPT\n-A AWAY -j LOG\nCOMMIT"
    assert send(text, CLIENT, "10.244.0.7").outcomes() == {DROPPED: ONE}


@pytest.mark.parametrize("lead", ["-j", "-g"])
def test_a_loop_is_an_error_that_names_the_chain(lead: str) -> None:
    text = rules(nat=["-A PREROUTING -j A", f"-A A {lead} B", f"-A B {lead} A"])
    with pytest.raises(JumpLoop) as loop:
        send(text, CLIENT, "10.244.0.7")
    assert (loop.value.table, loop.value.chain) == ("nat", "A")
    assert "PREROUTING -> A -> B -> A" in str(loop.value)


def test_a_jump_to_a_chain_that_is_not_there_is_not_known() -> None:
    found = send(rules(filter=["-A FORWARD -j ELSEWHERE"]), CLIENT, "10.244.0.7")
    assert found.outcomes() == {UNKNOWN: ONE}
    assert found.branches[0].reason == "the rules at hand lack chain ELSEWHERE"
    assert any("ELSEWHERE" in note for note in found.notes)


def test_a_target_that_is_not_understood_ends_the_trail() -> None:
    found = send(rules(filter=["-A FORWARD -j NFQUEUE --queue-num 3"]), CLIENT, "10.244.0.7")
    assert found.outcomes() == {UNKNOWN: ONE}
    assert "NFQUEUE --queue-num 3" in found.branches[0].reason


def test_an_unknown_condition_opens_two_branches_without_a_probability() -> None:
    found = send(rules(filter=["-A FORWARD -m set --match-set banned src -j DROP"]), CLIENT, "10.244.0.7")
    assert [(p.outcome, p.probability) for p in found.branches] == [(DROPPED, None), (UNTRANSLATED, None)]
    assert found.outcomes() == {UNKNOWN: ONE}


def test_an_unknown_condition_that_changes_nothing_leaves_the_outcome_certain() -> None:
    found = send(rules(filter=["-A FORWARD -m limit --limit 5/min -j LOG"]), CLIENT, "10.244.0.7")
    assert len(found.branches) == 2
    assert found.outcomes() == {UNTRANSLATED: ONE}


def test_chance_and_doubt_in_one_rule() -> None:
    half = "-A FORWARD -m limit --limit 1/s -m statistic --mode random --probability 0.5 -j DROP"
    found = send(rules(filter=[half]), CLIENT, "10.244.0.7")
    assert found.outcomes() == {UNTRANSLATED: Fraction(1, 2), UNKNOWN: Fraction(1, 2)}


def test_a_chain_of_choices_shares_evenly() -> None:
    text = rules(
        nat=[
            "-A PREROUTING -d 10.96.0.1/32 -j SVC",
            *(f"-A SVC -m statistic --mode random --probability {1 / n:.11f} -j SEP{n}" for n in (5, 4, 3, 2)),
            "-A SVC -j SEP1",
            *(f"-A SEP{n} -j DNAT --to-destination 10.244.0.10{n}" for n in (5, 4, 3, 2, 1)),
        ]
    )
    found = send(text, POD, "10.96.0.1")
    assert set(found.outcomes().values()) == {Fraction(1, 5)}
    assert [p.probability for p in found.branches] == [Fraction(1, 5)] * 5
    assert [p.outcome.endpoint[-5:] for p in found.branches] == ["05:80", "04:80", "03:80", "02:80", "01:80"]


@pytest.mark.parametrize(("ago", "endpoints"), [(10800.0, 1), (10801.0, 3)])
def test_a_client_that_a_list_holds_goes_where_it_went(ago: float, endpoints: int) -> None:
    case = nodes.case("08")
    listed = {"KUBE-SEP-MHBNIIYYJPBZ5XLP": {"10.244.1.5": ago}}
    packet = Packet("10.244.1.5", "10.96.0.24", Protocol.TCP, 80, in_interface="cni0")
    outcomes = trace(Rules(nodes.rules(case), remembered=listed), case.node, packet).outcomes()
    assert len(outcomes) == endpoints
    assert outcomes[Outcome(Verdict.ENDPOINT, "10.244.1.29:80")] == Fraction(1, endpoints)


def test_no_route_is_an_error_to_the_sender() -> None:
    text = rules(nat=["-A PREROUTING -j DNAT --to-destination fd00:9::9"])
    packet = Packet("fd00:244::7", "fd00::1", Protocol.TCP, 80, in_interface="cni0")
    found = trace(parse(text), NODE, packet)
    assert found.outcomes() == {Outcome(Verdict.ENDPOINT, "[fd00:9::9]:80"): ONE}  # no IPv6 route at all: not known
    assert any("routes are not known" in note for note in found.notes)


def test_a_node_that_forwards_nothing() -> None:
    found = send("", CLIENT, "10.244.0.7", ip_forward=False)
    assert found.outcomes() == {DROPPED: ONE}
    assert "ip_forward" in found.branches[0].reason


def test_a_loopback_source_from_outside_is_refused_by_the_kernel() -> None:
    found = send("", ("127.0.0.1", "eth0"), "10.244.0.7")
    assert found.outcomes() == {DROPPED: ONE}
    assert found.branches[0].steps[-1].event is Event.MARTIAN


def test_rules_for_other_hosts_are_passed_over_but_not_networks_or_negations() -> None:
    text = rules(
        filter=[
            "-A FORWARD -d 10.244.0.8/32 -j DROP",
            "-A FORWARD -d 10.244.0.77/32 -j DROP",
            "-A FORWARD -d 10.244.0.0/24 -j LOG",
            "-A FORWARD ! -d 10.244.0.8/32 -j REJECT",
        ]
    )
    found = send(text, CLIENT, "10.244.0.7")
    assert way(found) == ["routing route", "filter FORWARD 3 counted", "filter FORWARD 4 reject"]
