"""A work queue of keys: changes to one key coalesce, failures are tried again later, one key never runs twice at once.

`Schedule` is the queue as a pure state machine (time is an argument); `Reconciler` runs it on asyncio.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
import random
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, NoReturn, TypeVar

from fairway.client.base import ApiError, Unreachable

K = TypeVar("K", bound=Hashable)

FIRST_DELAY = 0.005
LONGEST_DELAY = 30.0

_log = logging.getLogger(__name__)


class Schedule(Generic[K]):
    """Which key may run now. All times are seconds on one clock of the caller's choosing.

    A key added while it runs becomes ready again when it is done. A failed key waits `FIRST_DELAY`, twice as long
    after each further failure up to `LONGEST_DELAY`, shortened by up to half by `jitter` (in [0, 1)); adding it
    meanwhile does not wait, because something new is known.
    """

    def __init__(self, jitter: Callable[[], float]) -> None:
        self._jitter = jitter
        self._ready: dict[K, None] = {}
        self._running: dict[K, bool] = {}
        self._due: dict[K, float] = {}
        self._heap: list[tuple[float, int, K]] = []
        self._failures: dict[K, int] = {}
        self._count = 0

    def add(self, key: K) -> None:
        """The key needs work as soon as possible."""
        if key in self._running:
            self._running[key] = True
        else:
            self._ready[key] = None

    def after(self, now: float, delay: float, key: K) -> None:
        """The key needs work in `delay` seconds at the latest; an earlier appointment stands."""
        when = now + delay
        if key in self._due and self._due[key] <= when:
            return
        self._due[key] = when
        self._count += 1
        heapq.heappush(self._heap, (when, self._count, key))

    def take(self, now: float) -> K | None:
        """The next key to work on, which then counts as running; None when none is ready."""
        while self._heap and self._heap[0][0] <= now:
            when, _, key = heapq.heappop(self._heap)
            if self._due.get(key) == when:
                del self._due[key]
                self.add(key)
        if not self._ready:
            return None
        key = next(iter(self._ready))
        del self._ready[key]
        self._running[key] = False
        return key

    def done(self, key: K) -> None:
        """The work on `key` succeeded."""
        self._failures.pop(key, None)
        if self._running.pop(key):
            self.add(key)

    def failed(self, now: float, key: K) -> float:
        """The work on `key` failed; returns the delay after which it is tried again."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        delay = min(FIRST_DELAY * 2.0 ** min(failures, 32), LONGEST_DELAY) * (1 - self._jitter() / 2)
        self._running.pop(key)
        self.after(now, delay, key)
        return delay

    def next_due(self) -> float | None:
        """When the earliest appointment is; None without one."""
        while self._heap and self._due.get(self._heap[0][2]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    @property
    def idle(self) -> bool:
        """Whether nothing is ready or running (appointments aside)."""
        return not self._ready and not self._running


class Reconciler(Generic[K]):
    """Runs `work(key)` for the keys added, at most `concurrency` at a time.

    `work` returns the seconds after which the key wants to be looked at again, or None. What it raises is logged and
    tried again later: neither a lost connection nor one strange object stops the others.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[K], Awaitable[float | None]],
        *,
        concurrency: int = 4,
        jitter: Callable[[], float] = random.random,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self.name = name
        self._work = work
        self._concurrency = concurrency
        self._clock = clock
        self._schedule: Schedule[K] = Schedule(jitter)
        self._wake = asyncio.Event()
        self._running = 0

    def add(self, key: K) -> None:
        """The key needs work."""
        self._schedule.add(key)
        self._wake.set()

    def after(self, delay: float, key: K) -> None:
        """The key needs work in `delay` seconds at the latest."""
        self._schedule.after(self._now(), delay, key)
        self._wake.set()

    @property
    def idle(self) -> bool:
        """Whether no key is ready or running."""
        return self._schedule.idle

    async def run(self) -> NoReturn:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                self._wake.clear()
                while self._running < self._concurrency and (key := self._schedule.take(self._now())) is not None:
                    self._running += 1
                    group.create_task(self._attempt(key))
                due = self._schedule.next_due()
                try:
                    async with asyncio.timeout(None if due is None else max(due - self._now(), 0)):
                        await self._wake.wait()
                except TimeoutError:
                    pass

    async def _attempt(self, key: K) -> None:
        try:
            again = await self._work(key)
        except (ApiError, Unreachable) as error:
            delay = self._schedule.failed(self._now(), key)
            _log.info("%s: %s: %s; again in %.3f s", self.name, key, error, delay)
        except Exception:
            delay = self._schedule.failed(self._now(), key)
            _log.exception("%s: %s: unforeseen; again in %.3f s", self.name, key, delay)
        else:
            self._schedule.done(key)
            if again is not None:
                self._schedule.after(self._now(), again, key)
        finally:
            self._running -= 1
            self._wake.set()

    def _now(self) -> float:
        return self._clock() if self._clock else asyncio.get_running_loop().time()
