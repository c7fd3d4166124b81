"""Kubernetes DNS-Based Service Discovery 1.1.0, a test for each of its sentences, in its order."""

from __future__ import annotations

import pytest

from fairway.dns.zone import Zone
from tests.unit.dns.cluster import Object, answer, ask, endpoints, external, host, pod, put, service, unready

HTTP = "web.default.svc.cluster.local"


def zone_of(*objects: Object) -> Zone:
    return put(Zone(), *objects)


# 2.1 Definitions


def test_the_hostname_of_an_endpoint_is_its_hostname_field() -> None:
    zone = zone_of(service("web", "default", "None"), endpoints("web", host("my-pet", "10.244.0.5")))
    assert ask(zone, f"my-pet.{HTTP} A") == [f"my-pet.{HTTP}. 5 IN A 10.244.0.5"]
    assert ask(zone, f"10-244-0-5.{HTTP} A") == ["NXDOMAIN"]


def test_the_hostname_is_a_unique_identifier_when_there_is_no_hostname_field() -> None:
    zone = zone_of(service("web", "default", "None"), endpoints("web", "10.244.0.5", "fd00:10:244::5"))
    assert ask(zone, f"10-244-0-5.{HTTP} A") == [f"10-244-0-5.{HTTP}. 5 IN A 10.244.0.5"]
    assert ask(zone, f"fd00-10-244--5.{HTTP} AAAA") == [f"fd00-10-244--5.{HTTP}. 5 IN AAAA fd00:10:244::5"]


def test_an_endpoint_without_a_ready_condition_is_ready() -> None:
    zone = zone_of(service("web", "default", "None"), endpoints("web", {"addresses": ["10.244.0.5"], "conditions": {}}))
    assert ask(zone, f"{HTTP} A") == [f"{HTTP}. 5 IN A 10.244.0.5"]


@pytest.mark.parametrize(
    "wish",
    [
        {"spec": {"publishNotReadyAddresses": True}},
        {"metadata": {"annotations": {"service.alpha.kubernetes.io/tolerate-unready-endpoints": "true"}}},
    ],
    ids=["publishNotReadyAddresses", "annotation"],
)
def test_an_endpoint_is_ready_when_its_service_tolerates_unready_ones(wish: Object) -> None:
    web = service("web", "default", "None")
    web = {part: web[part] | wish.get(part, {}) for part in web}
    zone = zone_of(web, endpoints("web", unready("10.244.0.5")))
    assert ask(zone, f"{HTTP} A") == [f"{HTTP}. 5 IN A 10.244.0.5"]


def test_all_comparisons_are_case_insensitive() -> None:
    zone = zone_of(service("web", "default", "10.96.1.2", ports=["http:80/TCP"]))
    assert ask(zone, "wEb.DEFAULT.svc.Cluster.LOCAL A") == ["wEb.DEFAULT.svc.Cluster.LOCAL. 5 IN A 10.96.1.2"]
    assert ask(zone, f"_HTTP._tcp.{HTTP} SRV") == [f"_HTTP._tcp.{HTTP}. 5 IN SRV 0 100 80 {HTTP}."]
    assert ask(zone, "2.1.96.10.IN-ADDR.ARPA PTR") == [f"2.1.96.10.IN-ADDR.ARPA. 5 IN PTR {HTTP}."]


# 2.2 Record for schema version


def test_there_must_be_a_txt_record_with_the_schema_version() -> None:
    assert ask(Zone(), "dns-version.cluster.local TXT") == ['dns-version.cluster.local. 5 IN TXT "1.1.0"']


def test_the_ttl_is_the_implementations_choice() -> None:
    zone = put(Zone(ttl=30), service("web", "default", "10.96.1.2", ports=["http:80/TCP"]))
    for question in (
        f"{HTTP} A",
        f"_http._tcp.{HTTP} SRV",
        "2.1.96.10.in-addr.arpa PTR",
        "dns-version.cluster.local TXT",
    ):
        assert [line.split()[1] for line in ask(zone, question)] == ["30"]


# 2.3 Records for a Service with ClusterIP


def test_a_service_has_an_address_record_per_family() -> None:
    zone = zone_of(service("web", "default", "10.96.1.2", "fd00:10:96::2"))
    assert ask(zone, f"{HTTP} A") == [f"{HTTP}. 5 IN A 10.96.1.2"]
    assert ask(zone, f"{HTTP} AAAA") == [f"{HTTP}. 5 IN AAAA fd00:10:96::2"]


