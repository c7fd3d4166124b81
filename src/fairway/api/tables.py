"""Lists as `meta.k8s.io/v1` Tables: what `kubectl get` prints is decided here, on the server."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal

from fairway.api.tables_cells import age
from fairway.api.tables_kinds import AGE, LAYOUTS, NAME, Layout
from fairway.objects.kinds import Kind

IncludeObject = Literal["Metadata", "Object", "None"]

_PLAIN = Layout((NAME, AGE), lambda obj, now: [obj["metadata"].get("name") or "", age(obj, now)])


def table(
    kind: Kind,
    objects: Sequence[dict[str, Any]],
    now: datetime,
    *,
    list_metadata: dict[str, Any],
    include_object: IncludeObject = "Metadata",
) -> dict[str, Any]:
    """The objects as a Table. `now` is timezone-aware; ages are counted to it. Each row carries the object's metadata,
    the object, or nothing of it."""
    layout = LAYOUTS.get(kind.name, _PLAIN)
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": list_metadata,
        "columnDefinitions": [column.definition() for column in layout.columns],
        "rows": [{"cells": layout.cells(obj, now), "object": _carried(obj, include_object)} for obj in objects],
    }


def _carried(obj: dict[str, Any], include: IncludeObject) -> dict[str, Any] | None:
    if include == "Object":
        return obj
    if include == "None":
        return None
    return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": obj.get("metadata") or {}}
