"""What of a cluster's objects is to be announced on the segment, and by which nodes. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence

from fairway.announce.election import Wish
from fairway.client.base import Object
from fairway.control import pods
from fairway.control.loadbalancer_pools import Settings, SettingsError, read
from fairway.control.loadbalancer_requests import ingress, style_of
from fairway.control.loadbalancer_status import EXCLUDED, condition

SERVICE_NAME = "kubernetes.io/service-name"


def settings_of(text: str | None) -> Settings | None:
    """The settings in this text; None without any, and while they cannot be read."""
    if text is None:
        return None
    try:
        return read(text, ())
    except SettingsError:
        return None


def announced(service: Object, settings: Settings) -> list[str]:
    """The addresses of a Service that somebody must answer for."""
    if style_of(service, settings.style) != "addresses" or condition(service) is None:
        return []
    return list(filter(None, (_canonical(str(each.get("ip", ""))) for each in ingress(service))))


def _canonical(text: str) -> str:
    """An address as it is compared; "" for what is none, which a server that checks lets nobody write."""
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return ""


def is_local(service: Object) -> bool:
    """Whether connections from outside stay on the node they come to."""
    return (service.get("spec") or {}).get("externalTrafficPolicy") == "Local"


def by_service(slices: Iterable[Object]) -> dict[str, list[Object]]:
    """EndpointSlices by the Service they are of, `namespace/name`."""
    found: dict[str, list[Object]] = {}
    for piece in slices:
        name = pods.labels(piece).get(SERVICE_NAME)
        if name:
            found.setdefault(f"{piece['metadata'].get('namespace', '')}/{name}", []).append(piece)
    return found


def wishes(
    services: Iterable[Object],
    nodes: Sequence[Object],
    slices: Mapping[str, Sequence[Object]],
    settings: Settings,
) -> dict[str, Wish]:
    """By address. `slices` are those of Services of policy Local, by `namespace/name`.

    A node that is cordoned is about to be emptied: others go before it. One that is not ready goes last: its own
    Lease says whether it is there. Under policy Local only nodes with an endpoint count, and nodes whose endpoints
    are all ending only while no other has any."""
    usable = [node for node in nodes if _may_announce(node, settings)]
    found: dict[str, Wish] = {}
    for service in services:
        who = f"{service['metadata']['namespace']}/{service['metadata']['name']}"
        for address in announced(service, settings):
            choices = _choices(usable, slices.get(who, ()) if is_local(service) else None)
            other = found.get(address)
            if other is not None:  # Services share an address only when the same nodes may announce it
                choices = tuple(map(frozenset.intersection, choices, other.choices))
            served = sorted({who, *(other.services if other is not None else ())})
            found[address] = Wish(address, tuple(served), choices)
    return found


def _may_announce(node: Object, settings: Settings) -> bool:
    labels = pods.labels(node)
    return EXCLUDED not in labels and all(labels.get(name) == value for name, value in settings.node_labels.items())


def _choices(nodes: Sequence[Object], slices: Sequence[Object] | None) -> tuple[frozenset[str], ...]:
    everywhere = frozenset(str(node["metadata"]["name"]) for node in nodes)
    tiers = (everywhere,) if slices is None else (_with("ready", slices), _with("serving", slices))
    up = frozenset(str(node["metadata"]["name"]) for node in nodes if pods.is_ready(node))
    free = up - {str(node["metadata"]["name"]) for node in nodes if (node.get("spec") or {}).get("unschedulable")}
    return tuple(each & some for each in tiers for some in (free, up, everywhere))


def _with(state: str, slices: Sequence[Object]) -> frozenset[str]:
    """The nodes of endpoints that are `ready` (unless said otherwise), or `serving`."""
    return frozenset(
        str(endpoint["nodeName"])
        for each in slices
        for endpoint in each.get("endpoints") or []
        if endpoint.get("nodeName") and _is(state, endpoint.get("conditions") or {})
    )


def _is(state: str, conditions: Mapping[str, bool | None]) -> bool:
    said = conditions.get(state)
    return said if said is not None else state == "ready" or _is("ready", conditions)
