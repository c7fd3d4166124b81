"""Dumps without names: nothing of whose they are is left, and every answer is the same under the pseudonyms."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.node import Address, Interface, Node
from fairway.packet import Family, Outcomes
from fairway.ruleset.iptables import dump, parse
from fairway.ruleset.nft_parse import parse as parse_nft
from fairway.ruleset.nft_parse_json import parse_json
from fairway.ruleset.nft_print import text as listed
from fairway.trace.evidence import texts
from fairway.trace.evidence.anonymise import Anonymiser, anonymise
from fairway.trace.evidence.pseudonyms import Pseudonyms
from fairway.trace.evidence.texts import EvidenceError
from fairway.trace.walk import trace
from tests.golden import cases, nodes
from tests.golden.test_crown import packets

KEY = b"a key for tests"
addresses = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6))


def node_of(node: Node, other: Pseudonyms) -> Node:
    """The node with pseudonyms for its addresses and routes."""
    interfaces = tuple(
        Interface(
            each.name,
            tuple(ipaddress.ip_interface(f"{other.mapped(a.ip)}/{a.network.prefixlen}") for a in each.addresses),
        )
        for each in node.interfaces
    )
    routes = tuple(
        replace(
            route,
            destination=other.network(route.destination) if route.destination.prefixlen else route.destination,
            via=other.mapped(route.via) if route.via else None,
            source=other.mapped(route.source) if route.source else None,
        )
        for route in node.routes
    )
    return replace(node, interfaces=interfaces, routes=routes)


def renamed(outcomes: Outcomes, address: Callable[[str], str]) -> Outcomes:
    def place(endpoint: str) -> str:
        host, _, port = endpoint.rpartition(":")
        bare = address(host.strip("[]"))
        return f"[{bare}]:{port}" if ":" in bare else f"{bare}:{port}"

    return {
        replace(outcome, endpoint=place(outcome.endpoint) if outcome.endpoint else ""): share
        for outcome, share in outcomes.items()
    }


def compare(golden: cases.Case, before: str, read: Callable[[str], object], family: Family) -> None:
    """Every packet's fate by a text, and by the text without names."""
    anonymous = Anonymiser.of([before], KEY)
    after = anonymous.text(before)
    old, new = read(before), read(after)
    other_node = node_of(golden.node, anonymous.pseudonyms)
    for packet in packets(golden.node, golden.desired, family):
        source, destination = anonymous.address(packet.source), anonymous.address(packet.destination)
        other = replace(packet, source=source, destination=destination)
        said = trace(old, golden.node, packet).outcomes()  # type: ignore[arg-type]
        done = trace(new, other_node, other).outcomes()  # type: ignore[arg-type]
        assert done == renamed(said, anonymous.address), packet


@pytest.mark.parametrize("name", cases.NAMES)
def test_the_goldens_answers_are_the_same(name: str) -> None:
    golden = nodes.case(name.partition("-")[0])

    compare(golden, dump(nodes.rules(golden)), parse, Family.IPV4)


@pytest.mark.parametrize("number", ["33", "34"])
def test_the_answers_of_ipv6_are_the_same(number: str) -> None:
    golden = nodes.case(number)

    compare(golden, dump(nodes.rules(golden, Family.IPV6)), parse, Family.IPV6)


@pytest.mark.parametrize("name", cases.NAMES[::8])
def test_the_references_nftables_answer_the_same(name: str) -> None:
    golden = nodes.case(name.partition("-")[0])

    compare(golden, cases.nft_text(name), parse_nft, Family.IPV4)


@given(addresses, addresses, st.integers(0, 128))
def test_who_shares_a_network_shares_it_afterwards(one: Address, two: Address, length: int) -> None:
    other = Pseudonyms(KEY)
    if one.version != two.version:
        return
    length = min(length, one.max_prefixlen)
    link_local = ipaddress.ip_network("fe80::/10")
    if one in link_local or two in link_local:
        return
    network = ipaddress.ip_network(f"{one}/{length}", strict=False)
    assert (two in network) == (other.mapped(two) in other.network(network))


@given(st.ip_addresses(v=4, network="10.0.0.0/22"), st.ip_addresses(v=4, network="10.0.0.0/22"))
def test_where_ranges_are_order_stays(one: ipaddress.IPv4Address, two: ipaddress.IPv4Address) -> None:
    other = Pseudonyms(KEY, [ipaddress.ip_network("10.0.0.0/22")])

    assert (one < two) == (int(other.mapped(one)) < int(other.mapped(two)))


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "0.0.0.0", "255.255.255.0", "224.0.0.251", "169.254.0.1", "::1", "ff02::1"]
)
def test_addresses_with_a_meaning_stay(address: str) -> None:
    assert Pseudonyms(KEY).address(address) == address


