"""How a Service changes: transitions of type, addresses in two spellings, what an update may leave out."""

from itertools import product
from typing import Any

import pytest

from fairway.objects import admit
from fairway.objects.kinds import SERVICE
from tests.unit.objects.people import created, update_faults, updated

Object = dict[str, Any]


def service(**spec: Any) -> Object:
    """A Service as the store holds it, its addresses allocated."""
    made = created(SERVICE, {"spec": {"ports": [{"port": 80}], **spec}})
    body = made["spec"]
    if body["type"] != "ExternalName" and not body.get("clusterIP"):
        body |= {
            "clusterIP": "10.96.0.5",
            "clusterIPs": ["10.96.0.5"],
            "ipFamilies": ["IPv4"],
            "ipFamilyPolicy": "SingleStack",
        }
    if body["type"] in ("NodePort", "LoadBalancer"):
        body["ports"][0].setdefault("nodePort", 30080)
    if body["type"] == "LoadBalancer" and body["externalTrafficPolicy"] == "Local":
        body["healthCheckNodePort"] = 32000
    assert admit.validate_create(SERVICE, made) == []
    return made


TYPES = ("ClusterIP", "NodePort", "LoadBalancer", "ExternalName")


@pytest.mark.parametrize(("before", "after"), list(product(TYPES, TYPES)))
def test_every_change_of_type_alone_leads_to_a_valid_service(before: str, after: str) -> None:
    names = {"externalName": "example.com"} if before == "ExternalName" else {}
    old = service(type=before, **names)
    new = updated(SERVICE, old, {"type": after, "externalName": "example.com" if after == "ExternalName" else None})
    assert update_faults(SERVICE, old, new) == []


def test_leaving_the_load_balancer_gives_up_what_only_it_had() -> None:
    old = service(type="LoadBalancer", externalTrafficPolicy="Local", loadBalancerClass="example.com/lb")
    spec = updated(SERVICE, old, {"type": "ClusterIP"})["spec"]
    gone = {"allocateLoadBalancerNodePorts", "loadBalancerClass", "healthCheckNodePort", "externalTrafficPolicy"}
    assert not gone & spec.keys()
    assert spec["ports"] == [{"port": 80, "protocol": "TCP", "targetPort": 80}]
    assert spec["clusterIP"] == "10.96.0.5"


def test_becoming_a_name_gives_up_the_addresses() -> None:
    spec = updated(SERVICE, service(), {"type": "ExternalName", "externalName": "example.com"})["spec"]
    assert not {"clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy"} & spec.keys()


def test_what_the_writer_asked_for_anew_is_not_dropped_but_refused() -> None:
    old = service(type="NodePort")
    new = updated(SERVICE, old, {"type": "ClusterIP", "ports": [{"port": 80, "nodePort": 30099}]})
    assert update_faults(SERVICE, old, new) == [
        "spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'"
    ]
    new = updated(SERVICE, service(), {"type": "ExternalName", "externalName": "a.b", "clusterIP": "10.96.0.9"})
    assert update_faults(SERVICE, service(), new) == [
        'spec.clusterIPs: Invalid value: ["10.96.0.9"]: may not be set for ExternalName services'
    ]


def test_an_update_may_leave_out_what_was_allocated() -> None:
    old = service(type="LoadBalancer", externalTrafficPolicy="Local")
    allocated = ("clusterIP", "clusterIPs", "healthCheckNodePort")
    new = updated(SERVICE, old, {**dict.fromkeys(allocated), "ports": [{"port": 80}, {"port": 81, "name": "b"}]})
    spec = new["spec"]
    assert {name: spec[name] for name in allocated} == {name: old["spec"][name] for name in allocated}
    assert [port.get("nodePort") for port in spec["ports"]] == [30080, None]


@pytest.mark.parametrize("left_out", [{"clusterIP": None}, {"clusterIP": ""}, {"clusterIPs": None}, {"clusterIPs": []}])
def test_either_spelling_of_the_address_may_be_left_out(left_out: Object) -> None:
    old = service()
    new = updated(SERVICE, old, left_out)
    assert (new["spec"], update_faults(SERVICE, old, new)) == (old["spec"], [])


def test_a_port_is_known_by_its_name_whatever_else_of_it_changes() -> None:
    old = service(type="NodePort")
    new = updated(SERVICE, old, {"ports": [{"port": 8080, "protocol": "UDP"}]})
    assert [port["nodePort"] for port in new["spec"]["ports"]] == [30080]


def test_node_ports_a_load_balancer_had_stay_until_they_are_taken_out() -> None:
    old = service(type="LoadBalancer")
    kept = updated(SERVICE, old, {"allocateLoadBalancerNodePorts": False})
    assert [port["nodePort"] for port in kept["spec"]["ports"]] == [30080]
    gone = updated(SERVICE, kept, {"ports": [{"port": 80}]})
    assert "nodePort" not in gone["spec"]["ports"][0]
    left = updated(SERVICE, kept, {"type": "ClusterIP"})
    assert "nodePort" not in left["spec"]["ports"][0]
    assert update_faults(SERVICE, kept, left) == []


def test_what_is_no_load_balancer_any_more_has_no_address_of_one() -> None:
    old = service(type="LoadBalancer")
    old["status"] = {"loadBalancer": {"ingress": [{"ip": "192.0.2.1", "ipMode": "VIP"}]}}
    assert updated(SERVICE, old, {"sessionAffinity": "ClientIP"})["status"] == old["status"]
    assert updated(SERVICE, old, {"type": "NodePort"})["status"] == {"loadBalancer": {}}


