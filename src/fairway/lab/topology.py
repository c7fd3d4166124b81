"""What a lab consists of, as values: nodes, addresses, ranges, names. The defaults are what kubeadm users know."""

from __future__ import annotations

import ipaddress
import re
import string
from dataclasses import dataclass, field

NAME = re.compile(r"[a-z0-9]([-a-z0-9]{0,14}[a-z0-9])?")
MAX_NODES = 26  # one letter each


class TopologyError(ValueError):
    """The asked lab cannot be; the message names the field."""


@dataclass(frozen=True, slots=True)
class NodePlan:
    """A node of the lab. `address` is that of its eth0 on the segment."""

    name: str
    address: str


@dataclass(frozen=True, slots=True)
class Topology:
    """A whole lab. Addresses exist only inside the lab's namespaces; only `api_port` is taken on the host's loopback
    (0: any free one). `etcd` are the members, as the host reaches them, that keep the cluster; without any it is kept
    in a file of the lab. `proxy_mode` is what node proxies speak: "iptables" or "nftables". Cluster DNS asks
    `dns_forward` for names outside; without any it refuses them. Services of type LoadBalancer get addresses of
    `load_balancer_pool` (CIDRs, or FIRST-LAST) in `load_balancer_style` "addresses", and those of nodes in "nodes"."""

    name: str = "lab"
    nodes: tuple[NodePlan, ...] = ()
    segment: str = "10.0.0.0/24"
    gateway: str = "10.0.0.1"
    control_plane: str = "10.0.0.10"
    outside_client: str = "10.0.0.100"
    pod_range: str = "10.244.0.0/16"
    service_range: str = "10.96.0.0/12"
    node_ports: tuple[int, int] = (30000, 32767)
    dns_address: str = "10.96.0.10"
    domain: str = "cluster.local"
    api_port: int = 0
    etcd: tuple[str, ...] = ()
    images: dict[str, list[str]] = field(default_factory=dict)
    proxy_mode: str = "iptables"
    dns_forward: tuple[str, ...] = ()
    load_balancer_pool: tuple[str, ...] = ("10.0.0.200-10.0.0.250",)
    load_balancer_style: str = "nodes"

    @property
    def kubernetes_address(self) -> str:
        """The ClusterIP of `default/kubernetes`: the first of the Service range."""
        return str(ipaddress.ip_network(self.service_range)[1])

    @property
    def prefix_length(self) -> int:
        """The segment's prefix length."""
        return ipaddress.ip_network(self.segment).prefixlen

    def namespace(self, member: str) -> str:
        """The network namespace of a member: a node's name, `control`, `client` or `segment`."""
        return f"fw-{self.name}-{member}"

    def namespaces(self) -> list[str]:
        """Every network namespace of the lab but those of pods, the segment first."""
        members = ["segment", "control", *(node.name for node in self.nodes), "client"]
        return [self.namespace(member) for member in members]

    def node(self, name: str) -> NodePlan:
        """The node of that name; raises TopologyError listing those there are."""
        for node in self.nodes:
            if node.name == name:
                return node
        known = ", ".join(node.name for node in self.nodes)
        raise TopologyError(f"no node {name!r} in lab {self.name!r}; its nodes are {known}")


def plan(name: str = "lab", nodes: int = 3, api_port: int = 0) -> Topology:
    """The standard lab: `nodes` nodes named node-a, node-b ... at .11, .12 ... of the segment."""
    if not NAME.fullmatch(name):
        raise TopologyError(
            f"lab name {name!r}: at most 16 of a-z, 0-9 and '-', beginning and ending with a letter or digit"
        )
    if not 1 <= nodes <= MAX_NODES:
        raise TopologyError(f"--nodes {nodes}: a lab has 1 to {MAX_NODES} nodes")
    first = ipaddress.ip_address("10.0.0.11")
    plans = tuple(NodePlan(f"node-{string.ascii_lowercase[i]}", str(first + i)) for i in range(nodes))
    return Topology(name=name, nodes=plans, api_port=api_port)
