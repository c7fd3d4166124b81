"""Watch: store events as the ADDED, MODIFIED and DELETED of what a client selected, bookmarks, and an end.

Each event is encoded once for all watchers of the same form; what a watcher adds of its own is which events it sees.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from datetime import datetime
from typing import Any, Literal

import msgspec

from fairway.api import render, status
from fairway.api.answers import Stream
from fairway.api.options import check_watch
from fairway.api.reads import parse_revision
from fairway.api.requests import Options, Request
from fairway.api.selection import Selection, narrow, select
from fairway.store.base import Compacted, Event, Page, Store, StoreError, TooSlow

Change = Literal["ADDED", "MODIFIED", "DELETED"]

BOOKMARK_SECONDS = 60.0
DEFAULT_TIMEOUT_SECONDS = 3600
CACHED_BYTES = 4 * 1024 * 1024
INITIAL_END = "k8s.io/initial-events-end"


def transition(event: Event, selection: Selection) -> tuple[Change, bytes] | None:
    """What an event is to a client that sees only what it selected, and the bytes to show; None if it is nothing.

    An object that leaves the selection is DELETED, one that enters is ADDED (API conventions, "watch").
    """
    before = event.previous is not None and selection.matches(event.previous)
    after = event.entry is not None and selection.matches(event.entry)
    if after and event.entry:
        return ("MODIFIED" if before else "ADDED"), event.entry.value
    if before and event.previous:
        return "DELETED", (event.entry or event.previous).value
    return None


class EventCache:
    """The last encoded lines, `limit` bytes of them, so that a thousand watchers cost one encoding."""

    def __init__(self, limit: int = CACHED_BYTES) -> None:
        self._lines: OrderedDict[tuple[Any, ...], bytes] = OrderedDict()
        self._limit = limit
        self._size = 0

    def line(self, key: tuple[Any, ...], make: Callable[[], bytes]) -> bytes:
        """The line under `key`, made at most once while it is remembered."""
        found = self._lines.get(key)
        if found is None:
            found = self._lines[key] = make()
            self._size += len(found)
            while self._size > self._limit and len(self._lines) > 1:
                self._size -= len(self._lines.popitem(last=False)[1])
        return found


class Watching:
    """Opens watches on the store."""

    def __init__(self, store: Store, now: Callable[[], datetime], bookmark_seconds: float = BOOKMARK_SECONDS) -> None:
        self._store = store
        self._now = now
        self._bookmark_seconds = bookmark_seconds
        self._cache = EventCache()

    async def watch(self, request: Request) -> Stream:
        """The stream of a watch request. Raises 400, 410, 504 while it can still be a plain answer."""
        options = request.options
        check_watch(options)
        selection = select(request.target, options)
        prefix = narrow(request.target, selection)
        after, initial = await self._start(options, prefix)
        chunks = _Watch(self, request, selection, initial).run(prefix, after)
        return Stream(chunks, "application/json;stream=watch" if request.wanted.form else "application/json")

    async def _start(self, options: Options, prefix: str) -> tuple[int, Page | None]:
        """After which revision to watch, and the state to tell first, if any."""
        revision = parse_revision(options.resource_version)
        current = await self._store.revision()
        if revision > current:
            raise status.too_large_version(revision, current)
        wants_state = options.send_initial_events
        if wants_state is None:
            wants_state = not revision
        if not wants_state:
            return revision or current, None
        page = await self._store.range(prefix)
        return page.revision, page

    def line(self, request: Request, change: Change, value: bytes, revision: int, key: str, first: bool) -> bytes:
        """One event as a line of the stream."""
        form, version = request.wanted.form, request.target.api_version
        if form == "Table":
            # Ages make a table's line the moment's own; the columns are told once per watch.
            return self._encode(request, change, value, revision, columns=first)
        cache_key = (revision, key, change, form, version)
        return self._cache.line(cache_key, lambda: self._encode(request, change, value, revision))

    def _encode(self, request: Request, change: Change, value: bytes, revision: int, columns: bool = True) -> bytes:
        body = render.form_bytes(request.target, request.wanted, request.options, value, revision, self._now())
        if not columns:
            shown = msgspec.json.decode(body)
            shown["columnDefinitions"] = None
            body = msgspec.json.encode(shown)
        return b'{"type":"%b","object":%b}\n' % (change.encode(), body)

    async def current(self) -> int:
        """The store's revision."""
        return await self._store.revision()

    def events(self, prefix: str, after: int) -> AsyncGenerator[Sequence[Event], None]:
        """The store's own watch."""
        return self._store.watch(prefix, after)

    @property
    def bookmark_seconds(self) -> float:
        """How long a watch may be silent before a bookmark is due."""
        return self._bookmark_seconds


