"""How a Service changes: the two spellings of its addresses, what a change of type drops, what an update may omit.

Every rule looks at both the old and the new object: a field is dropped with the type that needed it only if the writer
left it as it was, so that a contradiction is refused by validation instead of silently repaired.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from fairway.objects.defaults import externally_reachable

Object = dict[str, Any]

HEADLESS = "None"


def prepare_create(service: Object) -> None:
    """Fills `clusterIPs` from `clusterIP` and starts with an empty status."""
    spec = service.get("spec") or {}
    if spec.get("clusterIP") and not spec.get("clusterIPs"):
        spec["clusterIPs"] = [spec["clusterIP"]]
    service["status"] = {"loadBalancer": {}}


def prepare_update(new: Object, old: Object) -> None:
    """Carries over what was allocated and the writer left out, and drops what only the old type needed."""
    after, before = new.get("spec") or {}, old.get("spec") or {}
    _keep_allocated(after, before)
    _align_addresses(after, before)
    _release_second_family(after, before)
    _drop_for_type(after, before)
    if after.get("type") != "LoadBalancer":
        new["status"] = (new.get("status") or {}) | {"loadBalancer": {}}


def needs_cluster_ip(spec: Mapping[str, Any]) -> bool:
    """Whether the type has a cluster IP at all (headless counts: `None` is its value)."""
    return spec.get("type") in ("ClusterIP", "NodePort", "LoadBalancer")


def may_have_node_ports(spec: Mapping[str, Any]) -> bool:
    """Whether the type allows its ports a port of the nodes."""
    return spec.get("type") in ("NodePort", "LoadBalancer")


def needs_node_port(spec: Mapping[str, Any]) -> bool:
    """Whether each port gets a port of the nodes. A load balancer that wants none may still hold those it had."""
    if spec.get("type") == "NodePort":
        return True
    return spec.get("type") == "LoadBalancer" and spec.get("allocateLoadBalancerNodePorts") is not False


def needs_health_check(spec: Mapping[str, Any]) -> bool:
    """Whether nodes answer load balancers' health checks for it."""
    return spec.get("type") == "LoadBalancer" and spec.get("externalTrafficPolicy") == "Local"


def _keep_allocated(after: Object, before: Object) -> None:
    if needs_cluster_ip(after) and needs_cluster_ip(before):
        for name in ("clusterIP", "clusterIPs"):
            if not after.get(name):
                _copy(after, before, name)
    if needs_node_port(after) and needs_node_port(before):
        _keep_node_ports(after, before)
    if needs_health_check(after) and needs_health_check(before) and not after.get("healthCheckNodePort"):
        _copy(after, before, "healthCheckNodePort")


def _copy(after: Object, before: Object, name: str) -> None:
    if name in before:
        after[name] = deepcopy(before[name])


def _keep_node_ports(after: Object, before: Object) -> None:
    """A port keeps its node port by its name, whatever else of it changes, unless the writer gives that number away."""
    had = {port.get("name", ""): port.get("nodePort") for port in before.get("ports") or []}
    claimed = {port.get("nodePort") for port in after.get("ports") or []}
    for port in after.get("ports") or []:
        number = had.get(port.get("name", ""))
        if not port.get("nodePort") and number and number not in claimed:
            port["nodePort"] = number


def _align_addresses(after: Object, before: Object) -> None:
    """`clusterIP` is the first of `clusterIPs`; whichever of the two the writer changed wins."""
    one, many = after.get("clusterIP") or "", after.get("clusterIPs") or []
    old_one, old_many = before.get("clusterIP") or "", before.get("clusterIPs") or []
    if one and not many:
        after["clusterIPs"] = [one]
    elif one != old_one and many == old_many:
        after["clusterIPs"] = [one, *many[1:]] if one else []
    if not after.get("clusterIPs"):
        after.pop("clusterIPs", None)


def _release_second_family(after: Object, before: Object) -> None:
    """Asking for SingleStack alone gives back the second address and family."""
    if after.get("ipFamilyPolicy") != "SingleStack" or before.get("ipFamilyPolicy") == "SingleStack":
        return
    for name in ("clusterIPs", "ipFamilies"):
        if after.get(name) and after[name] == before.get(name):
            after[name] = after[name][:1]


def _drop_for_type(after: Object, before: Object) -> None:
    if needs_cluster_ip(before) and not needs_cluster_ip(after):
        for name in ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy"):
            _drop_unchanged(after, before, name)
    if may_have_node_ports(before) and not may_have_node_ports(after):
        _drop_node_ports(after, before)
    if needs_health_check(before) and not needs_health_check(after):
        _drop_unchanged(after, before, "healthCheckNodePort")
    if before.get("type") == "LoadBalancer" != after.get("type"):
        for name in ("allocateLoadBalancerNodePorts", "loadBalancerClass"):
            _drop_unchanged(after, before, name)
    if externally_reachable(before) and not externally_reachable(after):
        _drop_unchanged(after, before, "externalTrafficPolicy")
    if before.get("type") == "ExternalName" != after.get("type"):
        _drop_unchanged(after, before, "externalName")


def _drop_unchanged(after: Object, before: Object, name: str) -> None:
    if after.get(name) == before.get(name):
        after.pop(name, None)


def _drop_node_ports(after: Object, before: Object) -> None:
    had = {(port.get("protocol"), port.get("nodePort")) for port in before.get("ports") or []}
    for port in after.get("ports") or []:
        if (port.get("protocol"), port.get("nodePort")) in had:
            port.pop("nodePort", None)
