"""Short ways to write Services, slices and nodes in tests, with the addresses of `tests.plan`."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Sequence
from typing import Any

from fairway.desired import view
from fairway.desired.options import ProxyOptions
from fairway.desired.view import ServiceView, SliceView
from fairway.node import Interface, Node
from tests import plan

OPTIONS = ProxyOptions(cluster_cidrs=(plan.POD_RANGE,))


def node(name: str = "node-a", zone: str = "") -> Node:
    """A node with its address on the segment and a bridge for its pods."""
    return Node(
        name=name,
        interfaces=(
            Interface("eth0", (ipaddress.ip_interface(plan.NODES[name] + "/24"),)),
            Interface("cni0", (ipaddress.ip_interface("10.244.0.1/24"),)),
        ),
        pod_cidrs=(ipaddress.ip_network("10.244.0.0/24"),),
        labels={"topology.kubernetes.io/zone": zone} if zone else {},
    )


def service_json(name: str = "web", /, ip: str = "10.96.0.20", **spec: Any) -> bytes:
    """A Service as the API server would give it; `spec` goes over the defaults, `status` and `labels` beside it."""
    status, labels = spec.pop("status", {}), spec.pop("labels", {})
    body = {
        "metadata": {"name": name, "namespace": "default", "labels": labels},
        "spec": {
            "type": "ClusterIP",
            "clusterIP": ip,
            "clusterIPs": [ip],
            "ports": [{"port": 80, "protocol": "TCP"}],
            **spec,
        },
        "status": status,
    }
    return json.dumps(body).encode()


def service(name: str = "web", /, ip: str = "10.96.0.20", **spec: Any) -> ServiceView:
    return view.service(service_json(name, ip, **spec))


def endpoint(address: str, on: str = "node-a", **more: Any) -> dict[str, Any]:
    """A slice's endpoint; conditions and hints by keyword: ready, serving, terminating, zones, nodes."""
    conditions = {k: more[k] for k in ("ready", "serving", "terminating") if k in more}
    hints = {
        field: [{"name": name} for name in more[key]]
        for key, field in (("zones", "forZones"), ("nodes", "forNodes"))
        if key in more
    }
    return {"addresses": [address], "nodeName": on, "conditions": conditions, "hints": hints}


def slice_json(of: str = "web", /, *endpoints: dict[str, Any], name: str = "", **more: Any) -> bytes:
    """An EndpointSlice of the Service `of`; `port`, `port_name`, `protocol` and `family` by keyword."""
    ports = [
        {
            "name": more.get("port_name", ""),
            "port": more.get("port", 8080),
            "protocol": more.get("protocol", "TCP"),
        }
    ]
    body = {
        "metadata": {
            "name": name or f"{of}-1",
            "namespace": "default",
            "labels": {"kubernetes.io/service-name": of},
        },
        "addressType": more.get("family", "IPv4"),
        "endpoints": list(endpoints),
        "ports": ports,
    }
    return json.dumps(body).encode()


def endpoint_slice(of: str = "web", /, *endpoints: dict[str, Any], name: str = "", **more: Any) -> SliceView:
    return view.endpoint_slice(slice_json(of, *endpoints, name=name, **more))


def texts(endpoints: Sequence[object]) -> list[str]:
    return [str(e) for e in endpoints]
