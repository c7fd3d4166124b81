"""What `fairway lb` tells: who holds which load-balancer address, and why others wait."""

from __future__ import annotations

import asyncio
import ipaddress
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any

import msgspec

from fairway.announce import bulletin
from fairway.assemble import announcements
from fairway.assemble.announceable import settings_of
from fairway.assemble.announcements import Announcement, IfDead, Scene, table
from fairway.assemble.inquiring import Cluster
from fairway.client.base import ApiError, Client, Object
from fairway.control.loadbalancer_claims import NAMESPACE, NODES, RECORD, Record, read
from fairway.control.loadbalancer_pools import Settings, SettingsError, joined
from fairway.control.loadbalancer_pools import read as read_settings
from fairway.control.loadbalancer_requests import ingress, style_of
from fairway.control.loadbalancer_status import condition, ranges_of
from fairway.control.loops.loadbalancer import FIELD, SETTINGS
from fairway.objects.kinds import CONFIG_MAP, ENDPOINT_SLICE, LEASE, NODE, SERVICE, SERVICE_CIDR, Kind

_COLUMNS = ("SERVICE", "ADDRESSES", "SINCE", "WHY")


@dataclass(frozen=True, slots=True)
class Assignment:
    """A Service of type LoadBalancer: `addresses` as its status shows them, since when, and why these or none."""

    service: str
    addresses: tuple[str, ...]
    since: str
    reason: str
    why: str


@dataclass(frozen=True, slots=True)
class PoolUse:
    """A pool: how many addresses it has and how many are held. `refused` says why it is not used."""

    pool: str
    addresses: tuple[str, ...]
    total: int
    held: int
    refused: str = ""


@dataclass(frozen=True, slots=True)
class Balancers:
    """The whole answer. `settings` says in one line by what the controller goes."""

    settings: str
    pools: tuple[PoolUse, ...]
    services: tuple[Assignment, ...]
    announcements: tuple[Announcement, ...] = ()
    if_dead: IfDead | None = None


def ask(cluster: Cluster, if_dead: str = "") -> Balancers:
    """Look at the cluster; with `if_dead`, tell what would become of that node's addresses, too. Raises
    UnknownNode and what the client raises."""
    return asyncio.run(_ask(cluster, if_dead))


async def _ask(cluster: Cluster, if_dead: str) -> Balancers:
    client = cluster.client()

    async def all_of(kind: Kind, namespace: str = "", selector: str = "") -> list[Object]:
        listing = await client.list(kind, namespace, label_selector=selector)
        return [msgspec.json.decode(raw) for raw in listing.items]

    try:
        services, cidrs, nodes = await all_of(SERVICE), await all_of(SERVICE_CIDR), await all_of(NODE)
        slices, leases = await all_of(ENDPOINT_SLICE), await all_of(LEASE, bulletin.NAMESPACE, bulletin.SELECTOR)
        config, record = await _config_map(client, SETTINGS), read(await _config_map(client, RECORD))
    finally:
        await client.close()
    told = tell(services, cidrs, config, record, nodes)
    settings = settings_of((config.get("data") or {}).get(FIELD, "") if config is not None else None)
    seen = Scene.of(services, nodes, slices, leases, settings or Settings(), time.time())
    return replace(told, announcements=seen.announcements(), if_dead=seen.if_dead(if_dead) if if_dead else None)


async def _config_map(client: Client, name: str) -> Object | None:
    try:
        return await client.get(CONFIG_MAP, name, NAMESPACE)
    except ApiError as error:
        if error.code != 404:
            raise
        return None


def tell(
    services: Iterable[Object],
    cidrs: Iterable[Object],
    config: Object | None,
    record: Record,
    nodes: Iterable[Object] = (),
) -> Balancers:
    """The answer from the objects."""
    ranges = [ipaddress.ip_network(text) for cidr in cidrs for text in cidr["spec"].get("cidrs") or []]
    pods = joined(text for node in nodes for text in ranges_of(node))
    where = f"ConfigMap {NAMESPACE}/{SETTINGS}"
    settings, line = Settings(), f"no {where}: the controller rests"
    if config is not None:
        try:
            settings = read_settings(str((config.get("data") or {}).get(FIELD, "")), ranges, pods)
            line = f"style {settings.style} ({where})"
        except SettingsError as error:
            line = f"{where} is refused: {error}"
    ordered = sorted(services, key=lambda each: (each["metadata"]["namespace"], each["metadata"]["name"]))
    told = tuple(_assignment(each, settings) for each in ordered if each["spec"].get("type") == "LoadBalancer")
    return Balancers(line, tuple(_pools(settings, record)), told)


def _assignment(service: Object, settings: Settings) -> Assignment:
    metadata = service["metadata"]
    who = f"{metadata['namespace']}/{metadata['name']}"
    addresses = tuple(each.get("ip") or each.get("hostname", "") for each in ingress(service))
    said = condition(service)
    if style_of(service, settings.style) is None:
        name = service["spec"].get("loadBalancerClass")
        return Assignment(who, addresses, "", "NotOurs", f"loadBalancerClass {name} is another's")
    if said is None:
        return Assignment(who, addresses, "", "Waiting", "the controller has not come to it")
    return Assignment(who, addresses, said.get("lastTransitionTime", ""), said["reason"], said["message"])


def _pools(settings: Settings, record: Record) -> Iterable[PoolUse]:
    held = {ipaddress.ip_address(text) for claim in record.claims for text in claim.addresses if text != NODES}
    for pool in settings.pools:
        total = sum(int(each.last) - int(each.first) + 1 for each in pool.ranges)
        yield PoolUse(pool.name, tuple(map(str, pool.ranges)), total, sum(each in pool for each in held))
    for refusal in settings.refused:
        yield PoolUse(refusal.name, (), 0, 0, refusal.why)


def as_json(told: Balancers) -> dict[str, Any]:
    """For programs."""
    return asdict(told)


def text(told: Balancers) -> str:
    """For people: settings, pools, a table of Services, and one of addresses and who announces them."""
    lines = [told.settings]
    for pool in told.pools:
        use = f"{', '.join(pool.addresses)}, {pool.held} of {pool.total} held"
        lines.append(f"pool {pool.pool}: {f'refused: {pool.refused}' if pool.refused else use}")
    rows = [(each.service, ",".join(each.addresses) or "-", each.since or "-", each.why) for each in told.services]
    lines += ["", *table(_COLUMNS, rows)] if rows else ["", "no Service of type LoadBalancer"]
    if told.announcements:
        lines += ["", *announcements.lines(told.announcements)]
    if told.if_dead is not None:
        lines += ["", *announcements.fate(told.if_dead)]
    return "\n".join(lines)
