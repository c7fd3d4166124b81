"""`fairway lb frr`: what the FRR of a node is to tell routers about load-balancer addresses, once or kept in step."""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from fairway.announce import frr
from fairway.announce.frr import FrrError, Neighbour, Speaker
from fairway.assemble.announceable import by_service, settings_of, wishes
from fairway.assemble.inquiring import Cluster
from fairway.assemble.life import run
from fairway.client.base import Client, Object
from fairway.client.follow import follow
from fairway.client.informer import Cache, as_dict
from fairway.control import pods
from fairway.control.loadbalancer_bgp import Bgp
from fairway.control.loadbalancer_claims import NAMESPACE
from fairway.control.loadbalancer_pools import Settings
from fairway.control.loadbalancer_status import addresses_of
from fairway.control.loops.loadbalancer import FIELD, SETTINGS
from fairway.kernel.base import KernelError
from fairway.objects.kinds import CONFIG_MAP, ENDPOINT_SLICE, NODE, SERVICE

LOOK_SECONDS = 5.0
"""How often it is looked whether bgpd, which may have been started again, still says what it should."""

AGAIN_SECONDS = 1.0
"""How soon a bgpd that could not be told is told again."""
GATHER_SECONDS = 0.05
"""How long changes are gathered before they are told together."""

_log = logging.getLogger("fairway.frr")


class PeeringError(Exception):
    """There is nothing to tell a router; the message says why."""


class Daemon(Protocol):
    """A bgpd."""

    def running(self) -> str:
        """Its configuration."""

    def tell(self, text: str) -> None:
        """Say lines of configuration."""


@dataclass(frozen=True, slots=True)
class Seen:
    """The objects that decide. `slices` by the `namespace/name` of their Service."""

    services: Sequence[Object]
    nodes: Sequence[Object]
    slices: Mapping[str, Sequence[Object]]
    config: Object | None

    @property
    def settings(self) -> Settings | None:
        """What the ConfigMap says; None without one, and while it cannot be read."""
        return settings_of((self.config.get("data") or {}).get(FIELD, "") if self.config is not None else None)


def speaker(seen: Seen, node: str) -> Speaker:
    """What a node says. Raises PeeringError."""
    found = next((each for each in seen.nodes if each["metadata"]["name"] == node), None)
    if found is None:
        raise PeeringError(f"there is no node {node!r}")
    settings = seen.settings
    if settings is None:
        raise PeeringError(f"ConfigMap {NAMESPACE}/{SETTINGS} is not there, or cannot be read (see `fairway lb`)")
    if settings.bgp is None:
        raise PeeringError(f"ConfigMap {NAMESPACE}/{SETTINGS} has no `bgp` with localAS and peers")
    return Speaker(
        settings.bgp.asn, router_id(found), _neighbours(settings.bgp, found), _addresses(seen, settings, node)
    )


def router_id(node: Object) -> str:
    """The name of a node among routers: its IPv4 address, without one a number made of its name (RFC 6286)."""
    v4 = [each for each in addresses_of(node) if ipaddress.ip_address(each).version == 4]
    digest = hashlib.sha256(str(node["metadata"]["name"]).encode()).digest()[:4]
    return v4[0] if v4 else str(ipaddress.IPv4Address(digest))


def _neighbours(bgp: Bgp, node: Object) -> tuple[Neighbour, ...]:
    labels = pods.labels(node)
    return tuple(
        Neighbour(peer.address, peer.asn, peer.hold, peer.hops, peer.bfd)
        for peer in bgp.peers
        if all(labels.get(name) == value for name, value in peer.node_labels.items())
    )


def _addresses(seen: Seen, settings: Settings, node: str) -> tuple[str, ...]:
    """Those that the node may serve: routers spread connections over all the nodes that say so."""
    everybody = [str(each["metadata"]["name"]) for each in seen.nodes]
    found = wishes(seen.services, seen.nodes, seen.slices, settings)
    return tuple(sorted(address for address, wish in found.items() if node in wish.best(everybody)))


def show(cluster: Cluster, node: str) -> str:
    """The node's configuration as the cluster is now. Raises PeeringError and what the client raises."""
    return asyncio.run(_show(cluster, node))


