"""Sets of nf_tables as netlink attributes: their declaration, what nft keeps beside it, and their elements.

Elements are what there are many of, so those of the common shape (a key, maybe data, nothing else) are put between
constant headers and read by one precompiled struct.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence

from fairway.kernel.linux import nft_numbers as n
from fairway.kernel.linux.netlink import (
    NESTED,
    attribute,
    attribute_list,
    attributes,
    be32,
    be64,
    nested,
    read_text,
    text,
)
from fairway.kernel.linux.nft_userdata import comment_of, commented, set_userdata
from fairway.ruleset.nft import Ct, Element, Expression, Field, Payload, Set, Type, Verdict
from fairway.ruleset.nft_values import BIG_ENDIAN, SIZES

_TABLE, _NAME, _FLAGS, _KEY_TYPE, _KEY_LENGTH, _DATA_TYPE, _DATA_LENGTH = 1, 2, 3, 4, 5, 6, 7
_DESCRIPTION, _ID, _TIMEOUT, _USERDATA, _EXPRESSION = 9, 10, 11, 13, 17
_DESCRIPTION_SIZE, _DESCRIPTION_FIELDS = 1, 2

_KEY, _DATA, _ELEMENT_FLAGS, _ELEMENT_TIMEOUT, _EXPIRATION, _ELEMENT_USERDATA, _ELEMENT_EXPRESSION, _KEY_END = (
    1,
    2,
    3,
    4,
    5,
    6,
    7,
    10,
)
_ELEMENT_EXPRESSIONS = 11
_LIST_TABLE, _LIST_SET, _LIST_ELEMENTS = 1, 2, 3
_VALUE, _VERDICT = 1, 2
_CODE, _CHAIN = 1, 2
_HEADER_SIZE = 4  # struct nfgenmsg
_LIST_LIMIT = 60_000  # an attribute's length is 16 bits
_BARE = tuple(Element()[1:])  # what is behind the data of an element that has only data


class Unsayable(Exception):
    """A value for which there are no netlink attributes here; the message says which."""


def verdict_data(verdict: Verdict) -> bytes:
    """The payload of a data attribute that holds a verdict."""
    if verdict.code not in n.VERDICTS:
        raise Unsayable(f"the verdict {verdict.code!r}")
    chain = text(_CHAIN, verdict.chain) if verdict.chain else b""
    return nested(_VERDICT, be32(_CODE, n.VERDICTS[verdict.code] & 0xFFFFFFFF), chain)


def read_verdict(payload: bytes) -> Verdict:
    """A verdict from its attributes."""
    found = attributes(payload)
    number = struct.unpack("!i", found[_CODE])[0]
    return Verdict(n.VERDICT_NAMES.get(number, str(number)), read_text(found.get(_CHAIN, b"")))


def type_number(fields: Sequence[Type]) -> int:
    """nft's number of a type or of a concatenation of types."""
    number = 0
    for type_ in fields:
        if type_ not in n.TYPES or type_ is Type.UNKNOWN:
            raise Unsayable(f"sets of the type {type_.value}")
        number = number << n.TYPE_BITS | n.TYPES[type_]
    return number


def length(fields: Sequence[Type]) -> int:
    """Bytes of a key or of data in the kernel: one field bare, several padded to registers of four bytes each."""
    if Type.INTERFACE in fields:
        raise Unsayable("sets of devices by index: use their names")
    if len(fields) == 1:
        return SIZES[fields[0]]
    return sum(SIZES[type_] + 3 & ~3 for type_ in fields)


def types(fields: Iterable[Field]) -> list[Type]:
    """The types of fields. Plain numbers of a header are shorter than those of `numgen`, and not told apart here."""
    found = []
    for field in fields:
        if field.type is Type.INTEGER and isinstance(field.of, Payload | Ct):
            raise Unsayable(f"sets of numbers of {field.of}")
        found.append(field.type)
    return found


def expressions(fields: Sequence[Field]) -> tuple[Expression, ...]:
    """What the fields were declared by; none unless every field was declared by an expression."""
    found = tuple(field.of for field in fields if field.of is not None)
    return found if len(found) == len(fields) else ()


