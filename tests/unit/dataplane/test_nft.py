"""The elements of nftables mode, spelled as nft spells them."""

from __future__ import annotations

from typing import Any

from fairway.dataplane.nft import render, render_port
from fairway.dataplane.nft_chains import layout
from fairway.dataplane.nft_layout import declared
from fairway.desired.build import build
from fairway.desired.model import Desired, NodeFacts, PodTraffic, Settings
from fairway.desired.options import ProxyOptions
from fairway.desired.view import ServiceView, SliceView
from fairway.packet import Family
from fairway.ruleset import nft_print
from fairway.ruleset.nft import Table
from fairway.ruleset.nft_values import unpack
from tests.unit.desired.objects import OPTIONS, endpoint, endpoint_slice, node, service

HERE, THERE = endpoint("10.244.0.5"), endpoint("10.244.1.5", on="node-b")
VIP = "203.0.113.10"
NOT_TOLD = PodTraffic()


def balanced(name: str = "web", /, ip: str = "10.96.0.20", **spec: Any) -> ServiceView:
    ports = [{"port": 80, "protocol": "TCP", "nodePort": 30080}]
    status = {"loadBalancer": {"ingress": [{"ip": VIP}]}}
    return service(name, ip, **{"type": "LoadBalancer", "ports": ports, "status": status, **spec})


def state(services: list[ServiceView], *pieces: SliceView, options: ProxyOptions = OPTIONS) -> Desired:
    return build(services, list(pieces), node(), options)


def spelled(table: Table, name: str) -> set[str]:
    """The elements of a set as nft lists them."""
    if name not in table.sets:
        return set()
    made = table.sets[name]
    types, data = [f.type for f in made.key], [f.type for f in made.data if not isinstance(f, str)]
    found = set()
    for key, element in made.elements.items():
        text = " . ".join(unpack(types, key))
        if element.end:
            text += "-" + unpack(types, element.end)[-1]
        assert isinstance(element.data, bytes)
        found.add(text + (" : " + " . ".join(unpack(data, element.data)) if data else ""))
    return found


def holding(table: Table) -> dict[str, set[str]]:
    """The sets that hold anything."""
    return {name: spelled(table, name) for name, made in table.sets.items() if made.elements}


def test_a_service_with_two_endpoints() -> None:
    table = render(state([service()], endpoint_slice("web", HERE, THERE)), Family.IPV4)

    assert holding(table) == {
        "cluster-ips": {"10.96.0.20 . tcp . 80"},
        "endpoints-2": {
            "10.96.0.20 . tcp . 80 . 0 : 10.244.0.5 . 8080",
            "10.96.0.20 . tcp . 80 . 1 : 10.244.1.5 . 8080",
        },
        "hairpin": {"10.244.0.5 . 10.244.0.5", "10.244.1.5 . 10.244.1.5"},
    }
    assert holding(render(state([service()], endpoint_slice("web", HERE, THERE)), Family.IPV6)) == {}


def test_a_single_endpoint_is_not_drawn() -> None:
    table = render(state([service()], endpoint_slice("web", HERE)), Family.IPV4)

    assert spelled(table, "endpoints-1") == {"10.96.0.20 . tcp . 80 : 10.244.0.5 . 8080"}
    assert len(table.sets["endpoints-1"].key) == 3


def test_policy_local_has_endpoints_for_insiders_and_for_outsiders() -> None:
    web = balanced(externalTrafficPolicy="Local")
    table = render(state([web], endpoint_slice("web", HERE, THERE)), Family.IPV4)

    assert spelled(table, "external") == spelled(table, "external-local") == {f"{VIP} . tcp . 80"}
    assert spelled(table, "node-ports-local") == {"tcp . 30080"}
    assert spelled(table, "local-endpoints-1") == {f"{VIP} . tcp . 80 : 10.244.0.5 . 8080"}
    assert len(spelled(table, "endpoints-2")) == 4
    assert spelled(table, "node-port-local-endpoints-1") == {"tcp . 30080 : 10.244.0.5 . 8080"}


