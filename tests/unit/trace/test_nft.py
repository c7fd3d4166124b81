"""Packets in nftables: base chains by priority, sets and maps, chance, and what cannot be told."""

from __future__ import annotations

import ipaddress
from fractions import Fraction

import pytest

from fairway.node import Interface, Node, Route
from fairway.packet import Outcome, Packet, Protocol, Verdict
from fairway.ruleset import iptables
from fairway.ruleset.nft_parse import parse
from fairway.trace import explain
from fairway.trace.steps import Event, JumpLoop, Trace
from fairway.trace.walk import Rules, trace

_net, _ip, _on = ipaddress.ip_network, ipaddress.ip_address, ipaddress.ip_interface
NODE = Node(
    "node-a",
    interfaces=(
        Interface("eth0", (_on("10.0.0.11/24"), _on("fd00:a::11/64"))),
        Interface("cni0", (_on("10.244.1.254/24"),)),
    ),
    routes=(
        Route(_net("10.0.0.0/24"), "eth0"),
        Route(_net("10.244.1.0/24"), "cni0"),
        Route(_net("0.0.0.0/0"), "eth0", via=_ip("10.0.0.1")),
        Route(_net("::/0"), "eth0", via=_ip("fd00:a::1")),
    ),
)
WEB = Packet("10.0.0.100", "10.96.0.10", Protocol.TCP, 80, in_interface="eth0")
ONE, TWO, THREE = (Outcome(Verdict.ENDPOINT, f"10.244.1.{last}:8080") for last in (1, 2, 3))
PASSES, DROPPED, REJECTED, UNKNOWN = (
    Outcome(verdict) for verdict in (Verdict.UNTRANSLATED, Verdict.DROPPED, Verdict.REJECTED, Verdict.UNKNOWN)
)
ALWAYS, THIRD = Fraction(1), Fraction(1, 3)


def walk(*chains: str, packet: Packet = WEB, family: str = "ip", more: str = "", node: Node = NODE) -> Trace:
    """Trace a packet through a table of these chains ("NAME TYPE HOOK PRIORITY: RULE; RULE")."""
    body = more
    for chain in chains:
        head, _, rules = chain.partition(": ")
        name, *hooked = head.split()
        hook = "type {} hook {} priority {}; policy accept;\n".format(*hooked) if hooked else ""
        body += f"chain {name} {{\n{hook}{rules}\n}}\n"
    return trace(parse(f"table {family} t {{\n{body}\n}}\n"), node, packet)


def translated(*rules: str, more: str = "", packet: Packet = WEB) -> dict[Outcome, Fraction]:
    return walk(f"p nat prerouting dstnat: {'; '.join(rules)}", more=more, packet=packet).outcomes()


def filtered(*rules: str, more: str = "", packet: Packet = WEB) -> dict[Outcome, Fraction]:
    return walk(f"f filter forward filter: {'; '.join(rules)}", more=more, packet=packet).outcomes()


def test_a_map_of_places_translates() -> None:
    places = """map lb { typeof ip daddr . meta l4proto . th dport : ip daddr . th dport
        elements = { 10.96.0.10 . tcp . 80 : 10.244.1.2 . 8080 } }"""
    rule = "dnat ip to ip daddr . meta l4proto . th dport map @lb"
    assert translated(rule, more=places) == {TWO: ALWAYS}
    assert translated(
        rule, more=places, packet=Packet("10.0.0.100", "10.96.0.10", Protocol.UDP, 80, in_interface="eth0")
    ) == {PASSES: ALWAYS}


def test_one_draw_chooses_among_the_endpoints() -> None:
    rule = "dnat ip to numgen random mod 3 map { 0 : 10.244.1.1 . 8080, 1 : 10.244.1.2 . 8080, 2 : 10.244.1.3 . 8080 }"
    assert translated(rule) == {ONE: THIRD, TWO: THIRD, THREE: THIRD}


