"""The columns of every kind, as kubectl users know them. Priority 1 means: only with `-o wide`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from fairway.api.tables_cells import NONE, UNKNOWN, age, joined, labels, selector, since, some
from fairway.api.tables_pod import readiness_gates, summarize
from fairway.packet import host_port

Object = Mapping[str, Any]
Cells = Callable[[Object, datetime], list[Any]]

ROLE_PREFIX = "node-role.kubernetes.io/"
ROLE_LABEL = "kubernetes.io/role"


@dataclass(frozen=True, slots=True)
class Column:
    """One column's definition."""

    name: str
    description: str
    type: str = "string"
    priority: int = 0
    format: str = ""

    def definition(self) -> dict[str, Any]:
        """The entry of a Table's columnDefinitions."""
        return {
            "name": self.name,
            "type": self.type,
            "format": self.format,
            "description": self.description,
            "priority": self.priority,
        }


@dataclass(frozen=True, slots=True)
class Layout:
    """A kind's columns, and how an object fills them."""

    columns: tuple[Column, ...]
    cells: Cells


NAME = Column("Name", "Name of the object, unique among its kind in its namespace", format="name")
AGE = Column("Age", "Time since the object was created")


def _name(obj: Object) -> str:
    return str((obj.get("metadata") or {}).get("name") or "")


def _spec(obj: Object) -> Object:
    return obj.get("spec") or {}


def _status(obj: Object) -> Object:
    return obj.get("status") or {}


def _wide(name: str, description: str) -> Column:
    return Column(name, description, priority=1)


def _pod(pod: Object, now: datetime) -> list[Any]:
    spec, status = _spec(pod), _status(pod)
    summary = summarize(pod)
    address = next((one.get("ip") for one in status.get("podIPs") or []), None) or status.get("podIP")
    return [
        _name(pod),
        f"{summary.ready}/{summary.total}",
        summary.word,
        summary.restarts_cell(now),
        age(pod, now),
        address or NONE,
        spec.get("nodeName") or NONE,
        status.get("nominatedNodeName") or NONE,
        readiness_gates(pod),
    ]


def _service(service: Object, now: datetime) -> list[Any]:
    spec = _spec(service)
    return [
        _name(service),
        spec.get("type") or "ClusterIP",
        spec.get("clusterIP") or next(iter(spec.get("clusterIPs") or []), NONE),
        external_addresses(service),
        joined([_service_port(port) for port in spec.get("ports") or []]),
        age(service, now),
        labels(spec.get("selector")),
    ]


def external_addresses(service: Object) -> str:
    """Where a Service is reached from outside: `<pending>` while a load balancer owes it an address."""
    spec = _spec(service)
    external = list(spec.get("externalIPs") or [])
    match spec.get("type"):
        case "ExternalName":
            return str(spec.get("externalName") or NONE)
        case "LoadBalancer":
            ingress = (_status(service).get("loadBalancer") or {}).get("ingress") or []
            given = [one.get("ip") or one.get("hostname") or "" for one in ingress]
            return joined([*filter(None, given), *external], "<pending>")
    return joined(external)


def _service_port(port: Object) -> str:
    node = f":{port['nodePort']}" if port.get("nodePort") else ""
    return f"{port.get('port')}{node}/{port.get('protocol') or 'TCP'}"


def _endpoints(endpoints: Object, now: datetime) -> list[Any]:
    found: list[str] = []
    for subset in endpoints.get("subsets") or []:
        addresses = [one.get("ip") or "" for one in subset.get("addresses") or []]
        ports = subset.get("ports") or []
        found += [host_port(text, port.get("port") or 0) for port in ports for text in addresses] or addresses
    return [_name(endpoints), some(found), age(endpoints, now)]


def _slice(slice_: Object, now: datetime) -> list[Any]:
    ports = [str(port.get("port") or port.get("name") or "*") for port in slice_.get("ports") or []]
    addresses = [text for one in slice_.get("endpoints") or [] for text in one.get("addresses") or []]
    return [
        _name(slice_),
        slice_.get("addressType") or "",
        some(ports, "<unset>"),
        some(addresses, "<unset>"),
        age(slice_, now),
    ]


