"""Resource quantities: `500m`, `1.5Gi`, `1e3`, as exact numbers.

Grammar: the Kubernetes API's Quantity, a signed decimal with a suffix: decimal (n u m k M G T P E), binary (Ki Mi Gi
Ti Pi Ei) or a decimal exponent.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import Any

from fairway.objects.errors import QuantityError

_FORM = re.compile(r"([+-]?(?:\d+(?:\.\d*)?|\.\d+))([numkMGTPE]|[KMGTPE]i|[eE][+-]?\d{1,3})?")
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {f"{letter}i": 10 * (power + 1) for power, letter in enumerate("KMGTPE")}


def parse(value: Any) -> Fraction:
    """The exact number a quantity stands for. Raises QuantityError naming the text."""
    text = str(value)
    found = _FORM.fullmatch(text)
    if found is None or isinstance(value, bool):
        raise QuantityError(
            f"{text!r} is no quantity: a number with one of the suffixes m k M G T P E Ki Mi Gi Ti Pi Ei"
        )
    number, suffix = Fraction(found[1]), found[2] or ""
    if suffix in _BINARY:
        return number * (1 << _BINARY[suffix])
    if suffix in _DECIMAL:
        return number * Fraction(10) ** _DECIMAL[suffix]
    return number * Fraction(10) ** int(suffix[1:])
