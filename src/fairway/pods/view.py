"""What the node agent reads of Pods and Services: narrow views decoded straight from their JSON, the rest skipped.

Field names are those of the Kubernetes 1.36 API in Python's spelling. Defaults are the API's own, so that pods which
never passed its defaulting (static ones, tests) mean the same.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

ALWAYS, ON_FAILURE, NEVER = "Always", "OnFailure", "Never"
FILE_MODE = 0o644  # of volumes' files that no one gave another


class View(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A part of an object; unknown fields are ignored."""


class KeySelector(View, frozen=True):
    name: str = ""
    key: str = ""
    optional: bool = False


class FieldSelector(View, frozen=True):
    field_path: str


class ResourceSelector(View, frozen=True):
    resource: str
    container_name: str = ""
    divisor: str | int | float = "1"


class ValueSource(View, frozen=True):
    field_ref: FieldSelector | None = None
    resource_field_ref: ResourceSelector | None = None
    config_map_key_ref: KeySelector | None = None
    secret_key_ref: KeySelector | None = None


class EnvVar(View, frozen=True):
    name: str
    value: str = ""
    value_from: ValueSource | None = None


class SourceName(View, frozen=True):
    name: str = ""
    optional: bool = False


class EnvFrom(View, frozen=True):
    prefix: str = ""
    config_map_ref: SourceName | None = None
    secret_ref: SourceName | None = None


class Header(View, frozen=True):
    name: str
    value: str = ""


class HttpGet(View, frozen=True):
    port: int | str
    path: str = "/"
    host: str = ""
    scheme: str = "HTTP"
    http_headers: tuple[Header, ...] = ()


class TcpSocket(View, frozen=True):
    port: int | str
    host: str = ""


class ExecAction(View, frozen=True):
    command: tuple[str, ...] = ()


class GrpcAction(View, frozen=True):
    port: int
    service: str = ""


class SleepAction(View, frozen=True):
    seconds: int


class Handler(View, frozen=True):
    """An action of a probe or a lifecycle hook: one of them is set."""

    exec: ExecAction | None = None
    http_get: HttpGet | None = None
    tcp_socket: TcpSocket | None = None
    sleep: SleepAction | None = None
    grpc: GrpcAction | None = None


class Probe(Handler, frozen=True):
    """Times in whole seconds."""

    initial_delay_seconds: int = 0
    timeout_seconds: int = 1
    period_seconds: int = 10
    success_threshold: int = 1
    failure_threshold: int = 3
    termination_grace_period_seconds: int | None = None


class Lifecycle(View, frozen=True):
    post_start: Handler | None = None
    pre_stop: Handler | None = None


class ContainerPort(View, frozen=True):
    container_port: int
    name: str = ""
    protocol: str = "TCP"
    host_port: int = 0
    host_ip: str = msgspec.field(default="", name="hostIP")


class Resources(View, frozen=True):
    requests: Mapping[str, str | int | float] = {}
    limits: Mapping[str, str | int | float] = {}


class Capabilities(View, frozen=True):
    add: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()


class SecurityContext(View, frozen=True):
    """That of a container."""

    run_as_user: int | None = None
    run_as_group: int | None = None
    privileged: bool = False
    allow_privilege_escalation: bool = True
    read_only_root_filesystem: bool = False
    capabilities: Capabilities = Capabilities()


class PodSecurityContext(View, frozen=True):
    run_as_user: int | None = None
    run_as_group: int | None = None
    fs_group: int | None = None
    supplemental_groups: tuple[int, ...] = ()


class VolumeMount(View, frozen=True):
    name: str
    mount_path: str = ""
    sub_path: str = ""
    sub_path_expr: str = ""
    read_only: bool = False


class TokenProjection(View, frozen=True):
    path: str
    audience: str = ""
    expiration_seconds: int = 3600


class KeyToPath(View, frozen=True):
    key: str
    path: str
    mode: int | None = None


class KeyProjection(View, frozen=True):
    """The keys of a ConfigMap or Secret: all, or the `items`."""

    name: str = ""
    items: tuple[KeyToPath, ...] = ()
    optional: bool = False


class DownwardFile(View, frozen=True):
    path: str
    field_ref: FieldSelector | None = None
    resource_field_ref: ResourceSelector | None = None
    mode: int | None = None


class DownwardProjection(View, frozen=True):
    items: tuple[DownwardFile, ...] = ()


class ProjectedSource(View, frozen=True):
    """A source of a projected volume: one of them is set, unless this agent does not know it."""

    service_account_token: TokenProjection | None = None
    config_map: KeyProjection | None = None
    secret: KeyProjection | None = None
    downward_api: DownwardProjection | None = msgspec.field(default=None, name="downwardAPI")


class EmptyDir(View, frozen=True):
    medium: str = ""
    size_limit: str | int | float | None = None


class HostPath(View, frozen=True):
    path: str
    type: str = ""


class ProjectedVolume(View, frozen=True):
    sources: tuple[ProjectedSource, ...] = ()
    default_mode: int = FILE_MODE


class ConfigMapVolume(KeyProjection, frozen=True):
    default_mode: int = FILE_MODE


class SecretVolume(View, frozen=True):
    secret_name: str = ""
    items: tuple[KeyToPath, ...] = ()
    optional: bool = False
    default_mode: int = FILE_MODE


class DownwardVolume(DownwardProjection, frozen=True):
    default_mode: int = FILE_MODE


