"""An API server in memory, as small as the node agent's tests allow: it honours `client.base.Client`."""

from __future__ import annotations

import asyncio
import copy
import json
import uuid
from collections.abc import AsyncIterator, Callable
from typing import Any

from fairway.client.base import ApiError, Listing, Object, PatchType, WatchEvent
from fairway.objects.kinds import Kind

Key = tuple[str, str, str]


class FakeApi:
    """Objects by (plural, namespace, name). `on_write` hears of every change as (event type, object); `on_create` may
    amend an object before it is stored, as the real server's allocators do."""

    def __init__(
        self,
        on_write: Callable[[str, Object], None] = lambda *_: None,
        on_create: Callable[[Kind, Object], None] = lambda *_: None,
    ) -> None:
        self.objects: dict[Key, Object] = {}
        self.log: list[tuple[int, str, str, bytes]] = []
        self.revision = 0
        self.changed = asyncio.Condition()
        self._on_write = on_write
        self._on_create = on_create

    def put(self, kind: Kind, obj: Object, event: str = "MODIFIED") -> Object:
        """Store an object as its writer means it."""
        self.revision += 1
        meta = obj.setdefault("metadata", {})
        meta.setdefault("uid", str(uuid.uuid4()))
        meta["resourceVersion"] = str(self.revision)
        obj.setdefault("kind", kind.name)
        obj.setdefault("apiVersion", kind.api_version)
        key = (kind.plural, meta.get("namespace", ""), meta["name"])
        stored = copy.deepcopy(obj)
        if event == "DELETED":
            self.objects.pop(key, None)
        else:
            event = "MODIFIED" if key in self.objects else "ADDED"
            self.objects[key] = stored
        self.log.append((self.revision, kind.plural, event, json.dumps(stored).encode()))
        self._on_write(event, stored)
        asyncio.get_running_loop().create_task(self._wake())
        return copy.deepcopy(stored)

    async def _wake(self) -> None:
        async with self.changed:
            self.changed.notify_all()

    def find(self, kind: Kind, name: str, namespace: str = "") -> Object:
        found = self.objects.get((kind.plural, namespace, name))
        if found is None:
            raise ApiError(404, "NotFound", f'{kind.plural} "{name}" not found')
        return found

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until a condition on the objects holds."""
        async with asyncio.timeout(20), self.changed:
            await self.changed.wait_for(condition)

    async def _newer_than(self, revision: int) -> None:
        async with self.changed:
            await self.changed.wait_for(lambda: self.revision > revision)

    def _selected(self, kind: Kind, raw: bytes, field_selector: str) -> bool:
        if not field_selector:
            return True
        path, _, wanted = field_selector.partition("=")
        value: Any = json.loads(raw)
        for part in path.split("."):
            value = (value or {}).get(part)
        return bool(value == wanted)

    async def list(self, kind: Kind, namespace: str = "", **options: Any) -> Listing:
        raws = [json.dumps(obj).encode() for key, obj in self.objects.items() if key[0] == kind.plural]
        selector = options.get("field_selector", "")
        return Listing([raw for raw in raws if self._selected(kind, raw, selector)], str(self.revision))

    async def watch(
        self, kind: Kind, namespace: str = "", *, resource_version: str, field_selector: str = "", **_: Any
    ) -> AsyncIterator[WatchEvent]:
        position = int(resource_version)
        while True:
            await self._newer_than(position)
            for revision, plural, event, raw in self.log:
                if revision > position and plural == kind.plural and self._selected(kind, raw, field_selector):
                    yield WatchEvent(event, raw)
            position = self.revision

    async def get(self, kind: Kind, name: str, namespace: str = "") -> Object:
        return copy.deepcopy(self.find(kind, name, namespace))

    async def create(self, kind: Kind, obj: Object, namespace: str = "") -> Object:
        obj = copy.deepcopy(obj)
        if namespace:
            obj["metadata"]["namespace"] = namespace
        if (kind.plural, namespace, obj["metadata"]["name"]) in self.objects:
            raise ApiError(409, "AlreadyExists", "exists")
        self._on_create(kind, obj)
        return self.put(kind, obj)

    async def update(self, kind: Kind, obj: Object, *, subresource: str = "") -> Object:
        self.find(kind, obj["metadata"]["name"], obj["metadata"].get("namespace", ""))
        return self.put(kind, obj)

    async def patch(
        self,
        kind: Kind,
        name: str,
        patch: Any,
        namespace: str = "",
        *,
        type: PatchType = "merge",
        subresource: str = "",
    ) -> Object:
        present = copy.deepcopy(self.find(kind, name, namespace))
        uid = (patch.get("metadata") or {}).get("uid", present["metadata"]["uid"])
        if uid != present["metadata"]["uid"]:
            raise ApiError(409, "Conflict", "uid differs")
        merged = merge(present, patch)
        if merged == present:
            return present
        return self.put(kind, merged)

    async def delete(self, kind: Kind, name: str, namespace: str = "", **options: Any) -> Object:
        present = self.find(kind, name, namespace)
        if options.get("uid") and options["uid"] != present["metadata"]["uid"]:
            raise ApiError(409, "Conflict", "uid differs")
        return self.put(kind, present, "DELETED")

    async def post(self, kind: Kind, name: str, namespace: str, subresource: str, body: Object) -> Object:
        raise ApiError(404, "NotFound", subresource)

    async def close(self) -> None:
        return None


def merge(target: Any, patch: Any) -> Any:
    """RFC 7386."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge(merged.get(name), value)
    return merged
