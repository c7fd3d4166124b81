"""Patches: JSON patch (RFC 6902), merge patch (RFC 7386), and Kubernetes' strategic merge patch.

Values in, values out: neither the object nor the patch is modified. What is wrong with a patch, or does not fit the
object it is applied to, is a PatchError.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

import msgspec

from fairway.objects.schema import Field, Type

MAX_OPERATIONS = 10_000
"""Operations of one JSON patch."""
MAX_COPIED = 3 * 1024 * 1024
"""Bytes that all `copy` operations of one JSON patch may add, so that doubling cannot exhaust memory."""


class PatchError(Exception):
    """The patch is malformed or does not fit the object. The writer's fault."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class DirectiveError(PatchError):
    """A strategic merge patch has a directive ($retainKeys, ...) of the wrong shape."""


def merge_patch(obj: Any, patch: Any) -> Any:
    """RFC 7386: objects merge, null removes, everything else replaces."""
    if not isinstance(patch, dict):
        return deepcopy(patch)
    merged = dict(obj) if isinstance(obj, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge_patch(merged.get(key), value)
    return merged


def json_patch(obj: Any, operations: Any) -> Any:
    """RFC 6902: the operations in order, all or none. Raises PatchError naming the operation's index."""
    if not isinstance(operations, list):
        raise PatchError("a JSON patch is a list of operations")
    if len(operations) > MAX_OPERATIONS:
        raise PatchError(f"a JSON patch may hold at most {MAX_OPERATIONS} operations, this one has {len(operations)}")
    document = _Document(deepcopy(obj))
    for index, operation in enumerate(operations):
        try:
            document.apply(operation)
        except PatchError as error:
            raise PatchError(f"operation {index}: {error.message}") from error
    return document.root


def pointer(text: Any) -> list[str]:
    """The reference tokens of a JSON pointer (RFC 6901). Raises PatchError."""
    if not isinstance(text, str) or (text and not text.startswith("/")):
        raise PatchError(f"{text!r} is no JSON pointer: it must be empty or start with '/'")
    return [token.replace("~1", "/").replace("~0", "~") for token in text.split("/")[1:]]


class _Document:
    """A value that operations change in place; private to one json_patch call."""

    def __init__(self, root: Any) -> None:
        self.root = root
        self._copied = 0

    def apply(self, operation: Any) -> None:
        if not isinstance(operation, dict):
            raise PatchError("an operation is an object with op and path")
        name, path = operation.get("op"), pointer(operation.get("path"))
        match name:
            case "add":
                self._add(path, deepcopy(_value(operation)))
            case "remove":
                self._remove(path)
            case "replace":
                value = deepcopy(_value(operation))
                self._get(path)
                self._replace(path, value)
            case "move":
                self._move(pointer(operation.get("from")), path)
            case "copy":
                self._add(path, self._copy(pointer(operation.get("from"))))
            case "test":
                if not same(self._get(path), _value(operation)):
                    raise PatchError(f"testing value {operation['path']} failed")
            case _:
                raise PatchError(f"op {name!r} is none of add, remove, replace, move, copy, test")

    def _get(self, path: Sequence[str]) -> Any:
        value = self.root
        for depth, token in enumerate(path):
            value = _member(value, token, path[: depth + 1])
        return value

    def _parent(self, path: Sequence[str]) -> Any:
        parent = self._get(path[:-1])
        if not isinstance(parent, (dict, list)):
            raise PatchError(f"{_show(path[:-1])} is neither an object nor a list")
        return parent

    def _add(self, path: Sequence[str], value: Any) -> None:
        if not path:
            self.root = value
            return
        parent, token = self._parent(path), path[-1]
        if isinstance(parent, dict):
            parent[token] = value
        elif token == "-":
            parent.append(value)
        else:
            parent.insert(_index(token, len(parent) + 1, path), value)

    def _replace(self, path: Sequence[str], value: Any) -> None:
        if not path:
            self.root = value
            return
        parent = self._parent(path)
        parent[path[-1] if isinstance(parent, dict) else int(path[-1])] = value

    def _remove(self, path: Sequence[str]) -> Any:
        if not path:
            raise PatchError("the whole document cannot be removed")
        parent = self._parent(path)
        _member(parent, path[-1], path)
        return parent.pop(path[-1] if isinstance(parent, dict) else int(path[-1]))

    def _move(self, source: list[str], path: list[str]) -> None:
        if path[: len(source)] == source and path != source:
            raise PatchError(f"{_show(source)} cannot be moved into itself")
        if path != source:
            self._add(path, self._remove(source))
        else:
            self._get(source)

    def _copy(self, source: list[str]) -> Any:
        value = deepcopy(self._get(source))
        self._copied += len(msgspec.json.encode(value))
        if self._copied > MAX_COPIED:
            raise PatchError(f"copies more than {MAX_COPIED} bytes in all")
        return value


def _value(operation: Mapping[str, Any]) -> Any:
    if "value" not in operation:
        raise PatchError(f"{operation['op']} needs a value")
    return operation["value"]


def _member(value: Any, token: str, path: Sequence[str]) -> Any:
    if isinstance(value, dict):
        if token in value:
            return value[token]
    elif isinstance(value, list):
        return value[_index(token, len(value), path)]
    raise PatchError(f"{_show(path)} does not exist")


def _index(token: str, size: int, path: Sequence[str]) -> int:
    plain = token.isascii() and token.isdigit() and len(token) < 10 and (token == "0" or token[0] != "0")
    if not plain or int(token) >= size:
        raise PatchError(f"{_show(path)}: {token!r} is no index of a list of {size}")
    return int(token)


def _show(path: Sequence[str]) -> str:
    return "".join("/" + token.replace("~", "~0").replace("/", "~1") for token in path) or "the document"


def same(left: Any, right: Any) -> bool:
    """Equality of JSON values: true is not 1, and 1 is 1.0 (RFC 6902 section 4.6)."""
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(value, right[key]) for key, value in left.items())
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    return isinstance(left, bool) is isinstance(right, bool) and bool(left == right)


