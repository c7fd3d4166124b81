"""What a watch tells, and when: transitions, bookmarks, initial events, ends."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from pathlib import Path

from fairway.api.answers import Stream
from fairway.api.server import Api
from fairway.store.base import Bell, Event
from fairway.store.memory import MemoryStore
from fairway.store.sqlite import SqliteStore
from tests.contract.session import CONFIG, Session, config_map, pod, service, told

MAPS = "/api/v1/namespaces/default/configmaps"
SERVICES = "/api/v1/namespaces/default/services"
MERGE = "application/merge-patch+json"
QUICK = dataclasses.replace(CONFIG, bookmark_seconds=0.01)


async def relabel(me: Session, name: str, value: str | None) -> None:
    await me.ok("PATCH", f"{MAPS}/{name}", {"metadata": {"labels": {"app": value}}}, content_type=MERGE)


async def version(me: Session) -> str:
    return str((await me.ok("GET", MAPS))["metadata"]["resourceVersion"])


def test_a_watch_after_a_list_misses_nothing_and_repeats_nothing() -> None:
    async def story(me: Session) -> None:
        await me.ok("POST", MAPS, config_map("old"))
        after = await version(me)
        await me.ok("POST", MAPS, config_map("a"))
        async with me.watch(f"{MAPS}?resourceVersion={after}") as watch:
            await relabel(me, "a", "x")
            await me.ok("DELETE", f"{MAPS}/a")
            assert await watch.names(3) == [("ADDED", "a"), ("MODIFIED", "a"), ("DELETED", "a")]

    told(story)


def test_a_deletion_shows_the_last_state_with_its_own_version() -> None:
    async def story(me: Session) -> None:
        created = await me.ok("POST", MAPS, config_map("a"))
        async with me.watch(f"{MAPS}?resourceVersion={created['metadata']['resourceVersion']}") as watch:
            await me.ok("DELETE", f"{MAPS}/a")
            change, obj = await watch.next()
            assert change == "DELETED" and obj["data"] == {"a": "b"}
            assert obj["metadata"]["resourceVersion"] == await version(me)

    told(story)


def test_the_way_to_the_server_comes_back_when_somebody_deletes_it() -> None:
    slices = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"
    paths = (SERVICES, "/api/v1/namespaces/default/endpoints", slices)

    async def story(me: Session) -> None:
        for path in paths:
            before = await me.ok("GET", f"{path}/kubernetes")
            async with me.watch(f"{path}?resourceVersion={before['metadata']['resourceVersion']}") as watch:
                await me.ok("DELETE", f"{path}/kubernetes")
                assert await watch.names(2) == [("DELETED", "kubernetes"), ("ADDED", "kubernetes")]
            after = await me.ok("GET", f"{path}/kubernetes")
            assert {k: v for k, v in after.items() if k != "metadata"} == {
                k: v for k, v in before.items() if k != "metadata"
            }

    told(story, config=dataclasses.replace(CONFIG, publish_seconds=0.01))


def test_entering_a_selection_is_added_and_leaving_it_is_deleted() -> None:
    async def story(me: Session) -> None:
        await me.ok("POST", MAPS, config_map("a", app="x"))
        async with me.watch(f"{MAPS}?labelSelector=app=y&resourceVersion={await version(me)}") as watch:
            await relabel(me, "a", "y")
            await me.ok("PATCH", f"{MAPS}/a", {"data": {"n": "1"}}, content_type=MERGE)
            await relabel(me, "a", "z")
            await relabel(me, "a", "zz")
            await relabel(me, "a", "y")
            await me.ok("DELETE", f"{MAPS}/a")
            events = [await watch.next() for _ in range(5)]
        assert [change for change, _ in events] == ["ADDED", "MODIFIED", "DELETED", "ADDED", "DELETED"]
        assert events[2][1]["metadata"]["labels"] == {"app": "z"}

    told(story)


def test_a_field_selector_follows_pods_to_their_node() -> None:
    async def story(me: Session) -> None:
        pods = "/api/v1/namespaces/default/pods"
        await me.ok("POST", pods, pod())
        async with me.watch("/api/v1/pods?fieldSelector=spec.nodeName=node-a&resourceVersion=1") as watch:
            binding = {"kind": "Binding", "apiVersion": "v1", "target": {"kind": "Node", "name": "node-a"}}
            await me.ok("POST", f"{pods}/web/binding", binding)
            assert await watch.names(1) == [("ADDED", "web")]

    told(story)


def test_without_a_version_the_state_comes_first() -> None:
    async def story(me: Session) -> None:
        await me.ok("POST", MAPS, config_map("a"))
        await me.ok("POST", MAPS, config_map("b"))
        for query in ("", "?resourceVersion=0"):
            async with me.watch(f"{MAPS}{query}") as watch:
                assert await watch.names(2) == [("ADDED", "a"), ("ADDED", "b")]

    told(story)


def test_one_object_may_be_watched_by_its_url() -> None:
    async def story(me: Session) -> None:
        await me.ok("POST", MAPS, config_map("a"))
        async with me.watch(f"{MAPS}/a?resourceVersion={await version(me)}") as watch:
            await me.ok("POST", MAPS, config_map("ab"))
            await relabel(me, "a", "x")
            assert await watch.names(1) == [("MODIFIED", "a")]

    told(story)


def test_initial_events_end_with_a_marked_bookmark() -> None:
    async def story(me: Session) -> None:
        await me.ok("POST", MAPS, config_map("a"))
        query = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
        async with me.watch(f"{MAPS}?{query}") as watch:
            assert await watch.names(1) == [("ADDED", "a")]
            change, obj = await watch.next()
            assert change == "BOOKMARK"
            assert obj["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
            assert obj["metadata"]["resourceVersion"] == await version(me)
        assert (await me.refused("GET", f"{MAPS}?watch=1&sendInitialEvents=true"))[0] == 422

    told(story)


def test_bookmarks_follow_what_others_write() -> None:
    async def story(me: Session) -> None:
        async with me.watch(f"{MAPS}?allowWatchBookmarks=true&resourceVersion={await version(me)}") as watch:
            await me.ok("POST", "/api/v1/namespaces/default/services", service())
            goal = await version(me)
            seen = ""
            while seen != goal:
                change, obj = await watch.next()
                assert change == "BOOKMARK" and obj["kind"] == "ConfigMap"
                seen = obj["metadata"]["resourceVersion"]

    told(story, config=QUICK)


def test_a_bookmark_never_runs_ahead_of_what_was_told() -> None:
    async def story(me: Session) -> None:
        async with me.watch(f"{MAPS}?allowWatchBookmarks=true&resourceVersion={await version(me)}") as watch:
            writes = asyncio.gather(*(me.ok("POST", MAPS, config_map(f"m{n}")) for n in range(50)))
            told_of = 0
            bookmarks: list[int] = []
            while told_of < 50 or not bookmarks:
                change, obj = await watch.next()
                at = int(obj["metadata"]["resourceVersion"])
                if change == "BOOKMARK":
                    bookmarks.append(at)
                else:
                    assert all(at > bookmark for bookmark in bookmarks)
                    told_of += 1
            await writes

    told(story, config=QUICK)


class Lagging(MemoryStore):
    """A store whose revision is known before its watches have told of it, as a remote one's may be."""

    def __init__(self) -> None:
        super().__init__()
        self.released = asyncio.Event()

    async def watch(self, prefix: str, after: int, bell: Bell | None = None) -> AsyncGenerator[Sequence[Event], None]:
        held: list[Sequence[Event]] = []
        async with aclosing(super().watch(prefix, after, bell)) as events:
            async for batch in events:
                if batch:
                    held.append(batch)
                while held and self.released.is_set():
                    yield held.pop(0)
                if not batch:
                    yield batch


