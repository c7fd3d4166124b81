"""What the zone needs to know of Services, EndpointSlices, Namespaces and Pods, decoded straight from JSON.

Everything else in an object is skipped by the decoder and never takes memory. Lists may be `null` (Go servers write
empty slices so); all of them are optional here.
"""

from __future__ import annotations

import sys
from functools import lru_cache

import msgspec
from msgspec.structs import force_setattr

from fairway.dns import names


class Metadata(msgspec.Struct, frozen=True, gc=False):
    """Who an object is. `namespace` is "" for cluster-scoped kinds."""

    name: str
    namespace: str = ""


class ServiceAnnotations(msgspec.Struct, frozen=True, gc=False):
    """The one annotation the DNS specification names: it counts endpoints as ready that are not."""

    tolerate_unready: str = msgspec.field(name="service.alpha.kubernetes.io/tolerate-unready-endpoints", default="")


class ServiceMetadata(msgspec.Struct, frozen=True, gc=False):
    """A Service's identity and the annotation that counts."""

    name: str
    namespace: str = ""
    annotations: ServiceAnnotations | None = None

    def __post_init__(self) -> None:
        force_setattr(self, "namespace", sys.intern(self.namespace))


class ServicePort(msgspec.Struct, frozen=True, gc=False):
    """One port of a Service; an unnamed one has no SRV record."""

    port: int
    name: str = ""
    protocol: str = "TCP"

    def __post_init__(self) -> None:
        for word in ("name", "protocol"):  # a few, which thousands of Services share
            force_setattr(self, word, sys.intern(getattr(self, word)))


@lru_cache(maxsize=1024)
def _shared(ports: tuple[ServicePort, ...] | None) -> tuple[ServicePort, ...] | None:
    """The same ports, held once: thousands of Services have no others than `http` on 80."""
    return ports


