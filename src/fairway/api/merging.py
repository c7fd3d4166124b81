"""Values merged and thinned as server-side apply does it (KEP-555), by the schema tables. Pure: nothing is modified."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fairway.api.fieldsets import Fields, Grain, grains, is_member, item_key

Object = dict[str, Any]


def merge(grain: Grain, live: Any, applied: Any) -> Any:
    """`live` with everything that `applied` says. Lists keep the order of `applied`; what only `live` has keeps its
    place among the others."""
    if grain.kind == "leaf" or not live:
        return applied
    if not applied:
        return live
    match grain.kind:
        case "object" | "map":
            merged = dict(live)
            for name, part in applied.items():
                merged[name] = merge(_part(grain, name), live.get(name), part)
            return merged
        case _:
            return _merge_lists(grain, live, applied)


def _merge_lists(grain: Grain, live: list[Any], applied: list[Any]) -> list[Any]:
    wanted = [(item_key(grain, item), item) for item in applied]
    places = {key: at for at, (key, _) in enumerate(wanted)}
    had: Object = {}
    merged: list[Any] = []
    done = 0
    keyed = [(item_key(grain, item), item) for item in live]
    for key, item in keyed:
        had.setdefault(key, item)
    assert grain.element is not None, "lists have an element by construction"
    for key, item in keyed:
        if key not in places:
            merged.append(item)
            continue
        while done <= places[key]:
            name, change = wanted[done]
            merged.append(merge(grain.element, had.get(name), change))
            done += 1
    return merged + [merge(grain.element, had.get(name), change) for name, change in wanted[done:]]


def thinned(grain: Grain, value: Any, dropped: Fields, kept: Fields) -> Any:
    """`value` without the fields of `dropped`. A field that goes takes all that is in it along, unless `kept` has
    something there; what is emptied by that goes too (the result is None)."""
    remaining = list(_remaining(grain, value, dropped, kept))
    if not remaining:
        return None
    return dict(remaining) if grain.kind in ("object", "map") else [part for _, part in remaining]


def _remaining(grain: Grain, value: Any, dropped: Fields, kept: Fields) -> Iterator[tuple[str, Any]]:
    for name, part in _members(grain, value):
        step = f"f:{name}" if grain.kind in ("object", "map") else name
        node = dropped.get(step)
        if node is None:
            yield name, part
            continue
        others = kept.get(step)
        if is_member(node) and others is None:
            continue
        inner = _part(grain, name)
        # An item that stays keeps what tells it from the others, whoever owned that.
        node = {below: fields for below, fields in node.items() if below[2:] not in dict(grain.keys)}
        left = part if inner.kind == "leaf" or not part else thinned(inner, part, node, others or {})
        if left is not None:
            yield name, left


def _members(grain: Grain, value: Any) -> Iterator[tuple[str, Any]]:
    if grain.kind in ("object", "map"):
        yield from value.items()
    else:
        yield from ((item_key(grain, item), item) for item in value)


def _part(grain: Grain, name: str) -> Grain:
    """The grain of a field, a map's value or a list's item. Names the schema does not have are whole."""
    if grain.kind == "object":
        assert grain.type is not None, "objects have a type by construction"
        return grains(grain.type).get(name, Grain("leaf"))
    assert grain.element is not None, "maps and lists have an element by construction"
    return grain.element
