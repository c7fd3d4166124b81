"""JSON without the module `json`, whose import of regular expressions costs each pod 1 MB.

Only what sandboxes say and hear: objects with string keys, lists, strings, numbers, true, false, null.
"""

from __future__ import annotations

from _json import encode_basestring_ascii, make_scanner

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class _Settings:
    """What the C scanner reads of its decoder."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int
    parse_constant = float
    memo: dict[str, str] = {}


_scan = make_scanner(_Settings())  # type: ignore[arg-type]
_WORDS = {None: "null", True: "true", False: "false"}


def loads(text: str) -> Any:
    """The value a text starts with. Raises ValueError."""
    try:
        return _scan(text, 0)[0]
    except StopIteration:
        raise ValueError("not JSON") from None


def dumps(value: Any) -> str:
    """A value as JSON on one line, in ASCII. Raises TypeError for what JSON has no form for."""
    if isinstance(value, str):
        return encode_basestring_ascii(value)
    if value is None or isinstance(value, bool):
        return _WORDS[value]
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, dict):
        return "{" + ", ".join(f"{encode_basestring_ascii(name)}: {dumps(each)}" for name, each in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(dumps, value)) + "]"
    raise TypeError(f"{type(value).__name__} has no form in JSON")