def test_nobody_serves_and_nobody_serves_here() -> None:
    refused = render(state([balanced()]), Family.IPV4)
    dropped = render(
        state([balanced(externalTrafficPolicy="Local")], endpoint_slice("web", THERE)),
        Family.IPV4,
    )

    assert spelled(refused, "refused-internal") == {"10.96.0.20 . tcp . 80"}
    assert spelled(refused, "refused-external") == {f"{VIP} . tcp . 80"}
    assert spelled(refused, "refused-node-ports") == spelled(refused, "unserved-node-ports") == {"tcp . 30080"}
    assert spelled(refused, "unserved") == {"10.96.0.20 . tcp . 80", f"{VIP} . tcp . 80"}
    assert spelled(dropped, "dropped-external") == {f"{VIP} . tcp . 80"}
    assert spelled(dropped, "dropped-node-ports") == {"tcp . 30080"}
    assert spelled(dropped, "dropped-internal") == set()


def test_source_ranges_are_laid_without_overlap() -> None:
    ranges = ["10.1.0.0/16", "10.0.0.0/8", "192.0.2.0/24", "192.0.3.0/24"]
    table = render(state([balanced(loadBalancerSourceRanges=ranges)], endpoint_slice("web", HERE)), Family.IPV4)

    assert spelled(table, "guarded") == {f"{VIP} . tcp . 80"}
    assert spelled(table, "allowed-sources") == {
        f"{VIP} . tcp . 80 . 10.0.0.0-10.255.255.255",
        f"{VIP} . tcp . 80 . 192.0.2.0-192.0.3.255",
        f"{VIP} . tcp . 80 . {VIP}",  # the node's address is in a range
    }


def test_of_two_services_at_one_address_the_first_that_has_somebody_serves() -> None:
    shared = {"externalIPs": ["198.51.100.7"], "status": {}, "type": "ClusterIP", "ports": [{"port": 80}]}
    first, second = service("a", "10.96.0.21", **shared), service("b", "10.96.0.22", **shared)
    empty, one, other = endpoint_slice("a"), endpoint_slice("a", HERE), endpoint_slice("b", THERE)

    def served(*pieces: SliceView) -> set[str]:
        table = render(state([second, first], *pieces), Family.IPV4)
        return {entry for entry in spelled(table, "endpoints-1") if entry.startswith("198")}

    assert served(one, other) == {"198.51.100.7 . tcp . 80 : 10.244.0.5 . 8080"}
    assert served(empty, other) == {"198.51.100.7 . tcp . 80 : 10.244.1.5 . 8080"}


def test_where_two_claim_an_address_and_one_lets_few_in_each_source_has_its_own_service() -> None:
    ranges = ["10.0.0.0/8", "192.0.2.0/24"]
    first = balanced("a", "10.96.0.21", loadBalancerSourceRanges=ranges, sessionAffinity="ClientIP")
    second = balanced("b", "10.96.0.22", externalTrafficPolicy="Local")
    table = render(state([second, first], endpoint_slice("a", HERE, THERE), endpoint_slice("b", HERE)), Family.IPV4)
    place = f"{VIP} . tcp . 80"
    listed = {f"{place} . 10.0.0.0-10.255.255.255", f"{place} . 192.0.2.0-192.0.2.255", f"{place} . {VIP}"}

    assert spelled(table, "by-source-2") == spelled(table, "sticky-sources-10800") == listed
    assert spelled(table, "by-source-2-endpoints-2") == {
        f"{place} . 0 : 10.244.0.5 . 8080",
        f"{place} . 1 : 10.244.1.5 . 8080",
    }
    assert spelled(table, "by-source-1") == {
        f"{place} . 0.0.0.0-9.255.255.255",
        f"{place} . 11.0.0.0-192.0.1.255",
        f"{place} . 192.0.3.0-203.0.113.9",
        f"{place} . 203.0.113.11-255.255.255.255",
    }
    assert spelled(table, "by-source-1-external-local") == {place}
    assert spelled(table, "by-source-1-local-endpoints-1") == {f"{place} : 10.244.0.5 . 8080"}
    assert spelled(table, "external") == spelled(table, "allowed-sources") == set()
    assert spelled(table, "guarded") == {place}


