"""What packets should do on one node: the middle model between what users declare and what a kernel is told.

Every policy is settled before a value of these types exists: which endpoints serve, which addresses are claimed, who
counts as a pod of this cluster. The renderers, the conntrack sweep, the health servers and the oracle (`decide`) read
it; none of them chooses anything again. All values are frozen and ordered, so two states can be compared piece by
piece.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from fairway.packet import Family, Protocol, host_port


class Policy(enum.StrEnum):
    """internalTrafficPolicy and externalTrafficPolicy: every endpoint, or only those of this node."""

    CLUSTER = "Cluster"
    LOCAL = "Local"


class PortName(NamedTuple):
    """The identity of one port of a Service. `port` is "" for the only, unnamed port."""

    namespace: str
    service: str
    port: str = ""

    def __str__(self) -> str:
        """`default/web` or `default/web:http`: the spelling that chain names are hashed from."""
        return f"{self.namespace}/{self.service}" + (f":{self.port}" if self.port else "")


PortKey: TypeAlias = tuple[PortName, Protocol, Family]
"""What identifies one port of one Service in one family."""


@dataclass(frozen=True, slots=True, order=True)
class Endpoint:
    """A place that serves: `local` when it runs on this node."""

    address: str
    port: int
    local: bool = False

    def __str__(self) -> str:
        return host_port(self.address, self.port)


@dataclass(frozen=True, slots=True)
class ServicePort:
    """One port of one Service in one family, with the endpoints chosen for this node.

    `cluster` are the endpoints that policy Cluster uses (readiness, terminating fall-back and topology applied),
    `local` those that policy Local uses. `reachable` says whether the Service has any usable endpoint on any node:
    it makes the difference between "nobody serves" (refused) and "nobody serves here" (dropped).
    """

    name: PortName
    family: Family
    protocol: Protocol
    cluster_ip: str
    port: int
    node_port: int = 0
    external_ips: tuple[str, ...] = ()
    load_balancer_ips: tuple[str, ...] = ()
    source_ranges: tuple[str, ...] = ()
    affinity_seconds: int = 0
    internal_policy: Policy = Policy.CLUSTER
    external_policy: Policy = Policy.CLUSTER
    health_check_node_port: int = 0
    cluster: tuple[Endpoint, ...] = ()
    local: tuple[Endpoint, ...] = ()
    reachable: bool = False

    @property
    def key(self) -> PortKey:
        """What identifies the port; unique in a Desired, and its sort key."""
        return (self.name, self.protocol, self.family)

    @property
    def external(self) -> bool:
        """Whether any address that outsiders may use leads here."""
        return bool(self.node_port or self.external_ips or self.load_balancer_ips)

    @property
    def internal_endpoints(self) -> tuple[Endpoint, ...]:
        """Who serves the cluster IP."""
        return self.local if self.internal_policy is Policy.LOCAL else self.cluster

    @property
    def external_endpoints(self) -> tuple[Endpoint, ...]:
        """Who serves outsiders at node ports, external and load-balancer addresses."""
        return self.local if self.external_policy is Policy.LOCAL else self.cluster

    @property
    def uses_cluster(self) -> bool:
        """Policy Local still needs the cluster's endpoints for external addresses: traffic of pods and of the node
        itself is not outside traffic and takes the short way."""
        return self.internal_policy is Policy.CLUSTER or self.external

    @property
    def uses_local(self) -> bool:
        return self.internal_policy is Policy.LOCAL or (self.external and self.external_policy is Policy.LOCAL)

    @property
    def filtered(self) -> bool:
        """Whether load-balancer addresses let only `source_ranges` in."""
        return bool(self.reachable and self.load_balancer_ips and self.source_ranges)


@dataclass(frozen=True, slots=True, order=True)
class HealthCheck:
    """A healthCheckNodePort and its answer: how many ready endpoints (distinct addresses of the family that has
    most) this node has."""

    namespace: str
    service: str
    port: int
    local_endpoints: int


@dataclass(frozen=True, slots=True)
class PodTraffic:
    """How traffic of this cluster's pods is told from everybody else's. Both empty: it is not told."""

    source: str = ""  # a CIDR that pod addresses are in
    interface: str = ""  # the device it comes in by; a trailing "+" stands for any ending


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """What one family's rules need to know of the node.

    `node_ports_on` None means every address of the node; then `localhost_node_ports` decides over loopback (IPv4
    only). `addresses` are the node's own, loopback and link-local ones not among them. `drops_invalid`: packets that
    connection tracking takes for invalid must not pass untranslated (iptables mode).
    """

    pods: PodTraffic = PodTraffic()
    addresses: tuple[str, ...] = ()
    node_ports_on: tuple[str, ...] | None = None
    localhost_node_ports: bool = False
    drops_invalid: bool = True


@dataclass(frozen=True, slots=True)
class Settings:
    """What a node's data plane must know beside its Services.

    `guarded_cidrs` are the ranges that cluster IPs come from, where they are guarded: packets to an unknown port of a
    live cluster IP are refused, packets to an address of the ranges that no Service has are dropped. None: they are
    left alone, as iptables mode does. An empty tuple guards live addresses only. `counted`: whether the packets of
    each Service are counted (nftables mode).
    """

    facts: Mapping[Family, NodeFacts] = field(default_factory=dict)
    masquerade_all: bool = False
    masquerade_bit: int = 14
    guarded_cidrs: tuple[str, ...] | None = None
    counted: bool = False

    @property
    def masquerade_mark(self) -> int:
        """The packet mark that asks for masquerade."""
        return 1 << self.masquerade_bit

    def node(self, family: Family) -> NodeFacts:
        """The node as that family's rules see it."""
        return self.facts.get(family, NodeFacts())


@dataclass(frozen=True, slots=True)
class Desired:
    """Everything one node's data plane should do; `ports` are sorted by key."""

    ports: tuple[ServicePort, ...] = ()
    health_checks: tuple[HealthCheck, ...] = ()
    settings: Settings = Settings()

    @property
    def facts(self) -> Mapping[Family, NodeFacts]:
        return self.settings.facts

    @property
    def masquerade_all(self) -> bool:
        return self.settings.masquerade_all

    @property
    def masquerade_mark(self) -> int:
        return self.settings.masquerade_mark

    def of(self, family: Family) -> Iterator[ServicePort]:
        """The ports of one family, in order."""
        return (port for port in self.ports if port.family is family)

    def node(self, family: Family) -> NodeFacts:
        """The node as that family's rules see it."""
        return self.settings.node(family)


class Claim(NamedTuple):
    """A destination that some Service port answers for. `address` "" stands for the node's own: a node port."""

    family: Family
    protocol: Protocol
    address: str
    port: int


def claims(port: ServicePort) -> Iterator[Claim]:
    """The destinations of one Service port: cluster IP, external IPs, load-balancer IPs, node port."""
    for address in (port.cluster_ip, *port.external_ips, *port.load_balancer_ips):
        yield Claim(port.family, port.protocol, address, port.port)
    if port.node_port:
        yield Claim(port.family, port.protocol, "", port.node_port)
