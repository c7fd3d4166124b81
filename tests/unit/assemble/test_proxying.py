"""What `fairway proxy` makes of its configuration, and what it tells users."""

from __future__ import annotations

import asyncio
import ipaddress
import json
from typing import Any, cast

import pytest

from fairway.assemble import proxying
from fairway.assemble.proxyconfig import ConfigError, Conntrack, KubeProxyConfiguration, Nftables, with_flags
from fairway.assemble.proxyevents import Complaints, suspects
from fairway.assemble.proxying import Place, conntrack_settings, plan
from fairway.client.base import Client, Listing
from fairway.dataplane.base import Report, Update
from fairway.dataplane.iptables import render
from fairway.desired.build import build
from fairway.desired.model import HealthCheck, PortName
from fairway.kernel.base import KernelError, Notice, Refused
from fairway.packet import Family
from fairway.ruleset.iptables import dump
from tests.unit.desired.objects import OPTIONS, endpoint, endpoint_slice, node, service


def planned(*, host: str = "node-a", **flags: Any) -> proxying.Plan:
    given = {name.replace("_", "-"): value for name, value in flags.items()}
    return plan(with_flags(KubeProxyConfiguration(), given), host=host, cores=4)


def test_the_defaults() -> None:
    made = planned(host=" Node-A.Example ")

    assert made.node == "node-a.example"
    assert (made.mode, made.healthz, made.metrics) == ("iptables", Place("0.0.0.0", 10256), Place("127.0.0.1", 10249))
    assert (made.pace.gather, made.pace.check, made.pace.verify) == (0.02, 30.0, 600.0)
    assert made.primary == ()
    assert made.options.allow_external_cidrs is None
    assert [remark.split()[0] for remark in proxying.remarks(made)] == ["external", "without"]


def test_what_is_asked_for() -> None:
    made = planned(
        bind_address="10.0.0.11",
        healthz_bind_address="",
        metrics_bind_address="[::1]:9",
        iptables_min_sync_period="2s",
        iptables_sync_period="10s",
        hostname_override="b",
    )

    assert (made.node, made.primary) == ("b", (ipaddress.ip_address("10.0.0.11"),))
    assert (made.healthz, made.metrics) == (None, Place("::1", 9))
    assert (made.pace.gather, made.pace.check, made.pace.verify) == (2.0, 10.0, 200.0)


def test_periods_of_the_flags_count_in_both_modes_and_those_of_nftables_in_its_own() -> None:
    assert planned(proxy_mode="nftables", iptables_sync_period="10s").pace.check == 10.0
    own = KubeProxyConfiguration(mode="nftables", nftables=Nftables(sync_period="5s"))
    assert plan(own, host="a").pace.check == 5.0


def test_a_node_without_a_name_cannot_be() -> None:
    with pytest.raises(ConfigError, match="hostname-override"):
        planned(host=" ")


@pytest.mark.parametrize(
    ("flags", "served"),
    [
        ({}, ("127.0.0.1", "::1")),
        ({"proxy_mode": "nftables"}, ("127.0.0.1", "::1")),
        ({"nodeport_addresses": ["10.0.0.0/8"]}, ()),
        ({"nodeport_addresses": ["127.0.0.0/8", "10.0.0.0/8"]}, ("127.0.0.1",)),
        ({"nodeport_addresses": ["primary"]}, ()),
        ({"iptables_localhost_nodeports": True}, ()),
        ({"iptables_localhost_nodeports": False}, ()),
    ],
)
def test_where_a_listener_serves_localhost(flags: dict[str, Any], served: tuple[str, ...]) -> None:
    assert planned(**flags).localhost == served


def test_rules_for_localhost_need_a_setting() -> None:
    assert "net.ipv4.conf.all.route_localnet" not in planned().settings
    assert planned(iptables_localhost_nodeports=True).settings["net.ipv4.conf.all.route_localnet"] == "1"


def test_the_limits_of_connection_tracking() -> None:
    name = "net.netfilter.nf_conntrack_"
    defaults = {
        f"{name}max": "131072",
        f"{name}tcp_timeout_established": "86400",
        f"{name}tcp_timeout_close_wait": "3600",
    }
    assert conntrack_settings(Conntrack(), cores=2) == defaults
    assert conntrack_settings(Conntrack(), cores=8)[f"{name}max"] == "262144"
    kept = Conntrack(max_per_core=0, tcp_established_timeout=None, tcp_close_wait_timeout="0s", udp_timeout="25s")
    assert conntrack_settings(kept, cores=8) == {f"{name}udp_timeout": "25"}


