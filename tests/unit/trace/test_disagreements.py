"""What the tracer once told otherwise than the kernel did: each found by the tests that ask it, and kept here."""

from __future__ import annotations

from fairway.packet import Outcome, Packet, Protocol, Verdict
from fairway.ruleset.iptables import parse
from fairway.ruleset.nft_parse import parse as parse_nft
from fairway.trace.walk import Rules, trace
from tests.golden import nodes

NODE = nodes.lab_node(nodes.case("33").node)
POD, PROCESS = ("fd00:10:244:1::5", "cni0"), ("::1", "")


def outcome(rules: str, sender: tuple[str, str], destination: str, port: int = 80, listing: str = "") -> Outcome:
    """What becomes of a UDP packet by rules of iptables, and by a listing of nftables beside them."""
    address, device = sender
    packet = Packet(address, destination, Protocol.UDP, port, in_interface=device)
    whole = Rules(parse(rules), parse_nft(listing) if listing else None)
    (found,) = trace(whole, NODE, packet).outcomes()
    return found


def test_the_node_s_own_ipv6_addresses_are_unicast_too() -> None:
    rules = "*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -m addrtype --dst-type UNICAST -j DROP\nCOMMIT\n"
    assert outcome(rules, POD, "fd00:a::11").verdict is Verdict.DROPPED


def test_of_several_types_an_ipv6_address_must_be_all() -> None:
    rules = "*filter\n:FORWARD ACCEPT [0:0]\n-A FORWARD -m addrtype --dst-type UNICAST,LOCAL -j DROP\nCOMMIT\n"
    assert outcome(rules, POD, "fd00:10:244:2::9").verdict is Verdict.UNTRANSLATED


def test_the_ipv6_loopback_address_leaves_the_node_when_a_rule_sends_it() -> None:
    rules = "*nat\n:OUTPUT ACCEPT [0:0]\n-A OUTPUT -p udp -j DNAT --to-destination [fd00:10:244:2::9]:53\nCOMMIT\n"
    assert outcome(rules, PROCESS, "fd00:a::11") == Outcome(Verdict.ENDPOINT, "[fd00:10:244:2::9]:53")


def test_what_came_in_by_a_device_is_not_led_to_the_ipv6_loopback_address() -> None:
    rules = "*nat\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -p udp -j DNAT --to-destination [::1]:53\nCOMMIT\n"
    assert outcome(rules, POD, "fd00:a::11").verdict is Verdict.REJECTED
    # the device of the default route is the way to anything
    assert outcome(rules, ("fd00:a::100", "eth0"), "fd00:a::11") == Outcome(Verdict.ENDPOINT, "[::1]:53")


def test_masqueraded_ipv6_takes_the_nearest_of_all_addresses() -> None:
    rules = "*nat\n:POSTROUTING ACCEPT [0:0]\n-A POSTROUTING -j MASQUERADE\nCOMMIT\n"
    packet = Packet("fd00:a::100", "fd00:10:244:1::5", Protocol.UDP, 80, in_interface="eth0")
    (path,) = trace(parse(rules), NODE, packet).branches
    assert path.source_seen == "fd00:10:244:1::fe"


def test_of_equal_priorities_what_was_made_last_comes_first_iptables_tables_among_them() -> None:
    rules = "*filter\n:FORWARD ACCEPT [0:0]\n-A FORWARD -j REJECT --reject-with icmp6-port-unreachable\nCOMMIT\n"
    own = "table ip6 t {\n chain c {\n type filter hook forward priority filter; policy drop;\n }\n}\n"
    copy = "table ip6 filter {\n chain FORWARD {\n type filter hook forward priority filter; policy accept;\n }\n}\n"
    assert outcome(rules, POD, "fd00:10:244:2::9", listing=copy + own).verdict is Verdict.DROPPED
    assert outcome(rules, POD, "fd00:10:244:2::9", listing=own + copy).verdict is Verdict.REJECTED
