"""What kernels hold against what they should hold: goldens as they are, and broken in one place at a time."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fairway.assemble.doctor.findings import Finding
from fairway.assemble.doctor.rules import Held, compare, forgetful
from fairway.dataplane import nft
from fairway.dataplane.adopt import adopt
from fairway.dataplane.claims import claimed
from fairway.dataplane.nft_layout import AFFINITY
from fairway.desired.model import Claim, Desired
from fairway.packet import Family, Protocol
from fairway.ruleset.iptables import Ruleset
from fairway.ruleset.nft import Element, TableName
from fairway.ruleset.nft import Ruleset as NftRuleset
from fairway.ruleset.nft_values import pack
from fairway.trace.connections import Connections
from fairway.trace.evidence.gathered import Scene
from fairway.trace.routing import Settings
from fairway.trace.walk import Rules
from tests.golden import cases, nodes


def examine(golden: cases.Case, ruleset: Ruleset, desired: Desired | None = None) -> list[Finding]:
    """The findings about a golden's node whose kernel holds these rules."""
    localhost = any(facts.localhost_node_ports for facts in golden.desired.facts.values())
    scene = Scene(Rules(iptables=ruleset, whole=True), golden.node, Settings(route_localnet=localhost), Connections())
    held = frozenset(claimed(adopt(ruleset), Family.IPV4))
    return list(compare(Held(desired or golden.desired, golden.node, scene, Family.IPV4, held)))


def codes(found: list[Finding]) -> set[str]:
    return {each.code for each in found}


@pytest.mark.parametrize("name", cases.NAMES)
def test_nothing_is_found_where_all_is_as_it_should_be_with_iptables(name: str) -> None:
    golden = nodes.case(name.partition("-")[0])

    assert examine(golden, nodes.rules(golden)) == []


@pytest.mark.parametrize("name", cases.NAMES)
def test_nothing_is_found_where_all_is_as_it_should_be_with_nftables(name: str) -> None:
    golden = nodes.case(name.partition("-")[0])
    table = nft.render(golden.desired, Family.IPV4)
    ruleset = NftRuleset({TableName(table.family, table.name): table})
    localhost = any(facts.localhost_node_ports for facts in golden.desired.facts.values())
    scene = Scene(Rules(nft=ruleset, whole=True), golden.node, Settings(route_localnet=localhost), Connections())

    assert list(compare(Held(golden.desired, golden.node, scene, Family.IPV4))) == []


def broken(chain: str, rule: str, *, table: str = "nat", instead: str = "") -> list[Finding]:
    """Three endpoints, and the first rule with a text in it taken away (or replaced) from chains of a name."""
    golden = nodes.case("01")
    ruleset = nodes.rules(golden)
    found = next(
        (kept, spec)
        for name, kept in ruleset.table(table).chains.items()
        if name.startswith(chain)
        for spec in kept.rules
        if rule in spec
    )
    at = found[0].rules.index(found[1])
    found[0].rules[at : at + 1] = [instead] if instead else []
    return examine(golden, ruleset)


def test_a_service_without_its_rule_is_missing() -> None:
    (found,) = broken("KUBE-SERVICES", "default/httpd-svc")

    assert (found.code, found.severity, found.object) == ("missing", "error", "Service default/httpd-svc")
    assert found.command.startswith(
        f"fairway trace --node {nodes.case('01').node.name} --from 10.244.1.254 --to 10.96."
    )


def test_an_endpoint_without_its_rule_is_missing_and_the_others_share() -> None:
    (found,) = broken("KUBE-SVC-", "0.33333")

    assert found.code == "endpoint-missing"


def test_shares_that_are_not_even_are_told_endpoint_by_endpoint() -> None:
    golden = nodes.case("01")
    ruleset = nodes.rules(golden)
    chain = next(c for c in ruleset.table("nat").chains.values() if any("0.33333" in rule for rule in c.rules))
    chain.rules[:] = [rule.replace("0.33333333349", "0.50000000000") for rule in chain.rules]
    (found,) = examine(golden, ruleset)

    assert (found.code, found.severity) == ("weight", "warning")
    assert "gets 1/2, not 1/3" in found.message
    assert "gets 1/4, not 1/3" in found.message


