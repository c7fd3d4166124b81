"""From objects to Desired."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.desired import view
from fairway.desired.build import build
from fairway.desired.model import Claim, HealthCheck, Policy, ServicePort, claims
from fairway.desired.options import OptionError, ProxyOptions
from fairway.packet import Family, Protocol
from tests.unit.desired.objects import OPTIONS, endpoint, endpoint_slice, node, service, texts

WEB = endpoint_slice("web", endpoint("10.244.0.5"), endpoint("10.244.1.5", on="node-b"))


def ports(*services: view.ServiceView, options: ProxyOptions = OPTIONS) -> tuple[ServicePort, ...]:
    return build(services, [WEB], node(), options).ports


def test_a_service_and_its_slice() -> None:
    (port,) = ports(service())

    assert str(port.name) == "default/web"
    assert (port.cluster_ip, port.port, port.protocol) == ("10.96.0.20", 80, Protocol.TCP)
    assert texts(port.cluster) == ["10.244.0.5:8080", "10.244.1.5:8080"]
    assert [e.local for e in port.cluster] == [True, False]


NO_RULES = {
    "headless": service(clusterIP="None", clusterIPs=["None"]),
    "external name": service(type="ExternalName", externalName="db.example.com", clusterIP=""),
    "no address yet": service(clusterIP="", clusterIPs=[]),
    "another proxy's": service(labels={"service.kubernetes.io/service-proxy-name": "other"}),
    "labelled headless": service(labels={"service.kubernetes.io/headless": ""}),
    "no ports": service(ports=[]),
    "loopback": service(clusterIP="127.0.0.1", clusterIPs=["127.0.0.1"]),
    "no name that can be": service('web" -j ACCEPT #'),
}


@pytest.mark.parametrize("nothing", NO_RULES.values(), ids=NO_RULES)
def test_what_gets_no_rules(nothing: view.ServiceView) -> None:
    assert ports(nothing) == ()


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "127.8.8.8", "169.254.169.254", "224.0.0.1", "0.0.0.0", "fe80::1", "::1", "::ffff:10.0.0.1", "x", ""],
)
def test_endpoints_that_are_never_programmed(address: str) -> None:
    """CVE-2021-25737: an API server may have let them pass."""
    for family in ("IPv4", "IPv6"):
        piece = endpoint_slice("web", endpoint(address), family=family)
        dual = service(clusterIPs=["10.96.0.20", "fd00:96::20"])
        built = build([dual], [piece], node(), OPTIONS)
        assert all(not port.cluster and not port.reachable for port in built.ports)


def test_each_port_finds_its_endpoints_by_name_and_protocol() -> None:
    dns = service(
        "dns",
        ports=[{"name": "dns", "port": 53, "protocol": "UDP"}, {"name": "dns-tcp", "port": 53, "protocol": "TCP"}],
    )
    slices = [
        endpoint_slice("dns", endpoint("10.244.0.7"), name="a", port_name="dns", protocol="UDP", port=5353),
        endpoint_slice("dns", endpoint("10.244.0.7"), name="b", port_name="dns-tcp", port=5354),
        endpoint_slice("dns", endpoint("10.244.0.8"), name="c", port_name="dns", port=9),  # the name, but TCP
    ]

    built = build([dns], slices, node(), OPTIONS)

    assert [(str(p.name), texts(p.cluster)) for p in built.ports] == [
        ("default/dns:dns", ["10.244.0.7:5353"]),
        ("default/dns:dns-tcp", ["10.244.0.7:5354"]),
    ]


def test_dual_stack_is_two_ports() -> None:
    dual = service(clusterIPs=["10.96.0.20", "FD00:96:0::20"], externalIPs=["198.51.100.7", "2001:db8::7"])
    six = endpoint_slice("web", endpoint("fd00:244::5"), name="six", family="IPv6")

    four_port, six_port = build([dual], [WEB, six], node(), OPTIONS).ports

    assert (four_port.family, four_port.external_ips) == (Family.IPV4, ("198.51.100.7",))
    assert (six_port.family, six_port.cluster_ip, six_port.external_ips) == (
        Family.IPV6,
        "fd00:96::20",
        ("2001:db8::7",),
    )
    assert texts(six_port.cluster) == ["[fd00:244::5]:8080"]


def balancer(**spec: Any) -> view.ServiceView:
    ingress = spec.pop("ingress", [{"ip": "203.0.113.10"}])
    return service(type="LoadBalancer", status={"loadBalancer": {"ingress": ingress}}, **spec)


def test_load_balancer_addresses_of_mode_proxy_are_not_the_node_s_business() -> None:
    (port,) = ports(balancer(ingress=[{"ip": "203.0.113.10"}, {"ip": "203.0.113.11", "ipMode": "Proxy"}]))

    assert port.load_balancer_ips == ("203.0.113.10",)


@pytest.mark.parametrize("ingress", [[], [{"hostname": "lb.example.com"}], [{"ip": ""}], [{"ip": "::"}]])
def test_an_empty_status_programs_nothing(ingress: list[dict[str, str]]) -> None:
    """CVE-2021-25736: rules without a destination sent everybody's traffic to local processes."""
    (port,) = ports(balancer(ingress=ingress))

    assert [claim.address for claim in claims(port)] == ["10.96.0.20"]


