"""Exact probabilities: recovering the fraction behind a printed number, and adding up the branches of a walk."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias

from fairway.packet import Outcome, Verdict

KERNEL_STEP = Fraction(1, 2**31)
"""The kernel keeps a probability in 31 bits (xt_statistic), so what is printed is off by up to this much."""

OLD_STEP = Fraction(1, 2 * 10**5) + KERNEL_STEP
"""Proxies up to Kubernetes 1.17 wrote probabilities with five decimals: 1/3 became 0.33333, printed 0.33332999982."""


def exact(printed: str, alternatives: int | None = None) -> Fraction:
    """The fraction that a rule's probability was written for.

    `alternatives` is how many choices are left at that rule, itself included, when its chain shows it: 1/alternatives
    is taken if the digits allow it. Otherwise the nearest 1/k, then the shortest decimal, that the digits allow;
    at last the number as printed. Raises ValueError when it is no number between 0 and 1.
    """
    value = Fraction(printed)
    if not 0 <= value <= 1:
        raise ValueError(f"a probability lies between 0 and 1, not at {printed}")
    if value == 0:
        return value
    if alternatives and abs(value - Fraction(1, alternatives)) <= OLD_STEP:
        return Fraction(1, alternatives)
    unit = Fraction(1, round(1 / value))
    if abs(value - unit) <= KERNEL_STEP:
        return unit
    for digits in range(1, 10):
        decimal = Fraction(round(value, digits))
        if decimal > 0 and abs(value - decimal) <= KERNEL_STEP:
            return unit if digits == 5 and abs(value - unit) <= OLD_STEP else decimal
    return value


Shares: TypeAlias = Mapping[Outcome, Fraction]


@dataclass(slots=True)
class _Knot:
    parent: int
    weight: Fraction
    may: bool = False  # its two children are guesses, not chances


class Ledger:
    """The tree of a walk's forks. Knots are numbered; knot 0 is the packet before anything was left open."""

    def __init__(self) -> None:
        self._knots = [_Knot(-1, Fraction(1))]
        self._ends: dict[int, Outcome] = {}

    def chance(self, knot: int, probability: Fraction) -> tuple[int, int]:
        """Split by chance: the knot where it happens (with `probability`), and the one where it does not."""
        return self._child(knot, probability), self._child(knot, 1 - probability)

    def guess(self, knot: int) -> tuple[int, int]:
        """Split where nobody can tell: the knot where it happens, and the one where it does not."""
        self._knots[knot].may = True
        return self._child(knot, Fraction(1)), self._child(knot, Fraction(1))

    def end(self, knot: int, outcome: Outcome) -> None:
        """What became of the packet at a knot that was not split."""
        self._ends[knot] = outcome

    def _child(self, parent: int, weight: Fraction) -> int:
        self._knots.append(_Knot(parent, weight))
        return len(self._knots) - 1

    def shares(self) -> dict[Outcome, Fraction]:
        """Add up from the ends to the root. Children have higher numbers than their parents, so one pass does it."""
        below: list[list[tuple[Fraction, Shares]]] = [[] for _ in self._knots]
        total: dict[Outcome, Fraction] = {}
        for number in range(len(self._knots) - 1, -1, -1):
            knot = self._knots[number]
            if number in self._ends:
                total = {self._ends[number]: Fraction(1)}
            else:
                total = (_either if knot.may else _sum)(below[number])
            below[number] = []
            if knot.parent >= 0:
                below[knot.parent].append((knot.weight, total))
        return dict(sorted(total.items()))


def _sum(parts: Iterable[tuple[Fraction, Shares]]) -> dict[Outcome, Fraction]:
    total: dict[Outcome, Fraction] = {}
    for weight, shares in parts:
        for outcome, share in shares.items():
            total[outcome] = total.get(outcome, Fraction(0)) + weight * share
    return total


def _either(parts: Iterable[tuple[Fraction, Shares]]) -> dict[Outcome, Fraction]:
    """What is certain whichever part is true: the smaller share of each outcome; the rest is unknown."""
    options = [shares for _, shares in parts]
    certain = {
        outcome: min(shares.get(outcome, Fraction(0)) for shares in options)
        for outcome in options[0]
        if all(outcome in shares for shares in options)
    }
    rest = 1 - sum(certain.values(), Fraction(0))
    if rest:
        dark = Outcome(Verdict.UNKNOWN)
        certain[dark] = certain.get(dark, Fraction(0)) + rest
    return certain
