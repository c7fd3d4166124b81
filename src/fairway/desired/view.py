"""The narrow view of Services, EndpointSlices and Nodes that the data plane takes, decoded straight from JSON bytes.

Everything else in the objects is skipped by the decoder and never held in memory.
"""

from __future__ import annotations

import sys

import msgspec
from msgspec.structs import force_setattr

SERVICE_NAME_LABEL = "kubernetes.io/service-name"
PROXY_NAME_LABEL = "service.kubernetes.io/service-proxy-name"
HEADLESS_LABEL = "service.kubernetes.io/headless"
CHANGED_ANNOTATION = "endpoints.kubernetes.io/last-change-trigger-time"


class Malformed(ValueError):
    """Bytes that are not an object of the kind. The message names the kind and the field."""


class _View(msgspec.Struct, frozen=True, rename="camel", gc=False):
    """Immutable, fields spelled in camelCase on the wire, unknown fields skipped."""


class Labels(_View, frozen=True):
    """The labels that say something to a proxy; None: not there."""

    service_name: str | None = msgspec.field(default=None, name=SERVICE_NAME_LABEL)
    proxy_name: str | None = msgspec.field(default=None, name=PROXY_NAME_LABEL)
    headless: str | None = msgspec.field(default=None, name=HEADLESS_LABEL)


class Annotations(_View, frozen=True):
    """`changed`: when the Pods or the Service changed that a slice was written for (RFC 3339)."""

    changed: str | None = msgspec.field(default=None, name=CHANGED_ANNOTATION)


class Meta(_View, frozen=True):
    name: str = ""
    namespace: str = ""
    labels: Labels | None = None


class SliceMeta(_View, frozen=True):
    name: str = ""
    namespace: str = ""
    labels: Labels | None = None
    annotations: Annotations | None = None


class NodeMeta(_View, frozen=True):
    name: str = ""
    labels: dict[str, str] | None = None
    deletion_timestamp: str | None = None


class ServicePortView(_View, frozen=True):
    port: int
    name: str = ""
    protocol: str = "TCP"
    node_port: int = 0


class ClientIP(_View, frozen=True):
    timeout_seconds: int | None = None


class AffinityConfig(_View, frozen=True):
    client_ip: ClientIP | None = msgspec.field(default=None, name="clientIP")


class ServiceSpec(_View, frozen=True):
    type: str = "ClusterIP"
    ports: tuple[ServicePortView, ...] | None = None
    cluster_ip: str = msgspec.field(default="", name="clusterIP")
    cluster_ips: tuple[str, ...] | None = msgspec.field(default=None, name="clusterIPs")
    external_ips: tuple[str, ...] | None = msgspec.field(default=None, name="externalIPs")
    load_balancer_source_ranges: tuple[str, ...] | None = None
    session_affinity: str = "None"
    session_affinity_config: AffinityConfig | None = None
    internal_traffic_policy: str = "Cluster"
    external_traffic_policy: str = "Cluster"
    health_check_node_port: int = 0


class Ingress(_View, frozen=True):
    ip: str = ""
    ip_mode: str = "VIP"


class LoadBalancerStatus(_View, frozen=True):
    ingress: tuple[Ingress, ...] | None = None


class ServiceStatus(_View, frozen=True):
    load_balancer: LoadBalancerStatus | None = None


class ServiceView(_View, frozen=True):
    metadata: Meta
    spec: ServiceSpec = ServiceSpec()
    status: ServiceStatus | None = None


class SlicePort(_View, frozen=True):
    name: str | None = None
    port: int | None = None
    protocol: str | None = None


class Conditions(_View, frozen=True):
    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None


class NamedHint(_View, frozen=True):
    name: str


class Hints(_View, frozen=True):
    for_zones: tuple[NamedHint, ...] | None = None
    for_nodes: tuple[NamedHint, ...] | None = None


class SliceEndpoint(_View, frozen=True):
    addresses: tuple[str, ...] = ()
    conditions: Conditions | None = None
    node_name: str | None = None
    hints: Hints | None = None


class SliceView(_View, frozen=True):
    metadata: SliceMeta
    address_type: str = "IPv4"
    endpoints: tuple[SliceEndpoint, ...] | None = None
    ports: tuple[SlicePort, ...] | None = None


class Taint(_View, frozen=True):
    key: str = ""


class NodeSpec(_View, frozen=True):
    taints: tuple[Taint, ...] | None = None
    pod_cidr: str = msgspec.field(default="", name="podCIDR")
    pod_cidrs: tuple[str, ...] | None = msgspec.field(default=None, name="podCIDRs")


class NodeAddress(_View, frozen=True):
    type: str = ""
    address: str = ""


class NodeStatus(_View, frozen=True):
    addresses: tuple[NodeAddress, ...] | None = None


class NodeView(_View, frozen=True):
    metadata: NodeMeta
    spec: NodeSpec = NodeSpec()
    status: NodeStatus | None = None


class CidrSpec(_View, frozen=True):
    cidrs: tuple[str, ...] | None = None


class CidrView(_View, frozen=True):
    """A ServiceCIDR: ranges that cluster IPs come from."""

    spec: CidrSpec = CidrSpec()


_conditions: dict[Conditions, Conditions] = {}  # 27 at most
_service = msgspec.json.Decoder(ServiceView)
_slice = msgspec.json.Decoder(SliceView)
_node = msgspec.json.Decoder(NodeView)
_cidr = msgspec.json.Decoder(CidrView)


def service(raw: bytes) -> ServiceView:
    """Decode a Service. Raises Malformed."""
    try:
        view = _service.decode(raw)
    except msgspec.MsgspecError as error:
        raise Malformed(f"Service: {error}") from None
    _share_words(view)
    return view


def endpoint_slice(raw: bytes) -> SliceView:
    """Decode an EndpointSlice. Raises Malformed."""
    try:
        view = _slice.decode(raw)
    except msgspec.MsgspecError as error:
        raise Malformed(f"EndpointSlice: {error}") from None
    _share(view)
    return view


def _share(view: SliceView) -> None:
    """Let what is the same in many slices be the same object in memory: there are few nodes, conditions and port
    names, and very many endpoints."""
    _intern(view.metadata, "namespace")
    _intern(view, "address_type")
    for port in view.ports or ():
        _intern(port, "name", "protocol")
    for endpoint in view.endpoints or ():
        _intern(endpoint, "node_name")
        if endpoint.conditions:
            force_setattr(endpoint, "conditions", _conditions.setdefault(endpoint.conditions, endpoint.conditions))


def _share_words(view: ServiceView) -> None:
    """The same for a Service: most of its texts are words of the API."""
    spec = view.spec
    _intern(view.metadata, "namespace")
    _intern(spec, "type", "session_affinity", "internal_traffic_policy", "external_traffic_policy")
    for port in spec.ports or ():
        _intern(port, "name", "protocol")
    if spec.cluster_ips == (spec.cluster_ip,):
        force_setattr(spec, "cluster_ips", (spec.cluster_ip,))


def _intern(view: _View, *fields: str) -> None:
    for field in fields:
        text = getattr(view, field)
        if text:
            force_setattr(view, field, sys.intern(text))


def node(raw: bytes) -> NodeView:
    """Decode a Node. Raises Malformed."""
    try:
        return _node.decode(raw)
    except msgspec.MsgspecError as error:
        raise Malformed(f"Node: {error}") from None


def service_cidr(raw: bytes) -> CidrView:
    """Decode a ServiceCIDR. Raises Malformed."""
    try:
        return _cidr.decode(raw)
    except msgspec.MsgspecError as error:
        raise Malformed(f"ServiceCIDR: {error}") from None
