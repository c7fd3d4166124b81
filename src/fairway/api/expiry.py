"""Events do not last: an hour after its last occurrence one is removed (kube-apiserver's --event-ttl).

Nobody is told of it beforehand and nothing depends on it, so a server does it by itself, a piece at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import msgspec

from fairway.api.keys import prefix_of
from fairway.objects.kinds import EVENT
from fairway.store.base import Check, Conflict, Delete, Store

LIFE = timedelta(hours=1)
PIECE = 500


class _Metadata(msgspec.Struct):
    creationTimestamp: datetime | None = None


class _Series(msgspec.Struct):
    lastObservedTime: datetime | None = None


class _Times(msgspec.Struct):
    metadata: _Metadata
    lastTimestamp: datetime | None = None
    firstTimestamp: datetime | None = None
    eventTime: datetime | None = None
    series: _Series | None = None


def last_seen(value: bytes) -> datetime | None:
    """When a stored Event was last heard of; None for one that does not say so in a way that can be read."""
    try:
        times = msgspec.json.decode(value, type=_Times)
    except msgspec.ValidationError:
        return None
    series = times.series.lastObservedTime if times.series else None
    said = (times.metadata.creationTimestamp, times.firstTimestamp, times.eventTime, times.lastTimestamp, series)
    return max((moment.astimezone(UTC) for moment in said if moment), default=None)


async def sweep(store: Store, now: Callable[[], datetime], life: timedelta = LIFE) -> int:
    """Remove the Events that are older than `life`; returns how many. One that changes meanwhile stays."""
    removed = 0
    after, more = "", True
    while more:
        page = await store.range(prefix_of(EVENT), after=after, limit=PIECE)
        more, after = page.more, page.entries[-1].key if page.entries else ""
        for entry in page.entries:
            seen = last_seen(entry.value)
            if seen is None or seen + life > now():
                continue
            try:
                await store.commit([Check(entry.key, entry.modified)], [Delete(entry.key)])
                removed += 1
            except Conflict:
                continue
    return removed