class _Watch:
    """One client's watch."""

    def __init__(self, watching: Watching, request: Request, selection: Selection, initial: Page | None) -> None:
        self._watching = watching
        self._request = request
        self._selection = selection
        self._initial = initial
        self._first = True

    async def run(self, prefix: str, after: int) -> AsyncGenerator[bytes, None]:
        """The lines, until the time is over or the store ends the watch (told as an ERROR event)."""
        if self._initial is not None:
            yield self._state(self._initial)
        timeout = self._request.options.timeout_seconds
        seconds = timeout if timeout > 0 else DEFAULT_TIMEOUT_SECONDS
        deadline = asyncio.get_running_loop().time() + seconds
        # Closed from the inside out: the store's watch cannot be closed while a read of it is under way.
        async with (
            aclosing(self._watching.events(prefix, after)) as events,
            aclosing(self._follow(events, after, deadline)) as chunks,
        ):
            async for chunk in chunks:
                yield chunk

    async def _follow(
        self, events: AsyncGenerator[Sequence[Event], None], told: int, deadline: float
    ) -> AsyncGenerator[bytes, None]:
        loop = asyncio.get_running_loop()
        seen = await self._watching.current()
        pending: asyncio.Future[Sequence[Event]] | None = None
        try:
            while (left := deadline - loop.time()) > 0:
                pending = pending or asyncio.ensure_future(anext(events))
                done, _ = await asyncio.wait([pending], timeout=min(left, self._watching.bookmark_seconds))
                if done:
                    batch, pending = pending.result(), None
                    told = batch[-1].revision
                    if lines := self._lines(batch):
                        yield lines
                elif self._request.options.allow_bookmarks and loop.time() < deadline:
                    # Silence since `seen` was read means that everything up to it was told.
                    told, seen = max(told, seen), await self._watching.current()
                    yield self._bookmark(told)
        except (StoreError, StopAsyncIteration) as error:
            yield self._error(error)
        finally:
            if pending:
                pending.cancel()
                await asyncio.wait([pending])

    def _state(self, page: Page) -> bytes:
        lines = [
            self._line("ADDED", entry.value, entry.modified, entry.key)
            for entry in page.entries
            if self._selection.matches(entry)
        ]
        if self._request.options.send_initial_events and self._request.options.allow_bookmarks:
            lines.append(self._bookmark(page.revision, {INITIAL_END: "true"}))
        return b"".join(lines)

    def _lines(self, batch: Sequence[Event]) -> bytes:
        lines = []
        for event in batch:
            if found := transition(event, self._selection):
                change, value = found
                lines.append(self._line(change, value, event.revision, event.key))
        return b"".join(lines)

    def _line(self, change: Change, value: bytes, revision: int, key: str) -> bytes:
        first, self._first = self._first, False
        return self._watching.line(self._request, change, value, revision, key, first)

    def _bookmark(self, revision: int, annotations: dict[str, str] | None = None) -> bytes:
        target = self._request.target
        metadata: dict[str, Any] = {"resourceVersion": str(revision), "creationTimestamp": None}
        if annotations:
            metadata["annotations"] = annotations
        shown: dict[str, Any] = {"kind": target.kind.name, "apiVersion": target.api_version, "metadata": metadata}
        if self._request.wanted.form == "Table":
            row_object = render.partial(shown)
            table_metadata = {"resourceVersion": str(revision)}
            rows = [{"cells": [], "object": row_object}]
            shown = {"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": table_metadata, "rows": rows}
        elif self._request.wanted.form:
            shown = render.partial(shown)
        return msgspec.json.encode({"type": "BOOKMARK", "object": shown}) + b"\n"

    def _error(self, error: Exception) -> bytes:
        match error:
            case Compacted():
                failure = status.expired(f"too old resource version: {error.asked} ({error.oldest})")
            case TooSlow():
                failure = status.expired(f"too old resource version: {error}")
            case _:
                failure = status.unavailable(f"the watch ended: {error}")
        return msgspec.json.encode({"type": "ERROR", "object": failure.status()}) + b"\n"
