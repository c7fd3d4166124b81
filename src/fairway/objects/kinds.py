"""The table of kinds: everything the API serves, by group, version, plural and short names.

Sources: the Kubernetes 1.36 API reference; old group versions are those that manifests in the wild still use
(removed upstream in 1.16), served by converting to the current version.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of object. `old` lists further group/versions under which the same objects are served, converted.
    `created_by_update`: an update of an object that is not there creates it."""

    group: str
    version: str
    name: str
    plural: str
    singular: str
    short: tuple[str, ...] = ()
    namespaced: bool = True
    subresources: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    old: tuple[str, ...] = ()
    created_by_update: bool = False

    @property
    def api_version(self) -> str:
        """`v1` for the core group, else `group/version`."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def resource(self) -> str:
        """`deployments.apps`, `pods`: the name errors and RBAC use."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    def __str__(self) -> str:
        return self.name


NAMESPACE = Kind("", "v1", "Namespace", "namespaces", "namespace", ("ns",), False, ("status", "finalize"))
NODE = Kind("", "v1", "Node", "nodes", "node", ("no",), False, ("status",))
POD = Kind(
    "",
    "v1",
    "Pod",
    "pods",
    "pod",
    ("po",),
    True,
    (
        "status",
        "log",
        "binding",
        "eviction",
        "ephemeralcontainers",
        "resize",
        "exec",
        "attach",
        "portforward",
        "proxy",
    ),
    ("all",),
)
SERVICE = Kind(
    "", "v1", "Service", "services", "service", ("svc",), True, ("status", "proxy"), ("all",), created_by_update=True
)
ENDPOINTS = Kind("", "v1", "Endpoints", "endpoints", "endpoints", ("ep",), created_by_update=True)
EVENT = Kind("", "v1", "Event", "events", "event", ("ev",), old=("events.k8s.io/v1",), created_by_update=True)
CONFIG_MAP = Kind("", "v1", "ConfigMap", "configmaps", "configmap", ("cm",))
SECRET = Kind("", "v1", "Secret", "secrets", "secret")
SERVICE_ACCOUNT = Kind("", "v1", "ServiceAccount", "serviceaccounts", "serviceaccount", ("sa",), True, ("token",))
REPLICATION_CONTROLLER = Kind(
    "",
    "v1",
    "ReplicationController",
    "replicationcontrollers",
    "replicationcontroller",
    ("rc",),
    True,
    ("status", "scale"),
    ("all",),
)
REPLICA_SET = Kind(
    "apps",
    "v1",
    "ReplicaSet",
    "replicasets",
    "replicaset",
    ("rs",),
    True,
    ("status", "scale"),
    ("all",),
    ("apps/v1beta2", "extensions/v1beta1"),
)
DEPLOYMENT = Kind(
    "apps",
    "v1",
    "Deployment",
    "deployments",
    "deployment",
    ("deploy",),
    True,
    ("status", "scale"),
    ("all",),
    ("apps/v1beta1", "apps/v1beta2", "extensions/v1beta1"),
)
ENDPOINT_SLICE = Kind("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices", "endpointslice")
LEASE = Kind("coordination.k8s.io", "v1", "Lease", "leases", "lease", created_by_update=True)
_NETWORKING_BETA = ("networking.k8s.io/v1beta1",)  # which kubectl asks to describe these two, up to 1.32
SERVICE_CIDR = Kind(
    "networking.k8s.io",
    "v1",
    "ServiceCIDR",
    "servicecidrs",
    "servicecidr",
    (),
    False,
    ("status",),
    old=_NETWORKING_BETA,
)
IP_ADDRESS = Kind(
    "networking.k8s.io", "v1", "IPAddress", "ipaddresses", "ipaddress", ("ip",), False, old=_NETWORKING_BETA
)
RBAC = "rbac.authorization.k8s.io"
ROLE = Kind(RBAC, "v1", "Role", "roles", "role", created_by_update=True)
ROLE_BINDING = Kind(RBAC, "v1", "RoleBinding", "rolebindings", "rolebinding", created_by_update=True)
CLUSTER_ROLE = Kind(RBAC, "v1", "ClusterRole", "clusterroles", "clusterrole", (), False, created_by_update=True)
CLUSTER_ROLE_BINDING = Kind(
    RBAC, "v1", "ClusterRoleBinding", "clusterrolebindings", "clusterrolebinding", (), False, created_by_update=True
)
INGRESS = Kind("networking.k8s.io", "v1", "Ingress", "ingresses", "ingress", ("ing",), True, ("status",))
POD_DISRUPTION_BUDGET = Kind(
    "policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets", "poddisruptionbudget", ("pdb",), True, ("status",)
)
INGRESS_CLASS = Kind("networking.k8s.io", "v1", "IngressClass", "ingressclasses", "ingressclass", (), False)

