"""The roles and bindings every cluster has from its beginning, under the names Kubernetes users know.

What components may do is what Fairway's own need and what their namesakes in a cluster ask for; the user-facing roles
`admin`, `edit` and `view` gather the rules of every cluster role that bears their label.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fairway.api.roles_controllers import CONTROLLERS, PREFIX
from fairway.api.roles_lines import Line, rule
from fairway.api.users import ACCOUNTS, ANNOUNCER, AUTHENTICATED, MASTERS, NODES, UNAUTHENTICATED
from fairway.objects.kinds import RBAC

Object = dict[str, Any]

AUTOUPDATE = "rbac.authorization.kubernetes.io/autoupdate"
READ, WRITE = "get list watch", "create delete deletecollection patch update"
LABELS = {"kubernetes.io/bootstrapping": "rbac-defaults"}
_AGGREGATE = f"{RBAC}/aggregate-to-"

_APPS = "deployments deployments/scale replicasets replicasets/scale"
_HEALTH = "/healthz /livez /readyz /version /version/"

_VIEW: tuple[Line, ...] = (
    (
        READ,
        "",
        "configmaps endpoints pods replicationcontrollers replicationcontrollers/scale serviceaccounts services",
    ),
    (
        READ,
        "",
        "events namespaces namespaces/status pods/log pods/status replicationcontrollers/status services/status",
    ),
    (READ, "discovery.k8s.io", "endpointslices"),
    (READ, "apps", f"{_APPS} deployments/status replicasets/status"),
    (READ, "coordination.k8s.io", "leases"),
    (READ, "events.k8s.io", "events"),
    (READ, "networking.k8s.io", "ingresses ingresses/status"),
    (READ, "policy", "poddisruptionbudgets poddisruptionbudgets/status"),
)
_EDIT: tuple[Line, ...] = (
    (READ, "", "pods/attach pods/exec pods/portforward pods/proxy secrets services/proxy"),
    ("impersonate", "", "serviceaccounts"),
    (WRITE, "", "pods pods/attach pods/exec pods/portforward pods/proxy"),
    ("create", "", "pods/eviction serviceaccounts/token"),
    (WRITE, "", "configmaps events replicationcontrollers replicationcontrollers/scale secrets serviceaccounts"),
    (WRITE, "", "services services/proxy"),
    (WRITE, "apps", _APPS),
    (WRITE, "coordination.k8s.io", "leases"),
    (WRITE, "networking.k8s.io", "ingresses"),
    (WRITE, "policy", "poddisruptionbudgets"),
)
_ADMIN: tuple[Line, ...] = (
    ("create", "authorization.k8s.io", "localsubjectaccessreviews"),
    (f"{READ} {WRITE}", RBAC, "rolebindings roles"),
)
_NODE: tuple[Line, ...] = (
    ("create", "authentication.k8s.io", "tokenreviews"),
    ("create", "authorization.k8s.io", "subjectaccessreviews"),
    (READ, "", "services"),
    ("create get list watch patch update", "", "nodes"),
    ("patch update", "", "nodes/status"),
    ("create patch update", "", "events"),
    ("get list watch create delete", "", "pods"),
    ("patch update", "", "pods/status"),
    ("create", "", "pods/eviction"),
    (READ, "", "configmaps secrets"),
    ("get", "", "serviceaccounts"),
    ("create", "", "serviceaccounts/token"),
    ("create delete get patch update", "coordination.k8s.io", "leases"),
)
_CONTROLLERS: tuple[Line, ...] = (
    # Garbage collection and the emptying of namespaces know no kinds: they look at and remove whatever there is.
    ("get list watch patch update delete deletecollection", "*", "*"),
    ("create", "", "configmaps endpoints events pods serviceaccounts pods/binding pods/eviction serviceaccounts/token"),
    # The controllers of one process write as different accounts.
    ("impersonate", "", "serviceaccounts", tuple(CONTROLLERS)),
    ("impersonate", "", "users", ("system:kube-scheduler",)),
    ("create", "apps", "replicasets"),
    ("create", "discovery.k8s.io", "endpointslices"),
    ("create", "coordination.k8s.io", "leases"),
    ("create", "authentication.k8s.io", "tokenreviews"),
    ("create", "authorization.k8s.io", "subjectaccessreviews"),
)
_SCHEDULER: tuple[Line, ...] = (
    ("create patch update", "", "events"),
    (f"{READ} delete", "", "pods"),
    ("create", "", "bindings pods/binding"),
    ("patch update", "", "pods/status"),
    (READ, "", "namespaces nodes replicationcontrollers services"),
    (READ, "apps", "replicasets"),
    ("create get list patch update watch", "coordination.k8s.io", "leases"),
    ("create", "authentication.k8s.io", "tokenreviews"),
    ("create", "authorization.k8s.io", "subjectaccessreviews"),
)
_PROXIER: tuple[Line, ...] = (
    (READ, "", "nodes services endpoints"),
    ("list watch", "discovery.k8s.io", "endpointslices"),
    ("list watch get", "networking.k8s.io", "servicecidrs"),
    ("create patch update", "", "events"),
)
_ANNOUNCER: tuple[Line, ...] = (
    ("list watch", "", "configmaps nodes services"),
    ("list watch", "discovery.k8s.io", "endpointslices"),
    ("create get list watch update", "coordination.k8s.io", "leases"),
    ("create patch", "", "events"),
)
_ROLES: dict[str, tuple[Line, ...]] = {
    "cluster-admin": (("*", "*", "*"), ("*", "/", "*")),
    "system:aggregate-to-view": _VIEW,
    "system:aggregate-to-edit": _EDIT,
    "system:aggregate-to-admin": _ADMIN,
    "system:auth-delegator": (
        ("create", "authentication.k8s.io", "tokenreviews"),
        ("create", "authorization.k8s.io", "subjectaccessreviews"),
    ),
    "system:basic-user": (
        ("create", "authentication.k8s.io", "selfsubjectreviews"),
        ("create", "authorization.k8s.io", "selfsubjectaccessreviews selfsubjectrulesreviews"),
    ),
    "system:discovery": (("get", "/", f"/api /api/* /apis /apis/* {_HEALTH} /openapi /openapi/*"),),
    ANNOUNCER: _ANNOUNCER,
    "system:kube-controller-manager": _CONTROLLERS,
    "system:kube-dns": (
        ("list watch", "", "endpoints namespaces pods services"),
        ("list watch", "discovery.k8s.io", "endpointslices"),
    ),
    "system:kube-scheduler": _SCHEDULER,
    "system:monitoring": (("get", "/", "/healthz /healthz/* /livez /livez/* /metrics /readyz /readyz/*"),),
    "system:node": _NODE,
    "system:node-proxier": _PROXIER,
    "system:public-info-viewer": (("get", "/", _HEALTH),),
    "system:service-account-issuer-discovery": (
        ("get", "/", "/.well-known/openid-configuration /.well-known/openid-configuration/ /openid/v1/jwks"),
    ),
}
_LABELLED = {f"system:aggregate-to-{name}": name for name in ("admin", "edit", "view")}
_AGGREGATED = {"admin": "", "edit": "admin", "view": "edit"}
"""Who gathers, and into whom that is gathered in turn."""

_BOUND: dict[str, tuple[tuple[str, str], ...]] = {
    "cluster-admin": (("Group", MASTERS),),
    "system:basic-user": (("Group", AUTHENTICATED),),
    "system:discovery": (("Group", AUTHENTICATED),),
    ANNOUNCER: (("User", ANNOUNCER),),
    "system:kube-controller-manager": (("User", "system:kube-controller-manager"),),
    "system:kube-scheduler": (("User", "system:kube-scheduler"),),
    "system:monitoring": (("Group", "system:monitoring"),),
    "system:node": (("Group", NODES),),
    "system:node-proxier": (("User", "system:kube-proxy"),),
    "system:public-info-viewer": (("Group", AUTHENTICATED), ("Group", UNAUTHENTICATED)),
    "system:service-account-issuer-discovery": (("Group", ACCOUNTS),),
}


def cluster_roles() -> Iterator[Object]:
    """Every cluster role of the beginning."""
    for name, lines in _ROLES.items():
        labels = {f"{_AGGREGATE}{_LABELLED[name]}": "true"} if name in _LABELLED else {}
        yield _named(name, labels) | {"rules": [rule(line) for line in lines]}
    for name, lines in CONTROLLERS.items():
        yield _named(PREFIX + name, {}) | {"rules": [rule(line) for line in lines]}
    for name, into in _AGGREGATED.items():
        labels = {f"{_AGGREGATE}{into}": "true"} if into else {}
        selector = {"matchLabels": {f"{_AGGREGATE}{name}": "true"}}
        yield _named(name, labels) | {"aggregationRule": {"clusterRoleSelectors": [selector]}, "rules": []}


def cluster_role_bindings() -> Iterator[Object]:
    """Who has them. Identities that no component carries yet simply have nobody in them."""
    for name, subjects in _BOUND.items():
        yield _named(name, {}) | {
            "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": name},
            "subjects": [{"apiGroup": RBAC, "kind": kind, "name": who} for kind, who in subjects],
        }
    for name in CONTROLLERS:
        yield _named(PREFIX + name, {}) | {
            "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": PREFIX + name},
            "subjects": [{"kind": "ServiceAccount", "namespace": "kube-system", "name": name}],
        }


def completed(present: Object, wanted: Object) -> Object:
    """`present` with the rules and subjects of `wanted` that it lacks, unless its owner said to leave it alone."""
    if (present["metadata"].get("annotations") or {}).get(AUTOUPDATE) == "false":
        return present
    grown = dict(present)
    for field in ("rules", "subjects"):
        if field in wanted:
            have = list(present.get(field) or [])
            grown[field] = have + [one for one in wanted[field] if one not in have]
    return grown


def _named(name: str, labels: dict[str, str]) -> Object:
    return {"metadata": {"name": name, "labels": LABELS | labels, "annotations": {AUTOUPDATE: "true"}}}
