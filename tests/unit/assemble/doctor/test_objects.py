"""Objects against each other: one fault at a time in a small shop."""

from __future__ import annotations

from typing import Any

import pytest

from fairway.assemble.catalogue import Catalogue
from fairway.assemble.doctor.findings import Finding, Severity, as_json, clean, ordered, text
from fairway.assemble.doctor.objects import examine


def meta(name: str, labels: dict[str, str] | None = None, namespace: str = "default") -> dict[str, Any]:
    return {"name": name, "namespace": namespace, "uid": name, "labels": labels or {}}


def service(name: str = "web", status: Any = None, **spec: Any) -> dict[str, Any]:
    return {
        "metadata": meta(name),
        "spec": {
            "clusterIP": "10.96.0.20",
            "clusterIPs": ["10.96.0.20"],
            "selector": {"app": "web"},
            "ports": [{"port": 80, "protocol": "TCP", "targetPort": "http"}],
            **spec,
        },
        "status": status or {},
    }


def pod(name: str = "web-1", node: str = "node-a", ip: str = "10.244.0.5", **more: Any) -> dict[str, Any]:
    ready = more.pop("ready", True)
    container = {"name": "main", "ports": [{"name": more.pop("port", "http"), "containerPort": 8080}]}
    return {
        "metadata": meta(name, {"app": "web"}, more.pop("namespace", "default")),
        "spec": {"nodeName": node, "containers": [container]},
        "status": {
            "phase": "Running",
            "podIP": ip,
            "podIPs": [{"ip": ip}],
            "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
        },
    }


def endpoint(of: dict[str, Any], **more: Any) -> dict[str, Any]:
    reference = {"kind": "Pod", **{key: of["metadata"][key] for key in ("name", "namespace", "uid")}}
    ready = of["status"]["conditions"][0]["status"] == "True"
    return {
        "addresses": [of["status"]["podIP"]],
        "conditions": {"ready": ready},
        "nodeName": of["spec"]["nodeName"],
        "targetRef": reference,
        **more,
    }


def piece(*endpoints: dict[str, Any], of: str = "web") -> dict[str, Any]:
    return {"metadata": meta(f"{of}-x", {"kubernetes.io/service-name": of}), "endpoints": list(endpoints)}


def node(name: str, address: str, zone: str = "") -> dict[str, Any]:
    labels = {"topology.kubernetes.io/zone": zone} if zone else {}
    return {
        "metadata": {"name": name, "labels": labels},
        "status": {"addresses": [{"type": "InternalIP", "address": address}]},
    }


NODES = (node("node-a", "10.0.0.11", "east"), node("node-b", "10.0.0.12", "west"))
WEB = pod()


def ask(*objects: dict[str, Any], namespaces: tuple[str, ...] = ("default",)) -> list[Finding]:
    """The findings about these objects, told apart by what they have."""
    found = Catalogue()
    for one in (*objects, *NODES):
        key = (one["metadata"].get("namespace", ""), one["metadata"]["name"])
        if "endpoints" in one:
            found.slices[key] = one
        elif "containers" in one.get("spec", {}):
            found.pods[key] = one
        elif "spec" in one:
            found.services[key] = one
        else:
            found.nodes[key] = one
    return ordered(examine(found, namespaces, "cluster.local"))


def test_a_service_with_a_pod_is_in_order() -> None:
    assert ask(service(), WEB, piece(endpoint(WEB))) == []


LOCAL = {"externalTrafficPolicy": "Local", "type": "NodePort"}
HINTED = {"hints": {"forZones": [{"name": "east"}]}}
SECOND = pod("web-2", "node-b", "10.244.1.5")
UNREADY = pod(ready=False)
NAMELESS = pod(port="web")
STRANGER = pod("db-1", "node-a", "10.244.0.9", namespace="shop")
BALANCED = {"loadBalancer": {"ingress": [{"ip": "203.0.113.7"}]}}