def test_a_service_written_without_cluster_ips_has_its_cluster_ip() -> None:
    old = {"metadata": {"name": "web", "namespace": "default"}, "spec": {"clusterIP": "10.96.1.2"}}
    assert ask(zone_of(old), f"{HTTP} A") == [f"{HTTP}. 5 IN A 10.96.1.2"]


def test_an_srv_record_must_exist_for_each_named_port_and_protocol() -> None:
    zone = zone_of(service("web", "default", "10.96.1.2", ports=["dns:53/UDP", "dns-tcp:53/TCP", "admin:8080/TCP"]))
    assert ask(zone, f"_dns._udp.{HTTP} SRV") == [f"_dns._udp.{HTTP}. 5 IN SRV 0 100 53 {HTTP}."]
    assert ask(zone, f"_dns-tcp._tcp.{HTTP} SRV") == [f"_dns-tcp._tcp.{HTTP}. 5 IN SRV 0 100 53 {HTTP}."]
    assert ask(zone, f"_admin._tcp.{HTTP} SRV") == [f"_admin._tcp.{HTTP}. 5 IN SRV 0 100 8080 {HTTP}."]
    assert ask(zone, f"_dns._tcp.{HTTP} SRV") == ["NXDOMAIN"]


def test_unnamed_ports_do_not_have_an_srv_record() -> None:
    zone = zone_of(service("web", "default", "10.96.1.2", ports=["80/TCP"]))
    assert ask(zone, f"_._tcp.{HTTP} SRV") == ["NXDOMAIN"]
    assert ask(zone, f"_tcp.{HTTP} SRV") == ["NXDOMAIN"]


def test_the_additional_section_may_include_the_addresses_the_srv_record_refers_to() -> None:
    zone = zone_of(service("web", "default", "10.96.1.2", "fd00:10:96::2", ports=["http:80/TCP"]))
    additional = answer(zone, f"_http._tcp.{HTTP} SRV").additional
    assert [str(each) for each in additional] == [f"{HTTP}. 5 IN A 10.96.1.2", f"{HTTP}. 5 IN AAAA fd00:10:96::2"]


def test_a_ptr_record_must_exist_for_each_cluster_ip() -> None:
    zone = zone_of(service("web", "default", "10.96.1.2", "fd00:10:96::2"))
    v6 = "2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.6.9.0.0.0.1.0.0.0.0.d.f.ip6.arpa"
    assert ask(zone, "2.1.96.10.in-addr.arpa PTR") == [f"2.1.96.10.in-addr.arpa. 5 IN PTR {HTTP}."]
    assert ask(zone, f"{v6} PTR") == [f"{v6}. 5 IN PTR {HTTP}."]


# 2.4 Records for a headless Service


def test_a_headless_service_has_an_address_record_for_each_ready_endpoint() -> None:
    zone = zone_of(
        service("web", "default", "None"),
        endpoints("web", "10.244.2.3", "10.244.0.5", unready("10.244.0.6")),
        endpoints("web", "10.244.1.4", "10.244.0.5", name="web-2"),
    )
    assert ask(zone, f"{HTTP} A") == [f"{HTTP}. 5 IN A 10.244.{rest}" for rest in ("0.5", "1.4", "2.3")]


@pytest.mark.parametrize("question", [f"{HTTP} A", f"{HTTP} AAAA", f"_http._tcp.{HTTP} SRV"])
def test_without_ready_endpoints_the_answer_is_nxdomain(question: str) -> None:
    web = service("web", "default", "None", ports=["http:80/TCP"])
    zone = zone_of(web, endpoints("web", unready("10.244.0.6"), ports=["http:80/TCP"]))
    assert ask(zone, question) == ["NXDOMAIN"]


def test_endpoints_of_one_family_leave_the_other_family_empty_but_existing() -> None:
    zone = zone_of(service("web", "default", "None"), endpoints("web", "10.244.0.5"))
    assert ask(zone, f"{HTTP} AAAA") == ["NOERROR"]


def test_each_address_of_a_hostname_has_a_record() -> None:
    zone = zone_of(
        service("web", "default", "None"),
        endpoints("web", host("pet", "10.244.0.5"), host("pet", "10.244.0.6")),
        endpoints("web", host("pet", "fd00::5"), name="web-v6"),
    )
    assert ask(zone, f"pet.{HTTP} A") == [f"pet.{HTTP}. 5 IN A 10.244.0.{last}" for last in (5, 6)]
    assert ask(zone, f"pet.{HTTP} AAAA") == [f"pet.{HTTP}. 5 IN AAAA fd00::5"]


