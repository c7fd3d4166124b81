"""How single values look in kubectl's columns: ages, label sets, `<none>`, lists cut after three."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from fairway.objects.selectors import from_label_selector

Object = Mapping[str, Any]

NONE = "<none>"
UNKNOWN = "<unknown>"
SHOWN = 3
"""How many endpoints a cell names before it says how many more there are."""

_MINUTE, _HOUR, _DAY, _YEAR = 60, 3600, 86400, 365 * 86400


def duration(seconds: float) -> str:
    """A span as kubectl prints it: two units while the smaller one still matters (`5s`, `3m12s`, `2d3h`)."""
    whole = int(seconds)
    if whole < -1:
        return "<invalid>"
    if whole < 2 * _MINUTE:
        return f"{max(whole, 0)}s"
    if whole < 10 * _MINUTE:
        return _two(whole, _MINUTE, "m", 1, "s")
    if whole < 3 * _HOUR:
        return f"{whole // _MINUTE}m"
    if whole < 8 * _HOUR:
        return _two(whole, _HOUR, "h", _MINUTE, "m")
    if whole < 2 * _DAY:
        return f"{whole // _HOUR}h"
    if whole < 8 * _DAY:
        return _two(whole, _DAY, "d", _HOUR, "h")
    if whole < 2 * _YEAR:
        return f"{whole // _DAY}d"
    return _two(whole, _YEAR, "y", _DAY, "d") if whole < 8 * _YEAR else f"{whole // _YEAR}y"


def _two(seconds: int, large: int, large_name: str, small: int, small_name: str) -> str:
    rest = seconds % large // small
    return f"{seconds // large}{large_name}" + (f"{rest}{small_name}" if rest else "")


def since(time: str | None, now: datetime) -> str:
    """The age of an RFC 3339 time."""
    return duration((now - datetime.fromisoformat(time)).total_seconds()) if time else UNKNOWN


def age(obj: Object, now: datetime) -> str:
    """The object's age."""
    return since((obj.get("metadata") or {}).get("creationTimestamp"), now)


def labels(value: Mapping[str, str] | None) -> str:
    """`app=web,tier=front`, sorted."""
    return ",".join(f"{key}={text}" for key, text in sorted(value.items())) if value else NONE


def selector(value: Object | None) -> str:
    """A matchLabels/matchExpressions selector in one line."""
    return (str(from_label_selector(value)) if value else "") or NONE


def joined(values: Sequence[str], empty: str = NONE) -> str:
    """All values, separated by commas."""
    return ",".join(values) or empty


def some(values: Sequence[str], empty: str = NONE) -> str:
    """The first three values and how many more there are."""
    rest = len(values) - SHOWN
    return joined(values[:SHOWN], empty) + (f" + {rest} more..." if rest > 0 else "")