_DIRECTIVE = "$patch"
_RETAIN = "$retainKeys"
_DELETE_VALUES = "$deleteFromPrimitiveList/"
_ORDER = "$setElementOrder/"


def strategic_merge(obj: Mapping[str, Any], patch: Any, type: Type | None) -> dict[str, Any]:
    """Merges `patch` into `obj` as the schema says: lists with a merge key merge item by item.

    Directives: `$patch: replace|delete|merge` in objects and list items, `$retainKeys`, `$deleteFromPrimitiveList/f`,
    `$setElementOrder/f`. `type` None merges like a map: field by field, lists replaced.
    """
    if not isinstance(patch, dict):
        raise PatchError("a strategic merge patch is an object")
    directive = patch.get(_DIRECTIVE, "merge")
    if directive == "delete":
        return {}
    if directive not in ("replace", "merge"):
        raise PatchError(f"{_DIRECTIVE}: {directive!r} is none of replace, delete, merge")
    merged = _retained(obj, patch) if directive == "merge" else {}
    for key, value in patch.items():
        if key in (_DIRECTIVE, _RETAIN) or key.startswith((_DELETE_VALUES, _ORDER)):
            continue
        if value is None:
            merged.pop(key, None)
            continue
        field = type.fields.get(key) if type is not None else None
        merged[key] = _merge_value(merged.get(key), value, field)
    _delete_values(merged, patch)
    _set_orders(merged, obj, patch, type)
    return merged


