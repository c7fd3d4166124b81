"""Fractions behind printed numbers, and adding up what may become of a packet."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.packet import Outcome, Verdict
from fairway.trace.chances import Ledger, exact

A, B = Outcome(Verdict.ENDPOINT, "10.0.0.1:80"), Outcome(Verdict.ENDPOINT, "10.0.0.2:80")
DARK = Outcome(Verdict.UNKNOWN)


@pytest.mark.parametrize(
    ("printed", "alternatives", "fraction"),
    [
        ("0.33333333349", 3, Fraction(1, 3)),
        ("0.33332999982", 3, Fraction(1, 3)),  # written with five decimals by proxies up to 1.17
        ("0.33332999982", None, Fraction(1, 3)),
        ("0.50000000000", 2, Fraction(1, 2)),
        ("0.14286000002", 7, Fraction(1, 7)),
        ("0.02439024393", 41, Fraction(1, 41)),
        ("0.00050999969", 1960, Fraction(1, 1960)),  # 0.00051: five decimals alone would say 1/1961
        ("0.25", None, Fraction(1, 4)),
        ("0.29999999981", None, Fraction(3, 10)),  # by hand: 0.3
        ("0.75", 3, Fraction(3, 4)),  # not what three choices would share evenly
        ("0.90000000037", None, Fraction(9, 10)),
        ("1.00000000000", None, Fraction(1)),
        ("0.00000000000", 4, Fraction(0)),
    ],
)
def test_the_fraction_a_number_was_printed_for(printed: str, alternatives: int | None, fraction: Fraction) -> None:
    assert exact(printed, alternatives) == fraction


@given(st.integers(1, 5000))
def test_every_share_of_today_s_proxies_is_recovered(k: int) -> None:
    kernel = round(2**31 / k) / 2**31
    assert exact(f"{kernel:.11f}") == Fraction(1, k)


@given(st.integers(1, 300))
def test_every_share_of_old_proxies_is_recovered_by_its_place(k: int) -> None:
    kernel = round(round(1 / k, 5) * 2**31) / 2**31
    assert exact(f"{kernel:.11f}", k) == Fraction(1, k)


@pytest.mark.parametrize("printed", ["1.5", "-0.1", "often", "nan"])
def test_what_is_no_probability(printed: str) -> None:
    with pytest.raises(ValueError):
        exact(printed)


def test_chances_add_up() -> None:
    ledger = Ledger()
    first, rest = ledger.chance(0, Fraction(1, 3))
    second, last = ledger.chance(rest, Fraction(1, 2))
    for knot, outcome in ((first, A), (second, B), (last, A)):
        ledger.end(knot, outcome)
    assert ledger.shares() == {A: Fraction(2, 3), B: Fraction(1, 3)}


def test_a_guess_that_changes_nothing_costs_nothing() -> None:
    ledger = Ledger()
    yes, no = ledger.guess(0)
    ledger.end(yes, A)
    ledger.end(no, A)
    assert ledger.shares() == {A: Fraction(1)}


def test_of_a_guess_that_matters_only_the_certain_part_counts() -> None:
    ledger = Ledger()
    yes, no = ledger.guess(0)
    ledger.end(yes, A)
    mostly, seldom = ledger.chance(no, Fraction(3, 4))
    ledger.end(mostly, A)
    ledger.end(seldom, B)
    assert ledger.shares() == {A: Fraction(3, 4), DARK: Fraction(1, 4)}
