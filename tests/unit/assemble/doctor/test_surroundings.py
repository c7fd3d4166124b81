"""Kernel settings and rules of others around those of Services."""

from __future__ import annotations

import pytest

from fairway.assemble.doctor.surroundings import examine, owner
from fairway.packet import Family
from fairway.ruleset.iptables import Ruleset, parse
from fairway.ruleset.nft import Ruleset as NftRuleset
from fairway.ruleset.nft import Table, TableName
from fairway.trace.evidence.gathered import Gathered

GOOD = {"net.ipv4.ip_forward": "1", "net.bridge.bridge-nf-call-iptables": "1", "net.ipv4.conf.all.rp_filter": "0"}


def codes(values: dict[str, str]) -> list[str]:
    return [each.code for each in examine(Gathered("node-a", values={**GOOD, **values}))]


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ({}, []),
        ({"net.ipv4.ip_forward": "0"}, ["ip-forward"]),
        ({"net.bridge.bridge-nf-call-iptables": "0"}, ["bridge-nf"]),
        ({"net.ipv4.conf.all.route_localnet": "1"}, ["route-localnet"]),
        ({"net.ipv4.conf.flannel/1.rp_filter": "1"}, ["rp-filter"]),
        ({"net.ipv4.conf.flannel/1.rp_filter": "2"}, []),
        ({"net.ipv4.conf.all.rp_filter": "2", "net.ipv4.conf.cni0.rp_filter": "1"}, []),
        ({"net.ipv4.conf.eth0.rp_filter": "1"}, []),
        ({"net.netfilter.nf_conntrack_max": "100", "net.netfilter.nf_conntrack_count": "95"}, ["conntrack-full"]),
        ({"net.netfilter.nf_conntrack_max": "100", "net.netfilter.nf_conntrack_count": "60"}, []),
    ],
)
def test_settings(values: dict[str, str], found: list[str]) -> None:
    assert codes(values) == found


@pytest.mark.parametrize("guarded", [True, False])
def test_loopback_addresses_that_a_rule_guards_are_worth_a_note(guarded: bool) -> None:
    rule = "-A INPUT ! -s 127.0.0.0/8 -d 127.0.0.0/8 -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP\n"
    rules = parse(f"*filter\n:INPUT ACCEPT [0:0]\n{rule if guarded else ''}COMMIT\n")
    gathered = Gathered("node-a", values={**GOOD, "net.ipv4.conf.all.route_localnet": "1"})
    gathered.iptables.append((Family.IPV4, "rules", rules))
    (found,) = examine(gathered)
    assert (found.code, found.severity.value) == ("route-localnet", "note" if guarded else "warning")


NAT = """*nat
:PREROUTING ACCEPT [0:0]
:KUBE-SERVICES - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
-A PREROUTING -j KUBE-SERVICES
-A PREROUTING -j CNI-HOSTPORT-DNAT
-A KUBE-SERVICES -d 10.96.0.1/32 -p tcp -j KUBE-SVC-X
COMMIT
"""


def with_rules(*, nft: NftRuleset | None = None, legacy: tuple[str, ...] = ()) -> list[str]:
    ruleset: Ruleset = parse(NAT)
    gathered = Gathered("node-a", iptables=[(Family.IPV4, "iptables-save", ruleset)], nft=nft, values=GOOD)
    return [f"{each.code}: {' '.join(each.evidence)}" for each in examine(gathered, legacy)]


def test_only_rules_before_those_of_services_are_told() -> None:
    assert with_rules() == ["foreign-first: -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER"]


def test_two_proxies_and_two_variants_of_iptables() -> None:
    def tables(*names: tuple[str, str]) -> NftRuleset:
        return NftRuleset({TableName(*name): Table(*name) for name in names})

    assert "two-proxies: ip kube-proxy iptables KUBE-SERVICES" in with_rules(nft=tables(("ip", "kube-proxy")))
    assert "two-variants: old: nat nf_tables: ip nat" in with_rules(nft=tables(("ip", "nat")), legacy=("nat",))
    assert len(with_rules(nft=tables(("ip", "nat")))) == 1


@pytest.mark.parametrize(
    ("rule", "whose"),
    [
        ("-j DOCKER", "Docker"),
        ("-j PREROUTING_ZONES", "firewalld"),
        ("-j ufw-before-input", "ufw"),
        ("-j cali-PREROUTING", "Calico"),
        ("-j CNI-HOSTPORT-DNAT", "the CNI port mapping"),
        ("-j MY-OWN", "somebody else"),
    ],
)
def test_owners(rule: str, whose: str) -> None:
    assert owner(rule) == whose
