"""`fairway lb frr`: what the FRR of a node is to tell routers about load-balancer addresses, once or kept in step."""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from fairway.announce import frr
from fairway.announce.election import Wish
from fairway.announce.frr import FrrError, Neighbour, Speaker
from fairway.assemble.inquiring import Cluster
from fairway.assemble.life import run
from fairway.assemble.wished import Wished
from fairway.client.base import Client, Object
from fairway.control import pods
from fairway.control.loadbalancer_bgp import Bgp
from fairway.control.loadbalancer_claims import NAMESPACE
from fairway.control.loadbalancer_pools import Settings
from fairway.control.loadbalancer_status import addresses_of
from fairway.control.loops.loadbalancer import SETTINGS
from fairway.kernel.base import KernelError
from fairway.objects.kinds import NODE

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


def speaker(name: str, nodes: Mapping[str, Object], settings: Settings | None, wishes: Mapping[str, Wish]) -> Speaker:
    """What the node of that name says: routers spread connections over all the nodes that say the same address. Raises
    PeeringError."""
    node = nodes.get(name)
    if node is None:
        raise PeeringError(f"there is no node {name!r}")
    if settings is None:
        raise PeeringError(f"ConfigMap {NAMESPACE}/{SETTINGS} is not there, or cannot be read (see `fairway lb`)")
    if settings.bgp is None:
        raise PeeringError(f"ConfigMap {NAMESPACE}/{SETTINGS} has no `bgp` with localAS and peers")
    addresses = sorted(address for address, wish in wishes.items() if name in wish.best(nodes))
    return Speaker(settings.bgp.asn, router_id(node), _neighbours(settings.bgp, node), tuple(addresses))


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


def show(cluster: Cluster, node: str) -> str:
    """The node's configuration as the cluster is now. Raises PeeringError and what the client raises."""
    return asyncio.run(_show(cluster, node))


async def _show(cluster: Cluster, node: str) -> str:
    client = cluster.client()
    wished, told = Wished(client, node), asyncio.Event()
    wished.listen(told.set)
    following = asyncio.create_task(wished.follow())
    try:
        await client.list(NODE, limit=1)  # those who follow have patience; who asks once wants to know why not
        await told.wait()
        return frr.configuration(_speaker(wished, node))
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
    wished, told = Wished(client, node), asyncio.Event()
    wished.listen(told.set)
    book = _Book(daemon)
    patience = look
    async with asyncio.TaskGroup() as group:
        group.create_task(wished.follow())
        while True:
            try:
                async with asyncio.timeout(patience):
                    await told.wait()
                await asyncio.sleep(GATHER_SECONDS)
                told.clear()
                due = False
            except TimeoutError:
                due = True
            if wished.known:
                await book.bring(lambda: _speaker(wished, node), due)
                patience = min(look, AGAIN_SECONDS) if book.complaint else look


def _speaker(wished: Wished, node: str) -> Speaker:
    nodes = {name: each for (_, name), each in wished.nodes.items.items()}
    return speaker(node, nodes, wished.settings, wished.wishes)


@dataclass(slots=True)
class _Book:
    """What a daemon was told last, and what was complained of last: each complaint is told once."""

    daemon: Daemon
    said: Speaker | None = None
    complaint: str = ""

    async def bring(self, wanted: Callable[[], Speaker], due: bool) -> None:
        """Bring the daemon in step. Nothing is done when the same was said before, unless a look is `due`."""
        try:
            found = self._or_nothing(wanted)
            if due or found != self.said:
                await asyncio.to_thread(self._say, found)
            self.complaint = ""
        except (PeeringError, FrrError, KernelError) as error:
            if str(error) != self.complaint:
                _log.error("%s", error)
            self.complaint = str(error)

    def _or_nothing(self, wanted: Callable[[], Speaker]) -> Speaker:
        """What is to be said. Where that is nothing any more, what was said is taken back."""
        try:
            return wanted()
        except PeeringError:
            if self.said is None:
                raise
            return replace(self.said, neighbours=(), addresses=())

    def _say(self, wanted: Speaker) -> None:
        text = frr.changes(self.daemon.running(), wanted)
        if text:
            self.daemon.tell(text)
            _log.info("%d neighbours are told of %s", len(wanted.neighbours), ", ".join(wanted.addresses) or "nothing")
        self.said = wanted
