"""What a node agent is told about its node and cluster."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fairway.pods.images import ImageTable

VERSION = "v1.36.0+fairway"  # the API version spoken, as kubectl's VERSION column and version skew checks read it


@dataclass(frozen=True, slots=True)
class AgentConfig:
    """`state_dir` keeps what must be found again after a restart. `node_ip` is the node's address on the segment,
    `other_ips` are those of other families (none: the node has one family);
    `pod_cidrs` are its pods' ranges, with which it registers (none: a controller gives it some);
    `cluster_dns` and `cluster_domain` go into pods' resolv.conf ("" for no cluster DNS). `port` with `cert_file` and
    `key_file` is where logs are served over TLS ("" for none); with `client_ca_file` only to clients it has signed.
    `node_resolv_conf` and `node_hosts` are the files that dnsPolicy Default and host-network pods pass on."""

    node_name: str
    state_dir: Path
    node_ip: str
    other_ips: tuple[str, ...] = ()
    pod_cidrs: tuple[str, ...] = ()
    cluster_dns: str = ""
    cluster_domain: str = "cluster.local"
    images: ImageTable = field(default_factory=ImageTable)
    heartbeat_seconds: float = 10.0
    port: int = 10250
    cert_file: str = ""
    key_file: str = ""
    client_ca_file: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    cluster_cidrs: tuple[str, ...] = ("10.244.0.0/16",)
    version: str = VERSION
    max_pods: int = 110
    node_resolv_conf: Path = Path("/etc/resolv.conf")
    node_hosts: Path = Path("/etc/hosts")

    @property
    def node_ips(self) -> tuple[str, ...]:
        """The node's addresses, one per family, the first by which it is known."""
        return (self.node_ip, *self.other_ips)