def test_external_addresses_only_inside_the_allowed_ranges() -> None:
    """CVE-2020-8554: whoever may write a Service could otherwise draw in traffic meant for any address."""
    greedy = balancer(externalIPs=["8.8.8.8", "198.51.100.7"], ingress=[{"ip": "1.1.1.1"}, {"ip": "203.0.113.10"}])
    allowed = ProxyOptions(allow_external_cidrs=("198.51.100.0/24", "203.0.113.0/24"))

    (port,) = ports(greedy, options=allowed)
    (nothing,) = ports(greedy, options=ProxyOptions(allow_external_cidrs=()))

    assert (port.external_ips, port.load_balancer_ips) == (("198.51.100.7",), ("203.0.113.10",))
    assert (nothing.external_ips, nothing.load_balancer_ips) == ((), ())

    (granted,) = ports(greedy, options=ProxyOptions(allow_external_cidrs=(), trusted_status=True))
    assert (granted.external_ips, granted.load_balancer_ips) == ((), ("1.1.1.1", "203.0.113.10"))


def test_policies_affinity_and_source_ranges() -> None:
    (port,) = ports(
        balancer(
            internalTrafficPolicy="Local",
            externalTrafficPolicy="Local",
            sessionAffinity="ClientIP",
            sessionAffinityConfig={"clientIP": {"timeoutSeconds": 60}},
            loadBalancerSourceRanges=[" 192.0.2.7/24", "2001:db8::/32", "no range", "192.0.2.0/24"],
        )
    )

    assert (port.internal_policy, port.external_policy) == (Policy.LOCAL, Policy.LOCAL)
    assert port.affinity_seconds == 60
    assert port.source_ranges == ("192.0.2.0/24",)


def test_affinity_without_a_timeout_lasts_three_hours() -> None:
    (port,) = ports(service(sessionAffinity="ClientIP"))

    assert port.affinity_seconds == 10800


def test_a_health_check_counts_ready_endpoints_here_by_address() -> None:
    local = balancer(externalTrafficPolicy="Local", healthCheckNodePort=32111)
    slices = [
        endpoint_slice("web", endpoint("10.244.0.5"), endpoint("10.244.1.5", on="node-b"), name="a"),
        endpoint_slice("web", endpoint("10.244.0.5"), endpoint("10.244.0.6", ready=False), name="b", port=9090),
    ]

    built = build([local], slices, node(), OPTIONS)

    assert built.health_checks == (HealthCheck("default", "web", 32111, 1),)
    assert built.ports[0].health_check_node_port == 32111


def test_a_pod_of_both_families_is_one_endpoint_to_a_health_check() -> None:
    local = balancer(externalTrafficPolicy="Local", healthCheckNodePort=32111)
    slices = [
        endpoint_slice("web", endpoint("10.244.0.5"), endpoint("10.244.0.6"), name="a"),
        endpoint_slice("web", endpoint("fd00:10:244::5"), endpoint("fd00:10:244::6"), name="b"),
    ]
    assert build([local], slices, node(), OPTIONS).health_checks == (HealthCheck("default", "web", 32111, 2),)
    assert build([local], slices[1:], node(), OPTIONS).health_checks == (HealthCheck("default", "web", 32111, 2),)


def test_policy_cluster_has_no_health_check() -> None:
    assert build([balancer(healthCheckNodePort=32111)], [WEB], node(), OPTIONS).health_checks == ()


def test_claims_are_every_destination_of_a_port() -> None:
    (port,) = ports(balancer(externalIPs=["198.51.100.7"], ports=[{"port": 80, "nodePort": 30080}]))

    assert set(claims(port)) == {
        Claim(Family.IPV4, Protocol.TCP, "10.96.0.20", 80),
        Claim(Family.IPV4, Protocol.TCP, "198.51.100.7", 80),
        Claim(Family.IPV4, Protocol.TCP, "203.0.113.10", 80),
        Claim(Family.IPV4, Protocol.TCP, "", 30080),
    }


@given(st.permutations([service("a", "10.96.0.1"), service("b", "10.96.0.2"), service("c", "10.96.0.3")]))
def test_the_order_of_objects_does_not_matter(services: list[view.ServiceView]) -> None:
    assert build(services, [WEB], node(), OPTIONS) == build(services[::-1], [WEB], node(), OPTIONS)


def test_malformed_objects_are_named() -> None:
    with pytest.raises(view.Malformed, match=r"Service: .*spec\.ports"):
        view.service(b'{"metadata": {}, "spec": {"ports": [{"port": "http"}]}}')


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"cluster_cidrs": ("10.244.0.0/33",)}, "cluster_cidrs"),
        ({"masquerade_bit": 32}, "masquerade_bit: 32"),
        ({"nodeport_addresses": ("primary", "10.0.0.0/8")}, "nodeport_addresses"),
    ],
)
def test_settings_that_cannot_be(settings: dict[str, Any], complaint: str) -> None:
    with pytest.raises(OptionError, match=complaint):
        ProxyOptions(**settings)
