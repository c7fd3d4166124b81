"""Defaults: what a field means when nobody set it, written out, as Kubernetes 1.36 does.

Unconditional defaults are marks in the schema tables; this module fills those in and adds the ones that depend on
other fields. Filling in twice changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from functools import cache
from typing import Any

from fairway.objects import schema
from fairway.objects.kinds import RBAC, Kind
from fairway.objects.schema import Field, Shape, Type

Object = dict[str, Any]

AFFINITY_SECONDS = 10800
"""How long ClientIP affinity lasts when the Service does not say."""


def default(kind: Kind, obj: Object) -> Object:
    """Fills in the defaults of `obj`, in place, and returns it. The object must have passed `codec.check`."""
    fill(schema.for_kind(kind), obj)
    conditional = _CONDITIONAL.get(kind.name)
    if conditional is not None:
        conditional(obj)
    return obj


def fill(type_: Type, obj: Object) -> None:
    """Fills in the schema's defaults of one object and everything in it, in place."""
    for name, field, target in _plan(type_.name):
        value = obj.get(name)
        if field.has_default and (value is None or (value == "" and field.type.name == "string")):
            value = obj[name] = deepcopy(field.default) if target or field.type.element else field.default
        if target is not None and value is not None:
            for inner in _objects(field.type, value):
                fill(target, inner)


def _objects(shape: Shape, value: Any) -> Iterator[Object]:
    if shape.element is None:
        yield value
    else:
        for item in value.values() if shape.kind == "map" else value:
            yield from _objects(shape.element, item)


@cache
def _plan(type_name: str) -> tuple[tuple[str, Field, Type | None], ...]:
    """The fields worth a look, those with a default of their own or below: their names and what is below."""
    fields = schema.lookup(type_name).fields.values()
    return tuple((field.name, field, field.target) for field in fields if field.has_default or _defaults_below(field))


def _defaults_below(field: Field) -> bool:
    return field.target is not None and bool(_plan(field.target.name))


def set_absent(obj: Object, name: str, value: Any) -> None:
    """Sets a field unless it is there with a meaning: null and "" count as absent."""
    if obj.get(name) in (None, ""):
        obj[name] = value


def externally_reachable(spec: Mapping[str, Any]) -> bool:
    """Whether a Service spec makes addresses outside the cluster lead to its pods."""
    type_ = spec.get("type")
    return type_ in ("NodePort", "LoadBalancer") or (type_ == "ClusterIP" and bool(spec.get("externalIPs")))


def _service(obj: Object) -> None:
    spec = obj.setdefault("spec", {})
    set_absent(spec, "type", "ClusterIP")
    set_absent(spec, "sessionAffinity", "None")
    if spec["sessionAffinity"] == "None":
        spec.pop("sessionAffinityConfig", None)
    elif spec["sessionAffinity"] == "ClientIP":
        client = _child(_child(spec, "sessionAffinityConfig"), "clientIP")
        set_absent(client, "timeoutSeconds", AFFINITY_SECONDS)
    for port in spec.get("ports") or []:
        if port.get("targetPort") in (None, 0, "") and port.get("port"):
            port["targetPort"] = port["port"]
    if spec["type"] != "ExternalName":
        set_absent(spec, "internalTrafficPolicy", "Cluster")
    if externally_reachable(spec):
        set_absent(spec, "externalTrafficPolicy", "Cluster")
    if spec["type"] == "LoadBalancer":
        set_absent(spec, "allocateLoadBalancerNodePorts", True)
    balancer = (obj.get("status") or {}).get("loadBalancer") or {}
    for ingress in balancer.get("ingress") or []:
        if ingress.get("ip"):
            set_absent(ingress, "ipMode", "VIP")


def _child(obj: Object, name: str) -> Object:
    """The object under `name`, made if absent."""
    if obj.get(name) is None:
        obj[name] = {}
    found: Object = obj[name]
    return found


def _pod(obj: Object) -> None:
    if obj.get("spec") is not None:
        set_absent(obj["spec"], "enableServiceLinks", True)
        _pod_spec(obj["spec"])


def _pod_spec(spec: Object) -> None:
    _account_alias(spec)
    for volume in spec.get("volumes") or []:
        if not any(value is not None for name, value in volume.items() if name != "name"):
            volume["emptyDir"] = {}
    for container in _containers(spec):
        set_absent(container, "imagePullPolicy", pull_policy(container.get("image") or ""))
        resources = container.get("resources") or {}
        limits = resources.get("limits")
        if limits:
            resources["requests"] = {**limits, **(resources.get("requests") or {})}
        if spec.get("hostNetwork"):
            for port in container.get("ports") or []:
                if not port.get("hostPort") and port.get("containerPort"):
                    port["hostPort"] = port["containerPort"]


def _containers(spec: Object) -> Iterator[Object]:
    for field in ("initContainers", "containers", "ephemeralContainers"):
        yield from spec.get(field) or []


def _account_alias(spec: Object) -> None:
    """`serviceAccount` is the old name of `serviceAccountName`; both are always shown, the new one rules."""
    name = spec.get("serviceAccountName") or spec.get("serviceAccount")
    if name:
        spec["serviceAccountName"] = spec["serviceAccount"] = name


def pull_policy(image: str) -> str:
    """Always for the tag `latest` (also when no tag is given), else IfNotPresent."""
    if "@" in image:
        return "IfNotPresent"
    tag = image.rpartition("/")[2].partition(":")[2]
    return "Always" if tag in ("", "latest") else "IfNotPresent"


def _template(obj: Object) -> None:
    template = (obj.get("spec") or {}).get("template") or {}
    if template.get("spec") is not None:
        _pod_spec(template["spec"])


def _replication_controller(obj: Object) -> None:
    """The template's labels stand in for a missing selector and missing labels."""
    _template(obj)
    spec = obj.get("spec") or {}
    labels = ((spec.get("template") or {}).get("metadata") or {}).get("labels")
    if not labels:
        return
    if not spec.get("selector"):
        spec["selector"] = dict(labels)
    metadata = _child(obj, "metadata")
    if not metadata.get("labels"):
        metadata["labels"] = dict(labels)


def _deployment(obj: Object) -> None:
    _template(obj)
    strategy = (obj.get("spec") or {}).get("strategy") or {}
    if strategy.get("type") == "RollingUpdate":
        rolling = _child(strategy, "rollingUpdate")
        set_absent(rolling, "maxUnavailable", "25%")
        set_absent(rolling, "maxSurge", "25%")


def _namespace(obj: Object) -> None:
    metadata = _child(obj, "metadata")
    if metadata.get("name"):
        _child(metadata, "labels")["kubernetes.io/metadata.name"] = metadata["name"]


def _node(obj: Object) -> None:
    status = obj.get("status") or {}
    if status.get("capacity"):
        status["allocatable"] = {**status["capacity"], **(status.get("allocatable") or {})}


def _role_binding(obj: Object) -> None:
    """Users and groups live in the group of roles, service accounts in the core group."""
    for subject in obj.get("subjects") or []:
        if subject.get("kind") in ("User", "Group"):
            set_absent(subject, "apiGroup", RBAC)


_CONDITIONAL: Mapping[str, Callable[[Object], None]] = {
    "Service": _service,
    "Pod": _pod,
    "ReplicationController": _replication_controller,
    "ReplicaSet": _template,
    "Deployment": _deployment,
    "Namespace": _namespace,
    "Node": _node,
    "RoleBinding": _role_binding,
    "ClusterRoleBinding": _role_binding,
}
