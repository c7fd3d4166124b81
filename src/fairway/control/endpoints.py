"""The Endpoints object of a Service with a selector: addresses grouped by the ports they serve. Pure.

Superseded by slices, but users and older clients still read it. At most 1,000 addresses; beyond that the object says
that it is cut (annotation over-capacity), ready addresses being kept first. One family only: the Service's primary.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from fairway.client.base import Object
from fairway.control import backends, pods
from fairway.control.backends import Port
from fairway.control.times import micro_stamp
from fairway.control.writes import Create, Delete, Plan, Update, Write
from fairway.objects.kinds import ENDPOINTS

MANAGED_BY = "endpoints.kubernetes.io/managed-by"
MANAGER = "endpoint-controller"
OVER_CAPACITY = "endpoints.kubernetes.io/over-capacity"
MOST = 1000
_OWN_LABELS = (MANAGED_BY, backends.HEADLESS_LABEL)


@dataclass
class _Subset:
    ready: list[Object] = field(default_factory=list)
    unready: list[Object] = field(default_factory=list)


def plan(service: Object, candidates: Iterable[Object], stored: Object | None, trigger: float | None = None) -> Plan:
    """The write that brings the Service's Endpoints (`stored`, None: not there) in line with its pods (`candidates`,
    those its selector matches). `trigger` as in `control.endpointslices`."""
    if not backends.selects(service) or pods.is_going(service):
        return Plan()
    subsets, cut = _subsets(service, list(candidates))
    labels = {**backends.copied_labels(service, _OWN_LABELS), MANAGED_BY: MANAGER}
    if backends.is_headless(service):
        labels[backends.HEADLESS_LABEL] = ""
    write = _write(service, stored, subsets, labels, cut, trigger)
    return Plan([write] if write is not None else [])


def leftover(stored: Object) -> Plan:
    """The deletion of Endpoints whose Service is gone."""
    metadata = stored["metadata"]
    return Plan([Delete(ENDPOINTS, metadata["namespace"], metadata["name"], metadata["uid"])])


def is_ours(stored: Object) -> bool:
    """Whether this controller wrote the object."""
    return pods.labels(stored).get(MANAGED_BY) == MANAGER


def _write(
    service: Object,
    stored: Object | None,
    subsets: list[Object],
    labels: dict[str, str],
    cut: bool,
    trigger: float | None,
) -> Write | None:
    annotations = _annotations(stored, cut)
    if stored is None:
        metadata = {"name": service["metadata"]["name"], "namespace": service["metadata"]["namespace"]}
        obj: Object = {"apiVersion": ENDPOINTS.api_version, "kind": ENDPOINTS.name, "metadata": metadata}
    else:
        obj = stored
        before = obj["metadata"]
        same = (before.get("labels") or {}) == labels and _without_trigger(before.get("annotations")) == annotations
        if same and (stored.get("subsets") or []) == subsets:
            return None
    if trigger is not None:
        annotations[backends.TRIGGER_ANNOTATION] = micro_stamp(trigger)
    changed = {**obj, "metadata": {**obj["metadata"], "labels": labels, "annotations": annotations}, "subsets": subsets}
    return Create(ENDPOINTS, changed) if stored is None else Update(ENDPOINTS, changed)


def _annotations(stored: Object | None, cut: bool) -> dict[str, str]:
    kept = _without_trigger(stored["metadata"].get("annotations") if stored is not None else None)
    kept.pop(OVER_CAPACITY, None)
    return {**kept, OVER_CAPACITY: "truncated"} if cut else kept


def _without_trigger(annotations: dict[str, str] | None) -> dict[str, str]:
    return {key: value for key, value in (annotations or {}).items() if key != backends.TRIGGER_ANNOTATION}


def _subsets(service: Object, candidates: Sequence[Object]) -> tuple[list[Object], bool]:
    """The subsets in canonical order, and whether addresses had to be left out."""
    family = backends.families(service)[0]
    tolerant = backends.publishes_not_ready(service)
    found: list[tuple[bool, str, tuple[Port, ...], Object]] = []
    for pod in candidates:
        address = backends.address_of(pod, family)
        if address is None or pods.is_finished(pod) or (pods.is_going(pod) and not tolerant):
            continue
        ports = backends.ports_of(service, pod)
        if ports or not service["spec"].get("ports"):
            found.append((tolerant or pods.is_ready(pod), address, ports, _address(service, pod, address)))
    found.sort(key=lambda each: (not each[0], each[1], each[3]["targetRef"]["name"]))
    grouped: dict[tuple[Port, ...], _Subset] = {}
    for ready, _, ports, entry in found[:MOST]:
        subset = grouped.setdefault(ports, _Subset())
        (subset.ready if ready else subset.unready).append(entry)
    return [_as_object(ports, subset) for ports, subset in sorted(grouped.items())], len(found) > MOST


def _address(service: Object, pod: Object, address: str) -> Object:
    optional = {"hostname": backends.hostname_of(service, pod), "nodeName": pods.node_name(pod)}
    return {
        "ip": address,
        **{name: value for name, value in optional.items() if value},
        "targetRef": backends.target_ref(pod),
    }


def _as_object(ports: tuple[Port, ...], subset: _Subset) -> Object:
    entry: dict[str, Any] = {}
    if subset.ready:
        entry["addresses"] = subset.ready
    if subset.unready:
        entry["notReadyAddresses"] = subset.unready
    if ports:
        entry["ports"] = [_port(each) for each in ports]
    return entry


def _port(port: Port) -> Object:
    entry = port.as_object()
    if not port.name:
        del entry["name"]
    return entry
