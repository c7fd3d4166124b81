"""The few etcd v3 messages the store speaks, to bytes and back. Pure.

Encoded by hand: a dozen messages of flat fields need neither generated code nor a protobuf runtime. Message and field
numbers are those of etcd's public API (`etcdserverpb`, `mvccpb`, version 3.4); the wire format is the protobuf encoding
guide's. Unknown fields are skipped, as the guide asks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

RANGE = "/etcdserverpb.KV/Range"
TXN = "/etcdserverpb.KV/Txn"
DELETE_RANGE = "/etcdserverpb.KV/DeleteRange"
COMPACT = "/etcdserverpb.KV/Compact"
WATCH = "/etcdserverpb.Watch/Watch"

EVERYTHING = b"\0"
"""As key and as range end: the whole key space."""

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_SMALL = [bytes([value]) for value in range(128)]
"""The numbers that take one byte, which are nearly all."""
_COMPARE_MOD, _MODIFIED = bytes((2 << 3 | _VARINT, 2)), bytes((6 << 3 | _VARINT,))
"""In a `Compare`: the target MOD, and the tag of `mod_revision`."""


@dataclass(frozen=True, slots=True)
class KeyValue:
    """`mvccpb.KeyValue`."""

    key: bytes
    value: bytes
    created: int
    modified: int


@dataclass(frozen=True, slots=True)
class RangeReply:
    """`RangeResponse`; `revision` is the store's when it answered."""

    revision: int
    found: tuple[KeyValue, ...] = ()
    more: bool = False


@dataclass(frozen=True, slots=True)
class TxnReply:
    """`TxnResponse`; `ranges` are the answers of its range operations, in order, if it was not done."""

    revision: int
    succeeded: bool
    ranges: tuple[RangeReply, ...] = ()


@dataclass(frozen=True, slots=True)
class Change:
    """`mvccpb.Event`: a deletion carries key and revision only."""

    deleted: bool
    found: KeyValue


@dataclass(frozen=True, slots=True)
class WatchReply:
    """`WatchResponse`, without its header. `compacted` is not 0 when the asked revision is gone. With `fragment` the
    rest of the same response follows."""

    created: bool = False
    canceled: bool = False
    compacted: int = 0
    reason: str = ""
    fragment: bool = False
    changes: tuple[Change, ...] = ()


class Garbled(ValueError):
    """Bytes that are no protobuf message."""


def prefix_end(prefix: bytes) -> bytes:
    """The range end that makes `prefix` a range of all keys that start with it."""
    stripped = prefix.rstrip(b"\xff")
    return stripped[:-1] + bytes([stripped[-1] + 1]) if stripped else EVERYTHING


def range_request(
    key: bytes,
    end: bytes = b"",
    *,
    limit: int = 0,
    revision: int = 0,
    keys_only: bool = False,
    count_only: bool = False,
) -> bytes:
    """`RangeRequest`; linearizable."""
    request = _bytes(1, key)
    if end:
        request += _bytes(2, end)
    if limit or revision or keys_only or count_only:
        request += _number(3, limit) + _number(4, revision) + _number(8, keys_only) + _number(9, count_only)
    return request


def put_request(key: bytes, value: bytes) -> bytes:
    """`PutRequest`."""
    return _bytes(1, key) + _bytes(2, value)


def delete_request(key: bytes, end: bytes = b"") -> bytes:
    """`DeleteRangeRequest`."""
    return _bytes(1, key) + _bytes(2, end)


def modified_is(key: bytes, modified: int) -> bytes:
    """`Compare`: the key was last modified at that revision; 0: it does not exist."""
    # Which field of the union is set is told by its presence, so a zero is written out.
    return _COMPARE_MOD + _bytes(3, key) + _MODIFIED + _varint(modified)


def range_op(request: bytes) -> bytes:
    """`RequestOp` around a RangeRequest."""
    return _message(1, request)


def put_op(request: bytes) -> bytes:
    """`RequestOp` around a PutRequest."""
    return _message(2, request)


def delete_op(request: bytes) -> bytes:
    """`RequestOp` around a DeleteRangeRequest."""
    return _message(3, request)


def txn_request(compares: Iterable[bytes], success: Iterable[bytes], failure: Iterable[bytes]) -> bytes:
    """`TxnRequest`."""
    parts = [_message(1, compare) for compare in compares]
    parts += [_message(2, operation) for operation in success]
    parts += [_message(3, operation) for operation in failure]
    return b"".join(parts)


def compaction_request(revision: int) -> bytes:
    """`CompactionRequest`."""
    return _number(1, revision)


