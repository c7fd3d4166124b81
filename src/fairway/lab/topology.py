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
    """A node of the lab. `address` is that of its eth0 on the segment, `address_v6` its second one there ("" in a lab
    of IPv4 alone)."""

    name: str
    address: str
    address_v6: str = ""

    @property
    def addresses(self) -> tuple[str, ...]:
        """Its addresses, the IPv4 one first."""
        return (self.address, self.address_v6) if self.address_v6 else (self.address,)


@dataclass(frozen=True, slots=True)
class SecondFamily:
    """What a dual-stack lab has in IPv6, each beside what is called so in `Topology`."""

    segment: str = "fd00:a::/64"
    gateway: str = "fd00:a::1"
    control_plane: str = "fd00:a::10"
    outside_client: str = "fd00:a::100"
    pod_range: str = "fd00:10:244::/48"
    service_range: str = "fd00:10:96::/112"


@dataclass(frozen=True, slots=True)
class Behind:
    """A second segment in one family, behind `router` of the first one, which there is the `gateway` of `client`."""

    segment: str
    router: str
    gateway: str
    client: str


BEHIND = (
    Behind("10.1.0.0/24", "10.0.0.2", "10.1.0.1", "10.1.0.100"),
    Behind("fd00:b::/64", "fd00:a::2", "fd00:b::1", "fd00:b::100"),
)
POOLS = ("10.0.0.200-10.0.0.250", "fd00:a::200-fd00:a::250")


@dataclass(frozen=True, slots=True)
class Topology:
    """A whole lab. Addresses exist only inside the lab's namespaces; only `api_port` is taken on the host's loopback
    (0: any free one). `etcd` are the members, as the host reaches them, that keep the cluster; without any it is kept
    in a file of the lab. `proxy_mode` is what node proxies speak: "iptables" or "nftables". Cluster DNS asks
    `dns_forward` for names outside; without any it refuses them. Services of type LoadBalancer get addresses of
    `load_balancer_pool` (CIDRs, or FIRST-LAST) in `load_balancer_style` "addresses", and those of nodes in "nodes".
    `ipv6` makes it a lab of both families; `behind` (one for each) gives it a router and a client beyond."""

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
    load_balancer_pool: tuple[str, ...] = POOLS[:1]
    load_balancer_style: str = "addresses"
    ipv6: SecondFamily | None = None
    behind: tuple[Behind, ...] = ()

    @property
    def kubernetes_address(self) -> str:
        """The ClusterIP of `default/kubernetes`: the first of the Service range."""
        return str(ipaddress.ip_network(self.service_range)[1])

    @property
    def segments(self) -> tuple[str, ...]:
        """The segment's network in each family, as all that follow: IPv4 first."""
        return (self.segment, self.ipv6.segment) if self.ipv6 else (self.segment,)

    @property
    def gateways(self) -> tuple[str, ...]:
        """The addresses of the segment's gateway."""
        return (self.gateway, self.ipv6.gateway) if self.ipv6 else (self.gateway,)

    @property
    def pod_ranges(self) -> tuple[str, ...]:
        """Where pods' addresses come from."""
        return (self.pod_range, self.ipv6.pod_range) if self.ipv6 else (self.pod_range,)

    def pod_ranges_of(self, node: str) -> tuple[str, ...]:
        """A node's parts of these, a /24 and a /64, in the order of the nodes; none where they do not suffice."""
        place = [each.name for each in self.nodes].index(node)
        found = []
        for whole in map(ipaddress.ip_network, self.pod_ranges):
            length = 24 if whole.version == 4 else 64
            if whole.prefixlen > length or place >= 1 << (length - whole.prefixlen):
                return ()
            first = int(whole.network_address) + (place << (whole.max_prefixlen - length))
            found.append(f"{ipaddress.ip_address(first)}/{length}")
        return tuple(found)

    @property
    def service_ranges(self) -> tuple[str, ...]:
        """Where ClusterIPs come from."""
        return (self.service_range, self.ipv6.service_range) if self.ipv6 else (self.service_range,)

    def on_segment(self) -> dict[str, tuple[str, ...]]:
        """Everybody on the segment but its gateway: member name to addresses."""
        v6 = self.ipv6
        router = {"router": tuple(each.router for each in self.behind)} if self.behind else {}
        return {
            "control": (self.control_plane, v6.control_plane) if v6 else (self.control_plane,),
            **{node.name: node.addresses for node in self.nodes},
            "client": (self.outside_client, v6.outside_client) if v6 else (self.outside_client,),
            **router,
        }

    def members(self) -> list[str]:
        """Who has a network namespace: nodes by name, and the others; pods left out."""
        return ["segment", *self.on_segment(), *(["far"] if self.behind else [])]

    def namespace(self, member: str) -> str:
        """The network namespace of a member."""
        return f"fw-{self.name}-{member}"

    def namespaces(self) -> list[str]:
        """Every network namespace of the lab but those of pods, the segment first."""
        return [self.namespace(member) for member in self.members()]

    def node(self, name: str) -> NodePlan:
        """The node of that name; raises TopologyError listing those there are."""
        for node in self.nodes:
            if node.name == name:
                return node
        known = ", ".join(node.name for node in self.nodes)
        raise TopologyError(f"no node {name!r} in lab {self.name!r}; its nodes are {known}")


def plan(name: str = "lab", nodes: int = 3, api_port: int = 0, *, dual: bool = False, router: bool = False) -> Topology:
    """The standard lab: `nodes` nodes named node-a, node-b ... at .11, .12 ... of the segment; `dual` in IPv6, too,
    and with a `router` to a second segment."""
    if not NAME.fullmatch(name):
        raise TopologyError(
            f"lab name {name!r}: at most 16 of a-z, 0-9 and '-', beginning and ending with a letter or digit"
        )
    if not 1 <= nodes <= MAX_NODES:
        raise TopologyError(f"--nodes {nodes}: a lab has 1 to {MAX_NODES} nodes")
    families = 2 if dual else 1
    return Topology(
        name=name,
        nodes=tuple(_node(number, dual) for number in range(nodes)),
        api_port=api_port,
        load_balancer_pool=POOLS[:families],
        ipv6=SecondFamily() if dual else None,
        behind=BEHIND[:families] if router else (),
    )


def _node(number: int, dual: bool) -> NodePlan:
    """The addresses of a node end in the same digits in both families."""
    last = 11 + number
    return NodePlan(f"node-{string.ascii_lowercase[number]}", f"10.0.0.{last}", f"fd00:a::{last}" if dual else "")
