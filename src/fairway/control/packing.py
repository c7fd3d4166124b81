"""Endpoints packed into slices: where each one goes so that few slices are written. Pure.

An endpoint stays in the slice it is in; new ones fill slices that are written anyway, then one that has just room
enough, and only then a new slice. Source: KEP-752.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from fairway.client.base import Object
from fairway.control import backends, pods
from fairway.control.backends import Family, Port
from fairway.control.naming import suffixed
from fairway.control.times import micro_stamp
from fairway.control.writes import Create, Delete, Update, Write
from fairway.objects.kinds import ENDPOINT_SLICE

MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
SERVICE_NAME = "kubernetes.io/service-name"
MOST = 100
"""Endpoints per slice, where nobody says otherwise."""

Wanted = Mapping[tuple[Family, tuple[Port, ...]], Sequence[Object]]
"""The endpoints there shall be, by family and ports."""


@dataclass(frozen=True, slots=True)
class Cover:
    """What the slices of one owner have in common. `annotations` are theirs alone, None leaves to slices what others
    have noted on them. `trigger` is when the change happened that they are written for
    (seconds since the epoch, None: unknown)."""

    base: str
    namespace: str
    owner: Object
    labels: Mapping[str, str]
    annotations: Mapping[str, str] | None = None
    trigger: float | None = None


@dataclass
class _Slice:
    """A slice as it shall be. `before` is the stored object, None for a new one."""

    family: Family
    ports: tuple[Port, ...]
    endpoints: list[Object]
    before: Object | None = None
    changed: bool = False


def pack(
    cover: Cover,
    families: Sequence[Family],
    wanted: Wanted,
    slices: Sequence[Object],
    random: Callable[[], float],
    *,
    most: int = MOST,
) -> list[Write]:
    """The writes that make `slices` hold exactly `wanted`. Each of `families` has at least one slice, an empty one if
    need be: it says that the owner is known and has no endpoints."""
    kept: list[_Slice] = []
    spare: list[_Slice] = []
    for family in families:
        existing = [each for each in slices if each.get("addressType") == family and not pods.is_going(each)]
        groups = {ports: entries for (of, ports), entries in wanted.items() if of == family}
        placed, unused = _place(family, groups, existing, most)
        kept += placed
        spare += unused
    foreign = [each for each in slices if each.get("addressType") not in families]
    gone = [_delete(each) for each in foreign if not pods.is_going(each)]
    gone += [_delete(each.before) for each in spare if each.before is not None]
    writes = [_write(cover, each, random) for each in kept]
    return [*(write for write in writes if write is not None), *gone]


def identity(entry: Object) -> tuple[str, str]:
    """What makes an endpoint the same one as before: its pod, else its address."""
    uid = (entry.get("targetRef") or {}).get("uid", "")
    return (uid, "") if uid else ("", (entry.get("addresses") or [""])[0])


def _place(
    family: Family, groups: Mapping[tuple[Port, ...], Sequence[Object]], existing: Sequence[Object], most: int
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
    for ports, entries in sorted(groups.items(), key=lambda each: each[0]):
        slices = _fill(family, ports, entries, by_ports.get(ports, ()), most)
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
    family: Family, ports: tuple[Port, ...], wanted: Sequence[Object], stored: Sequence[Object], most: int
) -> list[_Slice]:
    left = {identity(entry): entry for entry in wanted}
    slices = [_keep(family, ports, each, left) for each in stored]
    new = list(left.values())
    for each in slices:
        if each.changed and each.endpoints:
            new = _pour(each, new, most)
    while len(new) >= most:
        slices.append(_Slice(family, ports, new[:most], None, True))
        new = new[most:]
    if new:
        fitting = [each for each in slices if len(each.endpoints) + len(new) <= most]
        best = max(fitting, key=lambda each: len(each.endpoints), default=None)
        if best is None:
            slices.append(_Slice(family, ports, new, None, True))
        else:
            _pour(best, new, most)
    return slices


def _keep(family: Family, ports: tuple[Port, ...], stored: Object, left: dict[tuple[str, str], Object]) -> _Slice:
    """The stored slice with the endpoints that are still wanted, in place and up to date; they are taken from
    `left`."""
    before = stored.get("endpoints") or []
    after = []
    for entry in before:
        wanted = left.pop(identity(entry), None)
        if wanted is not None:
            after.append(wanted)
    return _Slice(family, ports, after, stored, after != before)


def _pour(each: _Slice, new: list[Object], most: int) -> list[Object]:
    """Put as many of `new` as fit into the slice; returns the rest."""
    room = max(most - len(each.endpoints), 0)
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


def _write(cover: Cover, each: _Slice, random: Callable[[], float]) -> Write | None:
    labels = dict(cover.labels)
    if each.before is None:
        return Create(ENDPOINT_SLICE, _new(cover, each, random))
    metadata = each.before["metadata"]
    noted = dict(metadata.get("annotations") or {})
    noted.pop(backends.TRIGGER_ANNOTATION, None)
    wanted = noted if cover.annotations is None else dict(cover.annotations)
    if not each.changed and (metadata.get("labels") or {}) == labels and noted == wanted:
        return None
    annotations = {**wanted, **_triggered(cover)}
    changed = {**metadata, "labels": labels, "annotations": annotations}
    ports = [port.as_object() for port in each.ports]
    return Update(ENDPOINT_SLICE, {**each.before, "metadata": changed, "endpoints": each.endpoints, "ports": ports})


def _new(cover: Cover, each: _Slice, random: Callable[[], float]) -> Object:
    metadata: Object = {
        "name": suffixed(cover.base, random),
        "generateName": cover.base,
        "namespace": cover.namespace,
        "labels": dict(cover.labels),
        "ownerReferences": [cover.owner],
    }
    annotations = {**(cover.annotations or {}), **_triggered(cover)}
    if annotations:
        metadata["annotations"] = annotations
    return {
        "apiVersion": ENDPOINT_SLICE.api_version,
        "kind": ENDPOINT_SLICE.name,
        "metadata": metadata,
        "addressType": each.family,
        "endpoints": each.endpoints,
        "ports": [port.as_object() for port in each.ports],
    }


def _triggered(cover: Cover) -> dict[str, str]:
    return {} if cover.trigger is None else {backends.TRIGGER_ANNOTATION: micro_stamp(cover.trigger)}


def _delete(stored: Object) -> Delete:
    metadata = stored["metadata"]
    return Delete(ENDPOINT_SLICE, metadata["namespace"], metadata["name"], metadata["uid"])