def watch_request(key: bytes, end: bytes, start: int) -> bytes:
    """`WatchRequest` that creates a watch from revision `start` on; large responses come in fragments."""
    return _message(1, _bytes(1, key) + _bytes(2, end) + _number(3, start) + _number(8, True))


def read_range(data: bytes) -> RangeReply:
    """Raises Garbled."""
    revision, more, found = 0, False, []
    for number, value in _fields(data):
        if number == 1:
            revision = _revision(value)
        elif number == 2:
            found.append(_key_value(value))
        elif number == 3:
            more = bool(value)
    return RangeReply(revision, tuple(found), more)


def read_txn(data: bytes) -> TxnReply:
    """What a transaction that was done answers to its operations is not read. Raises Garbled."""
    revision, succeeded, ranges = 0, False, []
    for number, value in _fields(data):
        if number == 1:
            revision = _revision(value)
        elif number == 2:
            succeeded = bool(value)
        elif number == 3 and not succeeded:
            ranges += [read_range(_content(inner)) for kind, inner in _fields(_content(value)) if kind == 1]
    return TxnReply(revision, succeeded, tuple(ranges))


def read_watch(data: bytes) -> WatchReply:
    """Raises Garbled."""
    numbers = {3: 0, 4: 0, 5: 0, 7: 0}
    reason = ""
    changes: list[Change] = []
    for number, value in _fields(data):
        if number == 11:
            changes.append(_change(_content(value)))
        elif number == 6:
            reason = _content(value).decode("utf-8", "replace")
        elif number in numbers and isinstance(value, int):
            numbers[number] = value
    created, canceled, compacted, fragment = numbers.values()
    return WatchReply(bool(created), bool(canceled), compacted, reason, bool(fragment), tuple(changes))


def _change(data: bytes) -> Change:
    deleted, found = False, None
    for number, value in _fields(data):
        if number == 1:
            deleted = value == 1
        elif number == 2:
            found = _key_value(value)
    if found is None:
        raise Garbled("an event without a key")
    return Change(deleted, found)


def _key_value(data: int | bytes) -> KeyValue:
    key = value = b""
    created = modified = 0
    for number, content in _fields(_content(data)):
        if isinstance(content, bytes):
            if number == 1:
                key = content
            elif number == 5:
                value = content
        elif number == 2:
            created = content
        elif number == 3:
            modified = content
    return KeyValue(key, value, created, modified)


def _revision(header: int | bytes) -> int:
    """The revision of a ResponseHeader."""
    return next((value for number, value in _fields(_content(header)) if number == 3 and isinstance(value, int)), 0)


def _content(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise Garbled("a number where a message belongs")
    return value


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Field numbers with their values: numbers, or the bytes of strings and messages."""
    at, end = 0, len(data)
    while at < end:
        tag, at = (data[at], at + 1) if data[at] < 128 else _read_varint(data, at)
        kind = tag & 7
        if kind == _VARINT:
            value, at = _read_varint(data, at)
            yield tag >> 3, value
            continue
        if kind == _BYTES:
            size, at = (data[at], at + 1) if at < end and data[at] < 128 else _read_varint(data, at)
        elif kind in (_FIXED64, _FIXED32):
            size = 8 if kind == _FIXED64 else 4
        else:
            raise Garbled(f"wire type {kind}")
        if at + size > end:
            raise Garbled("a field that does not end")
        yield tag >> 3, data[at : at + size]
        at += size


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    try:
        value = data[at]
        at += 1
        if value < 128:
            return value, at
        value &= 127
        for shift in range(7, 70, 7):
            byte = data[at]
            at += 1
            value |= (byte & 127) << shift
            if byte < 128:
                return value, at
    except IndexError:
        raise Garbled("a number that does not end") from None
    raise Garbled("a number of more than 64 bits")


def _varint(value: int) -> bytes:
    if value < 128:
        return _SMALL[value]
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def _tag(number: int, kind: int) -> bytes:
    return _SMALL[number << 3 | kind]  # every field we write has a number below 16


def _number(number: int, value: int) -> bytes:
    """A number or flag; zero is the default and takes no bytes."""
    return _tag(number, _VARINT) + _varint(int(value)) if value else b""


def _bytes(number: int, value: bytes) -> bytes:
    return _message(number, value) if value else b""


def _message(number: int, value: bytes) -> bytes:
    size = len(value)
    return _SMALL[number << 3 | _BYTES] + (_SMALL[size] if size < 128 else _varint(size)) + value