def test_services_are_counted_in_nftables_mode_alone() -> None:
    assert planned(proxy_mode="nftables").options.service_counters
    assert not planned().options.service_counters
    assert not plan(KubeProxyConfiguration(mode="nftables"), host="a", service_counters=False).options.service_counters
    with pytest.raises(ConfigError, match="service-counters"):
        plan(KubeProxyConfiguration(), host="a", service_counters=True)


def test_where_packets_out_of_window_are_valid_no_rule_drops_invalid_ones() -> None:
    found = {}
    for liberal in (False, True):
        options = planned(conntrack_tcp_be_liberal=liberal, cluster_cidr="10.244.0.0/16").options
        rules = dump(render(build([], [], node(), options), Family.IPV4))
        found[liberal] = "--ctstate INVALID" in rules

    assert found == {False: True, True: False}


# Events.


def update(*names: str) -> Update:
    wanted = build(
        [service(name) for name in names], [endpoint_slice(names[0], endpoint("10.244.0.5"))], node(), OPTIONS
    )
    ports = {port.key: port for port in wanted.ports}
    return Update(wanted.settings, ports, frozenset(ports))


def test_whose_fault_a_refusal_is() -> None:
    text = '*nat\n-A KUBE-SERVICES -m comment --comment "default/b:http cluster IP" -j X\n'

    assert list(suspects(update("a", "b"), Refused("no", text, 2))) == [("default", "b")]
    assert list(suspects(update("a"), Refused("no", text, 1))) == [("default", "a")]
    assert list(suspects(update("a", "b", "c", "d"), KernelError("no"))) == []


class Api:
    """Keeps what is created."""

    def __init__(self) -> None:
        self.created: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def list(self, kind: object, namespace: str = "", *, field_selector: str = "") -> Listing:
        name = field_selector.removeprefix("metadata.name=")
        found = {"metadata": {"name": name, "namespace": namespace, "uid": f"uid-of-{name}"}}
        return Listing([json.dumps(found).encode()], "1")

    async def create(self, kind: object, obj: dict[str, Any], namespace: str = "") -> dict[str, Any]:
        self.created.put_nowait(obj)
        return obj


def test_a_service_hears_the_same_once_in_a_while() -> None:
    async def main() -> None:
        api, now = Api(), [1000.0]
        complaints = Complaints(cast("Client", api), "node-a", lambda: now[0])
        writing = asyncio.create_task(complaints.run())
        async with asyncio.timeout(10):
            for _ in range(3):
                complaints.refused(update("web"), KernelError("no memory"))
            complaints.clash(PortName("default", "web", "http"), "node port 30080/TCP: taken")
            complaints.unanswered(HealthCheck("default", "web", 32000, 1), "health check node port 32000: taken")
            refused, clash, unanswered = [await api.created.get() for _ in range(3)]
        writing.cancel()
        assert (refused["reason"], refused["message"]) == ("NotProgrammed", "node-a: no memory")
        assert refused["involvedObject"]["uid"] == "uid-of-web"
        assert (clash["reason"], clash["type"]) == ("NodePortClash", "Warning")
        assert unanswered["reason"] == "FailedToStartServiceHealthcheck"
        assert unanswered["message"] == "node-a: health check node port 32000: taken"
        assert api.created.empty()

    asyncio.run(main())


def test_a_service_hears_that_it_is_withheld_and_the_node_who_was_at_its_rules() -> None:
    async def main() -> None:
        api = Api()
        complaints = Complaints(cast("Client", api), "node-a", lambda: 1000.0)
        writing = asyncio.create_task(complaints.run())
        wanted = update("web")
        report = Report(refused={key: Refused("Invalid argument") for key in wanted.changed or ()})
        async with asyncio.timeout(10):
            for _ in range(2):
                await complaints.applied(wanted, report, 0.1)
            complaints.repaired([Notice(process=77, program="nft"), Notice(process=77, program="nft")], Report(1, 12))
            withheld, repaired = await api.created.get(), await api.created.get()
        writing.cancel()
        assert (withheld["reason"], withheld["involvedObject"]["name"]) == ("NotProgrammed", "web")
        assert withheld["message"] == "node-a: rules refused: Invalid argument"
        assert (repaired["involvedObject"]["kind"], repaired["reason"]) == ("Node", "ProxyRulesRepaired")
        said = "node-a: nft (process 77) changed the proxy's rules; 12 lines were written again"
        assert repaired["message"] == said
        assert api.created.empty()

    asyncio.run(main())
