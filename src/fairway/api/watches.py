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
from fairway.store.base import Bell, Compacted, Event, Page, Store, StoreError, TooSlow

Change = Literal["ADDED", "MODIFIED", "DELETED"]

BOOKMARK_SECONDS = 60.0
DEFAULT_TIMEOUT_SECONDS = 3600
CACHED_BYTES = 4 * 1024 * 1024
ENTRY_BYTES = 256
"""What remembering a line costs besides the line."""
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


Audience = tuple[str, ...]
"""What watches have in common that are told the same."""


class EventCache:
    """The last encoded lines, about `limit` bytes of them, so that a thousand watchers cost one encoding."""

    def __init__(self, limit: int = CACHED_BYTES) -> None:
        self._lines: OrderedDict[tuple[Any, ...], bytes] = OrderedDict()
        self._limit = limit
        self._size = 0

    def line(self, key: tuple[Any, ...], make: Callable[[], bytes]) -> bytes:
        """The line under `key`, made at most once while it is remembered."""
        found = self._lines.get(key)
        if found is None:
            found = self._lines[key] = make()
            self._size += len(found) + ENTRY_BYTES
            while self._size > self._limit and len(self._lines) > 1:
                self._size -= len(self._lines.popitem(last=False)[1]) + ENTRY_BYTES
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

    def told(self, request: Request, audience: Audience, selection: Selection, event: Event) -> bytes:
        """What an event is to those who asked for the same, as a line of the stream: b"" if nothing."""

        def make() -> bytes:
            found = transition(event, selection)
            return self.line(request, *found, event.revision, event.key) if found else b""

        return self._cache.line((audience, event.revision, event.key), make)

    def line(self, request: Request, change: Change, value: bytes, revision: int, key: str) -> bytes:
        """One event as a line of the stream."""
        cache_key = (revision, key, change, request.wanted.form, request.target.api_version)
        return self._cache.line(cache_key, lambda: self.encode(request, change, value, revision))

    def encode(self, request: Request, change: Change, value: bytes, revision: int, columns: bool = True) -> bytes:
        """One event as a line of the stream, a table's without its columns where they were told before."""
        body = render.form_bytes(request.target, request.wanted, request.options, value, revision, self._now())
        if not columns:
            shown = msgspec.json.decode(body)
            shown["columnDefinitions"] = None
            body = msgspec.json.encode(shown)
        return b'{"type":"%b","object":%b}\n' % (change.encode(), body)

    async def current(self) -> int:
        """The store's revision."""
        return await self._store.revision()

    def events(self, prefix: str, after: int, bell: Bell) -> AsyncGenerator[Sequence[Event], None]:
        """The store's own watch."""
        return self._store.watch(prefix, after, bell)

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
        wanted, target, options = request.wanted, request.target, request.options
        self._audience: Audience = (
            target.kind.group,
            target.kind.plural,
            target.api_version,
            target.name,
            wanted.form,
            options.label_selector,
            options.field_selector,
        )

    async def run(self, prefix: str, after: int) -> AsyncGenerator[bytes, None]:
        """The lines, until the time is over or the store ends the watch (told as an ERROR event)."""
        if self._initial is not None:
            yield self._state(self._initial)
        loop, patience, bell = asyncio.get_running_loop(), self._watching.bookmark_seconds, Bell()
        timeout = self._request.options.timeout_seconds
        spoken = loop.time()
        deadline = spoken + (timeout if timeout > 0 else DEFAULT_TIMEOUT_SECONDS)
        told, seen = after, await self._watching.current()
        alarm = loop.call_at(min(deadline, spoken + patience), bell.ring)
        try:
            async with aclosing(self._watching.events(prefix, after, bell)) as events:
                async for batch in events:
                    if batch:
                        told = batch[-1].revision
                        if lines := self._lines(batch):
                            spoken = loop.time()
                            yield lines
                        continue
                    now = loop.time()
                    if now >= deadline:
                        return
                    if now >= spoken + patience:
                        spoken = now
                        if self._request.options.allow_bookmarks:
                            # Silence since `seen` was read means that everything up to it was told.
                            told, seen = max(told, seen), await self._watching.current()
                            yield self._bookmark(told)
                    alarm = loop.call_at(min(deadline, spoken + patience), bell.ring)
        except StoreError as error:
            yield self._error(error)
        finally:
            alarm.cancel()

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
        if self._request.wanted.form != "Table":
            tell, request, audience, selection = self._watching.told, self._request, self._audience, self._selection
            if len(batch) == 1:
                return tell(request, audience, selection, batch[0])
            return b"".join([tell(request, audience, selection, event) for event in batch])
        found = [(event, seen) for event in batch if (seen := transition(event, self._selection))]
        return b"".join([self._line(*seen, event.revision, event.key) for event, seen in found])

    def _line(self, change: Change, value: bytes, revision: int, key: str) -> bytes:
        if self._request.wanted.form != "Table":
            return self._watching.line(self._request, change, value, revision, key)
        # Ages make a table's line the moment's own; the columns are told once per watch.
        first, self._first = self._first, False
        return self._watching.encode(self._request, change, value, revision, columns=first)

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