def test_a_draw_may_be_a_field_of_a_key_and_keys_that_are_missing_go_on() -> None:
    draws = """map lb { typeof ip daddr . numgen random mod 3 : ip daddr . th dport
        elements = { 10.96.0.10 . 0 : 10.244.1.1 . 8080, 10.96.0.10 . 2 : 10.244.1.1 . 8080 } }"""
    rule = "dnat ip to ip daddr . numgen random mod 3 map @lb"
    assert translated(rule, more=draws) == {ONE: 2 * THIRD, PASSES: THIRD}
    assert translated(rule, "dnat to 10.244.1.3:8080", more=draws) == {ONE: 2 * THIRD, THREE: THIRD}


def test_a_draw_that_changes_nothing_opens_no_branch() -> None:
    draws = "map lb { typeof ip daddr . numgen random mod 9 : ip daddr . th dport; }"
    found = walk("p nat prerouting dstnat: dnat ip to ip daddr . numgen random mod 9 map @lb", more=draws)
    assert len(found.branches) == 1
    assert found.outcomes() == {PASSES: ALWAYS}


def test_every_expression_draws_for_itself() -> None:
    rule = "numgen random mod 2 1 dnat ip to numgen random mod 2 map { 0 : 10.244.1.1 . 8080, 1 : 10.244.1.2 . 8080 }"
    quarter = Fraction(1, 4)
    assert translated(rule) == {ONE: quarter, TWO: quarter, PASSES: Fraction(1, 2)}


def test_shares_add_up_where_endpoints_are_the_same() -> None:
    rule = "dnat ip to numgen random mod 3 map { 0 : 10.244.1.1 . 8080, 1 : 10.244.1.2 . 8080, 2 : 10.244.1.1 . 8080 }"
    assert translated(rule) == {ONE: 2 * THIRD, TWO: THIRD}


def test_a_hash_shares_evenly_and_is_no_chance() -> None:
    found = walk("p nat prerouting dstnat: dnat ip to jhash ip saddr mod 2 map { 0 : 10.0.0.1, 1 : 10.0.0.2 }")
    assert [path.chance for path in found.branches] == [Fraction(1, 2)] * 2
    assert [path.probability for path in found.branches] == [None, None]
    assert any("hash" in note for note in found.notes)


@pytest.mark.parametrize(
    ("rule", "outcome"),
    [
        ("ip saddr 10.0.0.0/24 drop", DROPPED),
        ("ip saddr != 10.0.0.0/24 drop", PASSES),
        ("ip saddr 10.0.0.99-10.0.0.101 drop", DROPPED),
        ("ip saddr { 10.0.0.1, 10.0.0.64/26 } drop", DROPPED),
        ("ip saddr . th dport { 10.0.0.0/24 . 79-81 } drop", DROPPED),
        ("ip saddr . th dport { 10.0.0.0/24 . 81-82 } drop", PASSES),
        ("udp dport 80 drop", PASSES),
        ("icmp type echo-request drop", PASSES),
        ("ip6 daddr ::1 drop", PASSES),
        ("tcp flags syn / fin,syn,rst,ack drop", DROPPED),
        ("tcp flags ack drop", PASSES),
        ("tcp flags ! syn drop", PASSES),
        ("ct state & (established | new) != 0x0 drop", DROPPED),
        ("meta l4proto { tcp, udp } drop", DROPPED),
        ('iifname "eth*" oifname "eth0" drop', DROPPED),
        ('iifname { "eth1", "lo" } drop', PASSES),
        ("ct state new,established drop", DROPPED),
        ("ct state established drop", PASSES),
        ("ct status dnat drop", PASSES),
        ("ct original ip daddr . meta l4proto . ct original proto-dst { 10.96.0.10 . tcp . 80 } drop", DROPPED),
        ("fib saddr type local drop", PASSES),
        ("fib daddr type unicast drop", DROPPED),
        ("meta mark set 0x5 meta mark & 0x4 == 0x4 drop", DROPPED),
        ("th dport >= 80 th dport < 81 drop", DROPPED),
        ("th dport vmap { 1-79 : accept, 80 : drop }", DROPPED),
        ("th dport vmap { 1-79 : drop, * : accept }", PASSES),
        ("reject", REJECTED),
        ('counter log prefix "x" meta nftrace set 1 drop', DROPPED),
        ("update @seen { ip saddr } drop", DROPPED),
        ("update @seen { udp dport } drop", PASSES),
        ("queue", UNKNOWN),
        ("ip daddr set 10.0.0.9", UNKNOWN),
    ],
)
def test_what_rules_ask(rule: str, outcome: Outcome) -> None:
    assert filtered(rule) == {outcome: ALWAYS}