def _retained(obj: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of the object without the fields that `$retainKeys` leaves out."""
    keys = patch.get(_RETAIN)
    if keys is None:
        return dict(obj)
    if not isinstance(keys, list):
        raise DirectiveError(f"{_RETAIN} must be a list of field names")
    outside = [key for key, value in patch.items() if not key.startswith("$") and value is not None and key not in keys]
    if outside:
        raise DirectiveError(f"{_RETAIN} does not name {', '.join(outside)}, which the patch sets")
    return {key: value for key, value in obj.items() if key in keys}


def _merge_value(current: Any, value: Any, field: Field | None) -> Any:
    if isinstance(value, dict):
        target = field.target if field is not None and field.type.kind == "object" else None
        return strategic_merge(current if isinstance(current, dict) else {}, value, target)
    if isinstance(value, list) and field is not None and "merge" in field.patch_strategy:
        have = current if isinstance(current, list) else []
        merged = _merge_items(have, value, field) if field.merge_key else _merge_scalars(have, value)
        # A patch that gives no order gives the order of its own items.
        named = [item for item in value if not isinstance(item, dict) or item.get(_DIRECTIVE) != "replace"]
        return _in_order(merged, have, named, field)
    return deepcopy(value)


def _merge_scalars(current: list[Any], values: list[Any]) -> list[Any]:
    merged = list(current)
    seen = set(merged)
    for value in values:
        if _scalar(value) not in seen:
            seen.add(value)
            merged.append(value)
    return merged


def _merge_items(current: list[Any], patches: list[Any], field: Field) -> list[Any]:
    """`$patch: replace` in any item starts from an empty list; deletions go before changes, wherever they stand, since
    kubectl writes both for one key when items share it. Items that carry either directive say nothing else."""
    directives = [patch.get(_DIRECTIVE) if isinstance(patch, dict) else None for patch in patches]
    if "replace" in directives:
        merged: list[Any] = []
    else:
        chosen = zip(patches, directives, strict=True)
        dropped = {_identity(patch, field) for patch, directive in chosen if directive == "delete"}
        merged = [item for item in current if item.get(field.merge_key) not in dropped]
    places: dict[Any, list[int]] = {}
    for at, item in enumerate(merged):
        places.setdefault(item.get(field.merge_key), []).append(at)
    for patch, directive in zip(patches, directives, strict=True):
        if directive in ("replace", "delete"):
            continue
        had = places.setdefault(_identity(patch, field), [])
        if had:
            at = _meant(merged, had, patch, field)
            merged[at] = strategic_merge(merged[at], patch, field.target)
        else:
            had.append(len(merged))
            merged.append(strategic_merge({}, patch, field.target))
    return merged


def _meant(items: Sequence[Any], places: list[int], patch: Mapping[str, Any], field: Field) -> int:
    """The item that `patch` means. Where several share its merge key (port 53 of TCP and of UDP), the one that agrees
    in all list-map keys, else the first."""
    for at in places:
        if all(items[at].get(key) == patch.get(key, items[at].get(key)) for key in field.map_keys):
            return at
    return places[0]


def _identity(item: Any, field: Field) -> Any:
    """What tells an item of a merging list from the others: its merge key's value, or the scalar itself."""
    if not field.merge_key:
        return _scalar(item)
    if not isinstance(item, dict) or item.get(field.merge_key) is None:
        raise PatchError(f"an item of {field.name} does not contain its merge key {field.merge_key}")
    return _scalar(item[field.merge_key])


def _scalar(value: Any) -> Any:
    if isinstance(value, (dict, list)):
        raise PatchError("an object or a list stands where a plain value tells items apart")
    return value


def _delete_values(merged: dict[str, Any], patch: Mapping[str, Any]) -> None:
    for key, values in patch.items():
        if not key.startswith(_DELETE_VALUES):
            continue
        name = key.removeprefix(_DELETE_VALUES)
        if not isinstance(values, list):
            raise DirectiveError(f"{key} must be a list")
        if isinstance(merged.get(name), list):
            dropped = {_scalar(value) for value in values}
            merged[name] = [value for value in merged[name] if isinstance(value, (dict, list)) or value not in dropped]


def _set_orders(merged: dict[str, Any], obj: Mapping[str, Any], patch: Mapping[str, Any], type: Type | None) -> None:
    for key, wanted in patch.items():
        if not key.startswith(_ORDER):
            continue
        name = key.removeprefix(_ORDER)
        field = type.fields.get(name) if type is not None else None
        if not isinstance(wanted, list):
            raise DirectiveError(f"{key} must be a list")
        if isinstance(merged.get(name), list) and field is not None and "merge" in field.patch_strategy:
            merged[name] = _in_order(merged[name], obj.get(name) or [], wanted, field)


def _in_order(items: list[Any], server: Sequence[Any], wanted: Sequence[Any], field: Field) -> list[Any]:
    """Items of a merging list in the order of `wanted`, as far as it names them."""
    order, former = ([_identity(item, field) for item in source] for source in (wanted, server))
    return _ordered(items, _places(order), _places(former), field)


def _places(identities: Sequence[Any]) -> dict[Any, int]:
    return {identity: at for at, identity in reversed(list(enumerate(identities)))}


def _ordered(items: list[Any], wanted: Mapping[Any, int], server: Mapping[Any, int], field: Field) -> list[Any]:
    """Items in the wanted order; those it does not name keep their place relative to the others on the server."""
    known = [(_identity(item, field), item) for item in items]
    named = sorted((pair for pair in known if pair[0] in wanted), key=lambda pair: wanted[pair[0]])
    result: list[Any] = []
    at = 0
    for identity, item in known:
        if identity in wanted:
            continue
        place = server.get(identity, len(server))
        while at < len(named) and server.get(named[at][0], -1) < place:
            result.append(named[at][1])
            at += 1
        result.append(item)
    return result + [item for _, item in named[at:]]