class Volume(View, frozen=True):
    """One of the sources is set, unless this agent does not know it."""

    name: str
    empty_dir: EmptyDir | None = None
    host_path: HostPath | None = None
    projected: ProjectedVolume | None = None
    config_map: ConfigMapVolume | None = None
    secret: SecretVolume | None = None
    downward_api: DownwardVolume | None = msgspec.field(default=None, name="downwardAPI")


class Container(View, frozen=True):
    name: str
    image: str = ""
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    working_dir: str = ""
    ports: tuple[ContainerPort, ...] = ()
    env: tuple[EnvVar, ...] = ()
    env_from: tuple[EnvFrom, ...] = ()
    volume_mounts: tuple[VolumeMount, ...] = ()
    resources: Resources = Resources()
    security_context: SecurityContext = SecurityContext()
    readiness_probe: Probe | None = None
    liveness_probe: Probe | None = None
    startup_probe: Probe | None = None
    lifecycle: Lifecycle = Lifecycle()
    restart_policy: str = ""
    stdin: bool = False
    stdin_once: bool = False
    tty: bool = False

    def port_number(self, port: int | str) -> int | None:
        """A port given by number or by the name of one of this container's ports."""
        if isinstance(port, int) or port.isdigit():
            return int(port)
        return next((p.container_port for p in self.ports if p.name == port), None)


class DnsOption(View, frozen=True):
    name: str = ""
    value: str | None = None


class DnsConfig(View, frozen=True):
    nameservers: tuple[str, ...] = ()
    searches: tuple[str, ...] = ()
    options: tuple[DnsOption, ...] = ()


class HostAlias(View, frozen=True):
    ip: str = ""
    hostnames: tuple[str, ...] = ()


class ReadinessGate(View, frozen=True):
    condition_type: str


class PodSpec(View, frozen=True):
    node_name: str = ""
    containers: tuple[Container, ...] = ()
    init_containers: tuple[Container, ...] = ()
    ephemeral_containers: tuple[Container, ...] = ()
    restart_policy: str = ALWAYS
    termination_grace_period_seconds: int | None = 30
    host_network: bool = False
    hostname: str = ""
    subdomain: str = ""
    set_hostname_as_fqdn: bool = msgspec.field(default=False, name="setHostnameAsFQDN")
    dns_policy: str = "ClusterFirst"
    dns_config: DnsConfig = DnsConfig()
    host_aliases: tuple[HostAlias, ...] = ()
    enable_service_links: bool = True
    volumes: tuple[Volume, ...] = ()
    service_account_name: str = ""
    readiness_gates: tuple[ReadinessGate, ...] = ()
    security_context: PodSecurityContext = PodSecurityContext()


class Metadata(View, frozen=True):
    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    labels: Mapping[str, str] = {}
    annotations: Mapping[str, str] = {}
    creation_timestamp: str = ""
    deletion_timestamp: str | None = None
    deletion_grace_period_seconds: int | None = None


class Pod(View, frozen=True):
    """A pod; `status` is kept as plain JSON, since it is compared with and patched to what we want it to be."""

    metadata: Metadata
    spec: PodSpec = PodSpec()
    status: Mapping[str, Any] = {}

    @property
    def uid(self) -> str:
        """The pod's identity for good. Static pods' mirror objects are not made by this agent, so it is the API's."""
        return self.metadata.uid

    @property
    def deleting(self) -> bool:
        return self.metadata.deletion_timestamp is not None

    @property
    def grace_seconds(self) -> int:
        """Seconds between SIGTERM and SIGKILL: what the deletion asked for, else the spec's, else 30."""
        for seconds in (self.metadata.deletion_grace_period_seconds, self.spec.termination_grace_period_seconds):
            if seconds is not None:
                return seconds
        return 30

    @property
    def all_containers(self) -> tuple[Container, ...]:
        """Init containers first, in the order they start."""
        return self.spec.init_containers + self.spec.containers

    def __str__(self) -> str:
        return f"{self.metadata.namespace}/{self.metadata.name}"


class ServicePort(View, frozen=True):
    port: int
    name: str = ""
    protocol: str = "TCP"


class ServiceSpec(View, frozen=True):
    cluster_ip: str = msgspec.field(default="", name="clusterIP")
    type: str = "ClusterIP"
    ports: tuple[ServicePort, ...] = ()


class Service(View, frozen=True):
    metadata: Metadata
    spec: ServiceSpec = ServiceSpec()


_POD = msgspec.json.Decoder(Pod)
_SERVICE = msgspec.json.Decoder(Service)
_FRACTION = re.compile(r"\.\d+")


def decode_pod(raw: bytes) -> Pod:
    """A Pod from its JSON. Raises msgspec.ValidationError naming the field."""
    return _POD.decode(raw)


def decode_service(raw: bytes) -> Service:
    """A Service from its JSON. Raises msgspec.ValidationError naming the field."""
    return _SERVICE.decode(raw)


def seconds_of(timestamp: str) -> float:
    """An RFC 3339 time of the API as seconds since 1970. Raises ValueError for other text."""
    return datetime.fromisoformat(_FRACTION.sub(lambda m: m[0][:7], timestamp)).timestamp()


def timestamp_of(seconds: float) -> str:
    """Seconds since 1970 as the API's times: whole seconds, UTC."""
    return datetime.fromtimestamp(int(seconds), tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def micro_timestamp_of(seconds: float) -> str:
    """Seconds since 1970 as the API's MicroTime (of Leases and Events)."""
    return datetime.fromtimestamp(seconds, tz=UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