def test_n_endpoints_and_m_named_ports_have_n_times_m_srv_records() -> None:
    ports = ["http:8080/TCP", "admin:9090/TCP", "7070/TCP"]
    zone = zone_of(
        service("web", "default", "None", ports=ports),
        endpoints("web", host("a", "10.244.0.5"), "10.244.0.6", unready("10.244.0.7"), ports=ports),
    )
    for port, number in (("http", 8080), ("admin", 9090)):
        assert ask(zone, f"_{port}._tcp.{HTTP} SRV") == [
            f"_{port}._tcp.{HTTP}. 5 IN SRV 0 100 {number} {host}.{HTTP}." for host in ("10-244-0-6", "a")
        ]
    additional = answer(zone, f"_http._tcp.{HTTP} SRV").additional
    assert [str(each) for each in additional] == [
        f"10-244-0-6.{HTTP}. 5 IN A 10.244.0.6",
        f"a.{HTTP}. 5 IN A 10.244.0.5",
    ]


def test_srv_records_of_headless_services_tell_the_port_that_each_endpoint_listens_on() -> None:
    zone = zone_of(
        service("web", "default", "None", ports=["http:80/TCP"]),
        endpoints("web", host("a", "10.244.0.5"), ports=["http:8080/TCP"]),
        endpoints("web", host("b", "10.244.0.6"), name="web-2", ports=["http:8081/TCP"]),
    )
    assert ask(zone, f"_http._tcp.{HTTP} SRV") == [
        f"_http._tcp.{HTTP}. 5 IN SRV 0 100 8080 a.{HTTP}.",
        f"_http._tcp.{HTTP}. 5 IN SRV 0 100 8081 b.{HTTP}.",
    ]


def test_a_ptr_record_must_exist_for_each_ready_endpoint_of_a_headless_service() -> None:
    zone = zone_of(
        service("web", "default", "None"),
        service("other", "shop", "None"),
        service("plain", "default", "10.96.1.3"),
        endpoints("web", host("pet", "10.244.0.5"), "10.244.0.6", unready("10.244.0.7")),
        endpoints("other", "10.244.0.5", namespace="shop"),
        endpoints("plain", "10.244.0.8"),
    )
    name = "0.244.10.in-addr.arpa"
    assert ask(zone, f"5.{name} PTR") == [
        f"5.{name}. 5 IN PTR 10-244-0-5.other.shop.svc.cluster.local.",
        f"5.{name}. 5 IN PTR pet.{HTTP}.",
    ]
    assert ask(zone, f"6.{name} PTR") == [f"6.{name}. 5 IN PTR 10-244-0-6.{HTTP}."]
    assert ask(zone, f"7.{name} PTR") == ["NXDOMAIN"]
    assert ask(zone, f"8.{name} PTR") == ["NXDOMAIN"]


def test_an_endpoint_far_outside_the_cluster_has_its_ptr_record_too() -> None:
    zone = zone_of(service("db", "default", "None"), endpoints("db", host("old", "192.0.2.7")))
    owner = "7.2.0.192.in-addr.arpa"
    assert ask(zone, f"{owner} PTR") == [f"{owner}. 5 IN PTR old.db.default.svc.cluster.local."]
    assert ask(zone, f"{owner} A") == ["NOERROR"]
    assert ask(zone, "8.2.0.192.in-addr.arpa PTR") == ["REFUSED"]


def test_unnamed_ports_of_a_headless_service_do_not_have_an_srv_record() -> None:
    zone = zone_of(
        service("web", "default", "None", ports=["80/TCP"]), endpoints("web", "10.244.0.5", ports=["80/TCP"])
    )
    assert ask(zone, f"{HTTP} A") == [f"{HTTP}. 5 IN A 10.244.0.5"]
    assert ask(zone, f"_._tcp.{HTTP} SRV") == ["NXDOMAIN"]
    assert ask(zone, f"_tcp.{HTTP} SRV") == ["NXDOMAIN"]


def test_a_headless_services_endpoint_has_its_ptr_record_in_ip6_arpa_too() -> None:
    zone = zone_of(service("web", "default", "None"), endpoints("web", host("pet", "fd00:10:244::5")))
    v6 = "5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.4.4.2.0.0.1.0.0.0.0.d.f.ip6.arpa"
    assert ask(zone, f"{v6} PTR") == [f"{v6}. 5 IN PTR pet.{HTTP}."]