@pytest.mark.parametrize(
    ("objects", "code", "severity", "said"),
    [
        ((service(),), "selector", "warning", "its selector app=web matches no pod"),
        ((service(selector=None),), "no-endpoints", "warning", "nobody serves it"),
        ((service(), UNREADY, piece(endpoint(UNREADY))), "none-ready", "error", "none of its 1 pods serves"),
        ((service(), NAMELESS, piece(endpoint(NAMELESS))), "target-port", "error", "container port named http"),
        (
            (service(internalTrafficPolicy="Local"), WEB, piece(endpoint(WEB))),
            "local-internal",
            "warning",
            "processes on node-b get no answer",
        ),
        ((service(**LOCAL), WEB, piece(endpoint(WEB))), "local-external", "warning", "outside at node-b is dropped"),
        (
            (service(**LOCAL, healthCheckNodePort=30001), WEB, piece(endpoint(WEB))),
            "local-external",
            "note",
            "load balancers that ask the health check port know",
        ),
        (
            (service(trafficDistribution="PreferClose"), WEB, piece(endpoint(WEB))),
            "no-hints",
            "note",
            "no endpoint has a hint",
        ),
        (
            (service(), WEB, SECOND, piece(endpoint(WEB, **HINTED), endpoint(SECOND))),
            "hints-dropped",
            "warning",
            "1 of 2 ready endpoints have none",
        ),
        ((service(), WEB, piece(endpoint(WEB, **HINTED))), "hints-dropped", "note", "its zone west has no endpoint"),
        ((service(externalIPs=["198.51.100.7"]), WEB, piece(endpoint(WEB))), "claims", "note", "CVE-2020-8554"),
        (
            (service(type="LoadBalancer", status=BALANCED), WEB, piece(endpoint(WEB))),
            "claims",
            "note",
            "it claims 203.0.113.7",
        ),
        (
            (service(), WEB, STRANGER, piece(endpoint(WEB), {"addresses": ["10.244.0.9"]})),
            "slice-outside",
            "warning",
            "pod shop/db-1 of another namespace (CVE-2021-25740)",
        ),
        (
            (service(), WEB, piece(endpoint(WEB), {"addresses": ["169.254.169.254"]})),
            "slice-refused",
            "warning",
            "which no endpoint may have",
        ),
        (
            (service(), WEB, piece(endpoint(WEB), endpoint(SECOND))),
            "slice-stale",
            "warning",
            "no pod has that address",
        ),
        ((service(), WEB, piece(endpoint(WEB)), piece(of="gone")), "orphan-slice", "note", "a Service gone"),
    ],
)
def test_one_fault_is_found(objects: tuple[dict[str, Any], ...], code: str, severity: str, said: str) -> None:
    (found,) = ask(*objects)

    assert (found.code, found.severity) == (code, severity)
    assert said in found.message


def test_two_services_at_one_address_and_one_at_a_nodes() -> None:
    both = [service(name, externalIPs=["198.51.100.7", "10.0.0.12"]) for name in ("web", "api")]
    found = ask(*both, WEB, piece(endpoint(WEB)), piece(endpoint(WEB), of="api"))

    collisions = [each.message for each in found if each.code == "collision"]
    assert collisions[0].startswith("default/api: it and default/web claim 198.51.100.7 port 80/TCP")
    assert [each.message for each in found if each.code == "takes-address"] == [
        "default/api: it claims 10.0.0.12, which is that of node node-b",
        "default/web: it claims 10.0.0.12, which is that of node node-b",
    ]


def test_a_namespace_that_catches_names() -> None:
    (found,) = ask(namespaces=("default", "com"))

    assert (found.code, found.object) == ("namespace-name", "Namespace com")
    assert "CVE-2022-2835" in found.message


def test_the_worst_comes_first_and_notes_alone_are_clean() -> None:
    note = Finding(Severity.NOTE, "claims", "it has no label x")
    error = Finding(
        Severity.ERROR, "missing", "the rules do not lead to x", "Service a/b", "spec", "node-a", ("x -> y",), "look"
    )

    assert ordered([note, error, note]) == [error, note]
    assert clean([note])
    assert not clean([note, error])
    assert text([error, note], "All") == (
        "ERROR [node-a] the rules do not lead to x\n    Service a/b: spec\n    | x -> y\n    see: look\n\n"
        "NOTE it has no label x\n\nAll: 1 error, 1 note."
    )
    assert as_json([error], ["node-a"])["findings"][0]["severity"] == "error"


def test_what_the_controller_of_load_balancers_granted_is_no_claim() -> None:
    condition = {"type": "fairway.io/LoadBalancer", "status": "True", "reason": "Assigned"}
    for conditions, wanted in (([condition], set()), ([], {"claims", "takes-address"})):
        status = {"loadBalancer": {"ingress": [{"ip": "10.0.0.12"}]}, "conditions": conditions}
        granted = service(status=status, type="LoadBalancer")
        assert {each.code for each in ask(granted, WEB, piece(endpoint(WEB)))} == wanted