class Shape:
    """What all elements of a set have in common. Raises Unsayable for sets of unknown types."""

    def __init__(self, kept: Set) -> None:
        self.key_types = types(kept.key)
        self.key_length = length(self.key_types)
        self.packed_length = self.key_length + 3 & ~3
        self.data_types = kept.data if isinstance(kept.data, str) else types(kept.data)
        self.verdicts = isinstance(self.data_types, str)
        self.data_length = 0 if isinstance(self.data_types, str) or not kept.data else length(self.data_types)
        self.concatenated = len(self.key_types) > 1
        self.interval = "interval" in kept.flags
        self.counter = kept.counter
        for type_ in self.key_types if self.interval else ():
            if SIZES[type_] > 1 and type_ not in BIG_ENDIAN:
                raise Unsayable(f"ranges of the type {type_.value} in a set")  # they would compare as bytes

    @property
    def padded(self) -> bool:
        """Whether keys and data fill their registers, so that attributes need no padding of their own."""
        return not (self.key_length | self.data_length) & 3

    def headers(self, flag: int) -> tuple[bytes, bytes]:
        """What stands before the key and before the data of a bare element; `flag` is NESTED, or 0 as in what the
        kernel says."""
        key = struct.pack("=HHHH", 8 + self.key_length, _KEY | flag, 4 + self.key_length, _VALUE)
        data = b""
        if self.data_length:
            data = struct.pack("=HHHH", 8 + self.data_length, _DATA | flag, 4 + self.data_length, _VALUE)
        size = 4 + len(key) + self.key_length + len(data) + self.data_length
        return struct.pack("=HH", size, 1 | flag) + key, data


def declaration(table: str, kept: Set, identity: int) -> bytes:
    """The attributes of a message that makes a named set; `identity` is its number within the transaction."""
    shape = Shape(kept)
    flags = sum(n.SET_FLAGS[flag] for flag in kept.flags if flag in n.SET_FLAGS)
    if kept.timeout_ms:
        flags |= n.SET_TIMEOUT
    parts = [text(_TABLE, table), text(_NAME, kept.name)]
    data_by = expressions(kept.data) if not isinstance(kept.data, str) else ()
    userdata = set_userdata(shape.key_types, expressions(kept.key), shape.data_types, data_by, kept.comment)
    parts.append(_form(shape, flags, identity, kept.size, userdata))
    if kept.timeout_ms:
        parts.append(be64(_TIMEOUT, kept.timeout_ms))
    if kept.counter:
        parts.append(nested(_EXPRESSION, counter(0, 0)))
    return b"".join(parts)


def anonymous_declaration(table: str, kept: Set, identity: int, by: tuple[Expression, ...], size: int) -> bytes:
    """The attributes of the set a rule brings with it; `by` are the expressions whose values are looked up."""
    shape = Shape(kept)
    flags = n.SET_ANONYMOUS | n.SET_CONSTANT | (n.SET_INTERVAL if shape.interval else 0)
    name = "__map%d" if kept.data else "__set%d"  # the kernel puts the number in
    userdata = set_userdata(shape.key_types, () if kept.data else by, shape.data_types)  # as nft leaves it out
    return text(_TABLE, table) + text(_NAME, name) + _form(shape, flags, identity, size, userdata)


def _form(shape: Shape, flags: int, identity: int, size: int, userdata: bytes) -> bytes:
    parts = []
    if isinstance(shape.data_types, str):
        parts = [be32(_DATA_TYPE, n.VERDICT_TYPE), be32(_DATA_LENGTH, n.VERDICT_LENGTH)]
    elif shape.data_types:
        parts = [be32(_DATA_TYPE, type_number(shape.data_types)), be32(_DATA_LENGTH, shape.data_length)]
    flags |= n.SET_MAP if parts else 0
    description = be32(_DESCRIPTION_SIZE, size) if size else b""
    if shape.interval and shape.concatenated:
        flags |= n.SET_CONCATENATION
        fields = (nested(1, be32(1, SIZES[type_])) for type_ in shape.key_types)
        description += nested(_DESCRIPTION_FIELDS, *fields)
    parts += [
        be32(_FLAGS, flags),
        be32(_KEY_TYPE, type_number(shape.key_types)),
        be32(_KEY_LENGTH, shape.key_length),
        be32(_ID, identity),
        nested(_DESCRIPTION, description),
        attribute(_USERDATA, userdata),
    ]
    return b"".join(parts)


def counter(packets: int, bytes_: int) -> bytes:
    """A counter expression, within whatever holds expressions."""
    return text(1, "counter") + nested(2, be64(1, bytes_), be64(2, packets))


# Elements to bytes.


