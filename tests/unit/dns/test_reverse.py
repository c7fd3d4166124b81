"""The way back from addresses: what is claimed in a range, however claims come and go."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fairway.dns.reverse import ReverseIndex

ADDRESS = st.one_of(st.binary(min_size=4, max_size=4), st.binary(min_size=16, max_size=16))
CLAIMS = st.lists(st.tuples(st.sampled_from("abc"), st.sets(ADDRESS, max_size=4)), max_size=8)
RANGE = st.tuples(ADDRESS, st.integers(0, 4))


@given(CLAIMS, st.lists(RANGE, min_size=1, max_size=5))
def test_what_is_claimed_in_a_range_is_known_after_each_change(
    changes: list[tuple[str, set[bytes]]], ranges: list[tuple[bytes, int]]
) -> None:
    index: ReverseIndex[str] = ReverseIndex(())
    held: dict[str, set[bytes]] = {}
    for owner, addresses in changes:
        index.move(owner, held.get(owner, set()), addresses)
        held[owner] = addresses
        claimed = set().union(*held.values())
        asked = [*ranges, *((each, 3) for each in claimed)]
        for address, octets in asked:
            start, rest = address[:octets], len(address) - octets
            first, last = start + bytes(rest), start + b"\xff" * rest
            there = any(len(each) == len(address) and each.startswith(start) for each in claimed)
            assert index.any_between(first, last) == there
