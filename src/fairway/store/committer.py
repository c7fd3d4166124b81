"""The thread that makes transactions durable: whatever waits while one commit runs goes into the next."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Protocol

from fairway.store.base import StoreError
from fairway.store.log import Log, Transaction

GROUP_LIMIT = 512
ENOUGH = 64
"""Writes with which a group does not wait for more."""
LOOKS = 8
"""How many turns of the loop a group waits at most."""


class TransactionFile(Protocol):
    """Where transactions become durable. `append` is all or nothing and raises StoreError."""

    def append(self, transactions: list[Transaction]) -> None: ...


@dataclass(frozen=True, slots=True)
class _Write:
    transaction: Transaction
    generation: int
    done: asyncio.Future[None]


@dataclass(frozen=True, slots=True)
class _Job:
    work: Callable[[], None]
    done: asyncio.Future[None]


@dataclass(slots=True)
class _Group:
    writes: list[_Write] = field(default_factory=list)
    job: _Job | None = None


class Committer:
    """Writes staged transactions to the file in groups and publishes each in the log once it is durable.

    A group is handed to the thread when the loop has nothing more to add to it at once: one that left with the first
    write would make the others of the same moment wait for a whole sync, and each hand-over costs a fight for the
    interpreter's lock.

    When a write fails, everything staged on top of it fails too: each transaction carries the generation it was staged
    in, and a failure ends its generation.
    """

    def __init__(self, file: TransactionFile, log: Log) -> None:
        self._file = file
        self._log = log
        self._queue: SimpleQueue[_Group | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._gathered: deque[_Write | _Job] = deque()
        self._looking = self._busy = False
        self._generation = 0
        self._failed: tuple[int, StoreError] | None = None

    def submit(self, transaction: Transaction) -> asyncio.Future[None]:
        """Queue a staged transaction; the future ends when it is durable and published, or with a StoreError."""
        done: asyncio.Future[None] = self._started().create_future()
        self._gather(_Write(transaction, self._generation, done))
        return done

    async def run(self, work: Callable[[], None]) -> None:
        """Do other work on the file, after everything that is queued."""
        done: asyncio.Future[None] = self._started().create_future()
        self._gather(_Job(work, done))
        await done

    async def stop(self) -> None:
        """Finish what is queued and end the thread."""
        if self._thread:
            await self.run(lambda: None)
            self._queue.put(None)
            self._thread.join()
            self._thread = self._loop = None

    def _started(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            self._loop = loop = asyncio.get_running_loop()
            self._thread = threading.Thread(target=self._work, name="store-committer", daemon=True, args=(loop,))
            self._thread.start()
        return self._loop

    def _gather(self, item: _Write | _Job) -> None:
        self._gathered.append(item)
        if not self._looking and not self._busy:
            self._look(0, LOOKS)

    def _look(self, seen: int, left: int) -> None:
        """Hand the group over once a turn of the loop added nothing to it, or it is large, or it has waited enough."""
        count = len(self._gathered)
        self._looking = seen < count < ENOUGH and left > 0
        if self._looking:
            self._started().call_soon(self._look, count, left - 1)
        else:
            self._hand_over()

    def _hand_over(self) -> None:
        """Give the thread the writes that wait, up to a job, which is done after them."""
        group = _Group()
        while self._gathered and group.job is None and len(group.writes) < GROUP_LIMIT:
            item = self._gathered.popleft()
            if isinstance(item, _Write):
                group.writes.append(item)
            else:
                group.job = item
        self._busy = True
        self._queue.put(group)

    def _work(self, loop: asyncio.AbstractEventLoop) -> None:
        while (group := self._queue.get()) is not None:
            outcomes = self._write(group.writes)
            trouble = _attempt(group.job.work) if group.job else None
            try:
                loop.call_soon_threadsafe(self._report, outcomes, group.job, trouble)
            except RuntimeError:  # the loop was closed under us: durable is durable, and nobody is left to tell
                return

    def _write(self, group: list[_Write]) -> list[tuple[_Write, StoreError | None]]:
        """What of a generation comes after its failure fails as well: it was staged on what is not there."""
        ended, reason = self._failed or (-1, None)
        refused = [write for write in group if write.generation == ended]
        sound = [write for write in group if write.generation != ended]
        failure = _attempt(lambda: self._file.append([write.transaction for write in sound])) if sound else None
        if failure:
            self._failed = (sound[0].generation, failure)
        return [(write, reason) for write in refused] + [(write, failure) for write in sound]

    def _report(
        self, outcomes: list[tuple[_Write, StoreError | None]], job: _Job | None, trouble: StoreError | None
    ) -> None:
        for write, failure in outcomes:
            if failure is None:
                self._log.publish(write.transaction)
            elif write.generation == self._generation:
                self._generation += 1
                self._log.discard_staged()
            _settle(write.done, failure)
        if job:
            _settle(job.done, trouble)
        self._busy = False
        if self._gathered:
            self._look(0, LOOKS)


def _attempt(work: Callable[[], None]) -> StoreError | None:
    try:
        work()
    except StoreError as failure:
        return failure
    return None


def _settle(done: asyncio.Future[None], failure: StoreError | None) -> None:
    if done.done():
        return
    if failure:
        done.set_exception(failure)
    else:
        done.set_result(None)
