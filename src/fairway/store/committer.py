"""The thread that makes transactions durable: whatever waits while one commit runs goes into the next, together."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Protocol

from fairway.store.base import StoreError
from fairway.store.log import Log, Transaction

GROUP_LIMIT = 512


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


class Committer:
    """Writes staged transactions to the file in groups and publishes each in the log once it is durable.

    When a write fails, everything staged on top of it fails too: each transaction carries the generation it was staged
    in, and a failure ends its generation.
    """

    def __init__(self, file: TransactionFile, log: Log) -> None:
        self._file = file
        self._log = log
        self._queue: SimpleQueue[_Write | _Job | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._generation = 0
        self._failed: tuple[int, StoreError] | None = None

    def submit(self, transaction: Transaction) -> asyncio.Future[None]:
        """Queue a staged transaction; the future ends when it is durable and published, or with a StoreError."""
        return self._put(lambda done: _Write(transaction, self._generation, done))

    async def run(self, work: Callable[[], None]) -> None:
        """Do other work on the file between two groups."""
        await self._put(lambda done: _Job(work, done))

    async def stop(self) -> None:
        """Finish what is queued and end the thread."""
        if self._thread:
            await self.run(lambda: None)
            self._queue.put(None)
            self._thread.join()
            self._thread = None

    def _put(self, item: Callable[[asyncio.Future[None]], _Write | _Job]) -> asyncio.Future[None]:
        loop = asyncio.get_running_loop()
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="store-committer", daemon=True, args=(loop,))
            self._thread.start()
        done: asyncio.Future[None] = loop.create_future()
        self._queue.put(item(done))
        return done

    def _work(self, loop: asyncio.AbstractEventLoop) -> None:
        while (item := self._queue.get()) is not None:
            group, job = self._gather(item)
            outcomes = self._write(group)
            trouble = _attempt(job.work) if job else None
            try:
                loop.call_soon_threadsafe(self._report, outcomes, job, trouble)
            except RuntimeError:  # the loop was closed under us: durable is durable, and nobody is left to tell
                return

    def _gather(self, item: _Write | _Job) -> tuple[list[_Write], _Job | None]:
        """The writes that wait, up to a job, which is done after them."""
        group: list[_Write] = []
        while isinstance(item, _Write):
            group.append(item)
            if len(group) == GROUP_LIMIT or self._queue.empty():
                return group, None
            following = self._queue.get()
            if following is None:
                self._queue.put(None)
                return group, None
            item = following
        return group, item

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
