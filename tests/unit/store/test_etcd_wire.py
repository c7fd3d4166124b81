"""etcd's messages, held against bytes written down by the protobuf encoding guide."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.store import etcd_wire as wire


def test_requests_have_the_fields_of_the_published_api() -> None:
    assert wire.range_request(b"a", b"b", limit=300, revision=7) == b"\x0a\x01a\x12\x01b\x18\xac\x02\x20\x07"
    assert wire.range_request(b"a", keys_only=True, count_only=True) == b"\x0a\x01a\x40\x01\x48\x01"
    assert wire.put_request(b"a", b"v") == b"\x0a\x01a\x12\x01v"
    assert wire.delete_request(b"a", b"b") == b"\x0a\x01a\x12\x01b"
    assert wire.compaction_request(5) == b"\x08\x05"
    assert wire.watch_request(b"a", b"b", 9) == b"\x0a\x0a\x0a\x01a\x12\x01b\x18\x09\x40\x01"


def test_a_comparison_with_revision_zero_is_written_out() -> None:
    assert wire.modified_is(b"a", 0) == b"\x10\x02\x1a\x01a\x30\x00"
    assert wire.modified_is(b"a", 128) == b"\x10\x02\x1a\x01a\x30\x80\x01"


def test_a_transaction_is_its_comparisons_and_two_lists_of_operations() -> None:
    put, look = wire.put_op(wire.put_request(b"a", b"")), wire.range_op(wire.range_request(b"a"))
    assert wire.txn_request([b"C"], [put, wire.delete_op(b"D")], [look]) == (
        b"\x0a\x01C" + b"\x12\x05\x12\x03\x0a\x01a" + b"\x12\x03\x1a\x01D" + b"\x1a\x05\x0a\x03\x0a\x01a"
    )


def test_a_prefix_ends_where_the_next_one_begins() -> None:
    assert wire.prefix_end(b"/a/") == b"/a0"
    assert wire.prefix_end(b"a\xff\xff") == b"b"
    assert wire.prefix_end(b"\xff") == wire.EVERYTHING


HEADER = b"\x0a\x0b\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"  # a cluster id of 64 bits, and no revision
PAIR = b"\x0a\x01k\x10\x02\x18\x03\x20\x01\x2a\x01v\x30\x00"


def test_answers_are_read_and_unknown_fields_skipped() -> None:
    assert wire.read_range(b"\x0a\x02\x18\x09\x12\x0e" + PAIR + b"\x18\x01\x20\x05\x69" + bytes(8)) == wire.RangeReply(
        9, (wire.KeyValue(b"k", b"v", 2, 3),), True
    )
    assert wire.read_range(HEADER) == wire.RangeReply(0)
    inner = b"\x12\x0e" + PAIR
    answers = b"\x1a\x02\x12\x00\x1a\x12\x0a\x10" + inner
    seen = wire.RangeReply(0, (wire.KeyValue(b"k", b"v", 2, 3),))
    assert wire.read_txn(b"\x0a\x02\x18\x09" + answers) == wire.TxnReply(9, False, (seen,))
    assert wire.read_txn(b"\x0a\x02\x18\x09\x10\x01" + answers) == wire.TxnReply(9, True)


def test_a_watch_tells_changes_fragments_and_its_end() -> None:
    deleted = b"\x5a\x09\x08\x01\x12\x05\x0a\x01k\x18\x04"
    reply = wire.read_watch(b"\x0a\x02\x18\x09\x38\x01\x5a\x10\x12\x0e" + PAIR + deleted)
    assert reply.fragment and [change.deleted for change in reply.changes] == [False, True]
    assert reply.changes[1].found == wire.KeyValue(b"k", b"", 0, 4)
    ended = wire.read_watch(b"\x20\x01\x28\x07\x32\x03bye")
    assert (ended.canceled, ended.compacted, ended.reason) == (True, 7, "bye")


@given(st.binary(max_size=64))
def test_garbage_is_called_garbage(data: bytes) -> None:
    for read in (wire.read_range, wire.read_txn, wire.read_watch):
        with contextlib.suppress(wire.Garbled):
            read(data)


@given(st.integers(0, 2**63 - 1))
def test_revisions_of_any_size_come_back(revision: int) -> None:
    request = wire.compaction_request(revision)
    header = b"\x18" + request[1:] if request else b""
    assert wire.read_range(b"\x0a" + bytes([len(header)]) + header).revision == revision


def test_what_is_cut_off_is_garbled() -> None:
    for cut in range(1, len(PAIR)):
        with pytest.raises(wire.Garbled):
            wire.read_range(b"\x12\x0e" + PAIR[:cut])
