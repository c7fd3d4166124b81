"""Answers in many pieces leave in few, whole and in order."""

from hypothesis import given
from hypothesis import strategies as st

from fairway.api.heads import LARGE, PIECE, joined

SIZES = st.sampled_from([0, 1, 100, LARGE - 1, LARGE, PIECE, PIECE + 1])


@given(st.lists(SIZES, max_size=8))
def test_joining_changes_no_byte_and_leaves_no_crumbs(sizes: list[int]) -> None:
    pieces = [bytes([number]) * size for number, size in enumerate(sizes)]
    found = joined(pieces)
    assert b"".join(found) == b"".join(pieces)
    assert len(found) <= 1 + 2 * sum(size >= LARGE for size in sizes) + sum(sizes) // PIECE
    assert found, "an answer has at least one body message"
