"""Under whose name each controller writes: the service account that Kubernetes gives it, so that roles and the audit
log tell the controllers of one process apart."""

from __future__ import annotations

from collections.abc import Mapping

NAMESPACE = "kube-system"

# By the component that Events name. Where Kubernetes splits the work otherwise, the account is that of the larger part.
ACCOUNTS: Mapping[str, str] = {
    "cidr-allocator": "node-controller",
    "clusterrole-aggregation-controller": "clusterrole-aggregation-controller",
    "deployment-controller": "deployment-controller",
    "disruption-controller": "disruption-controller",
    "endpoint-controller": "endpoint-controller",
    "endpoint-slice-controller": "endpointslice-controller",
    "endpoint-slice-mirroring-controller": "endpointslicemirroring-controller",
    "garbage-collector-controller": "generic-garbage-collector",
    "loadbalancer-controller": "service-controller",
    "namespace-controller": "namespace-controller",
    "node-controller": "node-controller",
    "replicaset-controller": "replicaset-controller",
    "replication-controller": "replication-controller",
    "service-cidr-controller": "service-cidrs-controller",
}
SCHEDULER = ("default-scheduler", "system:kube-scheduler")


def user_of(component: str) -> str:
    """The user a component acts as; "" for one that has no name of its own."""
    if component == SCHEDULER[0]:
        return SCHEDULER[1]
    account = ACCOUNTS.get(component)
    return f"system:serviceaccount:{NAMESPACE}:{account}" if account else ""
