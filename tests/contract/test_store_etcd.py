"""What only a cluster can suffer: lost connections and answers, other writers, a history cut short, dead members."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import pytest

from fairway.lab.pki import Authority
from fairway.store import etcd_mirror, etcd_rpc, etcd_wire
from fairway.store.base import Check, Conflict, Delete, Event, Put, StoreError, TooSlow, Unusable
from fairway.store.etcd import EtcdStore
from tests import etcd


class Line:
    """A TCP line to one member that can go deaf in the direction of answers, or be cut."""

    def __init__(self, target: str) -> None:
        self._host, _, port = target.partition(":")
        self._port = int(port)
        self._writers: set[asyncio.StreamWriter] = set()
        self.deaf = False
        self.closed = False
        self.swallowed = asyncio.Event()
        self.endpoint = ""

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Line]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.endpoint = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            self.cut()
            server.close()

    def cut(self) -> None:
        """Break every connection."""
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        with contextlib.suppress(OSError):
            if self.closed:
                writer.transport.abort()
                return
            far_reader, far_writer = await asyncio.open_connection(self._host, self._port)
            self._writers.add(far_writer)
            await asyncio.gather(self._pass(reader, far_writer, False), self._pass(far_reader, writer, True))

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answers: bool) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                if answers and self.deaf:
                    self.swallowed.set()
                    continue
                writer.write(data)
                await writer.drain()
        writer.transport.abort()


Story = Callable[[list[etcd.Member]], Awaitable[None]]


def told(tmp_path: Path, story: Story, size: int = 1) -> None:
    with etcd.cluster(tmp_path, size) as members:
        asyncio.run(story(members))


async def put(store: EtcdStore, key: str, value: bytes = b"v") -> int:
    return await store.commit([], [Put(key, value)])


async def take(watch: AsyncGenerator[Sequence[Event], None], count: int) -> list[Event]:
    events: list[Event] = []
    while len(events) < count:
        events += await asyncio.wait_for(anext(watch), 10)
    return events


def brief(events: list[Event]) -> list[tuple[str, int, bytes | None]]:
    return [(event.key, event.revision, event.entry.value if event.entry else None) for event in events]


def test_a_write_whose_answer_is_lost_is_done_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(etcd_rpc, "ATTEMPT_SECONDS", 0.5)

    async def story(members: list[etcd.Member]) -> None:
        witness = EtcdStore([members[0].endpoint])
        async with Line(members[0].endpoint).open() as line:
            store = EtcdStore([line.endpoint])
            start = await put(store, "/before")
            async with aclosing(witness.watch("/", start)) as watch:
                line.deaf = True
                writing = asyncio.ensure_future(put(store, "/a", b"1"))
                seen = await take(watch, 1)
                line.deaf = False
                line.cut()
                assert await writing == seen[0].revision
                after = await put(store, "/b")
                assert brief(await take(watch, 1)) == [("/b", after, b"v")]
            await store.close()
        await witness.close()

    told(tmp_path, story)


def test_a_creation_whose_answer_is_lost_is_not_done_again_after_somebody_deleted_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(etcd_rpc, "ATTEMPT_SECONDS", 0.5)

    async def story(members: list[etcd.Member]) -> None:
        other = EtcdStore([members[0].endpoint])
        async with Line(members[0].endpoint).open() as line:
            store = EtcdStore([line.endpoint])
            start = await put(store, "/before")
            async with aclosing(other.watch("/", start)) as watch:
                line.deaf = True
                writing = asyncio.ensure_future(store.commit([Check("/a", 0)], [Put("/a", b"1")]))
                created = (await take(watch, 1))[0].revision
                await other.commit([Check("/a", created)], [Delete("/a")])
                line.deaf = False
                line.cut()
                assert await writing == created
                assert await store.get("/a") is None
            await store.close()
        await other.close()

    told(tmp_path, story)


def test_a_conflict_after_a_lost_answer_is_final(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(etcd_rpc, "ATTEMPT_SECONDS", 0.5)

    async def story(members: list[etcd.Member]) -> None:
        async with Line(members[0].endpoint).open() as line:
            store = EtcdStore([line.endpoint])
            revision = await put(store, "/a", b"1")
            line.deaf = True
            writing = asyncio.ensure_future(store.commit([Check("/a", 0)], [Put("/a", b"2")]))
            await line.swallowed.wait()
            line.deaf = False
            line.cut()
            with pytest.raises(Conflict) as caught:
                await writing
            assert caught.value.entry and caught.value.entry.modified == revision
            assert (await store.get("/a")) == caught.value.entry
            await store.close()

    told(tmp_path, story)


def test_a_watch_goes_over_cut_connections_without_a_lost_or_repeated_event(tmp_path: Path) -> None:
    async def story(members: list[etcd.Member]) -> None:
        other = EtcdStore([members[0].endpoint])
        async with Line(members[0].endpoint).open() as line:
            store = EtcdStore([line.endpoint])
            async with aclosing(store.watch("/k/", await store.revision())) as watch:
                for turn in range(5):
                    keys = [f"/k/{turn}/{number}" for number in range(20)]
                    written = [(key, await put(other, key), b"v") for key in keys]
                    assert brief(await take(watch, 20)) == written
                    line.cut()
            await store.close()
        await other.close()

    told(tmp_path, story)


def test_a_read_sees_what_another_server_was_acknowledged(tmp_path: Path) -> None:
    async def story(members: list[etcd.Member]) -> None:
        one, two = EtcdStore([members[0].endpoint]), EtcdStore([members[0].endpoint])
        for number in range(100):
            revision = await put(one, "/a", b"%d" % number)
            seen = await two.get("/a")
            assert seen and (seen.value, seen.modified) == (b"%d" % number, revision)
            assert await two.revision() == revision
        await one.close()
        await two.close()

    told(tmp_path, story)


def test_a_store_opened_later_remembers_as_far_back_as_etcd(tmp_path: Path) -> None:
    async def story(members: list[etcd.Member]) -> None:
        one = EtcdStore([members[0].endpoint])
        first = await put(one, "/a", b"1")
        second = await put(one, "/a", b"2")
        third = await put(one, "/a", b"3")
        await one.compact(second)
        two = EtcdStore([members[0].endpoint])
        async with aclosing(two.watch("/", second)) as watch:
            events = await take(watch, 1)
        assert brief(events) == [("/a", third, b"3")]
        assert events[0].previous and events[0].previous.value == b"2" and events[0].previous.created == first
        assert (await two.range("/", revision=second)).entries[0].value == b"2"
        with pytest.raises(StoreError, match="compacted"):
            await two.range("/", revision=first)
        await one.close()
        await two.close()

    told(tmp_path, story)


def test_several_servers_may_compact(tmp_path: Path) -> None:
    async def story(members: list[etcd.Member]) -> None:
        stores = [EtcdStore([members[0].endpoint]) for _ in range(3)]
        for _ in range(5):
            revision = await put(stores[0], "/a")
        await asyncio.gather(*(store.compact(revision - 1) for store in stores))
        await stores[1].compact(revision - 2)
        for store in stores:
            assert (await store.range("/", revision=revision - 1)).entries[0].modified == revision - 1
            await put(store, "/b")
            await store.close()

    told(tmp_path, story)


def test_who_was_away_for_longer_than_history_says_so_and_goes_on(tmp_path: Path) -> None:
    async def story(members: list[etcd.Member]) -> None:
        other = EtcdStore([members[0].endpoint])
        async with Line(members[0].endpoint).open() as line:
            store = EtcdStore([line.endpoint])
            async with aclosing(store.watch("/", await put(store, "/a", b"1"))) as watch:
                waiting = asyncio.ensure_future(anext(watch))
                await asyncio.sleep(0)
                line.closed = True
                line.cut()
                await put(other, "/a", b"2")
                await other.compact(await put(other, "/a", b"3"))
                line.closed = False
                with pytest.raises(TooSlow):
                    await asyncio.wait_for(waiting, 10)
            entry = await store.get("/a")
            assert entry and entry.value == b"3"
            await store.close()
        await other.close()

    told(tmp_path, story)


def test_a_member_that_stands_still_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(etcd_rpc, "ATTEMPT_SECONDS", 0.5)
    monkeypatch.setattr(etcd_mirror, "STALE_SECONDS", 0.5)

    async def story(members: list[etcd.Member]) -> None:
        store = EtcdStore([member.endpoint for member in members])
        revision = await put(store, "/a", b"1")
        async with aclosing(store.watch("/", revision)) as watch:
            members[0].pause()
            second = await put(store, "/a", b"2")
            entry = await store.get("/a")
            assert entry and entry.value == b"2"
            assert brief(await take(watch, 1)) == [("/a", second, b"2")]
            members[0].resume()
        await store.close()

    told(tmp_path, story, size=3)


def test_what_others_keep_in_the_same_etcd_is_left_alone(tmp_path: Path) -> None:
    async def story(members: list[etcd.Member]) -> None:
        one = EtcdStore([members[0].endpoint], prefix="/one")
        two = EtcdStore([members[0].endpoint], prefix="/one-more")
        await put(one, "/a", b"1")
        revision = await put(two, "/a", b"2")
        assert await one.revision() == revision
        entry = await one.get("/a")
        assert entry and entry.value == b"1"
        assert [entry.key for entry in (await one.range("")).entries] == ["/a"]
        async with aclosing(one.watch("", 1)) as watch:
            assert [event.key for event in await take(watch, 1)] == ["/a"]
        await two.close()
        assert await one.get("/a") == entry
        await one.close()

    told(tmp_path, story)


def test_slots_that_nobody_uses_any_more_are_removed_and_missing_ones_made_again(tmp_path: Path) -> None:
    async def slots(members: list[etcd.Member]) -> int:
        cluster = etcd_rpc.Cluster([members[0].endpoint])
        start = b"/fairway-writers/"
        answer, _ = await cluster.call(etcd_wire.RANGE, etcd_wire.range_request(start, etcd_wire.prefix_end(start)))
        await cluster.close()
        return len(etcd_wire.read_range(answer).found)

    async def story(members: list[etcd.Member]) -> None:
        idle, busy = EtcdStore([members[0].endpoint]), EtcdStore([members[0].endpoint])
        await asyncio.gather(*(put(idle, f"/{n}") for n in range(5)))
        assert await slots(members) == 5
        await busy.compact(await put(busy, "/b"))
        assert await slots(members) == 1
        revision = await put(idle, "/a", b"2")
        entry = await idle.get("/a")
        assert entry and entry.modified == revision
        await busy.close()
        await idle.close()
        assert await slots(members) == 0

    told(tmp_path, story)


def test_what_etcd_refuses_is_told_at_once(tmp_path: Path) -> None:
    async def story(members: list[etcd.Member]) -> None:
        store = EtcdStore([members[0].endpoint])
        with pytest.raises(StoreError, match="too large"):
            await put(store, "/a", bytes(2_000_000))
        with pytest.raises(StoreError, match="too many operations"):
            await store.commit([], [Put(f"/{n}", b"") for n in range(200)])
        assert (await store.range("")).entries == ()
        await store.close()

    told(tmp_path, story)


def test_a_cluster_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(etcd_rpc, "PATIENCE_SECONDS", 0.3)

    async def story() -> None:
        async with Line("127.0.0.1:1").open() as line:
            line.closed = True
            store = EtcdStore([line.endpoint])
            with pytest.raises(StoreError, match="no member of the etcd cluster answered"):
                await store.get("/a")
            await store.close()

    asyncio.run(story())


def test_members_and_servers_prove_who_they_are(tmp_path: Path) -> None:
    authority = Authority("etcd", datetime.datetime.now(datetime.UTC))
    (tmp_path / "ca.crt").write_bytes(authority.certificate)
    authority.server("etcd", ["127.0.0.1"]).write(tmp_path, "server")
    authority.client("fairway").write(tmp_path, "client")
    files = {"cert-file": "server.crt", "key-file": "server.key", "trusted-ca-file": "ca.crt"}
    words = {"client-cert-auth": "true", **{word: str(tmp_path / name) for word, name in files.items()}}
    ours = etcd_rpc.Tls(tmp_path / "ca.crt", tmp_path / "client.crt", tmp_path / "client.key")

    async def story(endpoint: str) -> None:
        store = EtcdStore([endpoint], tls=ours)
        revision = await put(store, "/a", b"1")
        assert (await store.range("/")).entries[0].modified == revision
        await store.close()
        for nobody in (EtcdStore([endpoint]), EtcdStore([endpoint], tls=etcd_rpc.Tls(ours.ca))):
            with pytest.MonkeyPatch.context() as patch, pytest.raises(StoreError, match="no member"):
                patch.setattr(etcd_rpc, "PATIENCE_SECONDS", 0.5)
                await nobody.get("/a")

    with etcd.cluster(tmp_path, tls=words) as members:
        asyncio.run(story(members[0].endpoint))


def test_certificates_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    async def story() -> None:
        store = EtcdStore(["127.0.0.1:1"], tls=etcd_rpc.Tls(tmp_path / "missing.crt"))
        with pytest.raises(Unusable, match=r"missing\.crt"):
            await store.get("/a")

    asyncio.run(story())