def test_a_bookmark_does_not_trust_a_revision_it_has_only_just_learned() -> None:
    store = Lagging()

    async def story(me: Session) -> None:
        before = await version(me)
        async with me.watch(f"{MAPS}?allowWatchBookmarks=true&resourceVersion={before}") as watch:
            assert (await watch.next())[0] == "BOOKMARK"
            await me.ok("POST", MAPS, config_map("late"))
            change, obj = await watch.next()
            assert (change, obj["metadata"]["resourceVersion"]) == ("BOOKMARK", before)
            store.released.set()
            assert (await watch.next())[0] == "ADDED"

    told(story, config=QUICK, store=store)


def test_bookmarks_come_though_events_pass_by_that_were_not_asked_for() -> None:
    async def story(me: Session) -> None:
        url = f"{MAPS}?allowWatchBookmarks=true&labelSelector=app%3Dnone&resourceVersion={await version(me)}"
        async with me.watch(url) as watch:
            made = await me.ok("POST", MAPS, config_map("unseen"))
            while (seen := await watch.next())[1]["metadata"]["resourceVersion"] < made["metadata"]["resourceVersion"]:
                assert seen[0] == "BOOKMARK"
            assert seen[0] == "BOOKMARK"

    told(story, config=QUICK)


def test_a_watch_ends_when_its_time_is_over() -> None:
    async def story(me: Session) -> None:
        async with me.watch(f"{MAPS}?timeoutSeconds=1&resourceVersion={await version(me)}") as watch:
            assert await watch.rest() == []

    told(story)


