"""Tables: what `kubectl get` prints for each kind."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fairway.api.tables import table
from fairway.api.tables_cells import duration, labels, selector, since, some
from fairway.objects.kinds import KINDS, Kind, by_kind

NOW = datetime(2026, 5, 1, 12, 0, 0, tzinfo=UTC)


def at(**before: float) -> str:
    return (NOW - timedelta(**before)).isoformat().replace("+00:00", "Z")


def shown(kind_name: str, obj: dict[str, Any]) -> dict[str, Any]:
    """The row of one object by column name."""
    kind = next(kind for kind in KINDS if kind.name == kind_name)
    obj = {**obj, "metadata": {"name": "x", "creationTimestamp": at(minutes=5), **obj.get("metadata", {})}}
    made = table(kind, [obj], NOW, list_metadata={})
    return dict(zip((one["name"] for one in made["columnDefinitions"]), made["rows"][0]["cells"], strict=True))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "<invalid>"), (-0.5, "0s"), (0, "0s"), (5.9, "5s"), (119, "119s"),
        (120, "2m"), (192, "3m12s"), (599, "9m59s"), (600, "10m"), (10799, "179m"),
        (10800, "3h"), (3 * 3600 + 300, "3h5m"), (8 * 3600, "8h"), (47 * 3600, "47h"),
        (48 * 3600, "2d"), (51 * 3600, "2d3h"), (8 * 86400, "8d"), (729 * 86400, "729d"),
        (730 * 86400, "2y"), (740 * 86400, "2y10d"), (8 * 365 * 86400, "8y"),
    ],
)  # fmt: skip
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_cells() -> None:
    assert since(at(seconds=5), NOW) == "5s"
    assert since(None, NOW) == "<unknown>"
    assert labels({"b": "2", "a": "1"}) == "a=1,b=2"
    assert labels({}) == "<none>"
    assert selector({"matchLabels": {"a": "b"}, "matchExpressions": [{"key": "c", "operator": "Exists"}]}) == "a=b,c"
    assert selector({}) == "<none>"
    assert some(["a", "b", "c"]) == "a,b,c"
    assert some(list("abcde")) == "a,b,c + 2 more..."


HEADERS = {
    "Pod": "Name Ready Status Restarts Age | IP Node Nominated_Node Readiness_Gates",
    "Service": "Name Type Cluster-IP External-IP Port(s) Age | Selector",
    "Endpoints": "Name Endpoints Age |",
    "EndpointSlice": "Name AddressType Ports Endpoints Age |",
    "ReplicationController": "Name Desired Current Ready Age | Containers Images Selector",
    "ReplicaSet": "Name Desired Current Ready Age | Containers Images Selector",
    "Deployment": "Name Ready Up-to-date Available Age | Containers Images Selector",
    "Node": "Name Status Roles Age Version | Internal-IP External-IP OS-Image Kernel-Version Container-Runtime",
    "Namespace": "Name Status Age |",
    "Event": "Last_Seen Type Reason Object Message | Subobject Source First_Seen Count Name",
    "ConfigMap": "Name Data Age |",
    "Secret": "Name Type Data Age |",
    "ServiceAccount": "Name Secrets Age |",
    "Lease": "Name Holder Age |",
    "ServiceCIDR": "Name CIDRs Age |",
    "IPAddress": "Name ParentRef Age |",
    "Role": "Name Created_At |",
    "ClusterRole": "Name Created_At |",
    "RoleBinding": "Name Role Age | Users Groups ServiceAccounts",
    "ClusterRoleBinding": "Name Role Age | Users Groups ServiceAccounts",
    "Ingress": "Name Class Hosts Address Ports Age |",
    "IngressClass": "Name Controller Parameters Age |",
    "PodDisruptionBudget": "Name Min_Available Max_Unavailable Allowed_Disruptions Age |",
}


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_headers(kind: Kind) -> None:
    columns = table(kind, [], NOW, list_metadata={})["columnDefinitions"]
    narrow, wide = ([one["name"].replace(" ", "_") for one in columns if one["priority"] == part] for part in (0, 1))
    assert " ".join([*narrow, "|", *wide]) == HEADERS[kind.name]
    assert [one["name"] for one in columns if one["format"] == "name"] == ["Name"]
    assert all(one["description"] and one["type"] in ("string", "integer") for one in columns)


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_an_object_that_says_nothing_still_has_a_row(kind: Kind) -> None:
    made = table(kind, [{"metadata": {"name": "bare"}}], NOW, list_metadata={})
    assert len(made["rows"][0]["cells"]) == len(made["columnDefinitions"])
    assert "bare" in made["rows"][0]["cells"]


def test_a_kind_without_a_layout_shows_name_and_age() -> None:
    gadget = Kind("", "v1", "Gadget", "gadgets", "gadget")
    made = table(gadget, [{"metadata": {"name": "a", "creationTimestamp": at(hours=5)}}], NOW, list_metadata={})
    assert made["rows"][0]["cells"] == ["a", "5h"]


def test_the_envelope() -> None:
    service = by_kind("v1", "Service")
    assert service is not None
    obj = {"kind": "Service", "metadata": {"name": "web"}, "spec": {}}
    made = table(service, [obj], NOW, list_metadata={"resourceVersion": "9"})
    assert (made["kind"], made["apiVersion"], made["metadata"]) == ("Table", "meta.k8s.io/v1", {"resourceVersion": "9"})
    assert made["rows"][0]["object"] == {
        "kind": "PartialObjectMetadata",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": {"name": "web"},
    }
    whole = table(service, [obj], NOW, list_metadata={}, include_object="Object")
    none = table(service, [obj], NOW, list_metadata={}, include_object="None")
    assert (whole["rows"][0]["object"], none["rows"][0]["object"]) == (obj, None)


@pytest.mark.parametrize(
    ("service", "cells"),
    [
        (
            {"spec": {"type": "ClusterIP", "clusterIP": "10.96.0.5", "ports": [{"port": 8080, "protocol": "TCP"}],
                      "selector": {"run": "httpd"}}},
            ["ClusterIP", "10.96.0.5", "<none>", "8080/TCP", "5m", "run=httpd"],
        ),
        (
            {"spec": {"type": "NodePort", "clusterIP": "10.96.0.5",
                      "ports": [{"port": 8080, "nodePort": 30000}, {"port": 53, "protocol": "UDP"}]}},
            ["NodePort", "10.96.0.5", "<none>", "8080:30000/TCP,53/UDP", "5m", "<none>"],
        ),
        (
            {"spec": {"type": "ClusterIP", "clusterIP": "None", "ports": []}},
            ["ClusterIP", "None", "<none>", "<none>", "5m", "<none>"],
        ),
        (
            {"spec": {"type": "ExternalName", "externalName": "example.com"}},
            ["ExternalName", "<none>", "example.com", "<none>", "5m", "<none>"],
        ),
        (
            {"spec": {"type": "LoadBalancer", "clusterIP": "10.96.0.5"}},
            ["LoadBalancer", "10.96.0.5", "<pending>", "<none>", "5m", "<none>"],
        ),
        (
            {"spec": {"type": "LoadBalancer", "clusterIP": "10.96.0.5", "externalIPs": ["192.0.2.9"]},
             "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}, {"hostname": "lb.example.com"}]}}},
            ["LoadBalancer", "10.96.0.5", "192.0.2.1,lb.example.com,192.0.2.9", "<none>", "5m", "<none>"],
        ),
        (
            {"spec": {"type": "ClusterIP", "clusterIP": "fd00::5", "externalIPs": ["192.0.2.9", "192.0.2.8"]}},
            ["ClusterIP", "fd00::5", "192.0.2.9,192.0.2.8", "<none>", "5m", "<none>"],
        ),
    ],
)  # fmt: skip
def test_services(service: dict[str, Any], cells: list[str]) -> None:
    assert list(shown("Service", service).values())[1:] == cells


def test_endpoints_name_three_and_count_the_rest() -> None:
    addresses = [{"ip": f"10.244.0.{n}"} for n in range(2, 6)]
    subsets = [{"addresses": addresses, "notReadyAddresses": [{"ip": "10.244.9.9"}], "ports": [{"port": 80}]}]
    assert shown("Endpoints", {"subsets": subsets})["Endpoints"] == (
        "10.244.0.2:80,10.244.0.3:80,10.244.0.4:80 + 1 more..."
    )
    assert shown("Endpoints", {"subsets": [{"addresses": [{"ip": "fd00::1"}], "ports": [{"port": 80}]}]})[
        "Endpoints"
    ] == ("[fd00::1]:80")
    assert shown("Endpoints", {"subsets": [{"addresses": [{"ip": "10.244.0.2"}]}]})["Endpoints"] == "10.244.0.2"
    assert shown("Endpoints", {})["Endpoints"] == "<none>"


def test_endpoint_slices() -> None:
    row = shown(
        "EndpointSlice",
        {
            "addressType": "IPv4",
            "ports": [{"port": 80}, {"name": "metrics"}, {}, {"port": 1}],
            "endpoints": [{"addresses": ["10.244.0.2"]}, {"addresses": ["10.244.1.2"]}],
        },
    )
    assert list(row.values())[1:4] == ["IPv4", "80,metrics,* + 1 more...", "10.244.0.2,10.244.1.2"]
    assert list(shown("EndpointSlice", {"addressType": "IPv6"}).values())[2:4] == ["<unset>", "<unset>"]


TEMPLATE = {"spec": {"containers": [{"name": "web", "image": "httpd"}, {"name": "log", "image": "sidecar:1"}]}}


def test_workloads() -> None:
    spec = {"replicas": 3, "selector": {"app": "web"}, "template": TEMPLATE}
    status = {"replicas": 2, "readyReplicas": 1}
    row = shown("ReplicationController", {"spec": spec, "status": status})
    assert list(row.values()) == ["x", 3, 2, 1, "5m", "web,log", "httpd,sidecar:1", "app=web"]

    spec = {**spec, "selector": {"matchLabels": {"app": "web"}}}
    assert list(shown("ReplicaSet", {"spec": spec, "status": status}).values()) == list(row.values())

    status = {"readyReplicas": 1, "updatedReplicas": 2, "availableReplicas": 1}
    row = shown("Deployment", {"spec": spec, "status": status})
    assert list(row.values()) == ["x", "1/3", 2, 1, "5m", "web,log", "httpd,sidecar:1", "app=web"]


def test_nodes() -> None:
    row = shown(
        "Node",
        {
            "metadata": {"labels": {"node-role.kubernetes.io/worker": "", "kubernetes.io/role": "edge"}},
            "spec": {"unschedulable": True},
            "status": {
                "conditions": [{"type": "Ready", "status": "True"}],
                "addresses": [{"type": "InternalIP", "address": "10.0.0.11"}],
                "nodeInfo": {"kubeletVersion": "v1.36.0", "kernelVersion": "6.1"},
            },
        },
    )
    assert list(row.values())[1:] == [
        "Ready,SchedulingDisabled", "edge,worker", "5m", "v1.36.0",
        "10.0.0.11", "<none>", "<unknown>", "6.1", "<unknown>",
    ]  # fmt: skip
    for status, word in (("False", "NotReady"), ("Unknown", "NotReady")):
        lost = {"status": {"conditions": [{"type": "Ready", "status": status}]}}
        assert shown("Node", lost)["Status"] == word
    assert (shown("Node", {})["Status"], shown("Node", {})["Roles"]) == ("Unknown", "<none>")


def test_events() -> None:
    row = shown(
        "Event",
        {
            "involvedObject": {"kind": "Pod", "name": "web", "fieldPath": "spec.containers{web}"},
            "source": {"component": "agent", "host": "node-a"},
            "firstTimestamp": at(minutes=2),
            "lastTimestamp": at(seconds=3),
            "type": "Warning",
            "reason": "BackOff",
            "message": "it fell over\n",
            "count": 4,
        },
    )
    assert list(row.values()) == [
        "3s", "Warning", "BackOff", "pod/web", "spec.containers{web}", "agent, node-a", "it fell over", "2m", 4, "x",
    ]  # fmt: skip
    series = {"eventTime": at(minutes=2), "series": {"count": 7, "lastObservedTime": at(seconds=1)}}
    row = shown("Event", {**series, "reportingComponent": "scheduler"})
    assert (row["Last Seen"], row["First Seen"], row["Count"], row["Source"]) == ("1s", "2m", 7, "scheduler")


@pytest.mark.parametrize(
    ("kind", "obj", "cells"),
    [
        ("Namespace", {"status": {"phase": "Active"}}, ["x", "Active", "5m"]),
        ("ConfigMap", {"data": {"a": "1"}, "binaryData": {"b": "aGk="}}, ["x", 2, "5m"]),
        ("Secret", {"type": "Opaque", "data": {"a": ""}}, ["x", "Opaque", 1, "5m"]),
        ("ServiceAccount", {}, ["x", 0, "5m"]),
        ("Lease", {"spec": {"holderIdentity": "node-a"}}, ["x", "node-a", "5m"]),
        ("ServiceCIDR", {"spec": {"cidrs": ["10.96.0.0/12", "fd00::/108"]}}, ["x", "10.96.0.0/12,fd00::/108", "5m"]),
        (
            "IPAddress",
            {"spec": {"parentRef": {"resource": "services", "namespace": "default", "name": "web"}}},
            ["x", "services/default/web", "5m"],
        ),
    ],
)
def test_small_kinds(kind: str, obj: dict[str, Any], cells: list[Any]) -> None:
    assert list(shown(kind, obj).values()) == cells
