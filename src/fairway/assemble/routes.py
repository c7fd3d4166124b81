"""Ways from the control plane to pods: one route per node's pod range, so that `pods/proxy` and `services/proxy` get
through. Kept from the Node objects, which are not trusted with more than pod ranges and the segment."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fairway.client.base import Client
from fairway.client.follow import follow
from fairway.client.informer import Cache, as_dict
from fairway.kernel.base import DeviceRoute, KernelError, Links, LinkState
from fairway.node import Network
from fairway.objects.kinds import NODE

_log = logging.getLogger(__name__)


def wanted(nodes: Iterable[Mapping[str, Any]], pod_range: str, segment: str, device: str) -> tuple[DeviceRoute, ...]:
    """The routes to pods of one family: a node's range inside `pod_range` by its address inside `segment`, anything
    else by none."""
    pods, link = ipaddress.ip_network(pod_range), ipaddress.ip_network(segment)
    routes: dict[str, DeviceRoute] = {}
    for node in nodes:
        addresses = [one["address"] for one in (node.get("status") or {}).get("addresses") or []]
        via = next((one for one in addresses if _inside(one, link)), None)
        for text in (node.get("spec") or {}).get("podCIDRs") or []:
            if via and _inside(text, pods):
                routes.setdefault(text, DeviceRoute(text, device, via))
    return tuple(routes[text] for text in sorted(routes))


def _inside(text: str, outer: Network) -> bool:
    try:
        inner = ipaddress.ip_network(text)
    except ValueError:
        return False
    return inner.version == outer.version and inner.network_address in outer and inner.prefixlen >= outer.prefixlen


async def keep(
    client: Client, links: Links, pod_ranges: Sequence[str], segments: Sequence[str], device: str = "eth0"
) -> None:
    """Keep the routes until cancelled; `segments` are of the families of `pod_ranges`."""
    cache: Cache[dict[str, Any]] = Cache(as_dict)
    state = LinkState()

    def lay(_: object = None) -> None:
        nonlocal state
        pairs = zip(pod_ranges, segments, strict=True)
        new = LinkState(routes=tuple(way for pair in pairs for way in wanted(cache.items.values(), *pair, device)))
        if new == state:
            return
        try:
            links.apply(new, state)
            state = new
        except KernelError as error:
            _log.error("routes to pods: %s", error)

    await follow(client, NODE, cache, on_change=lay, on_synced=lay)


def start(client: Client, links: Links, pod_ranges: Sequence[str], segments: Sequence[str]) -> asyncio.Task[None]:
    """`keep` as a task."""
    return asyncio.create_task(keep(client, links, pod_ranges, segments), name="routes to pods")
