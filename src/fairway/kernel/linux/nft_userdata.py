"""What nft keeps beside tables, sets, chains, rules and elements: bytes the kernel stores and does not look at.

Written so that `nft list ruleset` shows sets by the expressions they were declared with, and comments. The format is
that of nft 1.0.6: a type byte, a length byte, the value; numbers are in the machine's order.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from fairway.kernel.linux import nft_numbers as n
from fairway.ruleset.nft import Ct, Expression, Fib, Meta, Numgen, Payload, Type
from fairway.ruleset.nft_values import BIG_ENDIAN

_COMMENT = 0
_KEY_ORDER, _DATA_ORDER, _KEY_TYPEOF, _DATA_TYPEOF, _DATA_RANGES, _SET_COMMENT = 0, 1, 3, 4, 6, 7
_LIMIT = 256  # NFT_USERDATA_MAXLEN
_HOST, _NETWORK = 1, 2
_EXPRESSION_KIND, _EXPRESSION_DATA = 0, 1
_VERDICT, _PAYLOAD, _META, _CT, _CONCATENATION, _NUMGEN, _FIB = 1, 7, 9, 12, 13, 23, 26
_NO_DIRECTION = 0xFFFFFFFF


def commented(comment: str) -> bytes:
    """A comment of a table, chain, rule or element."""
    return _item(_COMMENT, comment.encode() + b"\0")


def comment_of(userdata: bytes) -> str:
    """The comment of an element, "" when it has none."""
    offset = 0
    while offset + 2 <= len(userdata):
        kind, size = userdata[offset], userdata[offset + 1]
        if kind == _COMMENT:
            return userdata[offset + 2 : offset + 2 + size].rstrip(b"\0").decode(errors="replace")
        offset += 2 + size
    return ""


def set_userdata(
    key: Sequence[Type],
    key_by: Sequence[Expression],
    data: Sequence[Type] | str = (),
    data_by: Sequence[Expression] = (),
    comment: str = "",
) -> bytes:
    """What belongs to a set: byte orders, the expressions of a typeof, a comment. `data` is the types of a map's data
    or "verdict". A typeof that would be too long is left out; nft shows the types then."""
    orders, typeof, rest = _item(_KEY_ORDER, _order(key)), _typeof(_KEY_TYPEOF, key_by), b""
    if data:
        verdicts = isinstance(data, str)
        orders += _item(_DATA_ORDER, _order(()) if isinstance(data, str) else _order(data))
        typeof += _item(_DATA_TYPEOF, _kind(_VERDICT, b"")) if verdicts and key_by else _typeof(_DATA_TYPEOF, data_by)
        rest = _number(_DATA_RANGES, 0)
    if comment:
        rest += _item(_SET_COMMENT, comment.encode() + b"\0")
    whole = orders + typeof + rest
    return whole if len(whole) <= _LIMIT else orders + rest


def _item(kind: int, value: bytes) -> bytes:
    return bytes((kind, len(value))) + value if len(value) < _LIMIT else b""


def _number(kind: int, value: int) -> bytes:
    return _item(kind, struct.pack("=I", value))


def _order(types: Sequence[Type]) -> bytes:
    """Of a concatenation nft says none, as its fields differ, nor of a verdict."""
    order = 0 if len(types) != 1 else _NETWORK if types[0] in BIG_ENDIAN else _HOST
    return struct.pack("=I", order)


def _typeof(kind: int, by: Sequence[Expression]) -> bytes:
    said = [_expression(expression) for expression in by]
    if not said or not all(said):
        return b""
    if len(said) == 1:
        return _item(kind, said[0])
    parts = b"".join(_item(position, part) for position, part in enumerate(said))
    return _item(kind, _kind(_CONCATENATION, parts)) if len(parts) + 8 < _LIMIT else b""


def _expression(expression: Expression) -> bytes:
    """An expression as nft remembers it; b"" for one it would not."""
    match expression:
        case Payload(protocol, field) if field in n.HEADERS.get(protocol, {}):
            header = n.HEADERS[protocol][field]
            return _kind(_PAYLOAD, _number(0, header.description) + _number(1, header.field))
        case Meta(key) if key in n.META:
            return _kind(_META, _number(0, n.META[key]))
        case Ct(key, direction) if key in n.CT:
            way = n.CT_DIRECTIONS[direction] if direction else _NO_DIRECTION
            return _kind(_CT, _number(0, n.CT[key]) + _number(1, way))
        case Numgen(mode, modulus, offset):
            return _kind(_NUMGEN, _number(0, n.NUMGEN[mode]) + _number(1, modulus) + _number(2, offset))
        case Fib(selectors, result):
            flags = sum(n.FIB_SELECTORS[selector] for selector in selectors)
            return _kind(_FIB, _number(0, n.FIB_RESULTS[result]) + _number(1, flags))
    return b""


def _kind(kind: int, data: bytes) -> bytes:
    return _number(_EXPRESSION_KIND, kind) + _item(_EXPRESSION_DATA, data)
