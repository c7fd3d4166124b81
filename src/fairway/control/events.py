"""Events: what users read at the end of `kubectl describe`. Repetitions become a count on one Event object.

`Tally` is pure; `Recorder` writes behind the controllers' backs, best effort: an event that cannot be written is lost,
never waited for.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable
from typing import NoReturn

from fairway.client.base import ApiError, Client, Object, Unreachable
from fairway.control.times import stamp
from fairway.control.writes import Create, Note, Patch, Write
from fairway.objects.kinds import EVENT

REMEMBERED = 1024
"""So many different events are remembered for counting."""
WAITING = 1000
"""So many events may wait to be written; further ones are lost."""
BURST = 25
"""An object may have so many new events from one source at once, and one more every `REFILL_SECONDS`."""
REFILL_SECONDS = 60.0
_LONGEST_MESSAGE = 1024

_log = logging.getLogger(__name__)


class Tally:
    """Turns notes into writes: the first of its sort creates an Event, each repetition raises its count."""

    def __init__(self) -> None:
        self._seen: OrderedDict[tuple[str, ...], tuple[str, int]] = OrderedDict()
        self._budget: OrderedDict[tuple[str, str], tuple[float, float]] = OrderedDict()
        self._moment = 0

    def write(self, note: Note, component: str, now: float) -> Write | None:
        """The write for a note made at `now` (seconds since the epoch); None when its object has had too many."""
        metadata = note.regarding["metadata"]
        namespace = metadata.get("namespace") or "default"
        who = metadata.get("uid", "")
        sort = (who, namespace, metadata["name"], component, note.type, note.reason, note.message)
        seen = self._seen.get(sort)
        if not self._allow((who, component), now):
            return None
        if seen is not None:
            name, count = seen
            self._remember(sort, name, count + 1)
            return Patch(EVENT, namespace, name, {"count": count + 1, "lastTimestamp": stamp(now)})
        self._moment = max(int(now * 1e9), self._moment + 1)  # names are made of the time and must differ
        name = f"{metadata['name']}.{self._moment:x}"
        self._remember(sort, name, 1)
        return Create(EVENT, _event(note, component, namespace, name, now))

    def forget(self, name: str) -> None:
        """The Event object `name` is not there any more: the next repetition makes a new one."""
        for sort in [sort for sort, (each, _) in self._seen.items() if each == name]:
            del self._seen[sort]

    def _remember(self, sort: tuple[str, ...], name: str, count: int) -> None:
        self._seen[sort] = (name, count)
        self._seen.move_to_end(sort)
        if len(self._seen) > REMEMBERED:
            self._seen.popitem(last=False)

    def _allow(self, source: tuple[str, str], now: float) -> bool:
        left, when = self._budget.pop(source, (float(BURST), now))
        left = min(left + (now - when) / REFILL_SECONDS, BURST)
        self._budget[source] = (max(left - 1, 0.0) if left >= 1 else left, now)
        if len(self._budget) > REMEMBERED:
            self._budget.popitem(last=False)
        return left >= 1


def _event(note: Note, component: str, namespace: str, name: str, now: float) -> Object:
    metadata = note.regarding["metadata"]
    regarding = {
        "apiVersion": note.kind.api_version,
        "kind": note.kind.name,
        "name": metadata["name"],
        "namespace": metadata.get("namespace", ""),
        "uid": metadata.get("uid", ""),
        "resourceVersion": metadata.get("resourceVersion", ""),
    }
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": name, "namespace": namespace},
        "involvedObject": {field: value for field, value in regarding.items() if value},
        "reason": note.reason,
        "message": note.message[:_LONGEST_MESSAGE],
        "type": note.type,
        "source": {"component": component},
        "firstTimestamp": stamp(now),
        "lastTimestamp": stamp(now),
        "count": 1,
        "reportingComponent": component,
        "reportingInstance": "",
    }


class Recorder:
    """Takes notes at once and writes them one after the other while `run` runs."""

    def __init__(self, client_of: Callable[[str], Client], clock: Callable[[], float]) -> None:
        """`client_of` gives the client of a component."""
        self._client_of = client_of
        self._clock = clock
        self._tally = Tally()
        self._waiting: asyncio.Queue[tuple[Write, str]] = asyncio.Queue(WAITING)

    def tell(self, note: Note, component: str) -> None:
        """Write the note when there is time."""
        write = self._tally.write(note, component, self._clock())
        if write is not None and not self._waiting.full():
            self._waiting.put_nowait((write, component))

    async def run(self) -> NoReturn:
        """Write until cancelled."""
        while True:
            write, component = await self._waiting.get()
            try:
                await self._perform(write, self._client_of(component))
            except (ApiError, Unreachable) as error:
                _log.info("an event is lost: %s", error)

    async def _perform(self, write: Write, client: Client) -> None:
        if isinstance(write, Create):
            await client.create(write.kind, write.obj, write.obj["metadata"]["namespace"])
        elif isinstance(write, Patch):
            try:
                await client.patch(write.kind, write.name, write.patch, write.namespace)
            except ApiError as error:
                self._tally.forget(write.name)
                raise error
