"""What every store promises, told on each implementation."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing
from pathlib import Path

import pytest

from fairway.store.base import Check, Compacted, Conflict, Delete, Event, FutureRevision, Put, Store, StoreError
from fairway.store.etcd import EtcdStore
from fairway.store.memory import MemoryStore
from fairway.store.sqlite import SqliteStore
from tests import etcd

Open = Callable[[], Store]


@pytest.fixture(params=["memory", "sqlite", "etcd"])
def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
    match request.param:
        case "memory":
            yield MemoryStore
        case "sqlite":
            yield lambda: SqliteStore(tmp_path / "store.db")
        case "etcd":
            with etcd.cluster(tmp_path) as members:
                yield lambda: EtcdStore([members[0].endpoint])


def told(open_store: Open, story: Callable[[Store], Awaitable[None]]) -> None:
    async def tell() -> None:
        store = open_store()
        try:
            await story(store)
        finally:
            await store.close()

    asyncio.run(tell())


async def put(store: Store, key: str, value: bytes = b"v") -> int:
    return await store.commit([], [Put(key, value)])


async def take(watch: AsyncGenerator[Sequence[Event], None], count: int) -> list[Event]:
    events: list[Event] = []
    while len(events) < count:
        events += await asyncio.wait_for(anext(watch), 5)
    return events


def brief(event: Event) -> tuple[str, int, bytes | None, bytes | None]:
    return (
        event.key,
        event.revision,
        event.entry.value if event.entry else None,
        event.previous.value if event.previous else None,
    )


def test_an_empty_store_is_at_revision_one_and_holds_nothing(open_store: Open) -> None:
    async def story(store: Store) -> None:
        assert await store.revision() == 1
        assert await store.get("/a") is None
        assert (await store.range("")).entries == ()

    told(open_store, story)


def test_an_entry_knows_when_it_was_created_and_last_changed(open_store: Open) -> None:
    async def story(store: Store) -> None:
        first = await put(store, "/a", b"1")
        second = await put(store, "/a", b"2")
        entry = await store.get("/a")
        assert entry and (entry.value, entry.created, entry.modified) == (b"2", first, second)
        assert second == first + 1 == await store.revision()
        await store.commit([], [Delete("/a")])
        third = await put(store, "/a", b"3")
        entry = await store.get("/a")
        assert entry and (entry.created, entry.modified) == (third, third)

    told(open_store, story)


def test_a_failed_check_writes_nothing_and_shows_the_present_state(open_store: Open) -> None:
    async def story(store: Store) -> None:
        revision = await put(store, "/a", b"1")
        with pytest.raises(Conflict) as caught:
            await store.commit([Check("/b", 0), Check("/a", 0)], [Put("/b", b"x"), Delete("/a")])
        assert caught.value.key == "/a" and caught.value.entry and caught.value.entry.value == b"1"
        with pytest.raises(Conflict) as caught:
            await store.commit([Check("/b", 7)], [Put("/b", b"x")])
        assert caught.value.entry is None
        assert await store.revision() == revision and await store.get("/b") is None
        await store.commit([Check("/a", revision), Check("/b", 0)], [Put("/b", b"x")])
        assert await store.get("/b") is not None

    told(open_store, story)


def test_a_transaction_without_change_takes_no_revision(open_store: Open) -> None:
    async def story(store: Store) -> None:
        revision = await put(store, "/a")
        assert await store.commit([], [Delete("/nothing")]) == revision
        assert await store.commit([Check("/a", revision)], []) == revision
        assert await store.revision() == revision

    told(open_store, story)


def test_a_transaction_may_name_a_key_once(open_store: Open) -> None:
    async def story(store: Store) -> None:
        with pytest.raises(StoreError):
            await store.commit([], [Put("/a", b"1"), Delete("/a")])

    told(open_store, story)


def test_ranges_are_sorted_and_come_in_pages(open_store: Open) -> None:
    async def story(store: Store) -> None:
        for key in ("/x/3", "/x/1", "/y/1", "/x/2", "/w"):
            await put(store, key)
        page = await store.range("/x/", limit=2)
        assert [e.key for e in page.entries] == ["/x/1", "/x/2"] and page.more and page.remaining == 1
        rest = await store.range("/x/", after="/x/2", limit=2, revision=page.revision)
        assert [e.key for e in rest.entries] == ["/x/3"] and not rest.more and rest.remaining == 0
        assert [e.key for e in (await store.range("")).entries] == ["/w", "/x/1", "/x/2", "/x/3", "/y/1"]
        assert (await store.range("/x/", after="/z")).entries == ()

    told(open_store, story)


def test_pages_of_an_older_revision_show_the_world_as_it_was(open_store: Open) -> None:
    async def story(store: Store) -> None:
        await put(store, "/x/1", b"old")
        await put(store, "/x/2", b"doomed")
        then = await store.revision()
        await put(store, "/x/1", b"new")
        await store.commit([], [Delete("/x/2"), Put("/x/0", b"late")])
        page = await store.range("/x/", revision=then)
        assert [(e.key, e.value) for e in page.entries] == [("/x/1", b"old"), ("/x/2", b"doomed")]
        assert page.revision == then

    told(open_store, story)


def test_the_future_cannot_be_read_and_the_compacted_past_neither(open_store: Open) -> None:
    async def story(store: Store) -> None:
        for value in (b"1", b"2", b"3", b"4"):
            await put(store, "/a", value)
        now = await store.revision()
        with pytest.raises(FutureRevision):
            await store.range("", revision=now + 1)
        with pytest.raises(FutureRevision):
            await store.compact(now + 1)
        await store.compact(now - 1)
        assert (await store.range("", revision=now - 1)).entries[0].value == b"3"
        with pytest.raises(Compacted):
            await store.range("", revision=now - 2)
        async with aclosing(store.watch("", now - 3)) as watch:
            with pytest.raises(Compacted):
                await anext(watch)
        async with aclosing(store.watch("", now - 1)) as watch:
            assert [brief(e) for e in await take(watch, 1)] == [("/a", now, b"4", b"3")]

    told(open_store, story)


def test_a_watch_tells_history_and_then_what_comes(open_store: Open) -> None:
    async def story(store: Store) -> None:
        start = await store.revision()
        await put(store, "/a", b"1")
        async with aclosing(store.watch("", start)) as watch:
            first = await take(watch, 1)
            await put(store, "/a", b"2")
            await store.commit([], [Delete("/a")])
            later = await take(watch, 2)
        assert [brief(e) for e in first + later] == [
            ("/a", start + 1, b"1", None),
            ("/a", start + 2, b"2", b"1"),
            ("/a", start + 3, None, b"2"),
        ]

    told(open_store, story)


def test_a_watch_sees_its_prefix_only_and_never_half_a_transaction(open_store: Open) -> None:
    async def story(store: Store) -> None:
        start = await store.revision()
        async with aclosing(store.watch("/x/", start)) as watch:
            pending = asyncio.ensure_future(anext(watch))
            await asyncio.sleep(0)
            await put(store, "/y/1")
            await store.commit([], [Put("/x/1", b"1"), Put("/y/2", b"2"), Put("/x/2", b"3")])
            assert [(e.key, e.revision) for e in await pending] == [("/x/1", start + 2), ("/x/2", start + 2)]

    told(open_store, story)


def test_of_many_that_race_for_one_key_one_wins(open_store: Open) -> None:
    async def story(store: Store) -> None:
        async def claim(number: int) -> bool:
            try:
                await store.commit([Check("/prize", 0)], [Put("/prize", b"%d" % number)])
            except Conflict:
                return False
            return True

        won = await asyncio.gather(*(claim(number) for number in range(50)))
        prize = await store.get("/prize")
        assert won.count(True) == 1 and prize and won.index(True) == int(prize.value)

    told(open_store, story)


def test_concurrent_writers_all_land_in_one_order_that_watchers_see(open_store: Open) -> None:
    async def story(store: Store) -> None:
        async with aclosing(store.watch("/k/", await store.revision())) as watch:
            revisions = await asyncio.gather(*(put(store, f"/k/{n}") for n in range(100)))
            events = await take(watch, 100)
        assert sorted(revisions) == [event.revision for event in events]
        assert {f"/k/{n}" for n in range(100)} == {event.key for event in events}

    told(open_store, story)


def test_the_view_shows_no_less_than_what_was_caught_up_with(open_store: Open) -> None:
    async def story(store: Store) -> None:
        for number in range(20):
            revision = await put(store, f"/a/{number:02}")
            await store.catch_up()
            view = await store.view()
            entry = view.get(f"/a/{number:02}")
            assert entry and entry.modified == revision and view.get("/b") is None
            assert view.range("/a/").entries == (await store.range("/a/")).entries
            assert len(view.range("/a/", limit=3).entries) == min(number + 1, 3)

    told(open_store, story)
