"""A cache is exactly what listings and events say, and tells each difference once."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.client.base import ApiError, Listing, Unreachable, WatchEvent
from fairway.client.follow import EVENTS, FIRST_DELAY, LONGEST_DELAY, Backoff, follow
from fairway.client.informer import Cache, Change, as_dict
from fairway.objects.kinds import CONFIG_MAP


def obj(name: str, revision: int, uid: str = "") -> dict[str, Any]:
    return {"metadata": {"name": name, "namespace": "d", "uid": uid or name, "resourceVersion": str(revision)}}


def listing(revision: int, *objects: dict[str, Any]) -> Listing:
    return Listing([msgspec.json.encode(each) for each in objects], str(revision))


def event(kind: str, each: dict[str, Any]) -> WatchEvent:
    return WatchEvent(kind, msgspec.json.encode(each))


def told(changes: Sequence[Change[Any]]) -> list[tuple[str, str]]:
    return [(change.kind, change.key[1]) for change in changes]


def test_a_second_listing_tells_only_differences() -> None:
    cache = Cache(as_dict)
    assert told(cache.replace(listing(5, obj("a", 1), obj("b", 2)))) == [("added", "a"), ("added", "b")]
    assert told(cache.replace(listing(9, obj("a", 1), obj("c", 8)))) == [("added", "c"), ("deleted", "b")]
    assert told(cache.replace(listing(9, obj("a", 9), obj("c", 8)))) == [("modified", "a")]
    assert cache.resource_version == "9"


def test_an_object_made_anew_in_between_is_deleted_and_added() -> None:
    cache = Cache(as_dict)
    cache.replace(listing(5, obj("a", 1, "first")))
    changes = cache.replace(listing(9, obj("a", 8, "second")))
    assert told(changes) == [("deleted", "a"), ("added", "a")]


def test_events_change_and_bookmarks_only_move_on() -> None:
    cache = Cache(as_dict)
    cache.replace(listing(5, obj("a", 1)))
    assert cache.apply(event("BOOKMARK", {"metadata": {"resourceVersion": "7"}})) is None
    assert cache.resource_version == "7"
    modified = cache.apply(event("MODIFIED", obj("a", 8)))
    assert modified is not None
    assert (modified.kind, modified.old, modified.new) == ("modified", obj("a", 1), obj("a", 8))
    assert cache.apply(event("MODIFIED", obj("a", 8))) is None
    assert told([change for change in [cache.apply(event("DELETED", obj("a", 9)))] if change]) == [("deleted", "a")]
    assert cache.items == {}


def test_an_object_that_cannot_be_decoded_is_absent_and_named() -> None:
    def picky(raw: bytes) -> str:
        decoded = as_dict(raw)
        if "bad" in decoded:
            raise ValueError("bad things")
        return str(decoded["metadata"]["name"])

    cache = Cache(picky)
    cache.replace(listing(5, obj("a", 1), {**obj("b", 2), "bad": True}))
    assert cache.items == {("d", "a"): "a"}
    assert cache.refused == {("d", "b"): "bad things"}
    assert told([change for change in [cache.apply(event("MODIFIED", {**obj("a", 6), "bad": 1}))] if change]) == [
        ("deleted", "a")
    ]
    assert told(cache.replace(listing(9, obj("a", 7), obj("b", 8)))) == [("added", "a"), ("added", "b")]
    assert cache.refused == {}


@given(st.lists(st.dictionaries(st.sampled_from("abcd"), st.integers(1, 3), max_size=4), min_size=1, max_size=6))
def test_changes_replayed_give_the_listing(states: list[dict[str, int]]) -> None:
    cache = Cache(as_dict)
    replayed: dict[str, Any] = {}
    for number, state in enumerate(states):
        for change in cache.replace(listing(number + 1, *(obj(name, rev) for name, rev in state.items()))):
            assert replayed.get(change.key[1]) == change.old
            if change.new is None:
                del replayed[change.key[1]]
            else:
                replayed[change.key[1]] = change.new
        assert replayed == {name: obj(name, rev) for name, rev in state.items()}
        assert replayed == {key[1]: value for key, value in cache.items.items()}


def test_backoff_doubles_to_its_bound_and_starts_anew() -> None:
    backoff = Backoff(lambda: 0.0)
    delays = [backoff.next() for _ in range(10)]
    assert delays[:3] == [FIRST_DELAY, FIRST_DELAY * 2, FIRST_DELAY * 4]
    assert delays[-1] == LONGEST_DELAY
    backoff.reset()
    assert backoff.next() == FIRST_DELAY
    assert Backoff(lambda: 0.99).next() > FIRST_DELAY / 2


class Script:
    """A client that answers lists and watches from a script; it notes what was asked."""

    def __init__(self, *steps: Any) -> None:
        self.steps = list(steps)
        self.asked: list[str] = []
        self.finished = asyncio.Event()

    def _next(self) -> Any:
        if not self.steps:
            self.finished.set()
            return None
        return self.steps.pop(0)

    async def list(self, kind: Any, namespace: str = "", **options: Any) -> Listing:
        self.asked.append(f"list{options['continue_token']}")
        step = self._next()
        if isinstance(step, Exception):
            raise step
        assert isinstance(step, Listing)
        return step

    async def watch(self, kind: Any, namespace: str = "", **options: Any) -> AsyncIterator[WatchEvent]:
        self.asked.append(f"watch {options['resource_version']}")
        step = self._next()
        if step is None:
            await asyncio.Event().wait()
        for each in step if isinstance(step, list) else [step]:
            if isinstance(each, Exception):
                raise each
            yield each


def play(script: Script) -> list[tuple[str, str]]:
    """What `follow` told until the script was at its end."""
    seen: list[tuple[str, str]] = []

    async def scene() -> None:
        following = asyncio.create_task(
            follow(
                script,  # type: ignore[arg-type]
                CONFIG_MAP,
                Cache(as_dict),
                on_change=lambda changes: seen.extend(told(changes)),
                on_synced=lambda: seen.append(("synced", "")),
                jitter=lambda: 0.9,
            )
        )
        await asyncio.wait([following, asyncio.create_task(script.finished.wait())], return_when="FIRST_COMPLETED")
        following.cancel()

    asyncio.run(scene())
    return seen


def test_a_broken_watch_goes_on_where_it_was() -> None:
    script = Script(
        listing(5, obj("a", 1)), [event("ADDED", obj("b", 6)), Unreachable("cut")], [event("DELETED", obj("a", 7))]
    )
    assert play(script) == [("added", "a"), ("synced", ""), ("added", "b"), ("deleted", "a")]
    assert script.asked == ["list", "watch 5", "watch 6", "watch 7"]


def test_lost_history_means_a_new_list_and_only_differences() -> None:
    gone = ApiError(410, "Expired", "too old")
    script = Script(listing(5, obj("a", 1), obj("b", 2)), gone, listing(9, obj("b", 2), obj("c", 8)))
    assert play(script) == [("added", "a"), ("added", "b"), ("synced", ""), ("added", "c"), ("deleted", "a")]
    assert script.asked == ["list", "watch 5", "list", "watch 9"]


def test_an_overloaded_server_is_not_asked_for_more() -> None:
    script = Script(listing(5, obj("a", 1)), ApiError(429, "TooManyRequests", "later"))
    play(script)
    assert script.asked == ["list", "watch 5", "watch 5"]


def test_the_first_list_is_tried_until_it_comes() -> None:
    script = Script(Unreachable("away"), ApiError(503, "ServiceUnavailable", "starting"), listing(5, obj("a", 1)))
    assert play(script) == [("added", "a"), ("synced", "")]


def test_pages_make_one_listing() -> None:
    first = Listing(listing(5, obj("a", 1)).items, "5", " 2")
    script = Script(first, listing(5, obj("b", 2)))
    assert play(script) == [("added", "a"), ("added", "b"), ("synced", "")]
    assert script.asked == ["list", "list 2", "watch 5"]


def test_what_a_callback_raises_ends_the_loop() -> None:
    def refuse(_: Any) -> None:
        raise KeyError("a bug of the caller")

    async def scene() -> None:
        await follow(Script(listing(5, obj("a", 1))), CONFIG_MAP, Cache(as_dict), on_change=refuse)  # type: ignore[arg-type]

    with pytest.raises(KeyError):
        asyncio.run(scene())


def test_objects_that_somebody_else_keeps_are_told_of_and_not_kept() -> None:
    cache = Cache(as_dict, keep=False)
    assert told(cache.replace(listing(5, obj("a", 1), obj("b", 2)))) == [("added", "a"), ("added", "b")]
    assert told(cache.replace(listing(9, obj("a", 6), obj("c", 8)))) == [
        ("modified", "a"),
        ("added", "c"),
        ("deleted", "b"),
    ]
    assert told([change for change in [cache.apply(event("DELETED", obj("a", 9)))] if change]) == [("deleted", "a")]
    assert cache.apply(event("DELETED", obj("x", 9))) is None
    assert cache.items == {}


def in_lots(script: Script, lot: int) -> tuple[list[list[str]], int]:
    """What `follow` told in lots of so many, call by call, and how many turns others had before it was synced."""
    calls: list[list[str]] = []
    turns, counted = 0, 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    def synced() -> None:
        nonlocal counted
        counted = turns

    async def scene() -> None:
        waiting = asyncio.create_task(others())
        following = asyncio.create_task(
            follow(
                script,  # type: ignore[arg-type]
                CONFIG_MAP,
                Cache(as_dict, keep=False),
                on_change=lambda changes: calls.append([f"{change.kind} {change.key[1]}" for change in changes]),
                on_synced=synced,
                lot=lot,
            )
        )
        await asyncio.wait([following, asyncio.create_task(script.finished.wait())], return_when="FIRST_COMPLETED")
        following.cancel()
        waiting.cancel()

    asyncio.run(scene())
    return calls, counted


def test_a_listing_in_lots_lets_others_have_their_turn() -> None:
    many = [obj(f"{number:03}", 1) for number in range(100)]
    calls, turns = in_lots(Script(listing(5, *many)), lot=8)
    assert max(map(len, calls)) == 8
    assert [each for call in calls for each in call] == [f"added {number:03}" for number in range(100)]
    assert turns >= 12


def test_a_second_listing_in_lots_tells_only_differences() -> None:
    gone = ApiError(410, "Expired", "too old")
    before = [obj(f"{number:02}", 1) for number in range(20)]
    after = [obj(f"{number:02}", 1 + number % 2) for number in range(5, 25)]
    first, second = listing(9, *after[:10]), listing(9, *after[10:])
    script = Script(listing(5, *before), gone, Listing(first.items, "9", " more"), second)
    calls, _ = in_lots(script, lot=4)
    assert max(map(len, calls)) == 4
    assert sorted(each for call in calls[5:] for each in call) == sorted(
        [
            *(f"modified {number:02}" for number in range(5, 20) if number % 2),
            *(f"added {number}" for number in range(20, 25)),
            *(f"deleted {number:02}" for number in range(5)),
        ]
    )
    assert script.asked == ["list", "watch 5", "list", "list more", "watch 9"]


def test_many_events_at_once_let_others_have_their_turn() -> None:
    turns: list[int] = []

    async def scene() -> None:
        script = Script(listing(5, obj("a", 1)), [event("MODIFIED", obj("a", number)) for number in range(6, 106)])
        told_of = 0

        def count(changes: Sequence[Change[Any]]) -> None:
            nonlocal told_of
            told_of += len(changes)

        following = asyncio.create_task(follow(script, CONFIG_MAP, Cache(as_dict), on_change=count))  # type: ignore[arg-type]
        while not script.finished.is_set():
            turns.append(told_of)
            await asyncio.sleep(0)
        following.cancel()

    asyncio.run(scene())
    assert max(later - sooner for sooner, later in itertools.pairwise(turns)) <= 1 + EVENTS  # the listing, too
