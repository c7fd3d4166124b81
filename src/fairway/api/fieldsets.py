"""Sets of fields, as server-side apply owns them (KEP-555). Pure.

A set is held in the shape it travels in, `FieldsV1`: a tree of objects whose keys name a step (`f:NAME` a field or a
map's key, `k:{"port":80}` an item of a list by its keys, `v:"x"` an item of a set). A node is a member if it is empty
or has the key `.`; the tree's root never is one.

How far a value is divided is told by the schema tables: scalars, atomic types and atomic lists are one field.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Literal

import msgspec

from fairway.objects.schema import Field, Shape, Type, lookup

Fields = dict[str, Any]
Object = dict[str, Any]

MEMBER = "."
_STEPS = ("f:", "k:", "v:", "i:")
_encode_sorted = msgspec.json.Encoder(order="sorted").encode


@dataclass(frozen=True, slots=True)
class Grain:
    """How a value is divided: not at all (`leaf`), by its fields (`object`), by its keys (`map`), by its values
    (`set`), or by its items' keys (`items`). `type` is that of the object or of the items, `element` the grain of
    values and items, `keys` the names of an items' keys with their defaults, `present` as in the schema tables, `step`
    that of the field."""

    kind: Literal["leaf", "object", "map", "set", "items"]
    type: Type | None = None
    element: Grain | None = None
    keys: tuple[tuple[str, Any], ...] = ()
    present: bool = False
    step: str = ""


LEAF = Grain("leaf")


def grains(type_: Type) -> Mapping[str, Grain]:
    """The grain of every field of a type."""
    return _grains(type_.name)


@cache
def _grains(name: str) -> Mapping[str, Grain]:
    # By name: to hash a type costs as much as to look at one of its fields.
    return {field.name: replace(_grain(field), step=f"f:{field.name}") for field in lookup(name).fields.values()}


def whole(type_: Type) -> Grain:
    """The grain of a whole object of a type."""
    return LEAF if type_.atomic else Grain("object", type_)


def _grain(field: Field) -> Grain:
    shape = field.type
    if field.atomic or shape.kind == "scalar":
        return LEAF
    if shape.kind == "object":
        made = whole(lookup(shape.name))
        return Grain("object", made.type, present=field.present) if made.type else LEAF
    assert shape.element is not None, "lists and maps have an element by construction"
    if shape.kind == "map":
        return Grain("map", element=_of_shape(shape.element))
    if field.is_set:
        return Grain("set", element=LEAF, present=field.present)
    if not field.map_keys:
        return LEAF
    item = lookup(shape.leaf.name)
    keys = tuple((key, item.fields[key].default) for key in sorted(field.map_keys))
    return Grain("items", item, whole(item), keys, field.present)


def _of_shape(shape: Shape) -> Grain:
    return whole(lookup(shape.name)) if shape.kind == "object" else LEAF


def item_key(grain: Grain, item: Any) -> str:
    """The step that leads to an item of a set or of a list with keys."""
    if grain.kind == "set":
        return "v:" + msgspec.json.encode(item).decode()
    keys = {name: value for name, default in grain.keys if (value := item.get(name, default)) is not None}
    return "k:" + _encode_sorted(keys).decode()


def parts(grain: Grain, value: Any) -> dict[str, tuple[Grain, Any]]:
    """What a divided value consists of, by step. Of items that share their keys the first one counts."""
    match grain.kind:
        case "object":
            assert grain.type is not None, "objects have a type by construction"
            known = grains(grain.type)
            return {made.step: (made, part) for name, part in value.items() if (made := known.get(name))}
        case "map":
            assert grain.element is not None, "maps have an element by construction"
            return {f"f:{name}": (grain.element, part) for name, part in value.items()}
        case _:
            assert grain.element is not None, "lists have an element by construction"
            found: dict[str, tuple[Grain, Any]] = {}
            for item in value:
                found.setdefault(item_key(grain, item), (grain.element, item))
            return found


def named(grain: Grain, value: Any) -> Fields:
    """Every field that `value` names: what whoever applies it owns."""
    fields: Fields = {}
    for step, (inner, part) in parts(grain, value).items():
        if inner.kind == "leaf" or part is None:
            fields[step] = {}
        elif part or inner.kind in ("object", "map"):
            below = named(inner, part)
            fields[step] = {MEMBER: {}, **below} if below and step[0] == "k" else below
    return fields


@dataclass(frozen=True, slots=True)
class Change:
    """What differs between two states: fields that are new or have another value, and fields that are gone."""

    made: Fields
    gone: Fields

    def __bool__(self) -> bool:
        return bool(self.made or self.gone)


def compare(grain: Grain, old: Any, new: Any) -> Change:
    """From `old` to `new`, both divided values ({} for nothing). Costs what differs, not what is there."""
    if not old or not new:
        return Change(_every(grain, new, True), _every(grain, old, True))
    made: Fields = {}
    gone: Fields = {}
    before = parts(grain, old)
    for step, (inner, part) in parts(grain, new).items():
        _, had = before.pop(step, (inner, None))
        if had is None or had != part:
            _compare_part(step, inner, had, part, made, gone)
    for step, (inner, had) in before.items():
        _compare_part(step, inner, had, None, made, gone)
    return Change(made, gone)


def _compare_part(step: str, grain: Grain, old: Any, new: Any, made: Fields, gone: Fields) -> None:
    """Two values that differ; either may be None, which is nothing."""
    if grain.kind == "leaf":
        (gone if new is None else made)[step] = {}
        return
    if old and new:
        below = compare(grain, old, new)
        nodes = below.made or None, below.gone or None
    else:
        nodes = (
            None if new is None else _sole(grain, new, grain.present or old is not None),
            None if old is None else _sole(grain, old, grain.present or new is not None),
        )
    for tree, node in zip((made, gone), nodes, strict=True):
        if node is not None:
            tree[step] = node


def _every(grain: Grain, value: Any, there: bool) -> Fields:
    """Every field of a value that has no counterpart on the other side, though something is `there` to hold one."""
    if grain.kind == "map" and grain.element is LEAF:
        return {f"f:{name}": {} for name in value}
    fields: Fields = {}
    if grain.kind == "object" and grain.type is not None:
        # As below without a table of the parts: each create passes here with all it says.
        known = grains(grain.type)
        for name, part in value.items():
            inner = known.get(name)
            if inner is None:
                continue
            if inner.kind == "leaf":
                fields[inner.step] = {}
            else:
                _add(fields, inner.step, inner, part, there)
        return fields
    for step, (inner, part) in parts(grain, value).items():
        _add(fields, step, inner, part, there)
    return fields


def _add(fields: Fields, step: str, inner: Grain, part: Any, there: bool) -> None:
    if inner.kind == "leaf":
        fields[step] = {}
    elif (node := _sole(inner, part, there and inner.present)) is not None:
        fields[step] = node


def _sole(grain: Grain, value: Any, there: bool) -> Fields | None:
    """The node of a divided value without a counterpart; if one is `there`, just empty, then the value's mere being is
    no difference."""
    below = _every(grain, value, there) if value else {}
    if there:
        return below or None
    return {MEMBER: {}, **below} if below else {}


def union(left: Fields, right: Fields) -> Fields:
    """The fields of either set."""
    joined = dict(left)
    for step, node in right.items():
        joined[step] = _join(joined[step], node) if step in joined else node
    return joined


def _join(left: Fields, right: Fields) -> Fields:
    if left and right:
        return union(left, right)
    other = left or right
    return {MEMBER: {}, **other} if other else {}


def minus(left: Fields, right: Fields) -> Fields:
    """The fields of `left` that `right` has not; `left` itself when they share none."""
    rest: Fields = {}
    for step, node in left.items():
        other = right.get(step)
        kept = node if other is None else _without(node, other)
        if kept is not None:
            rest[step] = kept
    return rest


def _without(node: Fields, other: Fields) -> Fields | None:
    stays = is_member(node) and not is_member(other)
    below = minus(_below(node), _below(other))
    if stays:
        return {MEMBER: {}, **below} if below else {}
    return below or None


def both(left: Fields, right: Fields) -> Fields:
    """The fields of both sets."""
    shared: Fields = {}
    for step, node in left.items():
        other = right.get(step)
        if other is None:
            continue
        below = both(_below(node), _below(other))
        if is_member(node) and is_member(other):
            shared[step] = {MEMBER: {}, **below} if below else {}
        elif below:
            shared[step] = below
    return shared


def is_member(node: Fields) -> bool:
    """Whether a node (not the root) stands for a field of the set."""
    return not node or MEMBER in node


def _below(node: Fields) -> Fields:
    return {step: below for step, below in node.items() if step != MEMBER}


def paths(fields: Fields, prefix: str = "") -> Iterator[str]:
    """The members as users read them: `.spec.ports[port=80,protocol="TCP"].nodePort`."""
    for step in sorted(fields):
        if step == MEMBER:
            continue
        path = prefix + _show(step)
        if is_member(fields[step]):
            yield path
        yield from paths(fields[step], path)


def _show(step: str) -> str:
    kind, text = step[:2], step[2:]
    if kind == "f:":
        return f".{text}"
    if kind == "v:":
        return f"[={text}]"
    if kind == "k:":
        keys = msgspec.json.decode(text)
        return "[" + ",".join(f"{name}={msgspec.json.encode(keys[name]).decode()}" for name in sorted(keys)) + "]"
    return f"[{text}]"


def well_formed(fields: Any) -> bool:
    """Whether a decoded JSON value is a set of fields."""
    if not isinstance(fields, dict):
        return False
    return all(_is_step(step, below) and well_formed(below) for step, below in fields.items())


def _is_step(step: str, below: Any) -> bool:
    if step == MEMBER:
        return bool(below == {})
    if not step.startswith(_STEPS):
        return False
    if step[0] in "fi":
        return True
    try:
        value = msgspec.json.decode(step[2:])
    except msgspec.DecodeError:
        return False
    return isinstance(value, dict) if step[0] == "k" else True


def duplicates(grain: Grain, value: Any, path: str = "") -> Sequence[str]:
    """What the keys of lists say twice, which nobody can own: `.spec.ports: duplicate entries for key [port=80]`."""
    if grain.kind == "leaf" or not value:
        return ()
    found: list[str] = []
    if grain.kind in ("items", "set"):
        steps = [item_key(grain, item) for item in value]
        twice = dict.fromkeys(step for at, step in enumerate(steps) if step in steps[:at])
        found += [f"{path}: duplicate entries for key {_show(step)}" for step in twice]
    for step, (inner, part) in parts(grain, value).items():
        found += duplicates(inner, part, path + _show(step))
    return found
