"""Rules, as iptables-save prints them and people write them, and what they mean."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.ruleset.iptables_match import understand
from fairway.ruleset.iptables_terms import (
    Accept,
    Accounting,
    AddressBetween,
    AddressIn,
    AddrType,
    Bridged,
    BridgePort,
    Comment,
    ConnState,
    CopyMark,
    Device,
    Drop,
    InSet,
    Jump,
    Mark,
    Masquerade,
    Match,
    NoTrack,
    Nth,
    Opaque,
    Parsed,
    Passive,
    Ports,
    ProtocolIs,
    Random,
    Recent,
    RecentAction,
    Redirect,
    Reject,
    Return,
    SetMark,
    Side,
    Target,
    TcpFlags,
    Translate,
    Unknown,
)

GOLDENS = sorted((Path(__file__).parents[2] / "golden").glob("*.json"))
S, D = Side.SOURCE, Side.DESTINATION
net = ipaddress.ip_network
ip = ipaddress.ip_address

MATCHES: list[tuple[str, tuple[Match, ...]]] = [
    ("-s 10.0.0.1", (AddressIn(S, net("10.0.0.1/32")),)),
    ("! -s 10.244.0.0/16", (AddressIn(S, net("10.244.0.0/16"), negated=True),)),
    ("-s ! 10.244.0.0/16", (AddressIn(S, net("10.244.0.0/16"), negated=True),)),
    ("-d 10.0.0.0/255.0.0.0", (AddressIn(D, net("10.0.0.0/8")),)),
    ("-d fd00::/64", (AddressIn(D, net("fd00::/64")),)),
    ("-i cni0 ! -o veth+", (Device(S, "cni0"), Device(D, "veth+", negated=True))),
    ("-p tcp --dport 80", (ProtocolIs("tcp"), Ports(D, ((80, 80),)))),
    ("-p udp -m udp --sport 1024:", (ProtocolIs("udp"), Ports(S, ((1024, 65535),)))),
    ("! -p icmp", (ProtocolIs("icmp", negated=True),)),
    ("-p sctp -m sctp ! --dport 5:9", (ProtocolIs("sctp"), Ports(D, ((5, 9),), negated=True))),
    (
        "-p tcp -m multiport --dports 80,443,8000:8080",
        (ProtocolIs("tcp"), Ports(D, ((80, 80), (443, 443), (8000, 8080)))),
    ),
    ("-m multiport -p tcp --ports 53", (ProtocolIs("tcp"), Ports(Side.EITHER, ((53, 53),)))),
    ("-p tcp --syn", (ProtocolIs("tcp"), TcpFlags(frozenset({"SYN", "RST", "ACK", "FIN"}), frozenset({"SYN"})))),
    ("-m mark ! --mark 0x4000/0x4000", (Mark(0x4000, 0x4000, negated=True),)),
    ("-m connmark --mark 1", (Mark(1, 0xFFFFFFFF, connection=True),)),
    ("-m statistic --mode random --probability 0.5", (Random("0.5"),)),
    ("-m statistic --mode nth --every 3 --packet 1", (Nth(3, 1),)),
    (
        "-m recent --rcheck --seconds 10800 --reap --name KUBE-SEP-X --mask 255.255.255.255 --rsource",
        (Recent(RecentAction.CHECK, "KUBE-SEP-X", 10800),),
    ),
    ("-m recent ! --update --hitcount 3 --rdest", (Recent(RecentAction.UPDATE, hits=3, side=D, negated=True),)),
    ('-m comment --comment "--dport 80 ! -j DROP"', (Comment("--dport 80 ! -j DROP"),)),
    ("-m comment --comment -j -p tcp", (ProtocolIs("tcp"), Comment("-j"))),
    ("-m addrtype ! --dst-type LOCAL", (AddrType(D, frozenset({"LOCAL"}), negated=True),)),
    (
        "-m addrtype --src-type LOCAL,UNICAST --limit-iface-in",
        (AddrType(S, frozenset({"LOCAL", "UNICAST"}), limited=True),),
    ),
    (
        "-m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT",
        (ConnState(frozenset({"RELATED", "ESTABLISHED", "DNAT"}), negated=True),),
    ),
    ("-m state --state NEW", (ConnState(frozenset({"NEW"})),)),
    ("-m nfacct --nfacct-name  localhost_nps_accepted_pkts", (Accounting("localhost_nps_accepted_pkts"),)),
    ("-m iprange --src-range 10.0.0.1-10.0.0.9", (AddressBetween(S, ip("10.0.0.1"), ip("10.0.0.9")),)),
    ("-m set ! --match-set banned src", (InSet("banned", (Side.SOURCE,), negated=True),)),
    ("-m limit --limit 5/min --limit-burst 3", (Opaque("limit", "--limit 5/min --limit-burst 3"),)),
    (
        "-m set --match-set a src,dst --return-nomatch ! --update-counters --packets-gt 3",
        (InSet("a", (Side.SOURCE, Side.DESTINATION), exceptions=True, counted=True),),
    ),
    ("-m physdev ! --physdev-is-bridged", (Bridged(negated=True),)),
    (
        "-m physdev ! --physdev-in eth0 --physdev-is-out",
        (BridgePort(Side.SOURCE, "eth0", negated=True), BridgePort(Side.DESTINATION)),
    ),
    ("-m brandnew --shiny 7", (Unknown("-m brandnew --shiny 7"),)),
    ("-m statistic --mode dice", (Unknown("-m statistic --mode dice"),)),
    ("-m conntrack --ctstate LATE", (Unknown("-m conntrack --ctstate LATE"),)),
    ("-s not-an-address", (Unknown("-s not-an-address"),)),
    ("-p tcp --dport http", (ProtocolIs("tcp"), Unknown("-m tcp --dport http"))),
    ("stray", (Unknown("stray"),)),
]


@pytest.mark.parametrize(("spec", "expected"), MATCHES, ids=[spec for spec, _ in MATCHES])
def test_matches(spec: str, expected: tuple[Match, ...]) -> None:
    assert understand(spec + " -j ACCEPT") == Parsed(expected, Accept())


TARGETS: list[tuple[str, Target | None]] = [
    ("", None),
    ("-j DROP", Drop()),
    ("-j RETURN", Return()),
    ("-j REJECT", Reject("icmp-port-unreachable")),
    ("-j REJECT --reject-with tcp-reset", Reject("tcp-reset")),
    ("-j KUBE-SERVICES", Jump("KUBE-SERVICES")),
    ("-g ELSEWHERE", Jump("ELSEWHERE", goto=True)),
    ("-j DNAT --to-destination 10.244.1.28:80", Translate(D, (ip("10.244.1.28"), ip("10.244.1.28")), (80, 80))),
    ("-j DNAT --to-destination [fd00::1]:80", Translate(D, (ip("fd00::1"), ip("fd00::1")), (80, 80))),
    ("-j DNAT --to-destination fd00::1", Translate(D, (ip("fd00::1"), ip("fd00::1")))),
    ("-j DNAT --to-destination :8080", Translate(D, None, (8080, 8080))),
    (
        "-j SNAT --to-source 10.0.0.1-10.0.0.3:1000-2000 --random-fully",
        Translate(S, (ip("10.0.0.1"), ip("10.0.0.3")), (1000, 2000)),
    ),
    ("-j MASQUERADE --random-fully", Masquerade(random_fully=True)),
    ("-j MASQUERADE --to-ports 1024-2048", Masquerade(ports=(1024, 2048))),
    ("-j REDIRECT --to-ports 15001", Redirect((15001, 15001))),
    ("-j MARK --set-xmark 0x4000/0x4000", SetMark(0x4000, 0x4000)),
    ("-j CONNMARK --restore-mark --mask 0xff", CopyMark(False, 0xFF, 0xFF)),
    ("-j CONNMARK --save-mark", CopyMark(True)),
    ("-j CT --notrack", NoTrack()),
    ("-j NOTRACK", NoTrack()),
    ('-j LOG --log-prefix "dropped: "', Passive("LOG", "--log-prefix dropped: ")),
    ("-j NFQUEUE --queue-num 0", Unknown("-j NFQUEUE --queue-num 0")),
    ("-j SHINY --with-options", Unknown("-j SHINY --with-options")),
    ("-j DNAT --to-destination nowhere", Unknown("-j DNAT --to-destination nowhere")),
]


@pytest.mark.parametrize(("spec", "expected"), TARGETS, ids=[spec for spec, _ in TARGETS])
def test_targets(spec: str, expected: Target | None) -> None:
    assert understand(spec) == Parsed((), expected)


@pytest.mark.parametrize(
    ("spelling", "before", "after"),
    [
        ("--set-xmark 0x4000/0x4000", 0x1, 0x4001),
        ("--set-xmark 0x4000/0x0", 0x4001, 0x1),  # kube-proxy takes its mark away by flipping the bit
        ("--set-mark 0x2/0xf", 0x15, 0x12),
        ("--set-mark 7", 0xFFFF, 0x7),
        ("--or-mark 0x4000", 0x1, 0x4001),
        ("--and-mark 0xfffffffe", 0x3, 0x2),
        ("--xor-mark 0x3", 0x1, 0x2),
    ],
)
def test_five_ways_to_set_a_mark(spelling: str, before: int, after: int) -> None:
    target = understand(f"-j MARK {spelling}").target
    assert isinstance(target, SetMark)
    assert target.apply(before) == after


def test_a_target_may_stand_before_its_matches() -> None:
    assert understand("-j DNAT --to-destination 10.0.0.1 -m comment --comment late") == Parsed(
        (Comment("late"),), Translate(D, (ip("10.0.0.1"), ip("10.0.0.1")))
    )


def golden_rules() -> Iterator[tuple[str, str]]:
    for path in GOLDENS:
        families = json.loads(path.read_text())["expected"]["iptables"]
        for family in ("ipv4", "ipv6"):
            for chains in families.get(family, {}).values():
                for name, rules in chains.items():
                    for rule in rules:
                        yield path.stem, rule.removeprefix(f"-A {name} ")


def test_nothing_in_the_goldens_is_unknown() -> None:
    read = [(case, spec, understand(spec)) for case, spec in golden_rules()]
    assert len(read) > 1000
    assert [(case, spec) for case, spec, parsed in read if parsed.unknown] == []
    assert [(case, spec) for case, spec, parsed in read if any(isinstance(m, Opaque) for m in parsed.matches)] == []


WORDS = st.sampled_from(
    ["", "-m", "-j", "-g", "!", "-s", "-d", "-p", "tcp", "80", "recent", "statistic", "--comment", '"']
)


@given(st.lists(st.one_of(WORDS, st.text(max_size=8)), max_size=12))
def test_any_text_is_read_without_an_error(words: list[str]) -> None:
    assert isinstance(understand(" ".join(words)), Parsed)
