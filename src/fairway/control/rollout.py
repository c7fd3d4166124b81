"""The arithmetic of a rolling update: how far each ReplicaSet may be scaled now. Pure numbers.

`maxSurge` bounds how many pods there may be above the wanted number, `maxUnavailable` how many may be missing. Both
are kept at every moment, not only in the end, although ReplicaSets act and report late. What a ReplicaSet says counts
for no more than it is sure of: pods it still has although it shall have fewer take up room, pods it shall give up are
no longer available, and one that has not yet reported on what it was last asked for is waited for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Set:
    """A ReplicaSet in numbers: replicas asked for, pods it reports, available ones among them. `settled` says that the
    report was made in knowledge of what is asked."""

    name: str
    asked: int
    reported: int = 0
    available: int = 0
    settled: bool = True

    @property
    def most(self) -> int:
        """No more pods than these exist, if it is settled."""
        return max(self.asked, self.reported)

    @property
    def surely_available(self) -> int:
        """So many stay available while it goes to what it is asked for."""
        return min(self.available, self.asked) if self.settled else 0

    @property
    def broken(self) -> int:
        """So many are surely missed by nobody."""
        return self.asked - self.surely_available if self.settled else 0


def bound(value: int | str, replicas: int, *, up: bool) -> int:
    """An absolute number, or a percentage (`25%`) of `replicas` rounded up or down. Raises ValueError."""
    if isinstance(value, str) and value.endswith("%"):
        parts = int(value[:-1]) * replicas
        return -(-parts // 100) if up else parts // 100
    return int(value)


@dataclass(frozen=True, slots=True)
class Limits:
    """A rolling update's bounds, resolved: `replicas` wanted, at most `surge` more, at most `unavailable` missing."""

    replicas: int
    surge: int
    unavailable: int

    @property
    def most(self) -> int:
        return self.replicas + self.surge

    @property
    def least_available(self) -> int:
        return self.replicas - self.unavailable


def limits(replicas: int, max_surge: int | str, max_unavailable: int | str) -> Limits:
    """Surge is rounded up, unavailability down; where both come out as zero one pod may be missing, else nothing
    could ever move."""
    surge = bound(max_surge, replicas, up=True)
    unavailable = min(bound(max_unavailable, replicas, up=False), replicas)
    return Limits(replicas, surge, unavailable if surge or unavailable else min(1, replicas))


def grow(new: Set, old: Sequence[Set], limit: Limits) -> int:
    """The new set's next replica count: as near to the wanted number as the surge allows."""
    if new.asked >= limit.replicas:
        return limit.replicas
    if not all(each.settled for each in old):
        return new.asked
    room = limit.most - sum(each.most for each in (new, *old))
    return new.asked + max(0, min(room, limit.replicas - new.asked))


def shrink(new: Set, old: Sequence[Set], limit: Limits) -> list[Set]:
    """The old sets (oldest first) after taking away what may go now: first pods that are not available anyway, then
    available ones as far as enough others are."""
    total = sum(each.asked for each in (new, *old))
    spare = total - limit.least_available - (new.asked - new.surely_available)
    left, result = max(spare, 0), []
    for each in old:
        broken = min(each.broken, left)
        left -= broken
        result.append(replace(each, asked=each.asked - broken))
    available = sum(each.surely_available for each in (new, *result))
    left = max(available - limit.least_available, 0)
    for at, each in enumerate(result):
        gone = min(each.asked, left)
        left -= gone
        result[at] = replace(each, asked=each.asked - gone)
    return result


def proportion(sets: Sequence[Set], limit: Limits, last_most: dict[str, int]) -> list[Set]:
    """Scale several active sets to a new wanted number in the middle of an update, each by its share, so that the
    risk stays spread. `last_most` gives the most pods that were allowed when each was last scaled. Larger sets take
    what rounding leaves over (first in order among equals)."""
    total = sum(each.asked for each in sets)
    room = (limit.most if limit.replicas else 0) - total
    order = sorted(sets, key=lambda each: -each.asked)
    result: dict[str, int] = {}
    for each in order:
        before = last_most.get(each.name) or total
        share = _nearest(each.asked * limit.most, before) - each.asked if limit.replicas else -each.asked
        share = min(share, room) if room > 0 else max(share, room)
        share = max(share, 0) if room > 0 else min(share, 0)
        result[each.name] = each.asked + share
        room -= share
    if order:
        biggest = order[0].name
        result[biggest] = max(result[biggest] + room, 0)
    return [replace(each, asked=result[each.name]) for each in sets]


def _nearest(part: int, whole: int) -> int:
    return (2 * part + whole) // (2 * whole) if whole else part