async def _show(cluster: Cluster, node: str) -> str:
    client = cluster.client()
    view = _View(client)
    following = asyncio.create_task(view.follow())
    try:
        while not view.complete:
            await view.changed()
        return frr.configuration(speaker(view.seen(), node))
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        await client.close()


def apply(client: Callable[[], Client], node: str, daemon: Daemon) -> None:
    """Keep a bgpd in step until SIGTERM or SIGINT; what it says then it goes on saying."""

    async def main(stop: asyncio.Event) -> None:
        asked = client()
        keeping = asyncio.create_task(keep(asked, node, daemon))
        try:
            await stop.wait()
        finally:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)
            await asked.close()

    run(main)


async def keep(client: Client, node: str, daemon: Daemon, look: float = LOOK_SECONDS) -> None:
    """Tell `daemon` what changes, and every `look` seconds what it has forgotten, until cancelled."""
    view = _View(client)
    book = _Book(daemon, node)
    patience = look
    async with asyncio.TaskGroup() as group:
        group.create_task(view.follow())
        while True:
            try:
                async with asyncio.timeout(patience):
                    await view.changed()
                await asyncio.sleep(GATHER_SECONDS)
                due = False
            except TimeoutError:
                due = True
            if view.complete:
                await asyncio.to_thread(book.bring, view.seen(), due)
                patience = min(look, AGAIN_SECONDS) if book.complaint else look


@dataclass(slots=True)
class _Book:
    """What a daemon was told last, and what was complained of last: each complaint is told once."""

    daemon: Daemon
    node: str
    said: Speaker | None = None
    complaint: str = ""

    def bring(self, seen: Seen, due: bool) -> None:
        """Bring the daemon in step. Nothing is done when the same was said before, unless a look is `due`."""
        try:
            wanted = self._wanted(seen)
            if wanted is not None and (due or wanted != self.said):
                self._say(wanted)
            self.complaint = ""
        except (PeeringError, FrrError, KernelError) as error:
            if str(error) != self.complaint:
                _log.error("%s", error)
            self.complaint = str(error)

    def _wanted(self, seen: Seen) -> Speaker | None:
        """What the daemon is to say. When it is to say nothing any more, what was said is taken back; settings that
        are gone or cannot be read change nothing."""
        try:
            return speaker(seen, self.node)
        except PeeringError:
            if self.said is None or seen.settings is None:
                raise
            return replace(self.said, neighbours=(), addresses=())

    def _say(self, wanted: Speaker) -> None:
        text = frr.changes(self.daemon.running(), wanted)
        if text:
            self.daemon.tell(text)
            _log.info("%d neighbours are told of %s", len(wanted.neighbours), ", ".join(wanted.addresses) or "nothing")
        self.said = wanted


@dataclass(slots=True)
class _View:
    """The objects that decide, followed."""

    client: Client
    services: Cache[Object] = field(default_factory=lambda: Cache(as_dict))
    nodes: Cache[Object] = field(default_factory=lambda: Cache(as_dict))
    slices: Cache[Object] = field(default_factory=lambda: Cache(as_dict))
    config: Cache[Object] = field(default_factory=lambda: Cache(as_dict))
    _event: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def complete(self) -> bool:
        """Whether all has been listed."""
        return all(cache.synced for cache in (self.services, self.nodes, self.slices, self.config))

    async def changed(self) -> None:
        """Wait for the next change."""
        await self._event.wait()
        self._event.clear()

    async def follow(self) -> None:
        """Follow until cancelled."""
        one = f"metadata.name={SETTINGS}"
        async with asyncio.TaskGroup() as group:
            for kind, cache in ((SERVICE, self.services), (NODE, self.nodes), (ENDPOINT_SLICE, self.slices)):
                group.create_task(follow(self.client, kind, cache, on_change=self._tell, on_synced=self._event.set))
            group.create_task(
                follow(
                    self.client,
                    CONFIG_MAP,
                    self.config,
                    namespace=NAMESPACE,
                    field_selector=one,
                    on_change=self._tell,
                    on_synced=self._event.set,
                )
            )

    def _tell(self, _: object) -> None:
        self._event.set()

    def seen(self) -> Seen:
        """The objects as they are now."""
        return Seen(
            list(self.services.items.values()),
            list(self.nodes.items.values()),
            by_service(self.slices.items.values()),
            self.config.items.get((NAMESPACE, SETTINGS)),
        )
