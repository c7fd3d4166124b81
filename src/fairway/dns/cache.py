"""Answers of other servers, kept for as long as their owners allow. No I/O; the time is an argument, in seconds of any
clock that only goes forward.

Least recently used answers make way for new ones. Answers past their time stay for `stale` seconds more, told apart,
for when nobody answers (RFC 8767). Our own names never come here.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from fairway.dns.inquiry import Inquiry
from fairway.dns.kept import Kept

REST = 30.0
"""Seconds for which a stale answer is given without asking, when asking has failed (RFC 8767 section 5)."""
PREFETCH_BELOW = 0.1
"""The part of a hot answer's life that is left when it is asked for anew (CoreDNS: 10%)."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is kept: `entries` answers (0: none at all) of `octets` together, and for how many seconds past their
    time; answers used at least `prefetch` times (0: never) are renewed before they expire."""

    entries: int = 10_000
    octets: int = 32 << 20
    stale: float = 0.0
    prefetch: int = 0


class State(Enum):
    """What an answer found is good for."""

    FRESH = "to be given"
    ENDING = "to be given, and asked for anew because it is hot and soon gone"
    STALE = "past its time: only for when nobody answers"
    RESTING = "past its time, and nobody answered a moment ago: to be given without asking again"


@dataclass(slots=True)
class _Entry:
    kept: Kept
    stored: float
    uses: int = 0
    renewing: bool = False
    rests_until: float = 0.0


class Hit(NamedTuple):
    """An answer found, its age in whole seconds, and what it is good for."""

    kept: Kept
    age: int
    state: State


class Cache:
    """Answers by inquiry."""

    def __init__(self, limits: Limits = Limits()) -> None:
        self._limits = limits
        self._entries: OrderedDict[Inquiry, _Entry] = OrderedDict()
        self.octets = 0
        self.evictions = 0

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, inquiry: Inquiry, now: float) -> Hit | None:
        """The answer, if there is one that is any good. ENDING is said once per answer."""
        entry = self._entries.get(inquiry)
        if entry is None:
            return None
        age = now - entry.stored
        if age >= entry.kept.lifetime + self._limits.stale:
            self._drop(inquiry)
            return None
        self._entries.move_to_end(inquiry)
        if age >= entry.kept.lifetime:
            return Hit(entry.kept, int(age), State.RESTING if now < entry.rests_until else State.STALE)
        entry.uses += 1
        return Hit(entry.kept, int(age), State.ENDING if self._must_renew(entry, age) else State.FRESH)

    def put(self, inquiry: Inquiry, kept: Kept, now: float) -> None:
        """Keep an answer, instead of the one there is. A failure does not replace what was once known."""
        held = self._entries.get(inquiry)
        if held is not None and kept.failure and now < held.stored + held.kept.lifetime + self._limits.stale:
            held.rests_until, held.renewing = now + REST, False
            return
        self._drop(inquiry)
        if kept.lifetime <= 0 or kept.size > self._limits.octets or not self._limits.entries:
            return
        self._entries[inquiry] = _Entry(kept, now)
        self.octets += kept.size
        while len(self._entries) > self._limits.entries or self.octets > self._limits.octets:
            self._drop(next(iter(self._entries)))
            self.evictions += 1

    def _must_renew(self, entry: _Entry, age: float) -> bool:
        """Whether this use is the one that sets off a renewal."""
        hot = 0 < self._limits.prefetch <= entry.uses
        if not hot or entry.renewing or entry.kept.lifetime - age > entry.kept.lifetime * PREFETCH_BELOW:
            return False
        entry.renewing = True
        return True

    def _drop(self, inquiry: Inquiry) -> None:
        entry = self._entries.pop(inquiry, None)
        if entry is not None:
            self.octets -= entry.kept.size