def status_faults(type_: str, *points: Object) -> list[str]:
    old = service(type=type_)
    new = {**old, "status": {"loadBalancer": {"ingress": list(points)}}}
    return update_faults(SERVICE, old, new, "status")


def test_only_a_load_balancer_has_points_of_ingress() -> None:
    assert status_faults("LoadBalancer", {"ip": "192.0.2.1", "ipMode": "Proxy"}, {"hostname": "lb.example.com"}) == []
    assert status_faults("NodePort", {"ip": "192.0.2.1", "ipMode": "VIP"}) == [
        'status.loadBalancer.ingress: Forbidden: may only be used when `spec.type` is "LoadBalancer"'
    ]


@pytest.mark.parametrize(
    ("point", "fault"),
    [
        ({"ip": "x", "ipMode": "VIP"}, '[0].ip: Invalid value: "x": must be a valid IP address'),
        ({"ip": "192.0.2.01", "ipMode": "VIP"}, '[0].ip: Invalid value: "192.0.2.01": must be a valid IP address'),
        (
            {"ip": "192.0.2.1", "ipMode": "Foo"},
            '[0].ipMode: Unsupported value: "Foo": supported values: "Proxy", "VIP"',
        ),
        ({"hostname": "a.b", "ipMode": "VIP"}, "[0].ipMode: Forbidden: may not be specified when `ip` is not set"),
        ({"hostname": "192.0.2.1"}, '[0].hostname: Invalid value: "192.0.2.1": must be a DNS name, not an IP address'),
        ({"hostname": "a_b"}, '[0].hostname: Invalid value: "a_b": a lowercase RFC 1123 subdomain'),
    ],
)
def test_a_point_of_ingress_is_an_address_or_a_name(point: Object, fault: str) -> None:
    (found,) = status_faults("LoadBalancer", point)
    assert found.startswith(f"status.loadBalancer.ingress{fault}")


def test_the_port_of_health_checks_is_fixed_while_there_are_any() -> None:
    old = service(type="LoadBalancer", externalTrafficPolicy="Local")
    new = updated(SERVICE, old, {"healthCheckNodePort": 32001})
    assert update_faults(SERVICE, old, new) == ["spec.healthCheckNodePort: Forbidden: field is immutable"]


def test_a_node_port_claimed_by_another_port_is_not_kept() -> None:
    old = service(type="NodePort")
    ports = [{"port": 80, "name": "a"}, {"port": 81, "name": "b", "nodePort": 30080}]
    new = updated(SERVICE, old, {"ports": ports})
    assert [port.get("nodePort") for port in new["spec"]["ports"]] == [None, 30080]


DUAL = {"clusterIP": "10.96.0.5", "clusterIPs": ["10.96.0.5", "fd00::5"], "ipFamilies": ["IPv4", "IPv6"]}


def test_asking_for_one_family_releases_the_second() -> None:
    old = service(**DUAL, ipFamilyPolicy="PreferDualStack")
    new = updated(SERVICE, old, {"ipFamilyPolicy": "SingleStack"})
    assert (new["spec"]["clusterIPs"], new["spec"]["ipFamilies"]) == (["10.96.0.5"], ["IPv4"])
    assert update_faults(SERVICE, old, new) == []


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"clusterIP": "10.96.0.9"}, 'spec.clusterIPs[0]: Invalid value: ["10.96.0.9"]: may not change once set'),
        (
            {"clusterIPs": ["10.96.0.9"], "clusterIP": "10.96.0.9"},
            'spec.clusterIPs[0]: Invalid value: ["10.96.0.9"]: may not change once set',
        ),
        ({"clusterIP": "None"}, 'spec.clusterIPs[0]: Invalid value: ["None"]: may not change once set'),
        ({"ipFamilies": ["IPv6"]}, 'spec.ipFamilies[0]: Invalid value: "IPv6": may not change once set'),
        ({"type": "Foo"}, 'spec.type: Unsupported value: "Foo": supported values: "ClusterIP", "ExternalName", '
                          '"LoadBalancer", "NodePort"'),
    ],
)  # fmt: skip
def test_what_may_not_change(change: Object, fault: str) -> None:
    old = service()
    assert fault in update_faults(SERVICE, old, updated(SERVICE, old, change))


def test_the_second_address_and_the_class_are_fixed_too() -> None:
    old = service(**DUAL, ipFamilyPolicy="RequireDualStack")
    new = updated(SERVICE, old, {"clusterIPs": ["10.96.0.5", "fd00::9"]})
    assert update_faults(SERVICE, old, new) == ['spec.clusterIPs[1]: Invalid value: "fd00::9": may not change once set']
    new = updated(SERVICE, old, {"clusterIPs": ["10.96.0.5"], "ipFamilies": ["IPv4"]})
    assert update_faults(SERVICE, old, new) == [
        "spec.ipFamilyPolicy: Invalid value: \"RequireDualStack\": must be set to 'SingleStack' when releasing the "
        "secondary cluster IP"
    ]
    old = service(type="LoadBalancer")
    new = updated(SERVICE, old, {"loadBalancerClass": "example.com/lb"})
    assert update_faults(SERVICE, old, new) == [
        'spec.loadBalancerClass: Invalid value: "example.com/lb": may not change once set'
    ]


def test_an_object_stored_under_older_rules_can_still_be_labelled() -> None:
    old = service()
    old["spec"]["ports"][0]["port"] = 70000
    new = {**old, "metadata": {**old["metadata"], "labels": {"a": "b"}}}
    assert update_faults(SERVICE, old, new) == []
