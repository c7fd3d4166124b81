"""The loop that keeps a `Cache` true: list, watch, go on from the last revision, list again when history is gone.

A broken connection or a restarted server costs a delay, never an event: the watch resumes after the last revision
seen, and a new listing is compared with the cache so that only real differences are told.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from typing import Generic, NoReturn, TypeVar

import msgspec

from fairway.client.base import ApiError, Client, Listing, Unreachable
from fairway.client.informer import Cache, Change, Key
from fairway.objects.kinds import Kind

T = TypeVar("T")
Item = TypeVar("Item")

FIRST_DELAY = 0.05
"""Seconds before the first new attempt after a failure; each further one doubles it."""
LONGEST_DELAY = 5.0
"""Seconds that a delay never exceeds, so that a server that comes back is noticed soon."""
WATCH_SECONDS = (300, 600)
"""A watch asks the server to end it after a time drawn from here, so that a connection which died without a word is
found out, and so that many watchers do not return at once."""

PAGE = 500
"""Objects that are listed at once where a listing is taken in lots: what a server sends in a moment."""
EVENTS = 16
"""Events of a watch that are taken without letting others have their turn: they may come by the thousand."""

_log = logging.getLogger(__name__)


class Backoff:
    """Delays that double from `first` to `longest` seconds, each shortened by up to half at random (`jitter` in
    [0, 1)) so that many clients of one failed server come back spread out."""

    def __init__(self, jitter: Callable[[], float], first: float = FIRST_DELAY, longest: float = LONGEST_DELAY) -> None:
        self._jitter = jitter
        self._first = first
        self._longest = longest
        self._next = first

    def reset(self) -> None:
        """Start from the first delay again."""
        self._next = self._first

    def next(self) -> float:
        """The seconds to wait now."""
        delay = self._next * (1 - self._jitter() / 2)
        self._next = min(self._next * 2, self._longest)
        return delay


async def follow(
    client: Client,
    kind: Kind,
    cache: Cache[T],
    *,
    namespace: str = "",
    label_selector: str = "",
    field_selector: str = "",
    on_change: Callable[[Sequence[Change[T]]], None] | None = None,
    on_synced: Callable[[], None] | None = None,
    on_failure: Callable[[Exception], None] | None = None,
    jitter: Callable[[], float] = random.random,
    lot: int = 0,
) -> NoReturn:
    """Keep `cache` in step with the server until cancelled.

    `on_change` gets the changes of each listing or event after they are in the cache (never an empty sequence);
    `on_synced` is called once, after the first listing and its `on_change`; `on_failure` gets what kept a listing or a
    watch from going on, which is tried again. What they raise ends the loop: they are the caller's own code. With a
    `lot` listings come in pages, and `on_change` gets the changes of so many objects at a time, between which others
    have their turn: for those who answer questions meanwhile.
    """
    follower = _Follower(client, kind, cache, (namespace, label_selector, field_selector), on_change, jitter, lot)
    backoff = Backoff(jitter)
    while True:
        try:
            if not cache.resource_version:
                first = not cache.synced
                await follower.list()
                if first and on_synced is not None:
                    on_synced()
            await follower.watch(backoff)
        except (ApiError, Unreachable, msgspec.DecodeError) as error:
            if _history_is_lost(error):
                cache.resource_version = ""
            _log.warning("following %s: %s", kind.plural, error)
            if on_failure is not None:
                on_failure(error)
        await asyncio.sleep(backoff.next())


def _history_is_lost(error: Exception) -> bool:
    """Whether to list again. 410 says so; any other refusal of a watch may come from a server that does not know our
    revision (restored from a backup). Overload and absence are no reason to ask for more."""
    return isinstance(error, ApiError) and error.code not in (429, 500, 502, 503)


class _Follower(Generic[T]):
    """One `follow`: what it asks for and whom it tells."""

    def __init__(
        self,
        client: Client,
        kind: Kind,
        cache: Cache[T],
        scope: tuple[str, str, str],
        on_change: Callable[[Sequence[Change[T]]], None] | None,
        jitter: Callable[[], float],
        lot: int,
    ) -> None:
        self._client = client
        self._kind = kind
        self._cache = cache
        self._namespace, self._labels, self._fields = scope
        self._on_change = on_change
        self._jitter = jitter
        self._lot = lot

    def tell(self, changes: Sequence[Change[T]]) -> None:
        if changes and self._on_change is not None:
            self._on_change(changes)

    async def list(self) -> None:
        """Make the cache true to a new listing."""
        if not self._lot:
            pages = [page async for page in self._pages()]
            items = pages[0].items if len(pages) == 1 else [raw for page in pages for raw in page.items]
            self.tell(self._cache.replace(Listing(items, pages[-1].resource_version)))
            return
        before, listed, revision = self._cache.keys, set[Key](), ""
        async for page in self._pages():
            revision = page.resource_version
            async for lot in _lots(page.items, self._lot):
                self.tell(self._cache.take(lot, listed))
        async for keys in _lots(before, self._lot):
            self.tell(self._cache.strike(keys, listed))
        self._cache.stand_at(revision)

    async def _pages(self) -> AsyncIterator[Listing]:
        """The pages of a listing: a server may insist on them."""
        token = ""
        while True:
            page = await self._client.list(
                self._kind,
                self._namespace,
                label_selector=self._labels,
                field_selector=self._fields,
                limit=PAGE if self._lot else 0,
                continue_token=token,
            )
            yield page
            token = page.continue_token
            if not token:
                return

    async def watch(self, backoff: Backoff) -> None:
        """Feed one watch to the cache until the server ends it. An event proves the server well: `backoff` starts
        anew."""
        shortest, longest = WATCH_SECONDS
        events = self._client.watch(
            self._kind,
            self._namespace,
            resource_version=self._cache.resource_version,
            label_selector=self._labels,
            field_selector=self._fields,
            timeout_seconds=round(shortest + (longest - shortest) * self._jitter()),
        )
        async with aclosing(events) as stream:  # type: ignore[type-var]
            number = 0
            async for event in stream:
                backoff.reset()
                change = self._cache.apply(event)
                if change is not None:
                    self.tell((change,))
                number += 1
                if number % EVENTS == 0:
                    await asyncio.sleep(0)


async def _lots(items: Sequence[Item], size: int) -> AsyncIterator[Sequence[Item]]:
    """So many at a time, and between them whatever else is to be done."""
    for start in range(0, len(items), size):
        yield items[start : start + size]
        await asyncio.sleep(0)
