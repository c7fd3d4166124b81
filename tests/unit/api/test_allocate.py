"""Ranges, bands and choices."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.api.allocate import Full, Span, address_range, first_free, port_span, probes


@pytest.mark.parametrize(
    ("cidr", "first", "dynamic", "last"),
    [
        # KEP-3070: the band is min(max(16, size/16), 256).
        ("10.96.0.0/12", "10.96.0.1", "10.96.1.1", "10.111.255.254"),
        ("10.96.0.0/24", "10.96.0.1", "10.96.0.17", "10.96.0.254"),
        ("10.96.0.0/20", "10.96.0.1", "10.96.1.1", "10.96.15.254"),
        ("10.96.0.0/28", "10.96.0.1", "10.96.0.1", "10.96.0.14"),
        ("fd00:96::/112", "fd00:96::1", "fd00:96::101", "fd00:96::ffff"),
    ],
)
def test_a_range_leaves_its_lower_band_to_those_who_ask(cidr: str, first: str, dynamic: str, last: str) -> None:
    found = address_range(cidr)
    shown = [found.show(number) for number in (found.span.first, found.span.dynamic, found.span.last)]
    assert shown == [first, dynamic, last]


def test_a_range_holds_addresses_but_neither_its_network_nor_its_broadcast() -> None:
    found = address_range("10.96.0.0/24")
    assert "10.96.0.1" in found and "10.96.0.254" in found
    assert "10.96.0.0" not in found and "10.96.0.255" not in found and "fd00::1" not in found


def test_the_node_ports_of_kubernetes_have_a_band_of_86() -> None:
    assert port_span(30000, 32767) == Span(30000, 30086, 32767)  # KEP-3668


@given(st.integers(1, 40), st.integers(0, 10), st.sets(st.integers(1, 45)), st.integers())
def test_a_free_number_is_found_if_there_is_one_and_the_band_is_kept_to_the_last(
    size: int, band: int, taken: set[int], seed: int
) -> None:
    span = Span(1, min(1 + band, size + 1), size)
    free = set(range(1, size + 1)) - taken
    if not free:
        with pytest.raises(Full):
            first_free(span, taken, Random(seed))
        return
    chosen = first_free(span, taken, Random(seed))
    assert chosen in free
    if any(number >= span.dynamic for number in free):
        assert chosen >= span.dynamic


@given(st.integers())
def test_probes_stay_in_the_dynamic_part(seed: int) -> None:
    span = Span(1, 10, 20)
    assert all(10 <= number <= 20 for number in probes(span, Random(seed)))


def test_a_range_that_is_all_band_has_no_probes() -> None:
    assert list(probes(Span(1, 5, 4), Random(0))) == []