def test_intervals_and_the_catch_all_of_named_sets() -> None:
    sets = """set ranges { typeof ip daddr . th dport . ip saddr; flags interval
        elements = { 10.96.0.10 . 80 . 10.0.0.0/8, 10.96.0.11 . 80 . 192.0.2.0/24 } }
        map ways { type ipv4_addr : verdict; elements = { 10.9.9.9 : accept, * : drop } }"""
    assert filtered("ip daddr . th dport . ip saddr @ranges drop", more=sets) == {DROPPED: ALWAYS}
    other = Packet("192.0.2.1", "10.96.0.10", Protocol.TCP, 80, in_interface="eth0")
    assert filtered("ip daddr . th dport . ip saddr @ranges drop", more=sets, packet=other) == {PASSES: ALWAYS}
    assert filtered("ip saddr vmap @ways", more=sets) == {DROPPED: ALWAYS}


def test_a_dynamic_map_holds_what_is_listed() -> None:
    maps = """map affinity { typeof ip saddr . ip daddr : ip daddr . th dport; flags dynamic,timeout
        elements = { 10.0.0.100 . 10.96.0.10 timeout 3h expires 2h : 10.244.1.3 . 8080 } }"""
    rules = ("dnat ip to ip saddr . ip daddr map @affinity", "dnat to 10.244.1.1:8080")
    newcomer = Packet("10.0.0.101", "10.96.0.10", Protocol.TCP, 80, in_interface="eth0")
    assert translated(*rules, more=maps) == {THREE: ALWAYS}
    assert translated(*rules, more=maps, packet=newcomer) == {ONE: ALWAYS}


def test_an_accept_ends_its_base_chain_only_and_a_drop_all() -> None:
    first, second = "a filter forward -10: accept; drop", "b filter forward 10: drop"
    assert walk(first).outcomes() == {PASSES: ALWAYS}
    assert walk(first, second).outcomes() == {DROPPED: ALWAYS}


def test_base_chains_come_by_priority() -> None:
    late, early = "late filter forward 10: meta mark 0x1 drop", "early filter forward -10: meta mark set 0x1"
    assert walk(late, early).outcomes() == {DROPPED: ALWAYS}


def test_of_equal_priorities_the_youngest_comes_first() -> None:
    asks, sets = "asks filter forward 0: meta mark 0x1 drop", "sets filter forward 0: meta mark set 0x1"
    assert walk(asks, sets).outcomes() == {DROPPED: ALWAYS}
    assert walk(sets, asks).outcomes() == {PASSES: ALWAYS}


def test_nat_chains_are_asked_until_one_translates() -> None:
    chains = ("b nat prerouting -90: dnat to 10.244.1.2:8080", "a nat prerouting -110: dnat to 10.244.1.1:8080")
    assert walk(*chains).outcomes() == {ONE: ALWAYS}


def test_iptables_and_nftables_share_a_hook() -> None:
    rule = "-A PREROUTING -p tcp --dport 80 -j DNAT --to-destination 10.244.1.2:8080"
    nat = iptables.parse(f"*nat\n:PREROUTING ACCEPT [0:0]\n{rule}\nCOMMIT\n")
    nft = parse(
        "table ip t { chain f {\ntype filter hook prerouting priority -150\nip daddr 10.96.0.10 meta mark set 1\n}\n"
        "chain g {\ntype filter hook forward priority 0\nmeta mark 1 ip daddr 10.244.1.2 drop\n}\n}\n"
    )
    both = trace(Rules(iptables=nat, nft=nft), NODE, WEB)
    assert both.outcomes() == {DROPPED: ALWAYS}
    assert trace(Rules(nft=nft), NODE, WEB).outcomes() == {PASSES: ALWAYS}


