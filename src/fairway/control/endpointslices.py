"""EndpointSlices of Services with a selector: at most 100 endpoints each, few writes on change. Pure.

Pods that serve the same ports share slices (a named target port may mean another number on another pod). An endpoint
stays in the slice it is in; new ones fill slices that are written anyway, then one that has just room enough, and only
then a new slice. Source: KEP-752, KEP-1672 (terminating), KEP-2433 and KEP-3015 (hints), discovery.k8s.io/v1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fairway.client.base import Object
from fairway.control import backends, owners, pods
from fairway.control.backends import Family, Port
from fairway.control.naming import suffixed
from fairway.control.times import micro_stamp
from fairway.control.writes import Create, Delete, Plan, Update, Write
from fairway.objects.kinds import ENDPOINT_SLICE, SERVICE

MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
MANAGER = "endpointslice-controller.k8s.io"
SERVICE_NAME = "kubernetes.io/service-name"
MOST = 100
"""Endpoints per slice."""
_OWN_LABELS = (MANAGED_BY, SERVICE_NAME, backends.HEADLESS_LABEL)
_BY_ZONE = ("PreferClose", "PreferSameZone", "PreferSameNode")


@dataclass
class _Slice:
    """A slice as it shall be. `before` is the stored object, None for a new one."""

    family: Family
    ports: tuple[Port, ...]
    endpoints: list[Object]
    before: Object | None = None
    changed: bool = False

    @property
    def room(self) -> int:
        return MOST - len(self.endpoints)


@dataclass
class _Group:
    """The endpoints wanted for one family and set of ports, by the uid of their pod."""

    wanted: dict[str, Object] = field(default_factory=dict)


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
    wanted = _wanted(service, list(candidates), zones)
    kept: list[_Slice] = []
    spare: list[_Slice] = []
    for family in backends.families(service):
        existing = [each for each in slices if each.get("addressType") == family and not pods.is_going(each)]
        groups = {ports: group for (of, ports), group in wanted.items() if of == family}
        placed, unused = _place(family, groups, existing)
        kept += placed
        spare += unused
    foreign = [each for each in slices if each.get("addressType") not in backends.families(service)]
    gone = [_delete(each) for each in foreign if not pods.is_going(each)]
    gone += [_delete(each.before) for each in spare if each.before is not None]
    writes = [_write(service, each, random, trigger) for each in kept]
    return Plan([*(write for write in writes if write is not None), *gone])


def _wanted(
    service: Object, candidates: Sequence[Object], zones: Mapping[str, str]
) -> dict[tuple[Family, tuple[Port, ...]], _Group]:
    groups: dict[tuple[Family, tuple[Port, ...]], _Group] = {}
    for pod in candidates:
        if pods.is_finished(pod):
            continue
        ports = backends.ports_of(service, pod)
        for family in backends.families(service):
            address = backends.address_of(pod, family)
            if address is not None:
                entry = endpoint(service, pod, address, zones)
                groups.setdefault((family, ports), _Group()).wanted[pods.uid(pod)] = entry
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


def _place(
    family: Family, groups: Mapping[tuple[Port, ...], _Group], existing: Sequence[Object]
) -> tuple[list[_Slice], list[_Slice]]:
    """Distribute one family's endpoints: (slices to have, slices to give up)."""
    by_ports: dict[tuple[Port, ...], list[Object]] = {}
    for each in sorted(existing, key=lambda each: str(each["metadata"]["name"])):
        by_ports.setdefault(_ports(each), []).append(each)
    kept: list[_Slice] = []
    spare: list[_Slice] = []
    for ports, stored in by_ports.items():
        if ports not in groups:
            spare += [_Slice(family, ports, [], each, True) for each in stored]
    for ports, group in sorted(groups.items()):
        slices = _fill(family, ports, group.wanted, by_ports.get(ports, ()))
        kept += [each for each in slices if each.endpoints]
        spare += [each for each in slices if not each.endpoints]
    for fresh in [each for each in kept if each.before is None]:
        _reuse(fresh, spare)
    if not kept:  # an empty slice says: known, and without endpoints
        placeholder = _Slice(family, (), [])
        _reuse(placeholder, spare)
        kept.append(placeholder)
    return kept, spare


