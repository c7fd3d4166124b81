"""When a proxy's rules are looked after. Pure: moments in seconds go in."""

from __future__ import annotations

from dataclasses import dataclass

from fairway.client.follow import Backoff
from fairway.dataplane.base import Concern


def delays(first: float, longest: float) -> Backoff:
    """Delays that double. One node's kernel is nobody else's: they need no chance in them."""
    return Backoff(lambda: 0.0, first, longest)


@dataclass(slots=True)
class Upkeep:
    """A look each `check` seconds, a comparison of everything each `verify`; and at once when somebody was at the
    rules. Where somebody comes back to what was repaired less than a minute ago, the next repair waits ever longer (to
    `check`): two proxies on one node must not wear it out."""

    check: float
    verify: float
    patience: Backoff
    _looked: float
    _verified: float
    _repaired: float = float("-inf")
    _held_until: float = float("-inf")

    @classmethod
    def begin(cls, now: float, check: float, verify: float, first: float) -> Upkeep:
        return cls(check, verify, delays(first, max(check, first)), now, now)

    def due(self, now: float, disturbed: bool) -> float:
        """How many seconds it is to the next look; `disturbed`: somebody was at the rules."""
        at = self._looked + self.check
        return max((min(at, self._held_until) if disturbed else at) - now, 0.0)

    def held(self, now: float) -> bool:
        """Whether what somebody did has to wait."""
        return now < self._held_until

    def look(self, now: float) -> Concern:
        """What is to be done now because of the time that has gone by. What it says is taken for done."""
        if now < self._looked + self.check:
            return Concern.NONE
        self._looked = now
        if now < self._verified + self.verify:
            return Concern.LOOK
        self._verified = now
        return Concern.COMPARE

    def soon(self) -> None:
        """Let the next look be at once."""
        self._looked = float("-inf")

    def repaired(self, now: float) -> None:
        """Our rules were not as we left them."""
        if now - self._repaired > _QUIET_SECONDS:
            self.patience.reset()
        self._repaired = now
        self._held_until = now + self.patience.next()


_QUIET_SECONDS = 60.0
