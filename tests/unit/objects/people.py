"""Objects as people write them, and the way they take into the store: the tests' cast."""

from copy import deepcopy
from typing import Any

from fairway.objects import admit, codec, convert
from fairway.objects.kinds import KINDS, Kind

Object = dict[str, Any]

BY_NAME = {kind.name: kind for kind in KINDS}


def named(kind: Kind, obj: Object) -> Object:
    """The object with the metadata a server would have completed."""
    metadata = {"name": "x"} | ({"namespace": "default"} if kind.namespaced else {}) | obj.get("metadata", {})
    return {"kind": kind.name, "apiVersion": kind.api_version, **deepcopy(obj), "metadata": metadata}


def created(kind: Kind, obj: Object, api_version: str = "") -> Object:
    """The object after everything that a create does to it before validation."""
    made = convert.to_storage(kind, named(kind, obj), api_version or kind.api_version)
    checked = codec.check(kind, made)
    assert checked == codec.Checked(), checked
    return admit.prepare_create(kind, admit.default(kind, codec.prune(kind, made)))


def faults(kind: Kind, obj: Object) -> list[str]:
    """What creating the object is refused with."""
    return [error.message() for error in admit.validate_create(kind, created(kind, obj))]


def updated(kind: Kind, old: Object, change: Object, subresource: str = "") -> Object:
    """`old` with top-level changes to its spec, as far as the strategy lets them through."""
    new = deepcopy(old)
    new["spec"] = {**new.get("spec", {}), **deepcopy(change)}
    new["spec"] = {name: value for name, value in new["spec"].items() if value is not None}
    return admit.prepare_update(kind, admit.default(kind, new), old, subresource)


def update_faults(kind: Kind, old: Object, new: Object, subresource: str = "") -> list[str]:
    """What replacing `old` by `new` is refused with."""
    return [error.message() for error in admit.validate_update(kind, new, old, subresource)]
