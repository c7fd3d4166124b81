"""An API server for the proxy's tests: objects by kind, watches that end when it is told to break."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec

from fairway.client.base import Listing, Unreachable, WatchEvent
from fairway.objects.kinds import Kind


class FakeApi:
    """The reading half of `Client`, over objects that the test puts and removes. `reachable` False refuses lists and
    ends watches; kinds in `withheld` cannot be listed. `selectors` are the label selectors each kind was asked with."""

    def __init__(self) -> None:
        self.withheld: set[Kind] = set()
        self.selectors: dict[str, set[str]] = {}
        self._reachable = True
        self._revision = 0
        self._objects: dict[Kind, dict[tuple[str, str], bytes]] = {}
        self._log: list[tuple[Kind, int, WatchEvent]] = []
        self._news = asyncio.Condition()

    async def put(self, kind: Kind, raw: bytes) -> None:
        """Create or replace an object."""
        obj, key = self._stamp(raw)
        known = self._objects.setdefault(kind, {})
        event = "MODIFIED" if key in known else "ADDED"
        known[key] = obj
        await self._tell(kind, WatchEvent(event, obj))

    async def remove(self, kind: Kind, raw: bytes) -> None:
        """Delete the object that `raw` names."""
        obj, key = self._stamp(raw)
        del self._objects[kind][key]
        await self._tell(kind, WatchEvent("DELETED", obj))

    async def set_reachable(self, reachable: bool) -> None:
        async with self._news:
            self._reachable = reachable
            self._news.notify_all()

    async def list(self, kind: Kind, namespace: str = "", **asked: Any) -> Listing:
        if not self._reachable or kind in self.withheld:
            raise Unreachable("connection refused")
        self.selectors.setdefault(kind.plural, set()).add(asked["label_selector"])
        return Listing(list(self._objects.get(kind, {}).values()), str(self._revision))

    async def watch(
        self, kind: Kind, namespace: str = "", *, resource_version: str, **_: Any
    ) -> AsyncIterator[WatchEvent]:
        seen = int(resource_version)
        while True:
            async with self._news:
                while self._reachable and self._revision <= seen:
                    await self._news.wait()
                if not self._reachable:
                    raise Unreachable("connection reset")
                fresh = [event for k, revision, event in self._log if k is kind and revision > seen]
                seen = self._revision
            for event in fresh:
                yield event

    def _stamp(self, raw: bytes) -> tuple[bytes, tuple[str, str]]:
        self._revision += 1
        obj = msgspec.json.decode(raw)
        meta = obj["metadata"]
        meta.setdefault("uid", meta["name"])
        meta["resourceVersion"] = str(self._revision)
        return msgspec.json.encode(obj), (meta.get("namespace", ""), meta["name"])

    async def _tell(self, kind: Kind, event: WatchEvent) -> None:
        async with self._news:
            self._log.append((kind, self._revision, event))
            self._news.notify_all()
