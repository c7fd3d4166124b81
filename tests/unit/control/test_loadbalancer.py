"""Wishes and pools: who gets what, and what is said to the others."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

import pytest

from fairway.control.loadbalancer import Decision, Facts, decide
from fairway.control.loadbalancer_bgp import Bgp, Peer
from fairway.control.loadbalancer_claims import NODES, Claim, read
from fairway.control.loadbalancer_pools import Settings, SettingsError, joined
from fairway.control.loadbalancer_pools import read as read_settings
from fairway.control.loadbalancer_requests import Request, request
from fairway.control.loadbalancer_status import addresses_of, serving
from fairway.objects.kinds import CONFIG_MAP
from tests.unit.control.stage import service

LAN = "{name: lan, addresses: [10.0.0.200-10.0.0.202]}"
SIX = "{name: six, addresses: ['fd00::/126']}"
SPECIAL = "{name: special, addresses: [192.0.2.0/30], autoAssign: false}"


def pools(*texts: str) -> Settings:
    return read_settings(f"pools: [{', '.join(texts)}]", ())


def wish(name: str = "a", annotations: dict[str, str] | None = None, **spec: Any) -> Request:
    found = request(balanced(name, annotations, **spec), "addresses")
    assert found is not None
    return found


def balanced(name: str, annotations: dict[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    made = service(name, type="LoadBalancer", **spec)
    said = {f"fairway.io/load-balancer-{key}": value for key, value in (annotations or {}).items()}
    made["metadata"] |= {"uid": name, "creationTimestamp": "2026-01-01T00:00:00Z", "annotations": said}
    return made


def outcome(decision: Decision, name: str = "a") -> str:
    """The addresses, or the reason."""
    for claim in decision.claims:
        if claim.uid == name:
            return ",".join(claim.addresses)
    return decision.reasons[name].word


def settle(
    *wishes: Request, settings: Settings | None = None, claims: tuple[Claim, ...] = (), **facts: Any
) -> Decision:
    return decide({each.uid: each for each in wishes}, claims, settings or pools(LAN, SIX, SPECIAL), Facts(**facts))


DUAL = {"ipFamilies": ["IPv4", "IPv6"], "ipFamilyPolicy": "PreferDualStack"}
STRICT = DUAL | {"ipFamilyPolicy": "RequireDualStack"}


@pytest.mark.parametrize(
    ("annotations", "spec", "wanted"),
    [
        ({}, {}, "10.0.0.201"),  # .200 is a node's
        ({}, {"loadBalancerIP": "10.0.0.202"}, "10.0.0.202"),
        ({"ips": "10.0.0.202"}, {}, "10.0.0.202"),
        ({}, {"loadBalancerIP": "192.0.2.1"}, "192.0.2.1"),
        ({"pool": "special"}, {}, "192.0.2.0"),
        ({"pool": "none"}, {}, "NoPool"),
        ({"pool": "special"}, {"loadBalancerIP": "10.0.0.202"}, "OutsidePools"),
        ({}, {"loadBalancerIP": "10.0.0.200"}, "NodeAddress"),
        ({}, {"loadBalancerIP": "10.96.0.7"}, "ServiceRange"),
        ({}, {"loadBalancerIP": "172.16.0.1"}, "OutsidePools"),
        ({}, {"loadBalancerIP": "10.244.1.9"}, "PodRange"),
        ({}, {"loadBalancerIP": "10.0.0.1"}, "Reserved"),
        ({}, {"loadBalancerIP": "192.0.2.3"}, "InUse"),
        ({"ips": "fe80::1%eth0"}, STRICT, "Malformed"),
        ({"ip": "10.0.0.201"}, {}, "Malformed"),  # there is no such annotation
        ({"ips": "10.0.0.201;fd00::1"}, DUAL, "Malformed"),
        ({}, {"loadBalancerIP": "fd00::1"}, "Malformed"),
        ({"ips": "10.0.0"}, {}, "Malformed"),
        ({"ips": "10.0.0.201,10.0.0.202"}, {}, "Malformed"),
        ({"ips": "10.0.0.201"}, {"loadBalancerIP": "10.0.0.202"}, "Malformed"),
        ({}, DUAL, "10.0.0.201,fd00::"),
        ({"ips": "FD00::2"}, STRICT, "10.0.0.201,fd00::2"),
        ({"pool": "lan"}, DUAL, "10.0.0.201"),
        ({"pool": "lan"}, STRICT, "NoPool"),
        ({}, {"ipFamilies": ["IPv6"]}, "fd00::"),
    ],
)
def test_a_wish_and_its_answer(annotations: dict[str, str], spec: dict[str, Any], wanted: str) -> None:
    facts: dict[str, Any] = {
        "nodes": {"10.0.0.200": "n"},
        "service_ranges": (ip_network("10.96.0.0/12"),),
        "pod_ranges": (ip_network("10.244.0.0/16"),),
        "others": {"192.0.2.3": "where default/kubernetes is served"},
    }
    settings = read_settings(f"{{reserved: [10.0.0.1], pools: [{LAN}, {SIX}, {SPECIAL}]}}", ())
    assert outcome(settle(wish("a", annotations, **spec), settings=settings, **facts)) == wanted


@pytest.mark.parametrize(
    ("reserved", "facts", "why"),
    [
        ("", {"nodes": {"10.0.0.201": "n"}}, "10.0.0.201 is the address of node n"),
        ("10.0.0.201", {}, "10.0.0.201 is reserved by the settings"),
        ("10.0.0.0/24", {}, "10.0.0.201 is reserved by the settings"),
        ("", {"others": {"10.0.0.201": "the address of x/y"}}, None),  # they came later
    ],
)
def test_what_is_given_is_taken_back_when_it_is_another_hosts(
    reserved: str, facts: dict[str, Any], why: str | None
) -> None:
    held = Claim("a", "default", "a", ("10.0.0.201",), wish("a").terms)
    settings = read_settings(f"{{reserved: [{reserved}], pools: [{LAN}]}}", ())
    withdrawn = settle(wish("a"), claims=(held,), settings=settings, **facts).withdrawn
    assert (withdrawn["a"]["10.0.0.201"].text if withdrawn else None) == why


def test_none_of_what_is_somebody_elses_is_given_unasked() -> None:
    settings = read_settings(f"{{reserved: [10.0.0.200], pools: [{LAN}]}}", ())
    decision = settle(wish("a"), wish("b"), settings=settings, others={"10.0.0.201": "the address of x/y"})
    assert (outcome(decision, "a"), outcome(decision, "b")) == ("10.0.0.202", "PoolEmpty")


def test_who_waits_is_told_by_whom_the_address_is_held() -> None:
    first = settle(wish("b", loadBalancerIP="10.0.0.201"))
    decision = settle(wish("a", loadBalancerIP="10.0.0.201"), wish("b"), claims=first.claims)
    assert decision.reasons["a"].text == "10.0.0.201 is taken by default/b: they have no sharing key in common"


KEY = {"sharing-key": "k"}
LOCAL: dict[str, Any] = {"externalTrafficPolicy": "Local"}


@pytest.mark.parametrize(
    ("annotations", "spec", "shared"),
    [
        (KEY, {"ports": [{"port": 81}]}, True),
        (KEY, {"ports": [{"port": 8080, "protocol": "UDP"}]}, True),
        (KEY, {"ports": [{"port": 8080, "protocol": "TCP"}]}, False),
        (KEY, {"ports": [{"port": 81}], **LOCAL}, False),
        ({"sharing-key": "other"}, {"ports": [{"port": 81}]}, False),
        ({}, {"ports": [{"port": 81}]}, False),
    ],
)
def test_one_address_is_shared_by_those_that_agree(
    annotations: dict[str, str], spec: dict[str, Any], shared: bool
) -> None:
    first = wish("a", KEY)
    assert outcome(settle(first, wish("b", annotations, **spec)), "b") == ("10.0.0.200" if shared else "10.0.0.201")


def test_local_services_share_if_they_have_the_same_pods() -> None:
    spec = {**LOCAL, "selector": {"app": "x"}}
    decision = settle(wish("a", KEY, **spec), wish("b", KEY, **spec, ports=[{"port": 81}]))
    assert outcome(decision, "b") == "10.0.0.200"


def test_of_two_that_shared_the_one_that_changed_gives_up() -> None:
    before = settle(wish("a", KEY), wish("b", KEY, ports=[{"port": 81}]))
    for changed, stays in (("a", "b"), ("b", "a")):
        wishes = [wish("a", KEY), wish("b", KEY, ports=[{"port": 81}])]
        wishes = [each if each.uid == stays else wish(changed, ports=[{"port": 81}]) for each in wishes]
        decision = settle(*wishes, claims=before.claims)
        assert outcome(decision, stays) == "10.0.0.200"
        assert decision.withdrawn.keys() == {changed}


def test_what_is_taken_back_is_not_given_away_in_the_same_decision() -> None:
    held = Claim("a", "default", "a", ("10.0.0.200",), wish("a").terms)
    only = pools("{name: one, addresses: [10.0.0.200/32]}")
    decision = decide({"a": None, "b": wish("b")}, [held], only, Facts())
    assert decision.withdrawn["a"].keys() == {"10.0.0.200"} and outcome(decision, "b") == "PoolEmpty"


def test_an_address_that_half_a_wish_leaves_goes_to_the_next() -> None:
    only = pools("{name: one, addresses: [10.0.0.200/32]}")
    decision = settle(wish("a", **STRICT), wish("b"), settings=only)
    assert (outcome(decision, "a"), outcome(decision, "b")) == ("NoPool", "10.0.0.200")


def test_while_a_pool_is_refused_nothing_is_taken_back() -> None:
    held = Claim("a", "default", "a", ("10.1.0.1",), wish("a").terms)
    assert settle(wish("a"), claims=(held,)).withdrawn["a"]["10.1.0.1"].word == "OutsidePools"
    broken = pools(LAN, "{name: broken, addresses: [10.1.0.0/33]}")
    assert outcome(settle(wish("a"), claims=(held,), settings=broken)) == "10.1.0.1"


def test_a_lost_record_is_made_anew_from_what_statuses_show() -> None:
    young = balanced("b")
    young["metadata"]["creationTimestamp"] = "2027-01-01T00:00:00Z"
    young["status"] = {"loadBalancer": {"ingress": [{"ip": "10.0.0.200"}]}}
    shown = request(young, "addresses")
    assert shown is not None
    decision = settle(wish("a"), shown)
    assert (outcome(decision, "a"), outcome(decision, "b")) == ("10.0.0.201", "10.0.0.200")


def test_nodes_ports_have_one_owner_and_are_nobodys_node_port() -> None:
    spec = {"loadBalancerClass": "fairway.io/nodes"}
    decision = settle(wish("a", **spec), wish("b", **spec), wish("c", **spec, ports=[{"port": 30001}]),
                      node_ports={("TCP", 30001): "default/np"})  # fmt: skip
    assert [outcome(decision, name) for name in "abc"] == [NODES, "AddressTaken", "AddressTaken"]
    assert decision.reasons["c"].text == "port 30001/TCP of the nodes is a node port of default/np"


def test_other_classes_and_types_are_not_ours() -> None:
    assert request(service("a"), "addresses") is None
    assert request(balanced("a", loadBalancerClass="example.com/x"), "addresses") is None
    assert wish("a", loadBalancerClass="fairway.io/nodes").style == "nodes"
    assert wish("a", loadBalancerClass="fairway.io/l2").style == "addresses"


def node(name: str, address: str, ready: str = "True", **labels: str) -> dict[str, Any]:
    status = {
        "conditions": [{"type": "Ready", "status": ready}],
        "addresses": [{"type": "InternalIP", "address": address}, {"type": "Hostname", "address": name}],
    }
    return {"metadata": {"name": name, "labels": labels}, "status": status}


def test_nodes_that_serve_are_ready_labelled_and_under_local_have_an_endpoint() -> None:
    excluded = node("c", "10.0.0.3")
    excluded["metadata"]["labels"] = {"node.kubernetes.io/exclude-from-external-load-balancers": ""}
    nodes = [node("a", "10.0.0.1", lb="yes"), node("b", "10.0.0.2"), excluded, node("d", "10.0.0.4", "Unknown")]
    everywhere, local = wish("a"), wish("a", externalTrafficPolicy="Local")
    settings = read_settings("style: nodes", ())
    assert serving(everywhere, nodes, frozenset(), settings) == ("10.0.0.1", "10.0.0.2")
    assert serving(local, nodes, frozenset({"b", "c"}), settings) == ("10.0.0.2",)
    liar = node("e", "somewhere")
    liar["status"]["addresses"].append({"type": "InternalIP", "address": "FD00:0::E"})
    assert addresses_of(liar) == ["fd00::e"] and serving(everywhere, [liar], frozenset(), settings) == ()
    labelled = read_settings("{style: nodes, nodeSelector: {lb: 'yes'}}", ())
    assert serving(everywhere, nodes, frozenset(), labelled) == ("10.0.0.1",)


@pytest.mark.parametrize(
    ("pool", "why"),
    [
        ("{name: b, addresses: [10.0.0.202/32]}", "10.0.0.202-10.0.0.202 overlaps 10.0.0.200-10.0.0.202 of pool 'lan'"),
        ("{name: lan, addresses: [10.9.0.0/24]}", "another pool has this name"),
        ("{name: b, addresses: [10.9.0.9-10.9.0.1]}", "10.9.0.9-10.9.0.1: the last address comes before the first"),
        ("{name: b, addresses: [10.9.0.1/24]}", "10.9.0.1/24 has host bits set"),
        ("{name: b, addresses: [224.0.0.0/24]}", "224.0.0.0-224.0.0.255 holds addresses that are no host's"),
        ("{name: b, addresses: [192.168.0.0-240.0.0.0]}", "192.168.0.0-240.0.0.0 holds addresses that are no host's"),
        ("{name: b, addresses: ['fe80::/64']}", "fe80::-fe80::ffff:ffff:ffff:ffff holds addresses that are no host's"),
        ("{name: b, addresses: ['::/0']}", f"::-{'ffff:' * 7}ffff holds addresses that are no host's"),
        ("{name: b, addresses: [10.9.0.0/24, 10.9.0.7]}", "10.9.0.7-10.9.0.7 overlaps 10.9.0.0-10.9.0.255 before it"),
        ("{name: b, addresses: [10.244.0.0/24]}", "10.244.0.0-10.244.0.255 overlaps the pods' range 10.244.0.0/23"),
        ("{name: b, addresses: [10.90.0.0-10.97.0.0]}", "10.90.0.0-10.97.0.0 overlaps the Service range 10.96.0.0/12"),
        ("{name: b, addresses: []}", "addresses: a list of CIDRs and FIRST-LAST ranges is expected"),
        ("{name: b, addresses: [7]}", "7 is neither a CIDR nor FIRST-LAST"),
        ("{name: b, addresses: [10.9.0.0/24], autoAssign: 3}", "autoAssign: 3 is neither true nor false"),
        ("{name: b, adresses: [10.9.0.0/24]}", "unknown field 'adresses'; there are name, addresses and autoAssign"),
        ("7", "a mapping with a name and addresses is expected"),
    ],
)
def test_a_wrong_pool_is_refused_by_name_and_the_others_serve(pool: str, why: str) -> None:
    services, pods = (ip_network("10.96.0.0/12"),), joined(["10.244.1.0/24", "fd00:244::/64", "10.244.0.0/24"])
    found = read_settings(f"pools: [{LAN}, {pool}]", services, pods)
    [refusal] = found.refused
    assert refusal.why == why and [each.name for each in found.pools] == ["lan"]


@pytest.mark.parametrize(
    "text",
    [
        "reserved: 10.0.0.1",
        "reserved: [10.0.0]",
        "reserved: [7]",
        "",
        "- a",
        "pools: {a: b}",
        "style: arp",
        "polls: []",
        "nodeSelector: [a]",
        "a: [",
        "a: 1\n---\nb: 2",
    ],
)
def test_settings_that_are_none_are_refused_as_a_whole(text: str) -> None:
    with pytest.raises(SettingsError):
        read_settings(text, ())


def test_routers_to_speak_to() -> None:
    said = (
        "{localAS: 64512, peers: [{address: 10.0.0.2, as: 64513}, {address: 'FD00::2', as: 1, bfd: true, holdTime: 3}]}"
    )
    assert read_settings(f"bgp: {said}", ()).bgp == Bgp(
        64512, (Peer("10.0.0.2", 64513), Peer("fd00::2", 1, bfd=True, hold=3))
    )
    assert read_settings("pools: []", ()).bgp is None


@pytest.mark.parametrize(
    ("bgp", "why"),
    [
        ("7", "bgp: a mapping with localAS, peers is expected"),
        ("{}", "bgp.localAS: None is no number from 1 to 4294967294"),
        ("{localAS: 0}", "bgp.localAS: 0 is no number from 1 to 4294967294"),
        ("{localAS: 1, pears: []}", "bgp: unknown field 'pears'; there are localAS, peers"),
        ("{localAS: 1, peers: a}", "bgp.peers: a list is expected"),
        ("{localAS: 1, peers: [{as: 1}]}", "bgp.peers[0].address: None is no IP address"),
        ("{localAS: 1, peers: [{address: 10.0.0, as: 1}]}", "bgp.peers[0].address: '10.0.0' is no IP address"),
        ("{localAS: 1, peers: [{address: 10.0.0.2}]}", "bgp.peers[0].as: None is no number from 1 to 4294967294"),
        ("{localAS: 1, peers: [{address: 10.0.0.2, as: true}]}", "bgp.peers[0].as: True is no number"),
        ("{localAS: 1, peers: [{address: 10.0.0.2, as: 2, holdTime: 1}]}", "bgp.peers[0].holdTime: 1 is no number"),
        ("{localAS: 1, peers: [{address: 10.0.0.2, as: 2, bfd: 1}]}", "bgp.peers[0].bfd: 1 is neither true nor false"),
        ("{localAS: 1, peers: [{address: 10.0.0.2, as: 2, nodeSelector: a}]}", "bgp.peers[0].nodeSelector: a mapping"),
        ("{localAS: 1, peers: [{address: 10.0.0.2, as: 2}, {address: 10.0.0.2, as: 3}]}", "bgp.peers[1].address: 10"),
    ],
)  # fmt: skip
def test_what_is_wrong_about_routers_is_named(bgp: str, why: str) -> None:
    with pytest.raises(SettingsError) as refusal:
        read_settings(f"bgp: {bgp}", ())
    assert str(refusal.value).startswith(why)


def test_a_spoilt_record_counts_as_empty() -> None:
    for text in ("[", '[{"uid": 3}]', "{}"):
        spoilt = read({"kind": CONFIG_MAP.name, "metadata": {"resourceVersion": "7"}, "data": {"claims": text}})
        assert spoilt.claims == () and spoilt.version == "7"