def test_affinity_is_laid_only_where_it_is_asked_for() -> None:
    plain = render(state([balanced()], endpoint_slice("web", HERE)), Family.IPV4)
    config = {"clientIP": {"timeoutSeconds": 90}}
    sticky = render(
        state([balanced(sessionAffinity="ClientIP", sessionAffinityConfig=config)], endpoint_slice("web", HERE)),
        Family.IPV4,
    )

    assert "affinity" not in plain.sets and "remember" not in plain.chains
    assert spelled(sticky, "sticky-90") == {"10.96.0.20 . tcp . 80", f"{VIP} . tcp . 80"}
    assert spelled(sticky, "sticky-node-ports-90") == {"tcp . 30080"}
    assert any("timeout 1m30s" in nft_print.rule(rule, "ip") for rule in sticky.chains["remember"].rules)


def test_chains_and_rules_do_not_grow_with_services() -> None:
    def rules(count: int) -> list[str]:
        services = [service(f"web-{n}", f"10.96.1.{n}") for n in range(count)]
        pieces = [endpoint_slice(f"web-{n}", HERE, THERE) for n in range(count)]
        table = render(state(services, *pieces), Family.IPV4)
        return [nft_print.rule(rule, "ip") for chain in table.chains.values() for rule in chain.rules]

    assert rules(1) == rules(50)


def test_a_port_by_itself_is_rendered_as_in_the_whole() -> None:
    desired = state([balanced(externalTrafficPolicy="Local")], endpoint_slice("web", HERE, THERE))
    whole = render(desired, Family.IPV4)

    parts = render_port(desired.ports[0], desired.settings)

    assert {name: kept for name, kept in parts.items() if kept} == {
        name: made.elements for name, made in whole.sets.items() if made.elements
    }


def chain(settings: Settings, name: str, family: Family = Family.IPV4) -> list[str]:
    table = layout(family, settings)
    return [nft_print.rule(rule, table.family) for rule in table.chains[name].rules]


def told(pods: PodTraffic = NOT_TOLD, **facts: Any) -> Settings:
    return Settings({family: NodeFacts(pods, **facts) for family in Family})


def test_pods_are_told_by_address_by_device_or_not_at_all() -> None:
    mark = "meta mark set meta mark | 0x00004000"
    assert chain(told(PodTraffic(source="10.244.0.0/16")), "cluster-ip")[0] == f"ip saddr != 10.244.0.0/16 {mark}"
    assert chain(told(PodTraffic(interface="cni0")), "cluster-ip")[0] == f'iifname != "cni0" {mark}'
    assert chain(told(PodTraffic(interface="veth+")), "cluster-ip")[0] == f'iifname != "veth*" {mark}'
    assert chain(told(), "cluster-ip")[0] == "jump balance"
    assert chain(Settings(masquerade_all=True), "cluster-ip")[0] == mark


def test_node_ports_are_served_where_they_should_be() -> None:
    lookup = "meta l4proto . th dport @node-ports"
    everywhere = f"{lookup} fib daddr type local ip daddr != 127.0.0.0/8 goto node-port"
    assert chain(told(), "services")[-1] == everywhere
    assert chain(told(localhost_node_ports=True), "services")[-1] == f"{lookup} fib daddr type local goto node-port"
    assert (
        chain(told(), "services", Family.IPV6)[-1] == f"{lookup} fib daddr type local ip6 daddr != ::1 goto node-port"
    )
    chosen = told(node_ports_on=("10.0.0.11", "10.0.0.12"))
    assert chain(chosen, "services")[-1] == f"{lookup} ip daddr {{ 10.0.0.11, 10.0.0.12 }} goto node-port"
    assert len(chain(told(node_ports_on=()), "services")) == 2


def test_the_guard_stands_where_it_is_asked_for() -> None:
    ranges = Settings(guarded_cidrs=("10.96.0.0/12", "fd00:10:96::/108"))

    assert chain(ranges, "refuse-sent")[-2:] == ["ip daddr @live reject", "ip daddr 10.96.0.0/12 drop"]
    assert chain(ranges, "refuse-forwarded", Family.IPV6)[-1] == "ip6 daddr fd00:10:96::/108 drop"
    assert chain(Settings(guarded_cidrs=()), "refuse-sent")[-1] == "ip daddr @live reject"
    assert not any("@live" in rule for rule in chain(Settings(), "refuse-sent"))


def test_sets_are_declared_by_what_they_hold() -> None:
    assert [f.type.value for f in declared(Family.IPV6, "endpoints-3").key][-1] == "integer"
    assert declared(Family.IPV4, "affinity").flags == {"dynamic", "timeout"}
    assert len(declared(Family.IPV4, "sticky-node-ports-60").key) == 2
