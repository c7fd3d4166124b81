"""What types and fields are for, in a sentence or two: the texts of `descriptions.txt`, which only those who publish
schemas read (a pod's or a node's process does without)."""

from __future__ import annotations

import pkgutil
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType

from fairway.objects.schema.table import SchemaError, Type

_WHOLE_OBJECT = "*"


@cache
def texts() -> Mapping[str, str]:
    """Texts by `Type`, `Type.field` or `*.field`. Raises SchemaError for a line without text or one said twice."""
    data = pkgutil.get_data(__package__, "descriptions.txt")
    if data is None:
        raise SchemaError("descriptions.txt is missing from the installation")
    found: dict[str, str] = {}
    for number, line in enumerate(data.decode().splitlines(), 1):
        if not line or line.startswith("#"):
            continue
        name, _, text = line.partition("  ")
        if not text or name in found:
            raise SchemaError(f"descriptions.txt:{number}: {name!r} has no text, or has one already")
        found[name] = text.strip()
    return MappingProxyType(found)


def of_type(type_: Type) -> str:
    """What the type is for; "" if nothing is said."""
    return texts().get(type_.name, "")


def of_field(type_: Type, name: str) -> str:
    """What the field is for; "" if nothing is said."""
    own = texts().get(f"{type_.name}.{name}", "")
    if own or "metadata" not in type_.fields:
        return own
    return texts().get(f"{_WHOLE_OBJECT}.{name}", "")
