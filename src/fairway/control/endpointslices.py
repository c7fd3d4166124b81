"""EndpointSlices of Services with a selector: what each pod says as an endpoint. Pure; `control.packing` fills slices.

Pods that serve the same ports share slices (a named target port may mean another number on another pod). Source:
KEP-752, KEP-1672 (terminating), KEP-2433 and KEP-3015 (hints), discovery.k8s.io/v1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from fairway.client.base import Object
from fairway.control import backends, owners, pods
from fairway.control.backends import Family, Port
from fairway.control.packing import MANAGED_BY, MOST, SERVICE_NAME, Cover, pack
from fairway.control.writes import Plan
from fairway.objects.kinds import SERVICE

MANAGER = "endpointslice-controller.k8s.io"
_OWN_LABELS = (MANAGED_BY, SERVICE_NAME, backends.HEADLESS_LABEL)
_BY_ZONE = ("PreferClose", "PreferSameZone", "PreferSameNode")


def plan(
    service: Object,
    candidates: Iterable[Object],
    zones: Mapping[str, str],
    slices: Sequence[Object],
    random: Callable[[], float],
    trigger: float | None = None,
) -> Plan:
    """The writes that bring the Service's slices in line with its pods.

    `candidates` are the pods its selector matches, `zones` maps node names to zones, `slices` those of the Service
    that this controller manages; `trigger` is when the change happened that brings these writes (seconds since the
    epoch), None when unknown. Services without selector and those on their way out are left alone.
    """
    if not backends.selects(service) or pods.is_going(service):
        return Plan()
    cover = Cover(
        base=f"{service['metadata']['name']}-",
        namespace=service["metadata"]["namespace"],
        owner=owners.reference(SERVICE, service),
        labels=labels_for(service),
        trigger=trigger,
    )
    wanted = _wanted(service, list(candidates), zones)
    return Plan(pack(cover, backends.families(service), wanted, slices, random, most=MOST))


def _wanted(
    service: Object, candidates: Sequence[Object], zones: Mapping[str, str]
) -> dict[tuple[Family, tuple[Port, ...]], list[Object]]:
    groups: dict[tuple[Family, tuple[Port, ...]], list[Object]] = {}
    for pod in candidates:
        if pods.is_finished(pod):
            continue
        ports = backends.ports_of(service, pod)
        for family in backends.families(service):
            address = backends.address_of(pod, family)
            if address is not None:
                entry = endpoint(service, pod, address, zones)
                groups.setdefault((family, ports), []).append(entry)
    return groups


def endpoint(service: Object, pod: Object, address: str, zones: Mapping[str, str]) -> Object:
    """The endpoint that a pod is for a Service."""
    serving, terminating = pods.is_ready(pod), pods.is_going(pod)
    ready = backends.publishes_not_ready(service) or (serving and not terminating)
    node = pods.node_name(pod)
    entry: Object = {
        "addresses": [address],
        "conditions": {"ready": ready, "serving": serving, "terminating": terminating},
        "targetRef": backends.target_ref(pod),
    }
    optional = {
        "hostname": backends.hostname_of(service, pod),
        "nodeName": node,
        "zone": zones.get(node, ""),
    }
    entry |= {name: value for name, value in optional.items() if value}
    hints = _hints(service, entry) if ready else {}
    return {**entry, "hints": hints} if hints else entry


def _hints(service: Object, entry: Object) -> Object:
    """For whom the endpoint is meant when the Service asks for near ones: its own zone, or node and zone."""
    wish = service["spec"].get("trafficDistribution")
    hints: Object = {}
    if wish in _BY_ZONE and entry.get("zone"):
        hints["forZones"] = [{"name": entry["zone"]}]
    if wish == "PreferSameNode" and entry.get("nodeName"):
        hints["forNodes"] = [{"name": entry["nodeName"]}]
    return hints


def labels_for(service: Object) -> dict[str, str]:
    """The labels of the Service's slices."""
    labels = backends.copied_labels(service, _OWN_LABELS)
    labels |= {SERVICE_NAME: service["metadata"]["name"], MANAGED_BY: MANAGER}
    return {**labels, backends.HEADLESS_LABEL: ""} if backends.is_headless(service) else labels
