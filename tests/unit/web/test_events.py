"""What pages are told, and when."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from fairway.web import events
from fairway.web.events import Board


class Kept:
    """Something that changes."""

    def __init__(self) -> None:
        self.value = 0
        self.told = 0

    def whole(self) -> Any:
        return {"value": self.value}

    def since(self) -> Any:
        if self.told == self.value:
            return None
        self.told = self.value
        return {"now": self.value}


def read(frame: bytes) -> tuple[str, Any]:
    lines = frame.decode().strip().split("\n")
    return lines[0].removeprefix("event: "), json.loads(lines[1].removeprefix("data: "))


def test_a_page_gets_everything_and_then_changes_several_at_a_time() -> None:
    async def story() -> list[tuple[str, Any]]:
        kept = Kept()
        board = Board(kept.whole, kept.since)
        page = board.read()
        found = [read(await anext(page))]
        for kept.value in (1, 2, 3):
            board.touched()
        found.append(read(await anext(page)))
        await page.aclose()
        return found

    assert asyncio.run(story()) == [("whole", {"value": 0}), ("change", {"now": 3})]


def test_a_page_that_comes_between_hears_of_nothing_twice() -> None:
    async def story() -> list[tuple[str, Any]]:
        kept = Kept()
        board = Board(kept.whole, kept.since)
        first, second = board.read(), board.read()
        await anext(first)
        kept.value = 1
        board.touched()
        found = [read(await anext(second)), read(await anext(first))]
        kept.value = 2
        board.touched()
        found += [read(await anext(second)), read(await anext(first))]
        for page in (first, second):
            await page.aclose()
        return found

    whole, *changes = asyncio.run(story())
    assert whole == ("whole", {"value": 1})
    assert changes == [("change", {"now": 1}), ("change", {"now": 2}), ("change", {"now": 2})]


def test_a_page_that_is_too_far_behind_is_ended_and_one_that_left_is_forgotten() -> None:
    async def story() -> tuple[int, bool, bool]:
        kept = Kept()
        board = Board(kept.whole, kept.since)
        page = board.read()
        await anext(page)
        for kept.value in range(1, events.MAX_BEHIND + 3):
            board.tell()
        rest = [frame async for frame in page]
        others = [board.read() for _ in range(events.MAX_PAGES)]
        for other in others:
            await anext(other)
        full = board.full
        for other in others:
            await other.aclose()
        return len(rest), full, board.full

    behind, full, after = asyncio.run(story())
    assert behind < 3
    assert (full, after) == (True, False)
