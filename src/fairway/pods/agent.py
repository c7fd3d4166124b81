"""EDGE. The node agent: what the API wants on this node becomes processes, and what they do becomes status.

It lives inside the node's network namespace. It may be killed at any time: pods go on without it, and the next agent
finds them by their directories.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from fairway.client.base import Client
from fairway.client.follow import Backoff, follow
from fairway.client.informer import Cache, Change, as_dict
from fairway.kernel.base import KernelError, Links, Netfilter
from fairway.network.ipam import IpamError
from fairway.objects.kinds import NODE, POD, SERVICE
from fairway.pods import nodes
from fairway.pods.config import AgentConfig
from fairway.pods.events import Recorder
from fairway.pods.launch import Launcher
from fairway.pods.network import PodNetwork, pod_ranges
from fairway.pods.presence import Presence
from fairway.pods.records import PodRecord, connect, pod_dirs
from fairway.pods.server import serve
from fairway.pods.view import Container, Metadata, Pod, PodSpec, Service, decode_pod, decode_service
from fairway.pods.worker import Ground, Worker

LOOK_SECONDS = 2.0  # how often links and masquerade rules are looked after; a look takes milliseconds

_log = logging.getLogger(__name__)

__all__ = ["Agent", "AgentConfig"]


class Agent:
    """One node's agent. `clock` gives seconds since 1970."""

    def __init__(
        self,
        client: Client,
        links: Links,
        netfilter: Netfilter,
        config: AgentConfig,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.config = config
        self.workers: dict[str, Worker] = {}
        self._client = client
        self._pods: Cache[Pod] = Cache(decode_pod)
        self._services: Cache[Service] = Cache(decode_service)
        self._nodes: Cache[dict[str, Any]] = Cache(as_dict)
        self._services_synced = asyncio.Event()
        self._nodes_changed = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._over: asyncio.Future[None] | None = None
        self._network = PodNetwork(
            links,
            netfilter,
            node_name=config.node_name,
            node_ip=config.node_ip,
            cluster_cidrs=config.cluster_cidrs,
            state_dir=config.state_dir,
        )
        self._presence = Presence(client, config, self._nodes, self._network.ready.is_set, clock)
        allocatable = nodes.capacity(config, self._presence.machine)
        self._ground = Ground(
            client=client,
            config=config,
            network=self._network,
            recorder=Recorder(client, config.node_name, clock),
            launcher=Launcher(client, self._services, config, allocatable),
            clock=clock,
        )

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set; pods stay as they are then. Raises what broke a part of the agent."""
        (self.config.state_dir / "pods").mkdir(parents=True, exist_ok=True, mode=0o700)
        self._over = asyncio.get_running_loop().create_future()
        self._adopt_addresses()
        self._spawn("presence", self._presence.run())
        self._spawn("events", self._ground.recorder.run())
        self._spawn("network", self._keep_network())
        self._spawn("look after network", self._look_after_network())
        self._spawn("follow nodes", follow(self._client, NODE, self._nodes, on_change=self._on_nodes))
        services = follow(self._client, SERVICE, self._services, on_synced=self._services_synced.set)
        self._spawn("follow services", services)
        self._spawn("follow pods", self._follow_pods())
        if self.config.cert_file:
            self._spawn("server", self._serve())
        self._spawn("stop", self._wait_for(stop))
        try:
            await self._over
        finally:
            await self._end()

    async def _wait_for(self, stop: asyncio.Event) -> None:
        await stop.wait()
        if self._over is not None and not self._over.done():
            self._over.set_result(None)

    async def _end(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._network.close()

    def _spawn(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        task: asyncio.Task[None] = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and self._over is not None and not self._over.done():
            self._over.set_exception(error)

    # - the node's network

    def _adopt_addresses(self) -> None:
        """Count in what live pods hold, before anyone can be given an address."""
        for directory in pod_dirs(self.config.state_dir):
            record, handle = directory.read(), connect(directory)
            if handle is not None:
                handle.close()
                if record is not None:
                    self._network.adopt(record.uid, record.addresses, record.forwards)

    def _on_nodes(self, changes: Sequence[Change[dict[str, Any]]]) -> None:
        self._nodes_changed.set()
        if any(change.key[1] == self.config.node_name for change in changes):
            self._presence.kick()

    async def _keep_network(self) -> None:
        """Lay the network anew whenever a Node changed, until cancelled."""
        backoff = Backoff(random.random)
        while True:
            await self._nodes_changed.wait()
            self._nodes_changed.clear()
            ranges = pod_ranges(self._nodes.items.get(("", self.config.node_name), {}))
            if not ranges:
                continue
            try:
                await self._network.configure(ranges, list(self._nodes.items.values()))
            except (KernelError, IpamError, OSError) as error:
                _log.error("network of node %s: %s", self.config.node_name, error)
                self._nodes_changed.set()
                await asyncio.sleep(backoff.next())
                continue
            backoff.reset()
            self._presence.kick()
            for worker in self.workers.values():
                worker.kick()

    async def _look_after_network(self) -> None:
        """Notice that links or masquerade rules were removed."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                await self._network.restore()
            except KernelError as error:
                _log.error("network of node %s: %s", self.config.node_name, error)

    # - the node's pods

    async def _follow_pods(self) -> None:
        """Pods start only when the Services are known: their environment names them."""
        await self._services_synced.wait()
        await follow(
            self._client,
            POD,
            self._pods,
            field_selector=f"spec.nodeName={self.config.node_name}",
            on_change=self._on_pods,
            on_synced=self._end_orphans,
        )

    def _on_pods(self, changes: Sequence[Change[Pod]]) -> None:
        for change in changes:
            if change.new is not None:
                self._see(change.new)
            elif change.old is not None and change.old.uid in self.workers:
                self.workers[change.old.uid].disappear()

    def _see(self, pod: Pod) -> None:
        worker = self.workers.get(pod.uid)
        if worker is None:
            self._employ(Worker(self._ground, pod))
        else:
            worker.update(pod)

    def _end_orphans(self) -> None:
        """Take down pods that the API forgot while no agent was here."""
        wanted = {pod.uid for pod in self._pods.items.values()}
        for directory in pod_dirs(self.config.state_dir):
            record = directory.read()
            if record is None:
                directory.remove()
            elif record.uid not in wanted and record.uid not in self.workers:
                self._employ(Worker(self._ground, _pod_of(record), gone=True))

    def _employ(self, worker: Worker) -> None:
        self.workers[worker.pod.uid] = worker
        self._spawn(f"pod {worker.pod}", self._work(worker))

    async def _work(self, worker: Worker) -> None:
        try:
            await worker.run()
        finally:
            self.workers.pop(worker.pod.uid, None)

    async def _serve(self) -> None:
        await serve(self.config, lambda: [worker.pod for worker in self.workers.values()])


def _pod_of(record: PodRecord) -> Pod:
    """As much of a pod as its directory tells, to take it down."""
    return Pod(
        metadata=Metadata(name=record.name, namespace=record.namespace, uid=record.uid),
        spec=PodSpec(
            containers=tuple(Container(name=name) for name in record.containers), host_network=record.host_network
        ),
    )