def _template(obj: Object) -> list[str]:
    containers = (((_spec(obj).get("template") or {}).get("spec")) or {}).get("containers") or []
    return [joined([str(one.get(field) or "") for one in containers]) for field in ("name", "image")]


def _replicas(obj: Object, now: datetime, selected: str) -> list[Any]:
    spec, status = _spec(obj), _status(obj)
    counts = [spec.get("replicas") or 0, status.get("replicas") or 0, status.get("readyReplicas") or 0]
    return [_name(obj), *counts, age(obj, now), *_template(obj), selected]


def _replication_controller(obj: Object, now: datetime) -> list[Any]:
    return _replicas(obj, now, labels(_spec(obj).get("selector")))


def _replica_set(obj: Object, now: datetime) -> list[Any]:
    return _replicas(obj, now, selector(_spec(obj).get("selector")))


def _deployment(obj: Object, now: datetime) -> list[Any]:
    spec, status = _spec(obj), _status(obj)
    return [
        _name(obj),
        f"{status.get('readyReplicas') or 0}/{spec.get('replicas') or 0}",
        status.get("updatedReplicas") or 0,
        status.get("availableReplicas") or 0,
        age(obj, now),
        *_template(obj),
        selector(spec.get("selector")),
    ]


def _node(node: Object, now: datetime) -> list[Any]:
    info = _status(node).get("nodeInfo") or {}
    return [
        _name(node),
        _node_word(node),
        joined(_roles(node)),
        age(node, now),
        info.get("kubeletVersion") or "",
        _node_address(node, "InternalIP"),
        _node_address(node, "ExternalIP"),
        info.get("osImage") or UNKNOWN,
        info.get("kernelVersion") or UNKNOWN,
        info.get("containerRuntimeVersion") or UNKNOWN,
    ]


def _node_word(node: Object) -> str:
    ready = next((one for one in _status(node).get("conditions") or [] if one.get("type") == "Ready"), None)
    word = "Unknown" if ready is None else ("Ready" if ready.get("status") == "True" else "NotReady")
    return f"{word},SchedulingDisabled" if _spec(node).get("unschedulable") else word


def _roles(node: Object) -> list[str]:
    marks = (node.get("metadata") or {}).get("labels") or {}
    roles = {key.removeprefix(ROLE_PREFIX) for key in marks if key.startswith(ROLE_PREFIX)}
    return sorted({*roles, marks.get(ROLE_LABEL, "")} - {""})


def _node_address(node: Object, type_: str) -> str:
    addresses = _status(node).get("addresses") or []
    return next((str(one.get("address")) for one in addresses if one.get("type") == type_), NONE)


def _namespace(obj: Object, now: datetime) -> list[Any]:
    return [_name(obj), _status(obj).get("phase") or "", age(obj, now)]


def _event(event: Object, now: datetime) -> list[Any]:
    about, source, series = (event.get(name) or {} for name in ("involvedObject", "source", "series"))
    first = event.get("firstTimestamp") or event.get("eventTime")
    last = series.get("lastObservedTime") or event.get("lastTimestamp") or first
    component = source.get("component") or event.get("reportingComponent") or ""
    host = source.get("host") or event.get("reportingInstance") or ""
    return [
        since(last, now),
        event.get("type") or "",
        event.get("reason") or "",
        f"{(about.get('kind') or '').lower()}/{about.get('name') or ''}",
        about.get("fieldPath") or "",
        f"{component}, {host}" if host else component,
        (event.get("message") or "").strip(),
        since(first, now),
        series.get("count") or event.get("count") or 1,
        _name(event),
    ]


def _config_map(obj: Object, now: datetime) -> list[Any]:
    return [_name(obj), len(obj.get("data") or {}) + len(obj.get("binaryData") or {}), age(obj, now)]


def _secret(obj: Object, now: datetime) -> list[Any]:
    return [_name(obj), obj.get("type") or "", len(obj.get("data") or {}), age(obj, now)]


def _account(obj: Object, now: datetime) -> list[Any]:
    return [_name(obj), len(obj.get("secrets") or []), age(obj, now)]


def _lease(obj: Object, now: datetime) -> list[Any]:
    return [_name(obj), _spec(obj).get("holderIdentity") or "", age(obj, now)]


