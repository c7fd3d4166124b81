"""What a write may touch: status stays out of creates and plain updates, generations count changes of the spec.

`prepare_create` and `prepare_update` run after defaulting and before validation. They change the given object in place
and return it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any

from fairway.objects import services
from fairway.objects.kinds import (
    DEPLOYMENT,
    ENDPOINT_SLICE,
    INGRESS,
    INGRESS_CLASS,
    NODE,
    POD,
    POD_DISRUPTION_BUDGET,
    REPLICA_SET,
    REPLICATION_CONTROLLER,
    Kind,
)
from fairway.objects.qos import qos_class

Object = dict[str, Any]

_COUNTS_GENERATIONS = frozenset(
    kind.name
    for kind in (
        POD,
        REPLICATION_CONTROLLER,
        REPLICA_SET,
        DEPLOYMENT,
        ENDPOINT_SLICE,
        INGRESS,
        INGRESS_CLASS,
        POD_DISRUPTION_BUDGET,
    )
)
_KEPT_METADATA = ("deletionTimestamp", "deletionGracePeriodSeconds", "generation", "selfLink")
_FILLED_METADATA = ("uid", "creationTimestamp", "name", "namespace")

# A status write may carry labels and annotations, as controllers and the conformance specs do, and moves no
# generation; a few kinds keep some of it to themselves (Kubernetes 1.36).
_NOT_BY_STATUS: Mapping[str, tuple[str, ...]] = {"Deployment": ("labels",), "Pod": ("ownerReferences",)}

TOLERATION_SECONDS = 300
"""How long a pod stays on a node that is lost, unless it tolerates that otherwise (DefaultTolerationSeconds)."""


def prepare_create(kind: Kind, obj: Object, toleration_seconds: int = TOLERATION_SECONDS) -> Object:
    """The object as it is to be created: no status of the writer's making, generation 1 where generations count.

    Pods get `toleration_seconds` on a node that is lost, unless they say otherwise themselves."""
    if "status" in kind.subresources and kind != NODE:
        obj.pop("status", None)
    metadata = _metadata(obj)
    for name in ("generation", "deletionTimestamp", "deletionGracePeriodSeconds", "selfLink"):
        metadata.pop(name, None)
    if kind.name in _COUNTS_GENERATIONS:
        metadata["generation"] = 1
    prepare = _ON_CREATE.get(kind.name)
    if prepare is not None:
        prepare(obj)
    if kind == POD:
        _tolerate_lost_nodes(obj.get("spec") or {}, toleration_seconds)
    return obj


def prepare_update(kind: Kind, new: Object, old: Object, subresource: str = "") -> Object:
    """`new` as it may replace `old`: the parts that this way of writing does not own are the old ones.

    `subresource` is "" (also for "scale" and others that change the spec), "status", "finalize" (a Namespace's
    spec.finalizers), or of a Pod "ephemeralcontainers" or "resize" (its containers' resources).
    """
    if subresource == "status":
        _keep_metadata(_metadata(new), _metadata(old))
        for name in _NOT_BY_STATUS.get(kind.name, ()):
            _copy(_metadata(new), _metadata(old), name)
        _keep_all_but(new, old, ("status", "metadata"))
        return new
    if subresource == "finalize":
        _keep_all_but(new, old, ("spec",))
        return new
    if subresource == "ephemeralcontainers":
        _only_ephemeral(new, old)
    elif subresource == "resize":
        _only_resources(new, old)
    _keep_metadata(_metadata(new), _metadata(old))
    if "status" in kind.subresources:
        _copy(new, old, "status")
    prepare = _ON_UPDATE.get(kind.name)
    if prepare is not None:
        prepare(new, old)
    if kind.name in _COUNTS_GENERATIONS:
        before = int(_metadata(old).get("generation") or 0)
        _metadata(new)["generation"] = before + 1 if _desire(kind, new) != _desire(kind, old) else before
    return new


def _metadata(obj: Object) -> Object:
    if obj.get("metadata") is None:
        obj["metadata"] = {}
    found: Object = obj["metadata"]
    return found


def _keep_all_but(new: Object, old: Object, owned: tuple[str, ...]) -> None:
    taken = {name: new[name] for name in owned if name in new}
    metadata = _metadata(new)
    kept: Object = {name: metadata[name] for name in ("resourceVersion", "managedFields") if name in metadata}
    new.clear()
    new.update({name: deepcopy(value) for name, value in old.items() if name not in owned})
    new.update(taken)
    _metadata(new).update(kept)


def _only_ephemeral(new: Object, old: Object) -> None:
    wanted = (new.get("spec") or {}).get("ephemeralContainers") or []
    _keep_all_but(new, old, ())
    if wanted or (old.get("spec") or {}).get("ephemeralContainers"):
        new["spec"]["ephemeralContainers"] = wanted


def _only_resources(new: Object, old: Object) -> None:
    """The resources of containers, found by name; which ones there are does not change (KEP-1287)."""
    spec = new.get("spec") or {}
    lists = ("initContainers", "containers")
    wanted = {each.get("name"): each.get("resources") for name in lists for each in spec.get(name) or []}
    _keep_all_but(new, old, ())
    for container in (each for name in lists for each in new["spec"].get(name) or []):
        if container.get("name") in wanted:
            container["resources"] = wanted[container["name"]] or {}


def _keep_metadata(new: Object, old: Object) -> None:
    for name in _KEPT_METADATA:
        _copy(new, old, name)
    for name in _FILLED_METADATA:
        if not new.get(name) and name in old:
            new[name] = old[name]


def _copy(new: Object, old: Object, name: str) -> None:
    if name in old:
        new[name] = deepcopy(old[name])
    else:
        new.pop(name, None)


def _desire(kind: Kind, obj: Object) -> Any:
    """What a generation counts the changes of."""
    if kind == ENDPOINT_SLICE:
        return {name: value for name, value in obj.items() if name not in ("metadata", "kind", "apiVersion")}
    if kind == DEPLOYMENT:
        return obj.get("spec"), _metadata(obj).get("annotations")
    return obj.get("spec")


def _create_pod(pod: Object) -> None:
    spec = pod.get("spec") or {}
    pod["status"] = {"phase": "Pending", "qosClass": qos_class(spec)}
    if spec.get("schedulingGates"):
        pod["status"]["conditions"] = [
            {"type": "PodScheduled", "status": "False", "reason": "SchedulingGated", "message": "Scheduling is gated"}
        ]
    if not spec.get("serviceAccountName"):
        spec["serviceAccountName"] = spec["serviceAccount"] = "default"
    spec.setdefault("priority", 0)
    spec.setdefault("preemptionPolicy", "PreemptLowerPriority")


def _tolerate_lost_nodes(spec: Object, seconds: int) -> None:
    tolerations = spec.setdefault("tolerations", [])
    for key in ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"):
        named = (have for have in tolerations if have.get("key") in (key, None, ""))
        if not any(have.get("effect") in ("NoExecute", None, "") for have in named):
            tolerations.append({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds})


def _create_namespace(namespace: Object) -> None:
    spec = namespace.get("spec") or {}
    finalizers = spec.get("finalizers") or []
    namespace["spec"] = spec | {"finalizers": finalizers if "kubernetes" in finalizers else [*finalizers, "kubernetes"]}
    namespace["status"] = {"phase": "Active"}


def _update_namespace(new: Object, old: Object) -> None:
    """A namespace's finalizers belong to its `finalize` subresource."""
    spec = (new.get("spec") or {}) | {"finalizers": (old.get("spec") or {}).get("finalizers") or []}
    new["spec"] = {name: value for name, value in spec.items() if value}


def _no_replicas(obj: Object) -> None:
    obj["status"] = {"replicas": 0}


def _no_status(obj: Object) -> None:
    obj["status"] = {}


def _no_disruptions(obj: Object) -> None:
    obj["status"] = dict.fromkeys(("currentHealthy", "desiredHealthy", "disruptionsAllowed", "expectedPods"), 0)


_ON_CREATE: Mapping[str, Callable[[Object], None]] = {
    "Pod": _create_pod,
    "Service": services.prepare_create,
    "Namespace": _create_namespace,
    "ReplicationController": _no_replicas,
    "ReplicaSet": _no_replicas,
    "Deployment": _no_status,
    "PodDisruptionBudget": _no_disruptions,
}

_ON_UPDATE: Mapping[str, Callable[[Object, Object], None]] = {
    "Service": services.prepare_update,
    "Namespace": _update_namespace,
}
