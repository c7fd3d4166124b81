"""The pod's resolv.conf, hosts and hostname."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from fairway.pods import resolv
from fairway.pods.resolv import Resolver
from fairway.pods.view import Pod

NODE = Resolver(("9.9.9.9",), ("corp.example",), ("timeout:2",))
NOTHING = Resolver()
CLUSTER = ("10.96.0.10",)


def pod(**spec: Any) -> Pod:
    return msgspec.convert({"metadata": {"name": "web-1", "namespace": "shop"}, "spec": spec}, Pod)


def text(of: Pod, node: Resolver = NOTHING) -> str:
    return resolv.resolver(of, node, CLUSTER, "cluster.local").text()


def test_cluster_first() -> None:
    assert text(pod()) == (
        "search shop.svc.cluster.local svc.cluster.local cluster.local\nnameserver 10.96.0.10\noptions ndots:5\n"
    )


def test_cluster_first_goes_on_with_the_nodes_search_list() -> None:
    assert (
        text(pod(), NODE).splitlines()[0]
        == "search shop.svc.cluster.local svc.cluster.local cluster.local corp.example"
    )


@pytest.mark.parametrize("spec", [{"dnsPolicy": "Default"}, {"hostNetwork": True}])
def test_default_and_host_network_pass_on_the_nodes_resolver(spec: dict[str, Any]) -> None:
    assert text(pod(**spec), NODE) == "search corp.example\nnameserver 9.9.9.9\noptions timeout:2\n"


def test_host_network_may_ask_for_the_cluster() -> None:
    assert "nameserver 10.96.0.10" in text(pod(hostNetwork=True, dnsPolicy="ClusterFirstWithHostNet"))


def test_policy_none_has_what_dns_config_says() -> None:
    config = {
        "nameservers": ["1.1.1.1"],
        "searches": ["my.example"],
        "options": [{"name": "ndots", "value": "2"}, {"name": "edns0"}],
    }
    assert text(pod(dnsPolicy="None", dnsConfig=config), NODE) == (
        "search my.example\nnameserver 1.1.1.1\noptions ndots:2 edns0\n"
    )


def test_dns_config_adds_and_overrides() -> None:
    config = {"nameservers": ["1.1.1.1", "10.96.0.10"], "options": [{"name": "ndots", "value": "1"}]}
    lines = text(pod(dnsConfig=config)).splitlines()
    assert lines[1:] == ["nameserver 10.96.0.10", "nameserver 1.1.1.1", "options ndots:1"]


def test_limits_of_the_resolver_hold() -> None:
    config = {
        "nameservers": [f"1.1.1.{i}" for i in range(9)],
        "searches": ["x" * 60 + f"{i}.example" for i in range(60)],
    }
    made = resolv.resolver(pod(dnsConfig=config), NODE, CLUSTER, "cluster.local")
    assert len(made.nameservers) == 3
    assert len(made.searches) <= 32
    assert len(" ".join(made.searches)) <= 2048


def test_resolv_conf_is_read_as_the_resolver_reads_it() -> None:
    said = "# x\nnameserver 9.9.9.9 # quad\ndomain a.example\nsearch b.example c.example\noptions ndots:2\n"
    said += "options rotate\n"
    assert resolv.parse(said) == Resolver(("9.9.9.9",), ("b.example", "c.example"), ("ndots:2", "rotate"))
    assert resolv.parse(NODE.text()) == NODE


def test_hosts_has_the_pods_own_name_and_aliases() -> None:
    made = resolv.hosts(
        pod(hostname="db", subdomain="dbs", hostAliases=[{"ip": "1.2.3.4", "hostnames": ["a", "b"]}]),
        *("node-a", "cluster.local", ("10.244.0.5",), "node's file\n"),
    )
    assert made.splitlines()[-2:] == ["10.244.0.5\tdb.dbs.shop.svc.cluster.local\tdb", "1.2.3.4\ta\tb"]
    assert resolv.hosts(pod(hostNetwork=True), "node-a", "cluster.local", (), "node's file\n") == "node's file\n"


def test_hostnames() -> None:
    def name(**spec: Any) -> str:
        return resolv.kernel_hostname(pod(**spec), "node-a", "cluster.local")

    assert name() == "web-1"
    assert name(hostname="db") == "db"
    assert name(hostNetwork=True) == "node-a"
    assert name(subdomain="s", setHostnameAsFQDN=True) == "web-1.s.shop.svc.cluster.local"
    long = msgspec.convert({"metadata": {"name": "a" * 62 + "-b", "namespace": "x"}}, Pod)
    assert resolv.kernel_hostname(long, "n", "d") == "a" * 62