def _service_cidr(obj: Object, now: datetime) -> list[Any]:
    return [_name(obj), joined(_spec(obj).get("cidrs") or []), age(obj, now)]


def _ip_address(obj: Object, now: datetime) -> list[Any]:
    parent = _spec(obj).get("parentRef") or {}
    parts = [parent.get(name) or "" for name in ("resource", "namespace", "name")]
    return [_name(obj), "/".join(filter(None, parts)) or NONE, age(obj, now)]


def _role(obj: Object, now: datetime) -> list[Any]:
    return [_name(obj), (obj.get("metadata") or {}).get("creationTimestamp") or UNKNOWN]


def _role_binding(obj: Object, now: datetime) -> list[Any]:
    ref = obj.get("roleRef") or {}
    named: dict[str, list[str]] = {"User": [], "Group": [], "ServiceAccount": []}
    for subject in obj.get("subjects") or []:
        name = subject.get("name") or ""
        whole = f"{subject.get('namespace') or ''}/{name}" if subject.get("kind") == "ServiceAccount" else name
        named.setdefault(subject.get("kind") or "", []).append(whole)
    people = [", ".join(named[kind]) for kind in ("User", "Group", "ServiceAccount")]
    return [_name(obj), f"{ref.get('kind')}/{ref.get('name')}", age(obj, now), *people]


_ROLE = Layout((NAME, Column("Created At", "When it was created")), _role)
_ROLE_BINDING = Layout(
    (
        NAME,
        Column("Role", "The role it gives"),
        AGE,
        _wide("Users", "The users who get it"),
        _wide("Groups", "The groups that get it"),
        _wide("ServiceAccounts", "The service accounts that get it"),
    ),
    _role_binding,
)


def _ingress(obj: Object, now: datetime) -> list[Any]:
    spec = _spec(obj)
    hosts = [rule.get("host") or "*" for rule in spec.get("rules") or []] or ["*"]
    told = (_status(obj).get("loadBalancer") or {}).get("ingress") or []
    return [
        _name(obj),
        spec.get("ingressClassName") or NONE,
        some(hosts),
        ",".join(one.get("ip") or one.get("hostname") or "" for one in told),
        "80, 443" if spec.get("tls") else "80",
        age(obj, now),
    ]


def _ingress_class(obj: Object, now: datetime) -> list[Any]:
    spec = _spec(obj)
    given = spec.get("parameters") or {}
    kind = ".".join(filter(None, (given.get("kind"), given.get("apiGroup"))))
    shown = f"{kind}/{given.get('name') or ''}" if given else NONE
    return [_name(obj), spec.get("controller") or "", shown, age(obj, now)]


def _disruption_budget(obj: Object, now: datetime) -> list[Any]:
    spec = _spec(obj)
    bounds = [str(spec[name]) if spec.get(name) is not None else "N/A" for name in ("minAvailable", "maxUnavailable")]
    return [_name(obj), *bounds, _status(obj).get("disruptionsAllowed", 0), age(obj, now)]


_WORKLOAD = (
    _wide("Containers", "Names of the template's containers"),
    _wide("Images", "Images of the template's containers"),
    _wide("Selector", "Which pods belong to it"),
)
_COUNTS = (
    Column("Desired", "How many pods are wanted", "integer"),
    Column("Current", "How many pods exist", "integer"),
    Column("Ready", "How many pods are ready", "integer"),
)

