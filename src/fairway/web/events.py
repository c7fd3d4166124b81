"""Server-sent events (HTML Living Standard, section 9.2): changes collected for a moment, then told to every page."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Any

import msgspec

MOMENT_SECONDS = 0.2
"""For how long changes are collected: a rollout changes many objects, and people see no faster."""
SILENCE_SECONDS = 15.0
"""After which silence a word is said, so that a page that has gone is noticed."""
MAX_PAGES = 32
"""Pages at a time."""
MAX_BEHIND = 256
"""Events that a page may not have read yet; one that is further behind begins anew."""
_END = b""


def frame(event: str, value: Any) -> bytes:
    """One event."""
    return b"event: %b\ndata: %b\n\n" % (event.encode(), msgspec.json.encode(value))


class Board:
    """What pages look at. `whole` gives everything, `since` what has changed since it was last asked (None:
    nothing)."""

    def __init__(self, whole: Callable[[], Any], since: Callable[[], Any]) -> None:
        self._whole = whole
        self._since = since
        self._pages: set[asyncio.Queue[bytes]] = set()
        self._timer: asyncio.TimerHandle | None = None

    def touched(self) -> None:
        """Something has changed: tell it after a moment."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(MOMENT_SECONDS, self.tell)

    def tell(self) -> None:
        """Tell now what has changed."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        changes = self._since()
        if changes is None:
            return
        told = frame("change", changes)
        for page in self._pages:
            if page.full():
                while not page.empty():
                    page.get_nowait()
                page.put_nowait(_END)
            else:
                page.put_nowait(told)

    @property
    def full(self) -> bool:
        """Whether no more pages can be served."""
        return len(self._pages) >= MAX_PAGES

    async def read(self) -> AsyncGenerator[bytes, None]:
        """Everything, then changes until the reader goes. A page that reads slowly is dropped by its connection."""
        self.tell()  # what others have not heard yet is in the whole that this page gets
        page: asyncio.Queue[bytes] = asyncio.Queue(MAX_BEHIND)
        self._pages.add(page)
        try:
            yield frame("whole", self._whole())
            while True:
                try:
                    async with asyncio.timeout(SILENCE_SECONDS):
                        told = await page.get()
                except TimeoutError:
                    told = b": still here\n\n"
                if told == _END:
                    return
                yield told
        finally:
            self._pages.discard(page)
