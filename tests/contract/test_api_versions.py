"""resourceVersion, resourceVersionMatch, limit and continue: what each combination means, as a table.

Meanings: the API concepts page of Kubernetes, "Resource versions", and KEP-2340, KEP-3157.
"""

from __future__ import annotations

import asyncio
import dataclasses
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fairway.api.expiry import last_seen, sweep
from fairway.api.server import Api
from fairway.store.memory import MemoryStore
from tests.contract.session import CONFIG, Object, Session, config_map, told

MAPS = "/api/v1/namespaces/default/configmaps"
EVENTS = "/api/v1/namespaces/default/events"
NOW, OLD = ["a", "b", "c"], ["a", "b"]


async def history(me: Session) -> dict[str, str]:
    """Three maps: `old` is the revision before the third, `now` after it, `gone` before a compaction."""
    gone = (await me.ok("GET", MAPS))["metadata"]["resourceVersion"]
    await me.ok("POST", MAPS, config_map("a"))
    second = await me.ok("POST", MAPS, config_map("b"))
    old = second["metadata"]["resourceVersion"]
    await me.api.handlers.store.compact(int(old))
    last = await me.ok("POST", MAPS, config_map("c"))
    now = last["metadata"]["resourceVersion"]
    return {"gone": gone, "old": old, "now": now, "future": str(int(now) + 1000)}


def names(page: Object) -> list[str]:
    return [item["metadata"]["name"] for item in page["items"]]


LISTS: list[tuple[str, list[str] | int]] = [
    ("", NOW),
    ("resourceVersion=", NOW),
    ("resourceVersion=0", NOW),
    ("resourceVersion={old}", NOW),
    ("resourceVersion={gone}", NOW),
    ("resourceVersion={now}", NOW),
    ("resourceVersion={future}", 504),
    ("resourceVersion=0&resourceVersionMatch=NotOlderThan", NOW),
    ("resourceVersion={old}&resourceVersionMatch=NotOlderThan", NOW),
    ("resourceVersion={gone}&resourceVersionMatch=NotOlderThan", NOW),
    ("resourceVersion={future}&resourceVersionMatch=NotOlderThan", 504),
    ("resourceVersion={old}&resourceVersionMatch=Exact", OLD),
    ("resourceVersion={now}&resourceVersionMatch=Exact", NOW),
    ("resourceVersion={gone}&resourceVersionMatch=Exact", 410),
    ("resourceVersion={future}&resourceVersionMatch=Exact", 504),
    ("resourceVersion=0&resourceVersionMatch=Exact", 422),
    ("resourceVersionMatch=Exact", 422),
    ("resourceVersionMatch=NotOlderThan", 422),
    ("resourceVersion={now}&resourceVersionMatch=Newest", 422),
    ("resourceVersion=x", 400),
    ("resourceVersion=-1", 400),
    ("resourceVersion=1.0", 400),
    ("resourceVersion=99999999999999999999999999", 400),
    ("limit=2", ["a", "b"]),
    ("limit=0", NOW),
    ("limit=-1", 400),
    ("limit=x", 400),
    ("limit=2&resourceVersion=0", ["a", "b"]),
    ("limit=1&resourceVersion={old}", ["a"]),
    ("limit=5&resourceVersion={old}", OLD),
    ("limit=5&resourceVersion={old}&resourceVersionMatch=NotOlderThan", NOW),
    ("continue=nonsense", 400),
    ("continue=e30", 400),
    ("sendInitialEvents=true", 422),
    ("continue=nonsense&resourceVersion=0&resourceVersionMatch=NotOlderThan", 422),
]


@pytest.mark.parametrize(("query", "expected"), LISTS, ids=[query for query, _ in LISTS])
def test_a_list(query: str, expected: list[str] | int) -> None:
    async def story(me: Session) -> None:
        versions = await history(me)
        code, answer, _ = await me.ask("GET", f"{MAPS}?{query.format(**versions)}")
        if isinstance(expected, int):
            assert (code, answer["kind"], answer["code"]) == (expected, "Status", expected), answer
        else:
            assert code == 200 and names(answer) == expected, answer
            exact = expected == OLD and "{old}" in query
            assert answer["metadata"]["resourceVersion"] == versions["old" if exact or "limit=1&" in query else "now"]

    told(story)


GETS: list[tuple[str, int]] = [("", 200), ("0", 200), ("{old}", 200), ("{now}", 200), ("{future}", 504), ("x", 400)]


@pytest.mark.parametrize(("version", "expected"), GETS)
def test_a_get_is_never_older_than_it_was_asked_for(version: str, expected: int) -> None:
    async def story(me: Session) -> None:
        versions = await history(me)
        code, _, _ = await me.ask("GET", f"{MAPS}/c?resourceVersion={version.format(**versions)}")
        assert code == expected

    told(story)