def element_lists(shape: Shape, elements: Sequence[tuple[bytes, Element]], deleting: bool = False) -> Iterator[bytes]:
    """The elements, encoded, in pieces that fit one attribute. Raises ValueError for a key or data of another length
    than the set's, which no caller should have packed."""
    _check_lengths(shape, elements, deleting)
    if shape.padded and not shape.interval and not shape.verdicts and _all_bare(elements, deleting):
        head, between = shape.headers(NESTED)
        if deleting:
            head = struct.pack("=HH", 12 + shape.key_length, 1 | NESTED) + head[4:]
            encoded = [head + key for key, _ in elements]
        elif between:
            encoded = [head + key + between + element.data for key, element in elements]  # type: ignore[operator]
        else:
            encoded = [head + key for key, _ in elements]
        step = max(1, _LIST_LIMIT // (len(encoded[0]) if encoded else 1))
        for start in range(0, len(encoded), step):
            yield b"".join(encoded[start : start + step])
        return
    yield from _pieces(one for key, element in elements for one in _element(shape, key, element, deleting))


def element_message(table: str, name: str, encoded: bytes, set_identity: int = 0) -> bytes:
    """The attributes of a message that adds or deletes elements. An anonymous set is meant by its `set_identity`."""
    identity = be32(4, set_identity) if set_identity else b""
    return text(_LIST_TABLE, table) + text(_LIST_SET, name) + identity + attribute(_LIST_ELEMENTS | NESTED, encoded)


def _pieces(elements: Iterable[bytes]) -> Iterator[bytes]:
    piece: list[bytes] = []
    size = 0
    for element in elements:
        if size + len(element) > _LIST_LIMIT:
            yield b"".join(piece)
            piece, size = [], 0
        piece.append(element)
        size += len(element)
    if piece:
        yield b"".join(piece)


def _all_bare(elements: Sequence[tuple[bytes, Element]], deleting: bool) -> bool:
    return all(key and (deleting or element[1:] == _BARE) for key, element in elements)


def _check_lengths(shape: Shape, elements: Sequence[tuple[bytes, Element]], deleting: bool) -> None:
    wrong = {len(key) for key, _ in elements} - {0, shape.packed_length}
    if wrong:
        raise ValueError(f"a key of {min(wrong)} bytes in a set whose keys have {shape.packed_length}")
    if shape.verdicts or deleting:
        return
    packed = shape.data_length + 3 & ~3
    wrong = {len(element.data) for _, element in elements if not isinstance(element.data, Verdict)} - {packed}
    if wrong or any(isinstance(element.data, Verdict) for _, element in elements):
        raise ValueError(f"data that is not of {packed} bytes in this set")


def _element(shape: Shape, key: bytes, element: Element, deleting: bool) -> Iterator[bytes]:
    """One element; of a plain interval set two, the start and the first key behind the end."""
    if not key:
        yield nested(1, be32(_ELEMENT_FLAGS, n.ELEMENT_CATCH_ALL), *(() if deleting else _rest(shape, element)))
        return
    parts = [_keyed(_KEY, key[: shape.key_length])]
    if shape.interval and shape.concatenated:
        parts.append(_keyed(_KEY_END, element.end or key))
    if not deleting:
        parts += _rest(shape, element)
    yield nested(1, *parts)
    if shape.interval and not shape.concatenated:
        last = int.from_bytes((element.end or key)[: shape.key_length], "big") + 1
        if last < 1 << 8 * shape.key_length:
            flag = be32(_ELEMENT_FLAGS, n.ELEMENT_INTERVAL_END)
            yield nested(1, _keyed(_KEY, last.to_bytes(shape.key_length, "big")), flag)


def _rest(shape: Shape, element: Element) -> Iterator[bytes]:
    if isinstance(element.data, Verdict):
        yield nested(_DATA, verdict_data(element.data))
    elif shape.data_length:
        yield _keyed(_DATA, element.data[: shape.data_length])
    if element.timeout_ms:
        yield be64(_ELEMENT_TIMEOUT, element.timeout_ms)
    if element.timeout_ms and element.expires_ms:
        yield be64(_EXPIRATION, element.expires_ms)
    if element.packets or element.bytes:
        yield nested(_ELEMENT_EXPRESSION, counter(element.packets, element.bytes))
    if element.comment:
        yield attribute(_ELEMENT_USERDATA, commented(element.comment))


def _keyed(kind: int, value: bytes) -> bytes:
    return nested(kind, attribute(_VALUE, value))


# Elements from bytes.


def key_at(body: bytes, offset: int) -> bytes:
    """The key of the element in a message of elements that holds the byte at `offset`, b"" when there is none."""
    at = _HEADER_SIZE
    for kind, payload in attribute_list(body, at):
        if kind == _LIST_ELEMENTS and at <= offset:
            return _key_at(payload, offset - at - 4)
        at += len(payload) + 7 & ~3
    return b""


def _key_at(encoded: bytes, offset: int) -> bytes:
    at = 0
    for _, one in attribute_list(encoded):
        following = at + len(one) + 7 & ~3
        if at <= offset < following:
            return _value(attributes(one).get(_KEY, b""))
        at = following
    return b""


def read_elements(shape: Shape, bodies: Iterable[bytes]) -> list[tuple[bytes, Element]]:
    """What the kernel's answers to a request for elements hold; `bodies` are the messages behind their headers."""
    lists = [attributes(body).get(_LIST_ELEMENTS, b"") for body in bodies]
    if shape.interval and not shape.concatenated:
        return _intervals(shape, (one for encoded in lists for _, one in attribute_list(encoded)))
    found: list[tuple[bytes, Element]] = []
    layout, headers = _layout(shape)
    for encoded in lists:
        found += _read_bare(shape, encoded, layout, headers) or _read_any(shape, encoded)
    return found


def _layout(shape: Shape) -> tuple[struct.Struct, tuple[bytes, bytes]]:
    head, between = shape.headers(0)
    return struct.Struct(f"={len(head)}s{shape.key_length}s{len(between)}s{shape.data_length}s"), (head, between)


def _read_bare(
    shape: Shape, encoded: bytes, layout: struct.Struct, headers: tuple[bytes, bytes]
) -> list[tuple[bytes, Element]]:
    """A list in which all elements are of the common shape; none when they are not."""
    if not shape.padded or len(encoded) % layout.size:
        return []
    head, between = headers
    found = [
        (key, Element(data)) for one, key, two, data in layout.iter_unpack(encoded) if one == head and two == between
    ]
    return found if len(found) * layout.size == len(encoded) else []


def _read_any(shape: Shape, encoded: bytes) -> list[tuple[bytes, Element]]:
    found = []
    for _, one in attribute_list(encoded):
        parts = attributes(one)
        key = _value(parts.get(_KEY, b""))
        end = _value(parts.get(_KEY_END, b""))
        found.append((key, _read_element(parts, b"" if end == key else end)))
    return found


def _read_element(parts: dict[int, bytes], end: bytes) -> Element:
    packets, bytes_ = _read_counter(parts)
    return Element(
        _read_data(parts.get(_DATA, b"")),
        end,
        int.from_bytes(parts.get(_ELEMENT_TIMEOUT, b""), "big"),
        int.from_bytes(parts.get(_EXPIRATION, b""), "big"),
        packets,
        bytes_,
        comment_of(parts.get(_ELEMENT_USERDATA, b"")),
    )


def _value(payload: bytes) -> bytes:
    """A value attribute's bytes, padded to registers."""
    value = attributes(payload).get(_VALUE, b"")
    return value + b"\0" * (-len(value) & 3)


def _read_data(payload: bytes) -> bytes | Verdict:
    verdict = attributes(payload).get(_VERDICT)
    return read_verdict(verdict) if verdict is not None else _value(payload)


def _read_counter(parts: dict[int, bytes]) -> tuple[int, int]:
    holder = parts.get(_ELEMENT_EXPRESSION) or next(
        iter(attributes(parts.get(_ELEMENT_EXPRESSIONS, b"")).values()), b""
    )
    expression = attributes(holder)
    if read_text(expression.get(1, b"")) != "counter":
        return 0, 0
    counts = attributes(expression.get(2, b""))
    return int.from_bytes(counts.get(2, b""), "big"), int.from_bytes(counts.get(1, b""), "big")


def _intervals(shape: Shape, encoded: Iterable[bytes]) -> list[tuple[bytes, Element]]:
    """Starts and ends, put together: an interval lasts to the key before its end, or before the next start."""
    marks = []
    found = []
    for one in encoded:
        parts = attributes(one)
        if _KEY not in parts:
            found.append((b"", _read_element(parts, b"")))
        else:
            key = int.from_bytes(attributes(parts[_KEY])[_VALUE], "big")
            is_end = int.from_bytes(parts.get(_ELEMENT_FLAGS, b""), "big") & n.ELEMENT_INTERVAL_END
            marks.append((key, 0 if is_end else 1, parts))
    marks.sort(key=lambda mark: mark[:2])
    for position, (start, is_start, parts) in enumerate(marks):
        if is_start:
            last = marks[position + 1][0] - 1 if position + 1 < len(marks) else (1 << 8 * shape.key_length) - 1
            end = b"" if last == start else _padded(last.to_bytes(shape.key_length, "big"))
            found.append((_value(parts[_KEY]), _read_element(parts, end)))
    return found


def _padded(value: bytes) -> bytes:
    return value + b"\0" * (-len(value) & 3)
