"""The masquerade chains as text, and what is added to a table that other programs use too."""

from __future__ import annotations

from fairway.kernel.fake.netfilter import FakeNetfilter
from fairway.network import masquerade
from fairway.packet import Family
from fairway.ruleset.iptables import parse
from tests.plan import POD_RANGE

OWN = "10.244.1.0/24"
RULES = masquerade.rules(Family.IPV4, [OWN, "fd00:10:244:1::/64"], [POD_RANGE, "fd00:10:244::/56"])
TEXT = """\
*nat
:FLANNEL-POSTRTG - [0:0]
-A POSTROUTING -m comment --comment "flanneld masq" -j FLANNEL-POSTRTG
-A FLANNEL-POSTRTG -m mark --mark 0x4000/0x4000 -m comment --comment "flanneld masq" -j RETURN
-A FLANNEL-POSTRTG -s 10.244.1.0/24 -d 10.244.0.0/16 -m comment --comment "flanneld masq" -j RETURN
-A FLANNEL-POSTRTG -s 10.244.0.0/16 -d 10.244.1.0/24 -m comment --comment "flanneld masq" -j RETURN
-A FLANNEL-POSTRTG ! -s 10.244.0.0/16 -d 10.244.1.0/24 -m comment --comment "flanneld masq" -j RETURN
-A FLANNEL-POSTRTG -s 10.244.0.0/16 ! -d 224.0.0.0/4 -m comment --comment "flanneld masq" -j MASQUERADE --random-fully
-A FLANNEL-POSTRTG ! -s 10.244.0.0/16 -d 10.244.0.0/16 -m comment --comment "flanneld masq" -j MASQUERADE --random-fully
COMMIT
*filter
:FLANNEL-FWD - [0:0]
-A FORWARD -m comment --comment "flanneld forward" -j FLANNEL-FWD
-A FLANNEL-FWD -s 10.244.0.0/16 -m comment --comment "flanneld forward" -j ACCEPT
-A FLANNEL-FWD -d 10.244.0.0/16 -m comment --comment "flanneld forward" -j ACCEPT
COMMIT
"""


def test_a_node_without_rules_is_given_all() -> None:
    assert masquerade.missing(RULES, "") == TEXT


def test_a_node_that_has_them_is_given_nothing() -> None:
    kernel = FakeNetfilter()
    kernel.restore(Family.IPV4, masquerade.missing(RULES, kernel.save(Family.IPV4)))
    assert masquerade.missing(RULES, kernel.save(Family.IPV4)) == ""


def test_rules_of_others_stay_where_they_are() -> None:
    kernel = FakeNetfilter()
    kernel.restore(Family.IPV4, "*nat\n-A POSTROUTING -s 172.17.0.0/16 -j MASQUERADE\nCOMMIT\n")
    kernel.restore(Family.IPV4, masquerade.missing(RULES, kernel.save(Family.IPV4)))
    assert parse(kernel.save(Family.IPV4)).tables["nat"].chains["POSTROUTING"].rules == [
        "-s 172.17.0.0/16 -j MASQUERADE",
        '-m comment --comment "flanneld masq" -j FLANNEL-POSTRTG',
    ]


def test_a_chain_that_differs_is_refilled_and_its_jump_not_doubled() -> None:
    changed = TEXT.replace("--random-fully", "")
    text = masquerade.missing(RULES, changed)
    assert text.startswith("*nat\n:FLANNEL-POSTRTG - [0:0]\n-A FLANNEL-POSTRTG -m mark")
    assert "filter" not in text


def test_ipv6_has_its_own_multicast_range() -> None:
    rules = masquerade.rules(Family.IPV6, ["fd00:10:244:1::/64"], ["fd00:10:244::/56"], proxy_mark=0x8000)
    chain = rules.tables["nat"].chains["FLANNEL-POSTRTG"].rules
    assert chain[0].startswith("-m mark --mark 0x8000/0x8000")
    assert chain[4].startswith("-s fd00:10:244::/56 ! -d ff00::/8 ")


def test_a_family_without_pods_has_no_rules() -> None:
    assert masquerade.missing(masquerade.rules(Family.IPV6, [OWN], [POD_RANGE]), "") == ""
