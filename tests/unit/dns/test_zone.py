"""What events do to the zone: names come, change and go with their objects, in whatever order they are told."""

from __future__ import annotations

from fairway.dns.zone import Zone
from tests.unit.dns.cluster import ask, endpoints, external, host, namespace, pod, put, service

WEB = "web.default.svc.cluster.local"


def test_a_slice_may_come_before_its_service() -> None:
    zone = put(Zone(), endpoints("web", "10.244.0.5"))
    assert ask(zone, f"{WEB} A") == ["NXDOMAIN"]
    put(zone, service("web", "default", "None"))
    assert ask(zone, f"{WEB} A") == [f"{WEB}. 5 IN A 10.244.0.5"]
    assert ask(zone, "5.0.244.10.in-addr.arpa PTR") == [f"5.0.244.10.in-addr.arpa. 5 IN PTR 10-244-0-5.{WEB}."]


def test_an_endpoint_that_moves_takes_its_names_along() -> None:
    zone = put(Zone(), service("web", "default", "None"), endpoints("web", host("pet", "10.244.0.5")))
    assert ask(zone, "5.0.244.10.in-addr.arpa PTR") == [f"5.0.244.10.in-addr.arpa. 5 IN PTR pet.{WEB}."]
    put(zone, endpoints("web", host("pet", "10.244.1.9")))
    assert ask(zone, f"pet.{WEB} A") == [f"pet.{WEB}. 5 IN A 10.244.1.9"]
    assert ask(zone, "5.0.244.10.in-addr.arpa PTR") == ["NXDOMAIN"]
    assert ask(zone, "0.244.10.in-addr.arpa PTR") == ["NXDOMAIN"]
    assert ask(zone, "9.1.244.10.in-addr.arpa PTR") == [f"9.1.244.10.in-addr.arpa. 5 IN PTR pet.{WEB}."]


def test_a_slice_that_is_relabelled_leaves_its_old_service() -> None:
    zone = put(Zone(), service("web", "default", "None"), service("api", "default", "None"))
    put(zone, endpoints("web", "10.244.0.5", name="s"), endpoints("api", "10.244.0.5", name="s"))
    assert ask(zone, f"{WEB} A") == ["NXDOMAIN"]
    assert ask(zone, "5.0.244.10.in-addr.arpa PTR") == [
        "5.0.244.10.in-addr.arpa. 5 IN PTR 10-244-0-5.api.default.svc.cluster.local."
    ]


def test_a_deleted_service_takes_all_its_names_along() -> None:
    zone = put(Zone(), service("web", "shop", "None"), endpoints("web", "10.244.0.5", namespace="shop"))
    assert ask(zone, "5.0.244.10.in-addr.arpa PTR") != ["NXDOMAIN"]
    zone.delete_service("shop", "web")
    zone.delete_service("shop", "web")
    for question in ("web.shop.svc.cluster.local A", "shop.svc.cluster.local A", "5.0.244.10.in-addr.arpa PTR"):
        assert ask(zone, question) == ["NXDOMAIN"]


def test_a_service_deleted_before_its_slices_comes_back_with_them() -> None:
    zone = put(Zone(), service("web", "default", "None"), endpoints("web", "10.244.0.5"))
    zone.delete_service("default", "web")
    put(zone, service("web", "default", "None"))
    assert ask(zone, f"{WEB} A") == [f"{WEB}. 5 IN A 10.244.0.5"]
    zone.delete_slice("default", "web-1")
    zone.delete_slice("default", "web-1")
    assert ask(zone, f"{WEB} A") == ["NXDOMAIN"]


def test_a_service_may_turn_into_an_alias_and_back() -> None:
    zone = put(Zone(), service("web", "default", "10.96.1.2"))
    put(zone, external("web", "www.example.com"))
    assert ask(zone, f"{WEB} A") == [f"{WEB}. 5 IN CNAME www.example.com."]
    assert ask(zone, "2.1.96.10.in-addr.arpa PTR") == ["NXDOMAIN"]
    put(zone, service("web", "default", "10.96.1.2"))
    assert ask(zone, f"{WEB} A") == [f"{WEB}. 5 IN A 10.96.1.2"]


def test_an_address_given_to_another_service_has_the_new_name() -> None:
    zone = put(Zone(), service("old", "default", "10.96.1.2"))
    zone.delete_service("default", "old")
    put(zone, service("web", "default", "10.96.1.2"))
    assert ask(zone, "2.1.96.10.in-addr.arpa PTR") == [f"2.1.96.10.in-addr.arpa. 5 IN PTR {WEB}."]


def test_a_namespace_lives_as_long_as_it_or_a_service_in_it() -> None:
    zone = put(Zone(), namespace("shop"), service("web", "shop", "10.96.1.2"))
    zone.delete_namespace("", "shop")
    assert ask(zone, "shop.svc.cluster.local A") == ["NOERROR"]
    zone.delete_service("shop", "web")
    assert ask(zone, "shop.svc.cluster.local A") == ["NXDOMAIN"]


def test_pods_on_the_hosts_network_share_an_address() -> None:
    zone = put(Zone(), pod("a", "10.0.0.11"), pod("b", "10.0.0.11"), pod("a", "10.0.0.11"))
    name = "10-0-0-11.default.pod.cluster.local"
    zone.delete_pod("default", "a")
    assert ask(zone, f"{name} A") == [f"{name}. 5 IN A 10.0.0.11"]
    zone.delete_pod("default", "b")
    assert ask(zone, f"{name} A") == ["NXDOMAIN"]


def test_one_strange_object_harms_nobody() -> None:
    """Stores hold what older validation let through; each part that fits no record is left out."""
    zone = put(
        Zone(),
        service("web", "default", "not-an-address", "10.96.1.2", ports=["p" * 80 + ":80/TCP", "ok:80/TCP"]),
        service("pets", "default", "None"),
        endpoints("pets", host("h" * 70, "10.244.0.5"), {"addresses": ["fe80::1%eth0", "?"]}, {"addresses": None}),
        endpoints("pets", name="empty") | {"endpoints": None, "ports": None},
        external("docs", "a..b"),
    )
    assert ask(zone, f"{WEB} A") == [f"{WEB}. 5 IN A 10.96.1.2"]
    assert ask(zone, f"_ok._tcp.{WEB} SRV") == [f"_ok._tcp.{WEB}. 5 IN SRV 0 100 80 {WEB}."]
    assert ask(zone, "10-244-0-5.pets.default.svc.cluster.local A") != ["NXDOMAIN"]
    assert ask(zone, "docs.default.svc.cluster.local A") == ["NOERROR"]


def test_ports_without_a_number_or_out_of_range_have_no_srv_record() -> None:
    piece = endpoints("web", "10.244.0.5")
    piece["ports"] = [{"name": "all"}, {"name": "huge", "port": 70000}, {"name": "http", "port": 80}]
    zone = put(Zone(), service("web", "default", "None"), piece)
    assert ask(zone, f"_all._tcp.{WEB} SRV") == ["NXDOMAIN"]
    assert ask(zone, f"_huge._tcp.{WEB} SRV") == ["NXDOMAIN"]
    assert ask(zone, f"_http._tcp.{WEB} SRV") == [f"_http._tcp.{WEB}. 5 IN SRV 0 100 80 10-244-0-5.{WEB}."]