def test_a_headless_service_without_a_selector_is_no_different() -> None:
    """Its slices are made by hand, under any name; only their label counts."""
    by_hand = endpoints("db", host("primary", "192.0.2.7"), name="by-hand", ports=["sql:5432/TCP"])
    zone = zone_of(service("db", "default", "None", ports=["sql:5432/TCP"]), by_hand)
    name = "db.default.svc.cluster.local"
    assert ask(zone, f"{name} A") == [f"{name}. 5 IN A 192.0.2.7"]
    assert ask(zone, f"_sql._tcp.{name} SRV") == [f"_sql._tcp.{name}. 5 IN SRV 0 100 5432 primary.{name}."]


def test_endpoints_of_a_service_with_a_cluster_ip_have_no_names() -> None:
    zone = zone_of(service("web", "default", "10.96.1.2"), endpoints("web", host("pet", "10.244.0.5")))
    assert ask(zone, f"pet.{HTTP} A") == ["NXDOMAIN"]
    assert ask(zone, f"10-244-0-5.{HTTP} A") == ["NXDOMAIN"]


# 2.5 Records for ExternalName Services


def test_an_external_name_is_a_cname_record() -> None:
    zone = zone_of(external("docs", "www.example.com"))
    line = "docs.default.svc.cluster.local. 5 IN CNAME www.example.com."
    assert ask(zone, "docs.default.svc.cluster.local A") == [line]
    assert ask(zone, "docs.default.svc.cluster.local CNAME") == [line]
    assert ask(zone, "docs.default.svc.cluster.local ANY") == [line]
    for type in ("AAAA", "SRV", "TXT"):
        assert ask(zone, f"docs.default.svc.cluster.local {type}") == [line]


def test_an_external_name_inside_the_zone_is_followed() -> None:
    zone = zone_of(external("alias", HTTP), external("twice", "alias.default.svc.cluster.local"))
    put(zone, service("web", "default", "10.96.1.2"))
    assert ask(zone, "twice.default.svc.cluster.local A") == [
        "twice.default.svc.cluster.local. 5 IN CNAME alias.default.svc.cluster.local.",
        f"alias.default.svc.cluster.local. 5 IN CNAME {HTTP}.",
        f"{HTTP}. 5 IN A 10.96.1.2",
    ]


def test_the_last_name_of_a_chain_decides_how_it_ends() -> None:
    zone = zone_of(external("alias", HTTP), external("self", "self.default.svc.cluster.local"))
    assert answer(zone, "alias.default.svc.cluster.local A").rcode.name == "NXDOMAIN"
    assert ask(zone, "self.default.svc.cluster.local A") == ["SERVFAIL"]
    put(zone, service("web", "default", "10.96.1.2"))
    ended = answer(zone, "alias.default.svc.cluster.local AAAA")
    assert ended.rcode.name == "NOERROR"
    assert [each.type for each in ended.authority] == [6]


# 2.6 Deprecated records


def test_a_pod_has_an_address_record_named_after_its_address() -> None:
    zone = zone_of(pod("a", "10.244.0.5"), pod("b", "fd00::5", "shop"))
    name = "10-244-0-5.default.pod.cluster.local"
    assert ask(zone, f"{name} A") == [f"{name}. 5 IN A 10.244.0.5"]
    assert ask(zone, f"{name} AAAA") == ["NOERROR"]
    assert ask(zone, "fd00--5.shop.pod.cluster.local AAAA") == ["fd00--5.shop.pod.cluster.local. 5 IN AAAA fd00::5"]


@pytest.mark.parametrize("label", ["10-244-0-6", "10-244-0", "10-244-0-05", "web", "fd00--5"])
def test_verified_pod_records_exist_only_for_pods_that_are(label: str) -> None:
    zone = zone_of(pod("a", "10.244.0.5"), pod("b", "10.244.0.6", "shop"), pod("c", "10.244.0.6", phase="Succeeded"))
    assert ask(zone, f"{label}.default.pod.cluster.local A") == ["NXDOMAIN"]


def test_insecure_pod_records_exist_for_any_address_and_disabled_ones_for_none() -> None:
    insecure, disabled = Zone(pods="insecure"), put(Zone(pods="disabled"), pod("a", "192.0.2.1", "x"))
    name = "192-0-2-1.x.pod.cluster.local"
    assert ask(insecure, f"{name} A") == [f"{name}. 5 IN A 192.0.2.1"]
    assert ask(insecure, "192-0-2-256.x.pod.cluster.local A") == ["NXDOMAIN"]
    assert [ask(disabled, f"{part} A") for part in (name, "x.pod.cluster.local", "pod.cluster.local")] == [
        ["NXDOMAIN"]
    ] * 3