LAYOUTS: Mapping[str, Layout] = {
    "Pod": Layout(
        (
            NAME,
            Column("Ready", "Ready containers of all containers"),
            Column("Status", "How the pod is, in one word"),
            Column("Restarts", "How often its containers were started again, and when last"),
            AGE,
            _wide("IP", "The pod's first address"),
            _wide("Node", "The node it runs on"),
            _wide("Nominated Node", "The node it will get once others made room"),
            _wide("Readiness Gates", "Conditions of its own that hold, of all it waits for"),
        ),
        _pod,
    ),
    "Service": Layout(
        (
            NAME,
            Column("Type", "How far the Service reaches"),
            Column("Cluster-IP", "Its address inside the cluster"),
            Column("External-IP", "Its addresses outside the cluster"),
            Column("Port(s)", "Ports as port[:node port]/protocol"),
            AGE,
            _wide("Selector", "Which pods it leads to"),
        ),
        _service,
    ),
    "Endpoints": Layout((NAME, Column("Endpoints", "Ready addresses with their ports"), AGE), _endpoints),
    "EndpointSlice": Layout(
        (
            NAME,
            Column("AddressType", "Family of the addresses"),
            Column("Ports", "Ports of every endpoint"),
            Column("Endpoints", "Addresses, ready or not"),
            AGE,
        ),
        _slice,
    ),
    "ReplicationController": Layout((NAME, *_COUNTS, AGE, *_WORKLOAD), _replication_controller),
    "ReplicaSet": Layout((NAME, *_COUNTS, AGE, *_WORKLOAD), _replica_set),
    "Deployment": Layout(
        (
            NAME,
            Column("Ready", "Ready pods of those wanted"),
            Column("Up-to-date", "How many pods are of the present template", "integer"),
            Column("Available", "How many pods have been ready for long enough", "integer"),
            AGE,
            *_WORKLOAD,
        ),
        _deployment,
    ),
    "Node": Layout(
        (
            NAME,
            Column("Status", "Whether it is ready, and whether pods may come"),
            Column("Roles", "Its roles, from its labels"),
            AGE,
            Column("Version", "Version of its agent"),
            _wide("Internal-IP", "Its address inside the cluster's network"),
            _wide("External-IP", "Its address outside"),
            _wide("OS-Image", "Its operating system"),
            _wide("Kernel-Version", "Its kernel"),
            _wide("Container-Runtime", "What runs its containers"),
        ),
        _node,
    ),
    "Namespace": Layout((NAME, Column("Status", "Active, or Terminating while it is emptied"), AGE), _namespace),
    "Event": Layout(
        (
            Column("Last Seen", "Time since it happened last"),
            Column("Type", "Normal or Warning"),
            Column("Reason", "Why, in one word"),
            Column("Object", "What it is about"),
            _wide("Subobject", "The part of the object it is about"),
            _wide("Source", "Who reports it"),
            Column("Message", "What happened"),
            _wide("First Seen", "Time since it happened first"),
            _wide("Count", "How often it happened"),
            Column("Name", "Name of the event", priority=1, format="name"),
        ),
        _event,
    ),
    "ConfigMap": Layout((NAME, Column("Data", "How many keys it holds", "integer"), AGE), _config_map),
    "Secret": Layout(
        (NAME, Column("Type", "What the data is for"), Column("Data", "How many keys it holds", "integer"), AGE),
        _secret,
    ),
    "ServiceAccount": Layout((NAME, Column("Secrets", "How many secrets it names", "integer"), AGE), _account),
    "Lease": Layout((NAME, Column("Holder", "Who holds it"), AGE), _lease),
    "ServiceCIDR": Layout((NAME, Column("CIDRs", "Ranges that Services get addresses from"), AGE), _service_cidr),
    "Ingress": Layout(
        (
            NAME,
            Column("Class", "The class whose controller serves it"),
            Column("Hosts", "Hosts it has rules for"),
            Column("Address", "Where it is served"),
            Column("Ports", "Ports it is served on"),
            AGE,
        ),
        _ingress,
    ),
    "IngressClass": Layout(
        (
            NAME,
            Column("Controller", "Who serves Ingresses of the class"),
            Column("Parameters", "What configures the controller for the class"),
            AGE,
        ),
        _ingress_class,
    ),
    "PodDisruptionBudget": Layout(
        (
            NAME,
            Column("Min Available", "How many pods must stay"),
            Column("Max Unavailable", "How many pods may be missing"),
            Column("Allowed Disruptions", "How many pods may be evicted now", "integer"),
            AGE,
        ),
        _disruption_budget,
    ),
    "IPAddress": Layout((NAME, Column("ParentRef", "What holds the address"), AGE), _ip_address),
    "Role": _ROLE,
    "ClusterRole": _ROLE,
    "RoleBinding": _ROLE_BINDING,
    "ClusterRoleBinding": _ROLE_BINDING,
}
"""By the kind's name."""
