"""EDGE. The node's presence in the API: registered, its status true, its Lease renewed."""

from __future__ import annotations

import asyncio
import logging
import os
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from fairway.client.base import ApiError, Client, Unreachable
from fairway.client.follow import Backoff
from fairway.client.informer import Cache
from fairway.objects.kinds import LEASE, NODE
from fairway.pods import nodes
from fairway.pods.config import AgentConfig
from fairway.pods.nodes import LEASE_NAMESPACE, Machine
from fairway.pods.view import micro_timestamp_of

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm"}  # the API speaks Go's names

_log = logging.getLogger(__name__)


def machine() -> Machine:
    """The machine this runs on."""
    system = os.uname()
    release = _pairs("/etc/os-release", "=")
    memory = _pairs("/proc/meminfo", ":").get("MemTotal", "0 kB")
    return Machine(
        cpus=os.cpu_count() or 1,
        memory=int(memory.split()[0]) * 1024,
        architecture=ARCHITECTURES.get(system.machine, system.machine),
        kernel=system.release,
        os_image=release.get("PRETTY_NAME", "Linux").strip('"'),
        machine_id=_read("/etc/machine-id").strip(),
        boot_id=_read("/proc/sys/kernel/random/boot_id").strip(),
    )


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except FileNotFoundError:
        return ""


def _pairs(path: str, separator: str) -> dict[str, str]:
    pairs = (line.partition(separator) for line in _read(path).splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}


class Presence:
    """Keeps Node and Lease. `node_cache` holds all Nodes; `network_ready` says whether pods can have addresses."""

    def __init__(
        self,
        client: Client,
        config: AgentConfig,
        node_cache: Cache[dict[str, Any]],
        network_ready: Callable[[], bool],
        clock: Callable[[], float],
    ) -> None:
        self.machine = machine()
        self._client = client
        self._config = config
        self._nodes = node_cache
        self._network_ready = network_ready
        self._clock = clock
        self._event = asyncio.Event()
        self._uid = ""

    def kick(self) -> None:
        """The Node or the network changed: look whether the status is still true."""
        self._event.set()

    async def run(self) -> None:
        """Register, then keep Node and Lease until cancelled."""
        await self._insist(self._register)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._renew_for_ever(), name="lease")
            group.create_task(self._report_for_ever(), name="node status")

    async def _insist(self, attempt: Callable[[], Awaitable[None]]) -> None:
        """Try until it works: the API may start later than the node."""
        backoff = Backoff(random.random)
        while True:
            try:
                return await attempt()
            except (ApiError, Unreachable) as error:
                _log.warning("node %s: %s", self._config.node_name, error)
            await asyncio.sleep(backoff.next())

    async def _register(self) -> None:
        try:
            present = await self._client.get(NODE, self._config.node_name)
        except ApiError as error:
            if error.code != 404:
                raise
            present = await self._client.create(NODE, nodes.node(self._config, self.machine))
        patch = nodes.metadata_patch(self._config, self.machine)
        if nodes.lacks(present, patch):
            present = await self._client.patch(NODE, self._config.node_name, patch)
        self._uid = present["metadata"]["uid"]
        await self._report(present)

    async def _renew_for_ever(self) -> None:
        while True:
            await self._insist(self._renew)
            await asyncio.sleep(self._config.heartbeat_seconds)

    async def _renew(self) -> None:
        spec = {"holderIdentity": self._config.node_name, "renewTime": micro_timestamp_of(self._clock())}
        try:
            await self._client.patch(LEASE, self._config.node_name, {"spec": spec}, LEASE_NAMESPACE)
        except ApiError as error:
            if error.code != 404:
                raise
            await self._client.create(LEASE, nodes.lease(self._config, self._uid, self._clock()), LEASE_NAMESPACE)

    async def _report_for_ever(self) -> None:
        while True:
            self._event.clear()
            await self._insist(self._follow_up)
            try:
                async with asyncio.timeout(nodes.STATUS_SECONDS / 2):
                    await self._event.wait()
            except TimeoutError:
                pass

    async def _follow_up(self) -> None:
        present = self._nodes.items.get(("", self._config.node_name))
        if present is not None:
            await self._report(present)
        elif self._nodes.synced:
            await self._register()

    async def _report(self, present: dict[str, Any]) -> None:
        ready = self._network_ready()
        patch = nodes.status_patch(present, self._config, self.machine, ready, self._clock())
        if patch:
            await self._client.patch(NODE, self._config.node_name, patch, subresource="status")
