"""The map: Services, their endpoints, and the nodes these are on, as rows. Pure; objects are as the API has them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

Object: TypeAlias = Mapping[str, Any]
Row: TypeAlias = dict[str, Any]

MAX_ENDPOINTS = 250
"""Endpoints shown of one Service; the rest is counted."""


def service(found: Object, slices: Sequence[Object]) -> Row:
    """A Service with its endpoints. `state`: "ready" (every endpoint is), "some", "none", or "alias" (ExternalName)."""
    metadata, spec = found["metadata"], found.get("spec") or {}
    ends = endpoints(slices)
    ready = sum(1 for each in ends if each["state"] == "ready")
    alias = spec.get("type") == "ExternalName"
    return {
        "key": f"{metadata.get('namespace') or 'default'}/{metadata.get('name', '')}",
        "type": _type(spec),
        "addresses": list(_addresses(found)),
        "ports": [_port(port) for port in spec.get("ports") or ()],
        "external": spec.get("externalTrafficPolicy") or "",
        "internal": spec.get("internalTrafficPolicy") or "",
        "affinity": spec.get("sessionAffinity") or "None",
        "selector": ", ".join(f"{key}={value}" for key, value in sorted((spec.get("selector") or {}).items())),
        "alias": spec.get("externalName") or "" if alias else "",
        "state": "alias" if alias else _state(ready, len(ends)),
        "ready": ready,
        "total": len(ends),
        "endpoints": ends[:MAX_ENDPOINTS],
    }


def _type(spec: Object) -> str:
    kind = spec.get("type") or "ClusterIP"
    return "Headless" if kind == "ClusterIP" and spec.get("clusterIP") == "None" else str(kind)


def _state(ready: int, total: int) -> str:
    if not ready:
        return "none"
    return "ready" if ready == total else "some"


def _addresses(found: Object) -> Iterator[Row]:
    spec = found.get("spec") or {}
    cluster = spec.get("clusterIPs") or [spec.get("clusterIP")]
    yield from ({"kind": "cluster", "value": each} for each in cluster if each and each != "None")
    ingress = ((found.get("status") or {}).get("loadBalancer") or {}).get("ingress") or ()
    for each in ingress:
        if value := each.get("ip") or each.get("hostname"):
            yield {"kind": "balancer", "value": value}
    yield from ({"kind": "external", "value": each} for each in spec.get("externalIPs") or ())


def _port(port: Object) -> Row:
    return {
        "name": port.get("name") or "",
        "port": port.get("port"),
        "protocol": port.get("protocol") or "TCP",
        "nodePort": port.get("nodePort") or 0,
        "target": str(port.get("targetPort") or port.get("port") or ""),
    }


def endpoints(slices: Sequence[Object]) -> list[Row]:
    """Every endpoint once, the ready ones first: "ready", "serving" (ends, but still answers) or "unready"."""
    found: dict[str, Row] = {}
    for one in slices:
        ports = [port["port"] for port in one.get("ports") or () if port.get("port")]
        for each in one.get("endpoints") or ():
            for address in each.get("addresses") or ():
                row = found.setdefault(address, _endpoint(address, each, one))
                row["ports"] = sorted({*row["ports"], *ports})
    return sorted(found.values(), key=lambda row: (_ORDER[row["state"]], row["pod"], row["address"]))


_ORDER = {"ready": 0, "serving": 1, "unready": 2}


def _endpoint(address: str, each: Object, one: Object) -> Row:
    target, conditions = each.get("targetRef") or {}, each.get("conditions") or {}
    namespace = target.get("namespace") or one["metadata"].get("namespace") or "default"
    ready = conditions.get("ready") is not False
    serving = bool(conditions.get("serving")) and bool(conditions.get("terminating"))
    return {
        "address": address,
        "ports": [],
        "pod": f"{namespace}/{target['name']}" if target.get("kind") == "Pod" and target.get("name") else "",
        "node": each.get("nodeName") or "",
        "state": "ready" if ready else "serving" if serving else "unready",
    }


def node(found: Object) -> Row:
    """A node with its addresses and whether it says that it is ready."""
    status, metadata = found.get("status") or {}, found["metadata"]
    return {
        "key": metadata.get("name", ""),
        "addresses": [each.get("address") for each in status.get("addresses") or () if each.get("type") != "Hostname"],
        "ready": _condition(status),
        "zone": (metadata.get("labels") or {}).get("topology.kubernetes.io/zone", ""),
        "pods": list((found.get("spec") or {}).get("podCIDRs") or ()),
    }


def pod(found: Object) -> Row:
    """A pod, as a packet's source."""
    metadata, spec, status = found["metadata"], found.get("spec") or {}, found.get("status") or {}
    addresses = [each.get("ip") for each in status.get("podIPs") or ()] or [status.get("podIP")]
    return {
        "key": f"{metadata.get('namespace') or 'default'}/{metadata.get('name', '')}",
        "addresses": [each for each in addresses if each],
        "node": spec.get("nodeName") or "",
        "host": bool(spec.get("hostNetwork")),
        "ready": _condition(status),
    }


def _condition(status: Object) -> bool:
    return any(each.get("type") == "Ready" and each.get("status") == "True" for each in status.get("conditions") or ())