class ServiceSpec(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """Addresses, ports and kind of a Service."""

    cluster_ip: str = msgspec.field(name="clusterIP", default="")
    cluster_ips: tuple[str, ...] | None = msgspec.field(name="clusterIPs", default=None)
    type: str = "ClusterIP"
    external_name: str = ""
    ports: tuple[ServicePort, ...] | None = None
    publish_not_ready_addresses: bool = False

    def __post_init__(self) -> None:
        force_setattr(self, "type", sys.intern(self.type))
        force_setattr(self, "ports", _shared(self.ports))
        if self.cluster_ips == (self.cluster_ip,):
            force_setattr(self, "cluster_ip", self.cluster_ips[0])


class Service(msgspec.Struct, frozen=True, gc=False):
    """core/v1 Service."""

    metadata: ServiceMetadata
    spec: ServiceSpec

    @property
    def addresses(self) -> tuple[str, ...]:
        """The cluster IPs, in the object's order; empty for headless and ExternalName Services."""
        if self.external_name or self.headless:
            return ()
        given = self.spec.cluster_ips or (self.spec.cluster_ip,)
        return tuple(address for address in given if address)

    @property
    def headless(self) -> bool:
        """Whether the Service has no address of its own by its owner's wish."""
        return self.spec.type != "ExternalName" and self.spec.cluster_ip == "None"

    @property
    def external_name(self) -> str:
        """The name an ExternalName Service stands for, else ""."""
        return self.spec.external_name if self.spec.type == "ExternalName" else ""

    @property
    def publishes_unready(self) -> bool:
        """Whether endpoints have names before (and after) they are ready."""
        annotations = self.metadata.annotations
        tolerated = annotations is not None and annotations.tolerate_unready.lower() == "true"
        return self.spec.publish_not_ready_addresses or tolerated


class SliceLabels(msgspec.Struct, frozen=True, gc=False):
    """The label that ties a slice to its Service."""

    service: str = msgspec.field(name="kubernetes.io/service-name", default="")


class SliceAnnotations(msgspec.Struct, frozen=True, gc=False):
    """When the Pod or Service changed that made the slice change, as RFC 3339 text."""

    triggered: str = msgspec.field(name="endpoints.kubernetes.io/last-change-trigger-time", default="")


class SliceMetadata(msgspec.Struct, frozen=True, gc=False):
    """A slice's identity, its Service, and what made it change."""

    name: str
    namespace: str = ""
    labels: SliceLabels | None = None
    annotations: SliceAnnotations | None = None


class Conditions(msgspec.Struct, frozen=True, gc=False):
    """`ready` unset means ready (discovery.k8s.io/v1)."""

    ready: bool | None = None


class WholeEndpoint(msgspec.Struct, frozen=True, gc=False):
    """One endpoint with all its addresses (of one family), as it comes."""

    addresses: tuple[str, ...] | None = None
    conditions: Conditions | None = None
    hostname: str | None = None

    @property
    def ready(self) -> bool:
        """Whether traffic may go there; unknown counts as yes."""
        return self.conditions is None or self.conditions.ready is not False


class WholePort(msgspec.Struct, frozen=True, gc=False):
    """One port that all endpoints of a slice share, as it comes."""

    name: str | None = None
    protocol: str | None = None
    port: int | None = None


class WholeSlice(msgspec.Struct, frozen=True, gc=False):
    """discovery.k8s.io/v1 EndpointSlice, as it comes."""

    metadata: SliceMetadata
    endpoints: tuple[WholeEndpoint, ...] | None = None
    ports: tuple[WholePort, ...] | None = None


class Endpoint(msgspec.Struct, frozen=True, gc=False, array_like=True, omit_defaults=True):
    """One endpoint; whether traffic may go there (unknown counts as yes), and its own hostname or ""."""

    addresses: tuple[str, ...] = ()
    ready: bool = True
    hostname: str = ""


class EndpointPort(msgspec.Struct, frozen=True, gc=False, array_like=True, omit_defaults=True):
    """One port that all endpoints of a slice share. Without a number (0) it means every port and has no SRV record."""

    port: int = 0
    name: str = ""
    protocol: str = "TCP"


class EndpointSlice(msgspec.Struct, frozen=True, gc=False):
    """An EndpointSlice, small: most of them belong to Services whose endpoints have no names and are never looked at,
    so these stand in `packed`, a fifteenth of what they weigh as objects. `service` is the Service's name, or "", and
    `triggered` when the change happened that it shows (RFC 3339), or ""."""

    metadata: Metadata
    service: str
    packed: bytes
    triggered: str = ""

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """The endpoints, made anew each time."""
        return _PACKED.decode(self.packed)[0]

    @property
    def ports(self) -> tuple[EndpointPort, ...]:
        """The ports, made anew each time."""
        return _PACKED.decode(self.packed)[1]


class Namespace(msgspec.Struct, frozen=True, gc=False):
    """core/v1 Namespace."""

    metadata: Metadata


class PodIP(msgspec.Struct, frozen=True, gc=False):
    """One address of a Pod."""

    ip: str = ""


class PodStatus(msgspec.Struct, frozen=True, gc=False):
    """Addresses and phase of a Pod."""

    phase: str = ""
    pod_ip: str = msgspec.field(name="podIP", default="")
    pod_ips: tuple[PodIP, ...] | None = msgspec.field(name="podIPs", default=None)


class Pod(msgspec.Struct, frozen=True, gc=False):
    """core/v1 Pod."""

    metadata: Metadata
    status: PodStatus | None = None

    @property
    def addresses(self) -> tuple[str, ...]:
        """The Pod's addresses; none once it has ended, because they may belong to another Pod by then."""
        if self.status is None or self.status.phase in ("Succeeded", "Failed"):
            return ()
        given = tuple(each.ip for each in self.status.pod_ips or ()) or (self.status.pod_ip,)
        return tuple(address for address in given if address)


class DnsOption(msgspec.Struct, frozen=True, gc=False):
    """One option of a resolv.conf, with its value if it has one."""

    name: str = ""
    value: str | None = None


class DnsConfig(msgspec.Struct, frozen=True, gc=False):
    """What a Pod adds to its resolv.conf."""

    searches: tuple[str, ...] | None = None
    options: tuple[DnsOption, ...] | None = None


class PodSpec(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """How a Pod resolves names."""

    dns_policy: str = "ClusterFirst"
    host_network: bool = False
    dns_config: DnsConfig | None = None


class ResolvingPod(Pod, frozen=True, gc=False):
    """core/v1 Pod with what decides over its search list."""

    spec: PodSpec = PodSpec()

    @property
    def host_network(self) -> bool:
        """Whether its address is the node's, and so says nothing about it."""
        return self.spec.host_network

    @property
    def dns_policy(self) -> str:
        """ClusterFirst, ClusterFirstWithHostNet, Default or None."""
        return self.spec.dns_policy

    @property
    def dns_config(self) -> DnsConfig:
        """What it adds to its resolv.conf."""
        return self.spec.dns_config or _NO_CONFIG


_NO_CONFIG = DnsConfig()
_SERVICE = msgspec.json.Decoder(Service)
_SLICE = msgspec.json.Decoder(WholeSlice)
_PACKED = msgspec.msgpack.Decoder(tuple[tuple[Endpoint, ...], tuple[EndpointPort, ...]])
_PACK = msgspec.msgpack.Encoder()
_NAMESPACE = msgspec.json.Decoder(Namespace)
_POD = msgspec.json.Decoder(Pod)
_RESOLVING_POD = msgspec.json.Decoder(ResolvingPod)


def decode_service(raw: bytes) -> Service:
    """A Service from its JSON. Raises msgspec.DecodeError (msgspec.ValidationError for a wrong type)."""
    return _SERVICE.decode(raw)


def decode_slice(raw: bytes) -> EndpointSlice:
    """An EndpointSlice from its JSON; errors as `decode_service`."""
    whole = _SLICE.decode(raw)
    labels, annotations = whole.metadata.labels, whole.metadata.annotations
    identity = Metadata(whole.metadata.name, sys.intern(whole.metadata.namespace))
    return EndpointSlice(
        identity,
        labels.service if labels else "",
        _packed(whole),
        annotations.triggered if annotations else "",
    )


def _packed(whole: WholeSlice) -> bytes:
    endpoints = [Endpoint(each.addresses or (), each.ready, each.hostname or "") for each in whole.endpoints or ()]
    ports = [EndpointPort(each.port or 0, each.name or "", each.protocol or "TCP") for each in whole.ports or ()]
    return _PACK.encode((endpoints, ports))


def decode_namespace(raw: bytes) -> Namespace:
    """A Namespace from its JSON; errors as `decode_service`."""
    return _NAMESPACE.decode(raw)


def decode_addresses(raw: bytes) -> tuple[bytes, ...]:
    """All that names need to know of a Pod: its addresses, packed, each once. Errors as `decode_service`."""
    return pod_addresses(_POD.decode(raw))


def pod_addresses(pod: Pod) -> tuple[bytes, ...]:
    """The Pod's addresses, packed, each once."""
    return tuple(dict.fromkeys(packed for text in pod.addresses if (packed := names.pack(text)) is not None))


def decode_pod(raw: bytes) -> Pod:
    """A Pod from its JSON; errors as `decode_service`."""
    return _POD.decode(raw)


def decode_resolving_pod(raw: bytes) -> ResolvingPod:
    """A Pod with its resolver's settings from its JSON; errors as `decode_service`."""
    return _RESOLVING_POD.decode(raw)
