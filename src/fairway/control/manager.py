"""All controllers together, over one shared view of the cluster.

One process runs them. `run` is what a leader does: an election by Lease can be put around it without a change here,
because nothing works before every kind has been listed anew and nothing goes on after `stop`.
"""

from __future__ import annotations

import asyncio
import ipaddress
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from fairway.client.base import Client, Object
from fairway.client.informer import as_dict
from fairway.control import loadbalancer_claims, namespaces, nodes
from fairway.control.cluster import Cluster
from fairway.control.loops.base import Loop
from fairway.control.loops.clusterroles import ClusterRoles
from fairway.control.loops.deployments import Deployments
from fairway.control.loops.disruption import Disruption
from fairway.control.loops.endpoints import Backends, Endpoints, EndpointSlices, Mirroring
from fairway.control.loops.garbage import Garbage
from fairway.control.loops.loadbalancer import SETTINGS, LoadBalancers
from fairway.control.loops.namespaces import Namespaces
from fairway.control.loops.nodes import Lifecycle, Ranges
from fairway.control.loops.replicas import Replicas
from fairway.control.loops.scheduler import Scheduler
from fairway.control.loops.servicecidrs import ServiceCidrs
from fairway.node import Network
from fairway.objects.kinds import (
    CONFIG_MAP,
    EVENT,
    IP_ADDRESS,
    KINDS,
    REPLICA_SET,
    REPLICATION_CONTROLLER,
    SECRET,
    Kind,
)


@dataclass(frozen=True, slots=True)
class ControlConfig:
    """What the controllers are told.

    `cluster_cidrs`: the ranges pods live in, at most one per family; each node gets a part of the prefix length
    `node_mask_v4` or `node_mask_v6`. None: node ranges are someone else's business.
    `node_grace_seconds`: silence after which a node is Unknown and its pods leave the endpoints.
    `eviction_seconds`: from then until its pods are deleted.
    `root_ca`: PEM text for the ConfigMap `kube-root-ca.crt` of every namespace; "" makes none.
    """

    cluster_cidrs: tuple[str, ...] = ("10.244.0.0/16",)
    node_mask_v4: int = 24
    node_mask_v6: int = 64
    node_grace_seconds: float = 40.0
    eviction_seconds: float = 300.0
    root_ca: str = ""

    def node_ranges(self) -> list[tuple[Network, int]]:
        """The ranges with the prefix length of a node's part. Raises ValueError on a range too small to be divided."""
        ranges: list[tuple[Network, int]] = []
        for text in self.cluster_cidrs:
            network = ipaddress.ip_network(text)
            length = self.node_mask_v4 if network.version == 4 else self.node_mask_v6
            if length < network.prefixlen:
                raise ValueError(f"cluster range {text} is smaller than a node's /{length}")
            ranges.append((network, length))
        return ranges


async def run(
    client: Client,
    config: ControlConfig,
    *,
    clock: Callable[[], float] = time.time,
    stop: asyncio.Event,
    jitter: Callable[[], float] = random.random,
    acting: Callable[[str], Client] | None = None,
) -> None:
    """Run every controller until `stop` is set. `clock` gives seconds since the epoch, `jitter` a number in [0, 1)
    (delays and name suffixes), `acting` the client of a user that a controller writes as (by default `client`)."""
    kinds = [kind for kind in KINDS if kind != EVENT]
    decoders = {CONFIG_MAP: _read_or_head, SECRET: _head, IP_ADDRESS: _head}
    cluster = Cluster(client, kinds, clock=clock, decoders=decoders, jitter=jitter, acting=acting)
    loops = assemble(cluster, config, kinds)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(cluster.run()), group.create_task(_work(cluster, loops))]
        await stop.wait()
        for task in tasks:
            task.cancel()


def assemble(cluster: Cluster, config: ControlConfig, kinds: Sequence[Kind]) -> list[Loop]:
    """Every controller, attached to the cluster's mirrors."""
    backends = Backends(cluster)
    loops: list[Loop] = [
        Scheduler(cluster),
        EndpointSlices(cluster, backends),
        Endpoints(cluster, backends),
        Mirroring(cluster),
        Replicas(cluster, REPLICA_SET),
        Replicas(cluster, REPLICATION_CONTROLLER),
        Deployments(cluster),
        Lifecycle(cluster, nodes.Patience(config.node_grace_seconds, config.eviction_seconds)),
        Namespaces(cluster, KINDS, config.root_ca),
        Garbage(cluster, kinds),
        ServiceCidrs(cluster),
        ClusterRoles(cluster),
        Disruption(cluster),
        LoadBalancers(cluster),
    ]
    ranges = config.node_ranges()
    return [*loops, Ranges(cluster, ranges)] if ranges else loops


async def _work(cluster: Cluster, loops: Sequence[Loop]) -> None:
    await cluster.synced()
    async with asyncio.TaskGroup() as group:
        for loop in loops:
            group.create_task(loop.queue.run())


class _Metadata(msgspec.Struct, frozen=True):
    metadata: dict[str, Any]


_READ = (namespaces.ROOT_CA, SETTINGS, loadbalancer_claims.RECORD)
_METADATA = msgspec.json.Decoder(_Metadata)


def _head(raw: bytes) -> Object:
    """Only the metadata: enough for the garbage collector, and no secret stays in memory."""
    return {"metadata": _METADATA.decode(raw).metadata}


def _read_or_head(raw: bytes) -> Object:
    """The ConfigMaps that controllers read, and only the metadata of others."""
    head = _head(raw)
    return as_dict(raw) if head["metadata"]["name"] in _READ else head
