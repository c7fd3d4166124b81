"""What happens to an object between decoding and storing: defaults, strategy, validation, warnings.

The order of a create is `default`, `prepare_create`, (allocation), `validate_create`; of an update `default`,
`prepare_update`, `validate_update`. Everything expects objects that passed `codec.check`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from fairway.objects import forms, schema
from fairway.objects.defaults import default
from fairway.objects.errors import FieldError
from fairway.objects.kinds import Kind
from fairway.objects.strategy import TOLERATION_SECONDS, prepare_create, prepare_update
from fairway.objects.validate import cluster, endpoints, ingress, pod, policy, rbac, service, workload
from fairway.objects.validate.fields import check_fields
from fairway.objects.validate.meta import plain, validate_metadata, validate_metadata_update
from fairway.objects.warn import warnings

__all__ = [
    "TOLERATION_SECONDS",
    "default",
    "prepare_create",
    "prepare_update",
    "validate_create",
    "validate_update",
    "warnings",
]

Object = dict[str, Any]

_RULES: Mapping[str, Callable[[Object], Iterator[FieldError]]] = {
    "Service": service.validate_service,
    "Endpoints": endpoints.validate_endpoints,
    "EndpointSlice": endpoints.validate_slice,
    "Namespace": cluster.validate_namespace,
    "Node": cluster.validate_node,
    "Event": cluster.validate_event,
    "ConfigMap": cluster.validate_config_map,
    "Secret": cluster.validate_secret,
    "ServiceCIDR": cluster.validate_service_cidr,
    "Ingress": ingress.validate_ingress,
    "IngressClass": ingress.validate_ingress_class,
    "PodDisruptionBudget": policy.validate_disruption_budget,
    "ReplicationController": workload.validate_replication_controller,
    "ReplicaSet": workload.validate_replica_set,
    "Deployment": workload.validate_deployment,
    "Pod": pod.validate_pod,
    "Role": rbac.validate_role,
    "ClusterRole": rbac.validate_cluster_role,
    "RoleBinding": rbac.validate_role_binding,
    "ClusterRoleBinding": rbac.validate_cluster_role_binding,
}

_UPDATE_RULES: Mapping[str, Callable[[Object, Object], Iterator[FieldError]]] = {
    "Service": service.validate_service_update,
    "EndpointSlice": endpoints.validate_slice_update,
    "Node": cluster.validate_node_update,
    "ConfigMap": cluster.validate_data_update,
    "Secret": cluster.validate_secret_update,
    "ServiceCIDR": cluster.validate_service_cidr_update,
    "IPAddress": cluster.validate_ip_address_update,
    "IngressClass": ingress.validate_ingress_class_update,
    "ReplicaSet": workload.validate_selector_update,
    "Deployment": workload.validate_selector_update,
    "Pod": pod.validate_pod_update,
    "RoleBinding": rbac.validate_binding_update,
    "ClusterRoleBinding": rbac.validate_binding_update,
}

# Whose status others act on, so that it is not believed unread.
_STATUS_RULES: Mapping[str, Callable[[Object, Object], Iterator[FieldError]]] = {
    "Service": service.validate_service_status,
}

# Subresources whose writes change the spec in ways a plain update may not.
_OWN_RULES: Mapping[str, Callable[[Object, Object], Iterator[FieldError]] | None] = {
    "binding": None,
    "ephemeralcontainers": pod.validate_ephemeral_update,
    "resize": pod.validate_resize,
}


def validate_create(kind: Kind, obj: Object) -> list[FieldError]:
    """Everything wrong with a new object, in the order of its fields; empty when it may be stored."""
    metadata = obj.get("metadata") or {}
    errors = [] if plain(kind, metadata) else list(validate_metadata(kind, metadata))
    errors += _content(kind, obj)
    return errors


def validate_update(kind: Kind, new: Object, old: Object, subresource: str = "") -> list[FieldError]:
    """Everything wrong with `new` as the successor of `old`.

    What did not change is not held against the writer: an object stored under older rules can still get a label or a
    status. `subresource` "binding" lets a pod get its node.
    """
    metadata = new.get("metadata") or {}
    errors = list(validate_metadata_update(metadata, old.get("metadata") or {}))
    if metadata != old.get("metadata"):
        errors += validate_metadata(kind, metadata)
    if _body(new) != _body(old):
        errors += _content(kind, new, creating=False)
        rules = _OWN_RULES.get(subresource, _UPDATE_RULES.get(kind.name))
        if rules is not None:
            errors += rules(new, old)
    if subresource == "status" and kind.name in _STATUS_RULES and new.get("status") != old.get("status"):
        errors += _STATUS_RULES[kind.name](new, old)
    return errors


def _body(obj: Object) -> Object:
    return {name: value for name, value in obj.items() if name not in ("metadata", "status", "kind", "apiVersion")}


def _content(kind: Kind, obj: Object, *, creating: bool = True) -> Iterator[FieldError]:
    # Status is the system's own word about an object; only its types are checked (and see _STATUS_RULES).
    spec: Object = {"spec": {}} if kind.name in ("ReplicaSet", "Deployment", "Service") else {}
    body = spec | {name: value for name, value in obj.items() if name != "status" and value is not None}
    marks = [] if forms.sound(kind, body) else list(check_fields(schema.for_kind(kind), body, ""))
    yield from marks
    marked = {error.path for error in marks}
    rules = _RULES.get(kind.name)
    for error in rules(obj) if rules is not None else ():
        if error.path not in marked and (creating or error.path != "spec.ephemeralContainers"):
            yield error
