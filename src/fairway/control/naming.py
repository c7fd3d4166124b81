"""Names that controllers give: random suffixes and the hash of a pod template, in the alphabet of generated names."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import msgspec

ALPHABET = "bcdfghjklmnpqrstvwxz2456789"
"""Letters and digits that spell no words and are not taken for each other."""
_SUFFIX = 5
_HASH = 10
_LONGEST = 253


def suffixed(base: str, random: Callable[[], float]) -> str:
    """`base` and five random letters, as the API server's generateName would make it. `random` is in [0, 1)."""
    suffix = "".join(ALPHABET[int(random() * len(ALPHABET))] for _ in range(_SUFFIX))
    return base[: _LONGEST - _SUFFIX] + suffix


def template_hash(template: Any, collisions: int) -> str:
    """Ten letters that stand for a pod template; `collisions` gives another ten for the same one."""
    text = msgspec.json.encode([template, collisions], order="deterministic")
    number = int.from_bytes(hashlib.sha256(text).digest(), "big")
    letters = []
    for _ in range(_HASH):
        number, digit = divmod(number, len(ALPHABET))
        letters.append(ALPHABET[digit])
    return "".join(letters)