KINDS: tuple[Kind, ...] = (
    NAMESPACE,
    NODE,
    POD,
    SERVICE,
    ENDPOINTS,
    EVENT,
    CONFIG_MAP,
    SECRET,
    SERVICE_ACCOUNT,
    REPLICATION_CONTROLLER,
    REPLICA_SET,
    DEPLOYMENT,
    ENDPOINT_SLICE,
    LEASE,
    SERVICE_CIDR,
    IP_ADDRESS,
    ROLE,
    ROLE_BINDING,
    CLUSTER_ROLE,
    CLUSTER_ROLE_BINDING,
    INGRESS,
    INGRESS_CLASS,
    POD_DISRUPTION_BUDGET,
)

TOKEN_REVIEW = Kind("authentication.k8s.io", "v1", "TokenReview", "tokenreviews", "tokenreview", (), False)
SELF_SUBJECT_REVIEW = Kind(
    "authentication.k8s.io", "v1", "SelfSubjectReview", "selfsubjectreviews", "selfsubjectreview", (), False
)
_AUTHORIZATION = "authorization.k8s.io"
SUBJECT_ACCESS_REVIEW = Kind(
    _AUTHORIZATION, "v1", "SubjectAccessReview", "subjectaccessreviews", "subjectaccessreview", (), False
)
LOCAL_SUBJECT_ACCESS_REVIEW = Kind(
    _AUTHORIZATION, "v1", "LocalSubjectAccessReview", "localsubjectaccessreviews", "localsubjectaccessreview"
)
SELF_SUBJECT_ACCESS_REVIEW = Kind(
    _AUTHORIZATION, "v1", "SelfSubjectAccessReview", "selfsubjectaccessreviews", "selfsubjectaccessreview", (), False
)
SELF_SUBJECT_RULES_REVIEW = Kind(
    _AUTHORIZATION, "v1", "SelfSubjectRulesReview", "selfsubjectrulesreviews", "selfsubjectrulesreview", (), False
)

REVIEWS: tuple[Kind, ...] = (
    TOKEN_REVIEW,
    SELF_SUBJECT_REVIEW,
    SUBJECT_ACCESS_REVIEW,
    LOCAL_SUBJECT_ACCESS_REVIEW,
    SELF_SUBJECT_ACCESS_REVIEW,
    SELF_SUBJECT_RULES_REVIEW,
)
"""Questions put by creating them: answered, never stored."""
REVIEW_GROUPS = frozenset(kind.group for kind in REVIEWS)
"""Groups that have nothing else."""

_SERVED = [(version, kind) for kind in (*KINDS, *REVIEWS) for version in (kind.api_version, *kind.old)]
_BY_RESOURCE = {(version, kind.plural): kind for version, kind in _SERVED}
_BY_KIND = {(version, kind.name): kind for version, kind in _SERVED}


def by_resource(api_version: str, plural: str) -> Kind | None:
    """The kind served as `plural` under `api_version` ("v1", "apps/v1beta1"), or None."""
    return _BY_RESOURCE.get((api_version, plural))


def by_kind(api_version: str, name: str) -> Kind | None:
    """The kind a manifest names by apiVersion and kind, or None."""
    return _BY_KIND.get((api_version, name))