def test_a_watch_from_a_forgotten_past_is_told_410() -> None:
    async def story(me: Session) -> None:
        old = await version(me)
        await me.ok("POST", MAPS, config_map("a"))
        await me.ok("POST", MAPS, config_map("b"))
        store = me.api.handlers.store
        await store.compact(await store.revision())
        async with me.watch(f"{MAPS}?resourceVersion={old}") as watch:
            change, status = await watch.next()
        assert change == "ERROR"
        assert (status["code"], status["reason"], status["kind"]) == (410, "Expired", "Status")
        assert f"too old resource version: {old}" in status["message"]

    told(story)


def test_a_watch_from_the_future_is_refused() -> None:
    async def story(me: Session) -> None:
        code, reason, _ = await me.refused("GET", f"{MAPS}?watch=1&resourceVersion=99999")
        assert (code, reason) == (504, "Timeout")

    told(story)


def test_a_table_watch_tells_its_columns_once() -> None:
    async def story(me: Session) -> None:
        await me.ok("POST", MAPS, config_map("a"))
        accept = "application/json;as=Table;v=v1;g=meta.k8s.io"
        async with me.watch(MAPS, accept=accept) as watch:
            _, first = await watch.next()
            await me.ok("POST", MAPS, config_map("b"))
            change, second = await watch.next()
        assert [column["name"] for column in first["columnDefinitions"]] == ["Name", "Data", "Age"]
        assert change == "ADDED" and not second["columnDefinitions"] and second["rows"][0]["cells"][0] == "b"

    told(story)


def test_an_event_is_encoded_once_for_all_its_watchers() -> None:
    async def story(me: Session) -> None:
        after = await version(me)
        watches = [me.watch(f"{MAPS}?resourceVersion={after}{more}") for more in ("", "", "&labelSelector=app!%3Dx")]
        chunks = []
        for watch in watches:
            _, _, answer = await me.ask("GET", watch._url)
            assert isinstance(answer, Stream)
            chunks.append(answer.chunks)
        await me.ok("POST", MAPS, config_map("a"))
        lines = [await anext(chunk) for chunk in chunks]
        assert json.loads(lines[0])["type"] == "ADDED"
        assert lines[0] is lines[1] is lines[2], "the very same object: nothing was encoded twice"
        for chunk in chunks:
            await chunk.aclose()

    told(story)


def test_a_watch_resumes_on_a_restarted_server(tmp_path: Path) -> None:
    async def story() -> None:
        store = SqliteStore(tmp_path / "store.db")
        api = Api(store, CONFIG)
        await api.start()
        me = Session(api)
        after = await version(me)
        await me.ok("POST", MAPS, config_map("a"))
        await api.stop()
        await store.close()
        store = SqliteStore(tmp_path / "store.db")
        api = Api(store, CONFIG)
        await api.start()
        me = Session(api)
        async with me.watch(f"{MAPS}?resourceVersion={after}") as watch:
            assert await watch.names(1) == [("ADDED", "a")]
        await api.stop()
        await store.close()

    asyncio.run(story())
