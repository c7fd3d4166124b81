"""Endpoints written by hand, for Services without a selector, mirrored into EndpointSlices: node proxies and DNS read
only slices. Pure.

Not mirrored: Endpoints with the label skip-mirror, and those that old clients use as a lock (leader annotation).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fairway.client.base import Object
from fairway.control import backends, owners, pods
from fairway.control.backends import Family, Port
from fairway.control.packing import MANAGED_BY, SERVICE_NAME, Cover, Wanted, pack
from fairway.control.writes import Plan
from fairway.objects.kinds import ENDPOINTS

MANAGER = "endpointslicemirroring-controller.k8s.io"
SKIP = "endpointslice.kubernetes.io/skip-mirror"
LEADER = "control-plane.alpha.kubernetes.io/leader"
MOST = 1000
"""Endpoints per mirrored slice: so many as one Endpoints object may have."""
_LEFT_BEHIND = ("kubectl.kubernetes.io/last-applied-configuration", backends.TRIGGER_ANNOTATION)


def is_mirrored(service: Object | None, endpoints: Object | None) -> bool:
    """Whether these Endpoints, with the Service of their name, want slices."""
    if service is None or endpoints is None or service.get("spec", {}).get("selector") or pods.is_going(endpoints):
        return False
    annotations = endpoints["metadata"].get("annotations") or {}
    return pods.labels(endpoints).get(SKIP) != "true" and LEADER not in annotations


def plan(
    service: Object | None, endpoints: Object | None, slices: Sequence[Object], random: Callable[[], float]
) -> Plan:
    """The writes that bring the mirrored slices (`slices`) in line with Endpoints; all of them go when there is
    nothing to mirror."""
    wanted = _wanted(endpoints) if endpoints is not None and is_mirrored(service, endpoints) else {}
    if endpoints is None or not wanted:
        return Plan(pack(_NOTHING, (), {}, slices, random))
    metadata = endpoints["metadata"]
    own = {SERVICE_NAME: metadata["name"], MANAGED_BY: MANAGER}
    annotations = metadata.get("annotations") or {}
    cover = Cover(
        base=f"{metadata['name']}-",
        namespace=metadata["namespace"],
        owner=owners.reference(ENDPOINTS, endpoints),
        labels={**pods.labels(endpoints), **own},
        annotations={key: value for key, value in annotations.items() if key not in _LEFT_BEHIND},
    )
    families = list(dict.fromkeys(family for family, _ in wanted))
    return Plan(pack(cover, families, wanted, slices, random, most=MOST))


_NOTHING = Cover("", "", {}, {})


def _wanted(endpoints: Object) -> Wanted:
    """The endpoints that subsets list: each address once per set of ports, ready if any subset says so."""
    groups: dict[tuple[Family, tuple[Port, ...]], dict[str, Object]] = {}
    for subset in endpoints.get("subsets") or ():
        ports = _ports(subset)
        for field, ready in (("addresses", True), ("notReadyAddresses", False)):
            for address in subset.get(field) or ():
                family = backends.family_of(address.get("ip", ""))
                if family is not None:
                    entries = groups.setdefault((family, ports), {})
                    entries.setdefault(address["ip"], _entry(address, ready))
    return {key: list(entries.values()) for key, entries in groups.items()}


def _entry(address: Mapping[str, Any], ready: bool) -> Object:
    entry: Object = {"addresses": [address["ip"]], "conditions": {"ready": ready}}
    optional = {name: address.get(name) for name in ("hostname", "nodeName", "targetRef")}
    return {**entry, **{name: value for name, value in optional.items() if value}}


def _ports(subset: Mapping[str, Any]) -> tuple[Port, ...]:
    found = [
        Port(
            each.get("name") or "",
            int(each["port"]),
            each.get("protocol") or "TCP",
            each.get("appProtocol") or "",
        )
        for each in subset.get("ports") or ()
    ]
    return tuple(sorted(found))
