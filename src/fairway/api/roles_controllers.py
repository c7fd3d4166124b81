"""The roles of the controllers' service accounts in kube-system, under the names Kubernetes users know: what each of
Fairway's needs, and what its namesake asks for."""

from __future__ import annotations

from collections.abc import Mapping

from fairway.api.roles_lines import Line
from fairway.objects.kinds import RBAC

PREFIX = "system:controller:"
_EVENTS: Line = ("create patch update", "", "events")
_PODS: Line = ("create delete get list patch update watch", "", "pods")

CONTROLLERS: Mapping[str, tuple[Line, ...]] = {
    # What an aggregated role gathers, its controller need not hold.
    "clusterrole-aggregation-controller": (("escalate get list patch update watch", RBAC, "clusterroles"),),
    "deployment-controller": (
        ("get list watch update", "apps", "deployments"),
        ("update", "apps", "deployments/finalizers deployments/status"),
        ("create delete get list patch update watch", "apps", "replicasets"),
        ("get list update watch", "", "pods"),
        _EVENTS,
    ),
    "disruption-controller": (
        ("get list watch", "apps", "deployments replicasets"),
        ("get list watch", "", "pods replicationcontrollers"),
        ("get list watch", "policy", "poddisruptionbudgets"),
        ("update", "policy", "poddisruptionbudgets/status"),
        ("patch update", "", "pods/status"),
        _EVENTS,
    ),
    "endpoint-controller": (
        ("get list watch", "", "pods services"),
        ("create delete get list update patch", "", "endpoints"),
        ("create", "", "endpoints/restricted"),
        _EVENTS,
    ),
    "endpointslice-controller": (
        ("get list watch", "", "nodes pods services"),
        ("update", "", "services/finalizers"),
        ("create delete get list update", "discovery.k8s.io", "endpointslices"),
        ("create", "discovery.k8s.io", "endpointslices/restricted"),
        _EVENTS,
    ),
    "endpointslicemirroring-controller": (
        ("get list watch", "", "endpoints services"),
        ("update", "", "services/finalizers endpoints/finalizers"),
        ("create delete get list update", "discovery.k8s.io", "endpointslices"),
        ("create", "discovery.k8s.io", "endpointslices/restricted"),
        _EVENTS,
    ),
    # These two know no kinds: they look at and remove whatever there is.
    "generic-garbage-collector": (("delete get list patch update watch", "*", "*"), _EVENTS),
    "namespace-controller": (
        ("delete get list watch", "", "namespaces"),
        ("update", "", "namespaces/finalize namespaces/status"),
        ("delete deletecollection get list", "*", "*"),
        # Every namespace is given an account and the CA's certificate.
        ("create", "", "configmaps serviceaccounts"),
        ("update", "", "configmaps"),
        _EVENTS,
    ),
    "node-controller": (
        ("delete get list patch update watch", "", "nodes"),
        ("patch update", "", "nodes/status pods/status"),
        ("delete get list", "", "pods"),
        _EVENTS,
    ),
    "replicaset-controller": (
        ("get list patch update watch", "apps", "replicasets"),
        ("update", "apps", "replicasets/finalizers replicasets/status"),
        _PODS,
        _EVENTS,
    ),
    "replication-controller": (
        ("get list patch update watch", "", "replicationcontrollers"),
        ("update", "", "replicationcontrollers/finalizers replicationcontrollers/status"),
        _PODS,
        _EVENTS,
    ),
    "service-controller": (
        ("get list watch", "", "nodes services"),
        ("get list watch", "discovery.k8s.io", "endpointslices"),
        ("get list watch", "networking.k8s.io", "servicecidrs"),
        ("patch update", "", "services/status"),
        # Which Service holds which address is recorded in one of them.
        ("create", "", "configmaps"),
        ("get update", "", "configmaps", ("fairway-loadbalancer-claims",)),
        _EVENTS,
    ),
    "service-cidrs-controller": (
        ("get list patch update watch", "networking.k8s.io", "servicecidrs"),
        ("patch update", "networking.k8s.io", "servicecidrs/finalizers servicecidrs/status"),
        ("get list watch", "networking.k8s.io", "ipaddresses"),
        _EVENTS,
    ),
}
