# ruff: noqa: E501  (listings are as wide as they are)
"""Listings, as `iptables -L` prints them, read as the rules they show."""

from __future__ import annotations

import pytest

from fairway.ruleset.iptables import ParseError
from fairway.ruleset.iptables_list import parse_listing
from fairway.ruleset.iptables_match import understand

LISTING = """\
Chain PREROUTING (policy ACCEPT 12 packets, 720 bytes)
num   pkts bytes target     prot opt in     out     source               destination
1       37  2766 KUBE-SERVICES  all  --  *      *       0.0.0.0/0            0.0.0.0/0            /* kubernetes service portals */

Chain KUBE-SERVICES (2 references)
num   pkts bytes target     prot opt in     out     source               destination
1      10K  600K RULE-TARGET  tcp  --  eth0   !cni0   !10.244.0.0/16       10.96.0.1            /* default/kubernetes:https cluster IP */ tcp dpt:443
2        0     0            all  --  *      *       0.0.0.0/0            0.0.0.0/0            /* only counts */
"""


def test_a_listing_with_counters_and_line_numbers() -> None:
    table = parse_listing(LISTING).tables["nat"]
    assert table.chains["PREROUTING"].policy == "ACCEPT"
    assert table.chains["PREROUTING"].rules == ['-m comment --comment "kubernetes service portals" -j KUBE-SERVICES']
    assert table.chains["KUBE-SERVICES"].policy is None
    assert table.chains["KUBE-SERVICES"].rules == [
        "! -s 10.244.0.0/16 -d 10.96.0.1 -i eth0 ! -o cni0 -p tcp "
        '-m comment --comment "default/kubernetes:https cluster IP" -m tcp --dport 443 -j RULE-TARGET',
        '-m comment --comment "only counts"',
    ]


PLAIN = "target     prot opt source               destination\n"


@pytest.mark.parametrize(
    ("line", "spec"),
    [
        (
            "DNAT  tcp  --  anywhere  anywhere  tcp to:10.1.13.2:80",
            "-p tcp -m tcp -j DNAT --to-destination 10.1.13.2:80",
        ),
        ("SNAT  all  --  10.0.0.0/8  0.0.0.0/0  to:10.0.0.1", "-s 10.0.0.0/8 -j SNAT --to-source 10.0.0.1"),
        ("MARK  all  --  0.0.0.0/0  0.0.0.0/0  MARK or 0x4000", "-j MARK --or-mark 0x4000"),
        ("MARK  0  --  0.0.0.0/0  0.0.0.0/0  MARK xset 0x4000/0x0", "-j MARK --set-xmark 0x4000/0x0"),
        ("RETURN  0  --  0.0.0.0/0  0.0.0.0/0  mark match ! 0x4000/0x4000", "-m mark ! --mark 0x4000/0x4000 -j RETURN"),
        ("MASQUERADE  all  --  0.0.0.0/0  0.0.0.0/0  random-fully", "-j MASQUERADE --random-fully"),
        (
            "REJECT  6  --  0.0.0.0/0  10.96.0.1  tcp dpt:443 reject-with icmp-port-unreachable",
            "-d 10.96.0.1 -p tcp -m tcp --dport 443 -j REJECT --reject-with icmp-port-unreachable",
        ),
        (
            "KUBE-SEP-X  all  --  0.0.0.0/0  0.0.0.0/0  statistic mode random probability 0.33332999982",
            "-m statistic --mode random --probability 0.33332999982 -j KUBE-SEP-X",
        ),
        (
            "X  all  --  0.0.0.0/0  0.0.0.0/0  recent: CHECK seconds: 10800 reap name: L side: source mask: 255.255.255.255",
            "-m recent --rcheck --seconds 10800 --reap --name L --rsource --mask 255.255.255.255 -j X",
        ),
        ("X  tcp  --  0.0.0.0/0  0.0.0.0/0  multiport dports 80,443", "-p tcp -m multiport --dports 80,443 -j X"),
        ("X  all  --  0.0.0.0/0  0.0.0.0/0  ADDRTYPE match dst-type !LOCAL", "-m addrtype ! --dst-type LOCAL -j X"),
        (
            "X  all  --  0.0.0.0/0  0.0.0.0/0  ctstate RELATED,ESTABLISHED",
            "-m conntrack --ctstate RELATED,ESTABLISHED -j X",
        ),
        ("X  all  --  0.0.0.0/0  0.0.0.0/0  [goto]", "-g X"),
        ("X  tcp      ::/0  fd00::1  tcp dpt:80", "-d fd00::1 -p tcp -m tcp --dport 80 -j X"),
    ],
)
def test_the_wording_of_conditions_and_targets(line: str, spec: str) -> None:
    parsed = parse_listing(f"Chain C (1 references)\n{PLAIN}{line}\n")
    assert parsed.tables["nat"].chains["C"].rules == [spec]
    assert understand(spec).unknown == ()


def test_words_that_are_not_known_stay_visible() -> None:
    parsed = parse_listing(f"Chain C (1 references)\n{PLAIN}X  all  --  0.0.0.0/0  0.0.0.0/0  moon phase: full\n")
    (spec,) = parsed.tables["nat"].chains["C"].rules
    assert understand(spec).unknown == ("moon", "phase:", "full")


@pytest.mark.parametrize(
    ("text", "line"), [("rubbish", 1), (f"Chain C (1 references)\n{PLAIN}rubbish here\n", 3), ("\n\nX all --\n", 3)]
)
def test_what_is_no_listing_is_refused_with_its_line(text: str, line: int) -> None:
    with pytest.raises(ParseError) as refused:
        parse_listing(text)
    assert refused.value.line == line
