"""What a cluster has before anybody asks: its namespaces, its Service range, and the Service that leads to the API."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from typing import Any

from fairway.api import peers, render, roles, status
from fairway.api.accounts import ROOT_CA, ROOT_CA_KEY
from fairway.api.allocate import address_range
from fairway.api.peers import NAME, Peer
from fairway.api.requests import Target
from fairway.api.writes import Draft, Writer
from fairway.objects.kinds import (
    CLUSTER_ROLE,
    CLUSTER_ROLE_BINDING,
    CONFIG_MAP,
    ENDPOINT_SLICE,
    ENDPOINTS,
    NAMESPACE,
    SERVICE,
    SERVICE_CIDR,
    Kind,
)
from fairway.store.base import Conflict

Object = dict[str, Any]

_log = logging.getLogger(__name__)

NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")


async def bootstrap(writer: Writer, cidrs: tuple[str, ...], advertise_address: str, now: str) -> None:
    """Create what is missing. Safe to run at every start."""
    for namespace in NAMESPACES:
        await _ensure(writer, NAMESPACE, "", {"metadata": {"name": namespace}})
    await _ensure(writer, SERVICE_CIDR, "", {"metadata": {"name": NAME}, "spec": {"cidrs": list(cidrs)}})
    await _ready_cidr(writer, now)
    await _roles(writer)
    if ip_address(advertise_address).is_loopback:
        _log.warning("pods cannot reach this server at %s: kubernetes.default gets no endpoints", advertise_address)


async def renew_root_ca(writer: Writer, root_ca: str) -> None:
    """Pods read the certificate once, as they start: one of a server that was here before would keep them out for good.
    "": leave all as they are."""

    def make(old: Object) -> Draft:
        return Draft({**old, "data": {ROOT_CA_KEY: root_ca}})

    for entry in await writer.stored(CONFIG_MAP, "") if root_ca else ():
        obj = render.load(entry.value, entry.modified)
        namespace, name = obj["metadata"]["namespace"], obj["metadata"]["name"]
        if name == ROOT_CA and obj.get("data") != {ROOT_CA_KEY: root_ca}:
            await writer.change(Target(CONFIG_MAP, CONFIG_MAP.api_version, namespace, name), make)


async def publish(writer: Writer, cidrs: tuple[str, ...], port: int, servers: Sequence[Peer]) -> None:
    """Make the Service that leads to the API, if there is none, and its endpoints such that it leads to the `servers`.
    Without any, endpoints stay as they are: one that cannot be reached is no worse than none."""
    await _ensure(writer, SERVICE, "default", _service(cidrs, port))
    if not servers:
        return
    wanted = peers.endpoints(servers)
    await _ensure(writer, ENDPOINTS, "default", wanted, _replace(wanted))
    slices = peers.slices(servers)
    for each in slices:
        await _ensure(writer, ENDPOINT_SLICE, "default", each, _replace(each))
    await _remove_slices(writer, {each["metadata"]["name"] for each in slices})


async def _remove_slices(writer: Writer, kept: set[str]) -> None:
    """The slices that were written here when there were servers of other ports."""
    for entry in await writer.stored(ENDPOINT_SLICE, "default"):
        obj = render.load(entry.value, entry.modified)
        mine = (obj["metadata"].get("labels") or {}).get(peers.MANAGED_BY) == peers.MANAGER
        if mine and obj["metadata"]["name"] not in kept:
            with contextlib.suppress(Conflict):
                await writer.remove(Target(ENDPOINT_SLICE, ENDPOINT_SLICE.api_version, "default"), entry)


async def _ensure(
    writer: Writer, kind: Kind, namespace: str, obj: Object, make: Callable[[Object], Draft] | None = None
) -> None:
    """Create the object, or bring the one that exists up to date."""
    complete = {"kind": kind.name, "apiVersion": kind.api_version, **obj}
    if namespace:
        complete["metadata"] = {**obj["metadata"], "namespace": namespace}
    target = Target(kind, kind.api_version, namespace)
    try:
        await writer.add(target, complete)
    except status.Failure as failure:
        if failure.reason != "AlreadyExists":
            raise
        if make:
            await writer.change(Target(kind, kind.api_version, namespace, obj["metadata"]["name"]), make)


async def _roles(writer: Writer) -> None:
    """The roles and bindings of the beginning, all at once; those that are there get what they lack."""

    async def ensure(kind: Kind, wanted: Object) -> None:
        await _ensure(writer, kind, "", wanted, lambda old: Draft(roles.completed(old, wanted)))

    every = [ensure(CLUSTER_ROLE, role) for role in roles.cluster_roles()]
    await asyncio.gather(*every, *(ensure(CLUSTER_ROLE_BINDING, one) for one in roles.cluster_role_bindings()))


def _replace(wanted: Object) -> Callable[[Object], Draft]:
    def make(old: Object) -> Draft:
        return Draft({**old, **{name: value for name, value in wanted.items() if name != "metadata"}})

    return make


async def _ready_cidr(writer: Writer, now: str) -> None:
    def make(cidr: Object) -> Draft:
        conditions = cidr.setdefault("status", {}).setdefault("conditions", [])
        if not any(condition.get("type") == "Ready" for condition in conditions):
            message = "Kubernetes Service CIDR is ready"
            ready = {"type": "Ready", "status": "True", "lastTransitionTime": now, "reason": "", "message": message}
            conditions.append(ready)
        return Draft(cidr)

    await writer.change(Target(SERVICE_CIDR, SERVICE_CIDR.api_version, "", NAME), make, trusted=True)


def _service(cidrs: tuple[str, ...], port: int) -> Object:
    first = address_range(cidrs[0])
    return {
        "metadata": {"name": NAME, "labels": {"component": "apiserver", "provider": "kubernetes"}},
        "spec": {
            "type": "ClusterIP",
            "clusterIP": first.show(first.span.first),
            "ipFamilyPolicy": "SingleStack",
            "ports": [{"name": "https", "protocol": "TCP", "port": 443, "targetPort": port}],
        },
    }
