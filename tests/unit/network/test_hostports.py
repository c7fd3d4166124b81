"""Host ports as rules: whole, at one address, shared, and gone with their pod."""

from __future__ import annotations

from fairway.kernel.fake.netfilter import FakeNetfilter
from fairway.network import hostports
from fairway.network.hostports import Forward
from fairway.packet import Family
from fairway.ruleset.iptables import Chain, parse

WEB = Forward("TCP", "", 8080, "10.244.1.5", 80)
DNS = Forward("UDP", "10.0.0.11", 53, "10.244.1.6", 5353)
SIX = Forward("TCP", "::", 8080, "fd00:10:244:1::5", 80)


def apply(kernel: FakeNetfilter, forwards: dict[str, list[Forward]], family: Family = Family.IPV4) -> dict[str, Chain]:
    text = hostports.changes(family, forwards, kernel.save(family))
    if text:
        kernel.restore(family, text)
    assert hostports.changes(family, forwards, kernel.save(family)) == ""
    return parse(kernel.save(family)).tables["nat"].chains


def pod_chains(chains: dict[str, Chain]) -> list[list[str]]:
    return [chain.rules for name, chain in chains.items() if name.startswith("CNI-DN-")]


def test_a_port_of_the_node_leads_to_the_pod() -> None:
    chains = apply(FakeNetfilter(), {"u1": [WEB]})
    jump = "-m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT"
    assert chains["PREROUTING"].rules == chains["OUTPUT"].rules == [jump]
    [dispatch] = chains["CNI-HOSTPORT-DNAT"].rules
    assert dispatch.startswith(
        r'-p tcp -m comment --comment "dnat name: \"cbr0\" id: \"u1\"" -m multiport --dports 8080'
    )
    assert pod_chains(chains) == [
        [
            "-s 10.244.1.5/32 -p tcp -m tcp --dport 8080 -j CNI-HOSTPORT-SETMARK",
            "-s 127.0.0.1/32 -p tcp -m tcp --dport 8080 -j CNI-HOSTPORT-SETMARK",
            "-p tcp -m tcp --dport 8080 -j DNAT --to-destination 10.244.1.5:80",
        ]
    ]
    assert chains["CNI-HOSTPORT-MASQ"].rules == ["-m mark --mark 0x2000/0x2000 -j MASQUERADE"]


def test_a_port_may_be_of_one_address_only() -> None:
    [rules] = pod_chains(apply(FakeNetfilter(), {"u2": [DNS]}))
    assert rules[-1] == "-d 10.0.0.11/32 -p udp -m udp --dport 53 -j DNAT --to-destination 10.244.1.6:5353"


def test_the_services_come_first() -> None:
    """CVE-2019-9946."""
    kernel = FakeNetfilter()
    kernel.restore(Family.IPV4, "*nat\n:KUBE-SERVICES - [0:0]\n-A PREROUTING -j KUBE-SERVICES\nCOMMIT\n")
    chains = apply(kernel, {"u1": [WEB]})
    assert [rule.rpartition(" ")[2] for rule in chains["PREROUTING"].rules] == ["KUBE-SERVICES", "CNI-HOSTPORT-DNAT"]


def test_a_pods_ports_go_with_it() -> None:
    kernel = FakeNetfilter()
    apply(kernel, {"u1": [WEB], "u2": [DNS]})
    chains = apply(kernel, {"u2": [DNS]})
    assert len(pod_chains(chains)) == len(chains["CNI-HOSTPORT-DNAT"].rules) == 1
    chains = apply(kernel, {})
    assert pod_chains(chains) == chains["CNI-HOSTPORT-DNAT"].rules == []


def test_a_node_without_host_ports_is_left_alone() -> None:
    assert hostports.changes(Family.IPV4, {}, "") == ""
    assert hostports.changes(Family.IPV6, {"u1": [WEB]}, "") == ""


def test_each_family_has_its_own() -> None:
    [rules] = pod_chains(apply(FakeNetfilter(), {"u1": [WEB, SIX]}, Family.IPV6))
    assert rules[-1] == "-p tcp -m tcp --dport 8080 -j DNAT --to-destination [fd00:10:244:1::5]:80"
    assert rules[0].startswith("-s fd00:10:244:1::5/128 ")