def _reuse(fresh: _Slice, spare: list[_Slice]) -> None:
    """Write a new slice over one that would be deleted: one write instead of two, and never a moment without."""
    if spare:
        fresh.before = spare.pop(0).before
        assert fresh.before is not None, "only stored slices can be given up"
        fresh.changed = bool(fresh.endpoints or fresh.before.get("endpoints") or _ports(fresh.before) != fresh.ports)


def _fill(
    family: Family, ports: tuple[Port, ...], wanted: Mapping[str, Object], stored: Sequence[Object]
) -> list[_Slice]:
    left = dict(wanted)
    slices = [_keep(family, ports, each, left) for each in stored]
    new = list(left.values())
    for each in slices:
        if each.changed and each.endpoints:
            new = _pour(each, new)
    while len(new) >= MOST:
        slices.append(_Slice(family, ports, new[:MOST], None, True))
        new = new[MOST:]
    if new:
        fitting = [each for each in slices if each.room >= len(new)]
        best = min(fitting, key=lambda each: each.room, default=None)
        if best is None:
            slices.append(_Slice(family, ports, new, None, True))
        else:
            _pour(best, new)
    return slices


def _keep(family: Family, ports: tuple[Port, ...], stored: Object, left: dict[str, Object]) -> _Slice:
    """The stored slice with the endpoints that are still wanted, in place and up to date; they are taken from
    `left`."""
    before = stored.get("endpoints") or []
    after = []
    for entry in before:
        wanted = left.pop((entry.get("targetRef") or {}).get("uid", ""), None)
        if wanted is not None:
            after.append(wanted)
    return _Slice(family, ports, after, stored, after != before)


def _pour(each: _Slice, new: list[Object]) -> list[Object]:
    """Put as many of `new` as fit into the slice; returns the rest."""
    room = each.room
    if new[:room]:
        each.endpoints = [*each.endpoints, *new[:room]]
        each.changed = True
    return new[room:]


def _ports(stored: Object) -> tuple[Port, ...]:
    return tuple(
        sorted(
            Port(
                each.get("name") or "",
                int(each.get("port") or 0),
                each.get("protocol") or "TCP",
                each.get("appProtocol") or "",
            )
            for each in stored.get("ports") or ()
        )
    )


def labels_for(service: Object) -> dict[str, str]:
    """The labels of the Service's slices."""
    labels = backends.copied_labels(service, _OWN_LABELS)
    labels |= {SERVICE_NAME: service["metadata"]["name"], MANAGED_BY: MANAGER}
    return {**labels, backends.HEADLESS_LABEL: ""} if backends.is_headless(service) else labels


def _write(service: Object, each: _Slice, random: Callable[[], float], trigger: float | None) -> Write | None:
    labels = labels_for(service)
    if each.before is None:
        return Create(ENDPOINT_SLICE, _new(service, each, labels, random, trigger))
    metadata = each.before["metadata"]
    if not each.changed and (metadata.get("labels") or {}) == labels:
        return None
    annotations = dict(metadata.get("annotations") or {})
    annotations.pop(backends.TRIGGER_ANNOTATION, None)
    annotations |= _triggered(trigger)
    changed = {**metadata, "labels": labels, "annotations": annotations}
    ports = [port.as_object() for port in each.ports]
    return Update(ENDPOINT_SLICE, {**each.before, "metadata": changed, "endpoints": each.endpoints, "ports": ports})


def _new(
    service: Object, each: _Slice, labels: dict[str, str], random: Callable[[], float], trigger: float | None
) -> Object:
    base = f"{service['metadata']['name']}-"
    metadata: dict[str, Any] = {
        "name": suffixed(base, random),
        "generateName": base,
        "namespace": service["metadata"]["namespace"],
        "labels": labels,
        "ownerReferences": [owners.reference(SERVICE, service)],
    }
    if trigger is not None:
        metadata["annotations"] = _triggered(trigger)
    return {
        "apiVersion": ENDPOINT_SLICE.api_version,
        "kind": ENDPOINT_SLICE.name,
        "metadata": metadata,
        "addressType": each.family,
        "endpoints": each.endpoints,
        "ports": [port.as_object() for port in each.ports],
    }


def _triggered(trigger: float | None) -> dict[str, str]:
    return {} if trigger is None else {backends.TRIGGER_ANNOTATION: micro_stamp(trigger)}


def _delete(stored: Object) -> Delete:
    metadata = stored["metadata"]
    return Delete(ENDPOINT_SLICE, metadata["namespace"], metadata["name"], metadata["uid"])