def test_what_iptables_keeps_in_nftables_counts_once() -> None:
    filters = iptables.parse("*filter\n:FORWARD ACCEPT [0:0]\n-A FORWARD -j MARK --set-xmark 0x1/0x0\nCOMMIT\n")
    copies = parse('table ip filter { chain FORWARD {\ntype filter hook forward priority 0\nxt target "MARK"\n}\n}\n')
    assert trace(Rules(iptables=filters, nft=copies), NODE, WEB).outcomes() == {PASSES: ALWAYS}
    assert trace(copies, NODE, WEB).outcomes() == {UNKNOWN: ALWAYS}


def test_goto_leaves_for_good_and_jump_comes_back() -> None:
    assert walk("f filter forward 0: jump one; drop", "one: return").outcomes() == {DROPPED: ALWAYS}
    assert walk("f filter forward 0: goto one; drop", "one: return").outcomes() == {PASSES: ALWAYS}
    assert walk("f filter forward 0: jump one; drop", "one: goto two", "two: counter").outcomes() == {DROPPED: ALWAYS}


def test_a_loop_is_no_rule_set() -> None:
    with pytest.raises(JumpLoop, match="one leads back to itself"):
        walk("f filter forward 0: jump one", "one: jump two", "two: goto one")


@pytest.mark.parametrize(
    "rule", ["limit rate 1/second drop", "ip dscp cs1 drop", "osf name Linux drop", "xt match drop"]
)
def test_what_nobody_can_tell_branches(rule: str) -> None:
    found = walk(f"f filter forward 0: {rule}")
    assert found.outcomes() == {UNKNOWN: ALWAYS}
    assert PASSES in {path.outcome for path in found.branches}


def test_a_doubt_that_changes_nothing_is_none() -> None:
    assert filtered("limit rate 1/second accept") == {PASSES: ALWAYS}
    assert filtered("limit rate 1/second drop", "drop") == {DROPPED: ALWAYS}


def test_a_chain_or_set_that_is_missing_is_said() -> None:
    assert filtered("jump gone") == {UNKNOWN: ALWAYS}
    assert filtered("ip daddr @gone drop") == {UNKNOWN: ALWAYS}


def test_masquerade_by_the_mark() -> None:
    found = walk(
        "p nat prerouting dstnat: meta mark set meta mark | 0x4000; dnat to 10.244.1.1:8080",
        "q nat postrouting srcnat: meta mark & 0x4000 != 0 meta mark set meta mark ^ 0x4000 masquerade fully-random",
    )
    (path,) = found.branches
    assert path.outcome == Outcome(Verdict.ENDPOINT, "10.244.1.1:8080", masqueraded=True)
    assert path.source_seen == "10.244.1.254"
    assert path.steps[-1].packet.mark == 0


def test_steps_quote_the_rules_as_nft_prints_them() -> None:
    found = walk(
        "f filter forward 0: counter; ip   saddr 10.0.0.0/8 tcp dport {80,81} jump one",
        'one: drop comment "default/web"',
    )
    steps = [
        (step.table, step.chain, step.number, step.rule, step.event) for step in found.branches[0].steps if step.number
    ]
    assert steps == [
        ("ip t", "f", 1, "counter packets 0 bytes 0", Event.COUNTED),
        ("ip t", "f", 2, "ip saddr 10.0.0.0/8 tcp dport { 80, 81 } jump one", Event.JUMP),
        ("ip t", "one", 1, 'drop comment "default/web"', Event.DROP),
    ]


def test_an_explanation_names_the_service_of_a_rules_comment() -> None:
    told = explain.text(walk('f filter forward 0: reject comment "default/web:http no endpoints"'))
    assert "default/web:http" in told
    assert 'ip t f rule 1   reject comment "default/web:http no endpoints"' in told
    assert "the sender gets icmp port-unreachable" in told


def test_an_explanation_shows_what_chance_decides() -> None:
    told = explain.text(
        walk("p nat prerouting dstnat: dnat ip to numgen random mod 2 map { 0 : 10.244.1.1 . 80, 1 : 10.244.1.2 . 80 }")
    )
    assert "Here chance decides:" in told
    assert "10.244.1.2:80" in told


def test_more_draws_than_any_node_has_end_as_unknown() -> None:
    assert filtered("numgen random mod 4000000000 7 drop") == {UNKNOWN: ALWAYS}
    assert filtered("numgen random mod 50000 7 numgen random mod 50000 7 drop") == {UNKNOWN: ALWAYS}