def one(text: str) -> str:
    return anonymise([texts.read("dump", text.encode())], KEY)[0]


SECRETS = """*nat
:PREROUTING ACCEPT [0:0]
:acme-payroll - [0:0]
:KUBE-SEP-2GFESPSWZI6F32XN - [0:0]
-A PREROUTING -s 203.0.113.7/32 -i veth1809bdc0 -m comment --comment "payroll of acme, see ticket 4711" -j acme-payroll
-A PREROUTING -m comment --comment acme-word -m mac --mac-source 52:54:00:12:34:56 -j LOG --log-prefix "acme: "
-A acme-payroll -m iprange --src-range 203.0.113.5-203.0.113.9 -j DROP
-A KUBE-SEP-2GFESPSWZI6F32XN -m comment --comment "acme/payroll:https" \
-m recent --set --name acme-list -j DNAT --to-destination 10.1.2.3:443
COMMIT
"""


def test_nothing_that_names_anybody_is_left() -> None:
    found = one(SECRETS)

    for word in ("acme", "payroll", "4711", "203.0.113", "10.1.2.3", "52:54", "1809bdc0", "2GFESPSWZI6F32XN", "https"):
        assert word not in found, word
    for kept in (":PREROUTING ACCEPT", "-j LOG", "-j DROP", "KUBE-SEP-", ":443", "-i veth"):
        assert kept in found, kept
    assert len(found.splitlines()) == len(SECRETS.splitlines())
    jump = found.splitlines()[4].rpartition(" ")[2]
    assert f":{jump} - [0:0]" in found
    assert f"-A {jump} " in found


def test_lists_of_clients_keep_their_rules() -> None:
    listed = texts.read("recent", b"acme-list 203.0.113.7 3.5\n", texts.Kind.CLIENTS)
    rules, clients = anonymise([texts.read("dump", SECRETS.encode()), listed], KEY)
    name, address, seconds = clients.split()
    assert f"--set --name {name} " in rules
    assert f"-s {address}/32 " in rules
    assert (name != "acme-list", address != "203.0.113.7", seconds) == (True, True, "3.5")


def test_words_of_proxies_stay_and_services_are_told_apart() -> None:
    said = '-A KUBE-SERVICES -d 10.96.0.1/32 -m comment --comment "{} cluster IP" -j KUBE-SVC-{}'
    lines = one("\n".join(said.format(name, 16 * "A") for name in ("default/web", "default/api", "default/web")))
    first, second, third = lines.splitlines()

    assert first == third
    assert first != second
    assert "cluster IP" in first


def test_equal_secrets_replace_alike_and_others_do_not() -> None:
    text = texts.read("dump", SECRETS.encode())

    assert anonymise([text], KEY) == anonymise([text], KEY)
    assert anonymise([text], KEY) != anonymise([text], b"another")


def test_of_settings_only_those_of_the_network_are_told() -> None:
    assert one("net.ipv4.ip_forward = 1\nkernel.hostname = acme-7\n") == "net.ipv4.ip_forward = 1\n"


def test_json_of_nft_says_the_same_as_its_listing() -> None:
    """Names, addresses, networks, ranges, comments: wherever they stand in objects."""
    raw = (Path(__file__).parents[2] / "ruleset" / "sample.json").read_text()
    before = listed(parse_json(raw).tables.values())

    after = listed(parse_json(one(raw)).tables.values())

    assert after != before
    assert lines(after) == lines(one(before))


def lines(listing: str) -> list[str]:
    """A listing's words, with the elements of sets in any order."""
    return sorted(word for line in listing.splitlines() for word in line.replace(",", " ").split())


def test_json_of_nft_names_nobody() -> None:
    match = {"left": {"payload": {"protocol": "ip", "field": "saddr"}}, "op": "==", "right": "203.0.113.7"}
    place = {"family": "ip", "table": "acme", "chain": "payroll"}
    rule = {"expr": [{"match": match}, {"log": {"prefix": "acme: "}}, {"drop": None}], "comment": "acme ticket 4711"}
    objects = [
        {"table": {"family": "ip", "name": "acme"}},
        {"chain": {"family": "ip", "table": "acme", "name": "payroll"}},
        {"rule": place | rule},
    ]
    found = one(json.dumps({"nftables": objects}))
    assert not [word for word in ("acme", "payroll", "203.0.113", "4711") if word in found]
    assert [*json.loads(found)["nftables"][2]["rule"]] == [*place, *rule]


@pytest.mark.parametrize("text", ['{"nftables": [{"rule": 7}]}', '{"nftables": ' + "[" * 5000, "{}"])
def test_json_that_is_not_nft_s_is_refused(text: str) -> None:
    with pytest.raises(EvidenceError):
        one(text)
