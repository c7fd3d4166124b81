"""As much of an API server as the followers of the DNS server see."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

from fairway.client.base import ApiError, Listing, Unreachable, WatchEvent
from fairway.objects.kinds import ENDPOINT_SLICE, NAMESPACE, POD, SERVICE, Kind
from tests.unit.dns.cluster import Object


class Api:
    """What is there (by plural), what happens next, and whether it can be reached."""

    def __init__(self, **objects: list[Object]) -> None:
        self.objects = {kind: objects.get(kind.plural, []) for kind in (NAMESPACE, SERVICE, ENDPOINT_SLICE, POD)}
        self.away: set[Kind] = set()
        self.may_list = asyncio.Event()
        self.may_list.set()
        self._events: dict[Kind, asyncio.Queue[WatchEvent | Exception]]
        self._events = {kind: asyncio.Queue() for kind in self.objects}
        self._revision = 1

    def tell(self, kind: Kind, type: str, obj: Object) -> None:
        """One event on the watch of `kind`."""
        self._revision += 1
        metadata = obj["metadata"] | {"uid": obj["metadata"]["name"], "resourceVersion": str(self._revision)}
        self._events[kind].put_nowait(WatchEvent(type, json.dumps(obj | {"metadata": metadata}).encode()))

    def leave(self) -> None:
        """Break every watch and answer nothing from now on."""
        self.away = set(self.objects)
        for events in self._events.values():
            events.put_nowait(Unreachable("the API is away"))

    def lose_history(self, kind: Kind) -> None:
        """Break the watch of `kind` in a way that only another listing helps."""
        self._events[kind].put_nowait(ApiError(410, "Expired", "too old"))

    async def list(self, kind: Kind, namespace: str = "", **_: object) -> Listing:
        await self.may_list.wait()
        if kind in self.away:
            raise Unreachable("the API is away")
        return Listing([json.dumps(each).encode() for each in self.objects[kind]], "1")

    async def watch(self, kind: Kind, namespace: str = "", **_: object) -> AsyncIterator[WatchEvent]:
        while kind not in self.away:
            event = await self._events[kind].get()
            if isinstance(event, Exception):
                raise event
            yield event
        raise Unreachable("the API is away")
