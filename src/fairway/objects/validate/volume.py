"""Volumes of a pod: unique names, one source each, paths that stay inside."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fairway.objects import schema
from fairway.objects.errors import FieldError, duplicate, invalid
from fairway.objects.validate.container import exactly_one

Object = dict[str, Any]


def validate_volumes(volumes: list[Object], path: str) -> Iterator[FieldError]:
    """All volumes of a pod."""
    seen: set[str] = set()
    sources = tuple(name for name in schema.lookup("Volume").fields if name != "name")
    projections = tuple(schema.lookup("VolumeProjection").fields)
    for index, volume in enumerate(volumes):
        inner = f"{path}[{index}]"
        name = volume.get("name") or ""
        if name and name in seen:
            yield duplicate(f"{inner}.name", name)
        seen.add(name)
        yield from exactly_one(volume, sources, inner, "volume type")
        for kind in ("configMap", "secret", "downwardAPI"):
            yield from _items(volume.get(kind) or {}, f"{inner}.{kind}")
        for position, source in enumerate((volume.get("projected") or {}).get("sources") or []):
            where = f"{inner}.projected.sources[{position}]"
            yield from exactly_one(source, projections, where, "volume type")
            for kind in ("configMap", "secret", "downwardAPI"):
                yield from _items(source.get(kind) or {}, f"{where}.{kind}")


def _items(source: Object, path: str) -> Iterator[FieldError]:
    for index, item in enumerate(source.get("items") or []):
        text = item.get("path") or ""
        where = f"{path}.items[{index}].path"
        if text.startswith("/"):
            yield invalid(where, text, "must be a relative path")
        if text.startswith("..") or ".." in text.split("/"):
            yield invalid(where, text, "must not contain '..'")
