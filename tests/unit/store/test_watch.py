"""Watchers and their bounds."""

from __future__ import annotations

import asyncio

import pytest

from fairway.store.base import Bell, Event, StoreError, TooSlow
from fairway.store.watch import Watcher, Watchers, transactions


def event(revision: int, key: str = "/a") -> Event:
    return Event(key, revision, None, None)


def test_a_slow_watcher_loses_its_watch_not_the_memory() -> None:
    async def story() -> None:
        watcher = Watcher(0, limit=3)
        for revision in range(1, 10):
            watcher.push([event(revision)])
        with pytest.raises(TooSlow):
            await watcher.next()

    asyncio.run(story())


def test_a_watcher_that_reads_is_never_too_slow() -> None:
    async def story() -> None:
        watcher = Watcher(0, limit=1)
        for revision in range(1, 10):
            watcher.push([event(revision)])
            assert (await watcher.next())[0].revision == revision

    asyncio.run(story())


def test_a_bell_wakes_the_reader_once_everything_before_is_told() -> None:
    async def story() -> None:
        bell = Bell()
        watcher = Watcher(0, bell=bell)
        bell.ring()
        assert await watcher.next() == ()
        reading = asyncio.ensure_future(watcher.next())
        await asyncio.sleep(0)
        assert not reading.done(), "one ring is one waking"
        bell.ring()
        assert await reading == ()
        bell.ring()
        watcher.push([event(1)])
        assert len(await watcher.next()) == 1 and await watcher.next() == ()

    asyncio.run(story())


def test_one_transaction_may_be_larger_than_the_buffer() -> None:
    async def story() -> None:
        watcher = Watcher(0, limit=2)
        watcher.push([event(1, f"/{n}") for n in range(5)])
        assert len(await watcher.next()) == 5

    asyncio.run(story())


def test_what_was_told_before_is_not_told_again() -> None:
    async def story() -> None:
        watcher = Watcher(5)
        watcher.push([event(5)])
        watcher.push([event(6)])
        assert (await watcher.next())[0].revision == 6

    asyncio.run(story())


def test_events_reach_those_with_their_prefix_and_leaving_forgets_the_watcher() -> None:
    async def story() -> None:
        watchers = Watchers()
        with watchers.joined("/x/", 0) as one, watchers.joined("/", 0) as other:
            watchers.deliver([event(1, "/x/1"), event(1, "/y/1")])
            assert [e.key for e in await one.next()] == ["/x/1"]
            assert [e.key for e in await other.next()] == ["/x/1", "/y/1"]
            assert len(watchers) == 2
        assert len(watchers) == 0

    asyncio.run(story())


def test_closing_tells_every_watcher() -> None:
    async def story() -> None:
        watchers = Watchers()
        with watchers.joined("", 0) as watcher:
            waiting = asyncio.ensure_future(watcher.next())
            await asyncio.sleep(0)
            watchers.fail(StoreError("closed"))
            with pytest.raises(StoreError, match="closed"):
                await waiting

    asyncio.run(story())


def test_events_of_one_revision_are_one_transaction() -> None:
    batches = transactions([event(1), event(2, "/a"), event(2, "/b"), event(3)])
    assert [[e.revision for e in batch] for batch in batches] == [[1], [2, 2], [3]]
