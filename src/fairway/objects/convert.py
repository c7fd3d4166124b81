"""Other group versions to the stored one and back: manifests in the wild still say `apps/v1beta1`, and events are
told by two groups.

What differs between the versions is mostly defaults, so converting to storage fills in those of the old version
(Kubernetes 1.15 API reference) before anything else looks at the object.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any

from fairway.objects.kinds import DEPLOYMENT, EVENT, REPLICA_SET, SECRET, Kind

Object = dict[str, Any]

ROLLBACK = "deprecated.deployment.rollback.to"
"""The annotation that keeps `spec.rollbackTo`, which the current version has no field for."""

_NEVER = 2147483647


def to_storage(kind: Kind, obj: Object, api_version: str) -> Object:
    """The object in the kind's current version; `obj`, written in `api_version`, is left alone."""
    stored = {**obj, "kind": kind.name, "apiVersion": kind.api_version}
    if kind is SECRET:
        _join_string_data(stored)
    if (kind.name, api_version) == _EVENTS:
        return _renamed(stored, _EVENT_NAMES)
    convert = _TO_STORAGE.get((kind.name, api_version))
    if convert is None or not isinstance(obj.get("spec"), dict):
        return stored
    stored = deepcopy(stored)
    convert(stored)
    return stored


def from_storage(kind: Kind, obj: Object, api_version: str) -> Object:
    """A stored object as a client of `api_version` sees it; `obj` is left alone."""
    shown = {**obj, "apiVersion": api_version}
    if (kind.name, api_version) == _EVENTS:
        return _renamed(shown, {ours: theirs for theirs, ours in _EVENT_NAMES.items()})
    annotations = (obj.get("metadata") or {}).get("annotations") or {}
    if ROLLBACK not in annotations or (kind.name, api_version) not in _HAS_ROLLBACK:
        return shown
    rest = {key: value for key, value in annotations.items() if key != ROLLBACK}
    metadata = {key: value for key, value in obj["metadata"].items() if key != "annotations"}
    shown["metadata"] = metadata | ({"annotations": rest} if rest else {})
    shown["spec"] = obj.get("spec", {}) | {"rollbackTo": {"revision": int(annotations[ROLLBACK])}}
    return shown


def _join_string_data(secret: Object) -> None:
    """`stringData` is for writing only: its values join `data` in base64."""
    plain = secret.pop("stringData", None)
    if plain:
        coded = {key: base64.b64encode(value.encode()).decode() for key, value in plain.items() if value is not None}
        secret["data"] = {**(secret.get("data") or {}), **coded}


def _renamed(obj: Object, names: Mapping[str, str]) -> Object:
    return {names.get(name, name): value for name, value in obj.items()}


def _labels_from_template(obj: Object) -> None:
    """Before apps/v1beta2 the template's labels stood in for a missing selector and for missing labels."""
    template = obj["spec"].get("template")
    metadata = template.get("metadata") if isinstance(template, dict) else None
    labels = metadata.get("labels") if isinstance(metadata, dict) else None
    if not isinstance(labels, dict) or not labels:
        return
    if not obj["spec"].get("selector"):
        obj["spec"]["selector"] = {"matchLabels": dict(labels)}
    if not isinstance(obj.get("metadata"), dict):
        obj["metadata"] = {}
    if not obj["metadata"].get("labels"):
        obj["metadata"]["labels"] = dict(labels)


def _rollback_to_annotation(obj: Object) -> None:
    wanted = obj["spec"].pop("rollbackTo", None)
    if not isinstance(wanted, dict) or not isinstance(obj.get("metadata"), dict):
        return
    annotations = obj["metadata"].get("annotations") or {}
    obj["metadata"]["annotations"] = annotations | {ROLLBACK: str(wanted.get("revision") or 0)}


def _rolling(spec: Object, surge: int | str, unavailable: int | str) -> None:
    strategy = spec.get("strategy") or {}
    if not isinstance(strategy, dict) or strategy.get("type") not in (None, "", "RollingUpdate"):
        return
    rolling = strategy.get("rollingUpdate") or {}
    spec["strategy"] = strategy | {"type": "RollingUpdate"}
    if isinstance(rolling, dict):
        spec["strategy"]["rollingUpdate"] = {"maxSurge": surge, "maxUnavailable": unavailable} | rolling


def _deployment_v1beta1(obj: Object) -> None:
    _labels_from_template(obj)
    _rollback_to_annotation(obj)
    obj["spec"].setdefault("revisionHistoryLimit", 2)


def _deployment_extensions(obj: Object) -> None:
    _labels_from_template(obj)
    _rollback_to_annotation(obj)
    _rolling(obj["spec"], 1, 1)
    obj["spec"].setdefault("revisionHistoryLimit", _NEVER)
    obj["spec"].setdefault("progressDeadlineSeconds", _NEVER)


_EVENTS = (EVENT.name, "events.k8s.io/v1")
# events.k8s.io/v1 has its own names for what core/v1 calls otherwise (Kubernetes 1.36 API reference).
_EVENT_NAMES: Mapping[str, str] = {
    "regarding": "involvedObject",
    "note": "message",
    "reportingController": "reportingComponent",
    "deprecatedSource": "source",
    "deprecatedFirstTimestamp": "firstTimestamp",
    "deprecatedLastTimestamp": "lastTimestamp",
    "deprecatedCount": "count",
}
_HAS_ROLLBACK = frozenset({(DEPLOYMENT.name, "apps/v1beta1"), (DEPLOYMENT.name, "extensions/v1beta1")})
_TO_STORAGE: Mapping[tuple[str, str], Callable[[Object], None]] = {
    (DEPLOYMENT.name, "apps/v1beta1"): _deployment_v1beta1,
    (DEPLOYMENT.name, "extensions/v1beta1"): _deployment_extensions,
    (REPLICA_SET.name, "extensions/v1beta1"): _labels_from_template,
}