WATCHES: list[tuple[str, list[tuple[str, str]] | int]] = [
    ("", [("ADDED", "a"), ("ADDED", "b"), ("ADDED", "c")]),
    ("resourceVersion=0", [("ADDED", "a"), ("ADDED", "b"), ("ADDED", "c")]),
    ("resourceVersion={old}", [("ADDED", "c")]),
    ("resourceVersion={now}", []),
    ("resourceVersion={future}", 504),
    ("resourceVersion=x", 400),
    ("resourceVersionMatch=NotOlderThan", 422),
    ("resourceVersionMatch=Exact&resourceVersion={now}", 422),
    ("sendInitialEvents=true", 422),
    ("sendInitialEvents=true&resourceVersionMatch=Exact", 422),
    ("sendInitialEvents=false&resourceVersionMatch=NotOlderThan&resourceVersion={old}", [("ADDED", "c")]),
    ("sendInitialEvents=true&resourceVersionMatch=NotOlderThan&resourceVersion={future}", 504),
    (
        "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&resourceVersion={old}",
        [("ADDED", "a"), ("ADDED", "b"), ("ADDED", "c")],
    ),
    (
        "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true",
        [("ADDED", "a"), ("ADDED", "b"), ("ADDED", "c"), ("BOOKMARK", "")],
    ),
]


@pytest.mark.parametrize(("query", "expected"), WATCHES, ids=[query for query, _ in WATCHES])
def test_a_watch(query: str, expected: list[tuple[str, str]] | int) -> None:
    async def story(me: Session) -> None:
        versions = await history(me)
        url = f"{MAPS}?{query.format(**versions)}"
        if isinstance(expected, int):
            assert (await me.refused("GET", f"{url}&watch=1"))[0] == expected
            return
        async with me.watch(url) as watch:
            await me.ok("POST", MAPS, config_map("d"))
            assert await watch.names(len(expected) + 1) == [*expected, ("ADDED", "d")]

    told(story)


def test_pages_show_the_state_of_the_first_one() -> None:
    async def story(me: Session) -> None:
        for name in "abcde":
            await me.ok("POST", MAPS, config_map(name))
        first = await me.ok("GET", f"{MAPS}?limit=2")
        assert names(first) == ["a", "b"] and first["metadata"]["remainingItemCount"] == 3
        await me.ok("DELETE", f"{MAPS}/c")
        await me.ok("POST", MAPS, config_map("cc"))
        token = first["metadata"]["continue"]
        rest = await me.ok("GET", f"{MAPS}?limit=9&continue={token}")
        assert names(rest) == ["c", "d", "e"] and "continue" not in rest["metadata"]
        assert rest["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
        code, _, message = await me.refused("GET", f"{MAPS}?continue={token}&resourceVersion=5")
        assert code == 400 and "not allowed when using continue" in message

    told(story)


def test_an_expired_token_offers_one_that_goes_on_with_the_present() -> None:
    async def story(me: Session) -> None:
        for name in "abcde":
            await me.ok("POST", MAPS, config_map(name))
        token = (await me.ok("GET", f"{MAPS}?limit=2"))["metadata"]["continue"]
        await me.ok("DELETE", f"{MAPS}/c")
        await me.ok("POST", MAPS, config_map("dd"))
        store = me.api.handlers.store
        await store.compact(await store.revision())
        code, refused, _ = await me.ask("GET", f"{MAPS}?limit=2&continue={token}")
        assert (code, refused["reason"]) == (410, "Expired")
        page = await me.ok("GET", f"{MAPS}?limit=2&continue={refused['metadata']['continue']}")
        assert names(page) == ["d", "dd"]
        last = await me.ok("GET", f"{MAPS}?limit=2&continue={page['metadata']['continue']}")
        assert names(last) == ["e"]

    told(story)


# Events


def event(**times: Any) -> Object:
    regarding = {"kind": "Pod", "namespace": "default", "name": "web"}
    return {"kind": "Event", "apiVersion": "v1", "involvedObject": regarding, "reason": "Tested", **times}


def test_events_last_for_an_hour_after_they_were_last_heard_of() -> None:
    async def story(me: Session) -> None:
        now = datetime.now(UTC)

        def ago(**span: int) -> str:
            return (now - timedelta(**span)).isoformat(timespec="seconds").replace("+00:00", "Z")

        for name, times in {
            "fresh": {},
            "repeated": {"firstTimestamp": ago(hours=9), "lastTimestamp": ago(minutes=59)},
            "ended": {"firstTimestamp": ago(hours=9), "lastTimestamp": ago(hours=2)},
        }.items():
            await me.ok("POST", EVENTS, event(metadata={"name": name}, **times))
        store = me.api.handlers.store
        assert await sweep(store, lambda: now) == 0  # all were created just now
        assert await sweep(store, lambda: now + timedelta(minutes=61)) == 3
        assert names(await me.ok("GET", EVENTS)) == []

    told(story)


def test_the_last_time_counts_and_rubbish_is_left_alone() -> None:
    value = b'{"metadata":{"creationTimestamp":"2026-01-01T00:00:00Z"},"series":{"lastObservedTime":"%b"}}'
    assert last_seen(value % b"2026-01-01T05:00:00.000000+02:00") == datetime(2026, 1, 1, 3, tzinfo=UTC)
    assert last_seen(b'{"metadata":{},"lastTimestamp":"yesterday"}') is None


def test_a_server_removes_old_events_by_itself() -> None:
    async def story() -> None:
        store = MemoryStore()
        api = Api(store, dataclasses.replace(CONFIG, event_seconds=0.6))
        await api.start()
        me = Session(api)
        made = await me.ok("POST", EVENTS, event(metadata={"name": "short"}))
        async with me.watch(f"{EVENTS}?resourceVersion={made['metadata']['resourceVersion']}") as watch:
            assert await watch.names(1) == [("DELETED", "short")]
        await api.stop()

    asyncio.run(story())