def test_rules_that_lead_to_who_has_gone_are_stale() -> None:
    golden = nodes.case("01")
    port = next(port for port in golden.desired.ports if port.name.service == "httpd-svc")
    fewer = replace(port, cluster=port.cluster[1:])
    desired = replace(golden.desired, ports=tuple(fewer if p == port else p for p in golden.desired.ports))
    (found,) = examine(golden, nodes.rules(golden), desired)

    assert found.code == "stale"
    assert f"lead to {port.cluster[0]} as well" in found.message


def test_rules_of_a_service_that_is_gone_are_extra() -> None:
    golden = nodes.case("04")
    desired = replace(golden.desired, ports=tuple(p for p in golden.desired.ports if p.name.service == "kubernetes"))
    found = examine(golden, nodes.rules(golden), desired)

    assert codes(found) == {"extra"}
    assert any("node port" in each.message for each in found)


def test_a_claim_names_what_it_claims() -> None:
    golden = nodes.case("01")
    scene = Scene(Rules(iptables=nodes.rules(golden), whole=True), golden.node, Settings(), Connections())
    stray = Claim(Family.IPV4, Protocol.UDP, "10.96.7.7", 53)
    (found,) = compare(Held(golden.desired, golden.node, scene, Family.IPV4, frozenset({stray})))

    assert found.message == "the rules claim 10.96.7.7:53/UDP, which no Service has (any more)"


@pytest.mark.parametrize(
    ("table", "chain", "rule"),
    [
        ("filter", "FORWARD", "-p tcp -m tcp --dport 80 -j DROP"),
        ("nat", "PREROUTING", "-p tcp -m tcp --dport 8080 -j DNAT --to-destination 192.0.2.9:80"),
        ("mangle", "PREROUTING", "-p tcp -m tcp --dport 8080 -j DROP"),
    ],
)
def test_rules_of_others_that_decide_first_are_shown(table: str, chain: str, rule: str) -> None:
    golden = nodes.case("01")
    ruleset = nodes.rules(golden)
    ruleset.table(table).chain(chain).rules.insert(0, rule)
    found = examine(golden, ruleset)

    assert codes(found) == {"foreign-rule"}
    assert f"{table} {chain} rule 1: {rule}" in found[0].evidence


def test_a_source_that_is_not_hidden_is_a_warning() -> None:
    (found,) = broken("KUBE-SVC-", "KUBE-MARK-MASQ")

    assert (found.code, found.severity) == ("masquerade", "warning")
    assert "seen where it should be hidden" in found.message


def test_what_nobody_can_tell_is_a_note_and_no_accusation() -> None:
    golden = nodes.case("01")
    ruleset = nodes.rules(golden)
    ruleset.table("filter").chain("FORWARD").rules.insert(0, "-m strange --thing 1 -j DROP")
    found = examine(golden, ruleset)

    assert [(each.code, each.severity) for each in found] == [("unknown", "note")]


def test_clients_that_are_remembered_make_no_uneven_shares() -> None:
    golden = nodes.case("08")
    port = next(port for port in golden.desired.ports if port.affinity_seconds)
    table = nft.render(golden.desired, Family.IPV4)
    kept = table.sets[AFFINITY]
    key = pack([field.type for field in kept.key], ["10.244.1.254", port.cluster_ip, "tcp", str(port.port)])
    to = port.cluster[0]
    table.sets[AFFINITY] = replace(kept, elements={key: Element(nft.pack_endpoint(to.address, to.port))})
    ruleset = NftRuleset({TableName(table.family, table.name): table})
    scene = Scene(Rules(nft=ruleset, whole=True), golden.node, Settings(), Connections())

    def found(scene: Scene) -> set[str]:
        return codes(list(compare(Held(golden.desired, golden.node, scene, Family.IPV4))))

    assert found(scene) == {"endpoint-missing"}
    assert found(forgetful(scene)) == set()
