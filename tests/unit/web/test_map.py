"""Services, endpoints and nodes as rows."""

from __future__ import annotations

from typing import Any

import pytest

from fairway.web import map as mapped

WEB = {
    "metadata": {"name": "web", "namespace": "shop"},
    "spec": {
        "type": "LoadBalancer",
        "clusterIP": "10.96.0.80",
        "clusterIPs": ["10.96.0.80", "fd00:96::80"],
        "externalIPs": ["198.51.100.7"],
        "externalTrafficPolicy": "Local",
        "sessionAffinity": "ClientIP",
        "selector": {"b": "2", "a": "1"},
        "ports": [
            {"name": "http", "port": 80, "protocol": "TCP", "targetPort": "web", "nodePort": 30080},
            {"port": 53, "protocol": "UDP"},
        ],
    },
    "status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.10"}, {"hostname": "lb.example"}]}},
}  # fmt: skip


def piece(name: str, *endpoints: dict[str, Any], port: int = 8080) -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "shop"}, "ports": [{"port": port}], "endpoints": list(endpoints)}


def end(address: str, **conditions: bool) -> dict[str, Any]:
    target = {"kind": "Pod", "name": f"pod-{address[-1]}"}
    return {"addresses": [address], "nodeName": "node-a", "conditions": conditions, "targetRef": target}


def test_a_service_with_everything() -> None:
    row = mapped.service(WEB, [piece("web-1", end("10.244.0.5", ready=True))])
    assert (row["key"], row["type"], row["state"], row["ready"], row["total"]) == (
        "shop/web",
        "LoadBalancer",
        "ready",
        1,
        1,
    )
    assert [(each["kind"], each["value"]) for each in row["addresses"]] == [
        ("cluster", "10.96.0.80"),
        ("cluster", "fd00:96::80"),
        ("balancer", "203.0.113.10"),
        ("balancer", "lb.example"),
        ("external", "198.51.100.7"),
    ]
    assert [(port["port"], port["protocol"], port["nodePort"], port["target"]) for port in row["ports"]] == [
        (80, "TCP", 30080, "web"),
        (53, "UDP", 0, "53"),
    ]
    assert row["selector"] == "a=1, b=2"
    assert row["endpoints"] == [
        {"address": "10.244.0.5", "ports": [8080], "pod": "shop/pod-5", "node": "node-a", "state": "ready"}
    ]


def test_endpoints_stand_in_the_order_of_their_use_each_once() -> None:
    first = piece("a", end("10.244.0.3", ready=False), end("10.244.0.2", ready=False, serving=True, terminating=True))
    second = piece("b", end("10.244.0.1", ready=True), end("10.244.0.3", ready=False), port=9090)
    found = mapped.endpoints([first, second])
    assert [(each["address"], each["state"], each["ports"]) for each in found] == [
        ("10.244.0.1", "ready", [9090]),
        ("10.244.0.2", "serving", [8080]),
        ("10.244.0.3", "unready", [8080, 9090]),
    ]


@pytest.mark.parametrize(
    ("ready", "state"), [((True, True), "ready"), ((True, False), "some"), ((False,), "none"), ((), "none")]
)
def test_the_state_is_that_of_its_endpoints(ready: tuple[bool, ...], state: str) -> None:
    ends = [end(f"10.244.0.{number}", ready=each) for number, each in enumerate(ready, 1)]
    assert mapped.service(WEB, [piece("a", *ends)])["state"] == state


def test_endpoints_without_conditions_are_ready() -> None:
    assert mapped.endpoints([piece("a", {"addresses": ["10.244.0.1"]})])[0]["state"] == "ready"


def test_of_many_endpoints_the_first_are_shown_and_all_counted() -> None:
    ends = [end(f"10.244.{number // 250}.{number % 250}", ready=True) for number in range(mapped.MAX_ENDPOINTS + 9)]
    row = mapped.service(WEB, [piece("a", *ends)])
    assert (len(row["endpoints"]), row["total"]) == (mapped.MAX_ENDPOINTS, mapped.MAX_ENDPOINTS + 9)


def test_headless_services_and_aliases_have_no_address() -> None:
    headless = {"metadata": {"name": "peers"}, "spec": {"clusterIP": "None"}}
    alias = {"metadata": {"name": "docs"}, "spec": {"type": "ExternalName", "externalName": "docs.example.com"}}
    rows = [mapped.service(each, []) for each in (headless, alias)]
    assert [(row["key"], row["type"], row["addresses"], row["state"], row["alias"]) for row in rows] == [
        ("default/peers", "Headless", [], "none", ""),
        ("default/docs", "ExternalName", [], "alias", "docs.example.com"),
    ]


def test_nodes_and_pods() -> None:
    ready = {"conditions": [{"type": "Ready", "status": "True"}]}
    addresses = [{"type": "InternalIP", "address": "10.0.0.11"}, {"type": "Hostname", "address": "n"}]
    node = {
        "metadata": {"name": "node-a", "labels": {"topology.kubernetes.io/zone": "z1"}},
        "spec": {"podCIDRs": ["10.244.0.0/24"]},
        "status": {"addresses": addresses, **ready},
    }
    assert mapped.node(node) == {
        "key": "node-a", "addresses": ["10.0.0.11"], "ready": True, "zone": "z1", "pods": ["10.244.0.0/24"],
    }  # fmt: skip
    pod = {"metadata": {"name": "web-1"}, "spec": {"nodeName": "node-a"}, "status": {"podIP": "10.244.0.5"}}
    assert mapped.pod(pod) == {
        "key": "default/web-1", "addresses": ["10.244.0.5"], "node": "node-a", "host": False, "ready": False,
    }  # fmt: skip
