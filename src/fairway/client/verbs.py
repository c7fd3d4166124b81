"""The client contract's verbs, said once for every way of reaching a server: a subclass only carries bytes."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

import msgspec

from fairway.client.base import Listing, Object, PatchType, Unreachable, WatchEvent
from fairway.client.wire import PATCH_TYPES, Lines, delete_options, failure, listing, target, watch_event
from fairway.objects.kinds import Kind

FIELD_MANAGER = "fairway"
"""Who the server is told applies fields (server-side apply)."""
WATCH_GRACE_SECONDS = 30.0
"""How long after its own time-out a watch may be silent before the connection counts as dead."""

_DECODER = msgspec.json.Decoder(dict[str, Any])


class Verbs:
    """`fairway.client.base.Client` over `_request` and `_stream`. `server` names the server in errors. `answered` hears
    of each request when its answer is there, of a watch when it begins: method, status (0: no answer), seconds."""

    server: str
    answered: Callable[[str, int, float], None] | None = None

    async def _request(self, method: str, path: str, body: bytes, content_type: str) -> tuple[int, bytes]:
        """One exchange: (status, body). Raises Unreachable."""
        raise NotImplementedError

    def _stream(self, path: str, seconds: float | None) -> AsyncGenerator[tuple[int, bytes], None]:
        """A GET told as it comes: (status, piece), each waited for at most `seconds`. Raises Unreachable."""
        raise NotImplementedError

    async def list(
        self,
        kind: Kind,
        namespace: str = "",
        *,
        label_selector: str = "",
        field_selector: str = "",
        resource_version: str = "",
        limit: int = 0,
        continue_token: str = "",
    ) -> Listing:
        path = target(
            kind,
            namespace,
            labelSelector=label_selector,
            fieldSelector=field_selector,
            resourceVersion=resource_version,
            limit=limit,
            **{"continue": continue_token},
        )
        body = await self._exchange("GET", path)
        try:
            return listing(kind, body)
        except msgspec.DecodeError as error:
            raise self._nonsense(error) from error

    async def watch(
        self,
        kind: Kind,
        namespace: str = "",
        *,
        resource_version: str,
        label_selector: str = "",
        field_selector: str = "",
        timeout_seconds: int = 0,
    ) -> AsyncIterator[WatchEvent]:
        path = target(
            kind,
            namespace,
            watch=True,
            allowWatchBookmarks=True,
            resourceVersion=resource_version,
            labelSelector=label_selector,
            fieldSelector=field_selector,
            timeoutSeconds=timeout_seconds,
        )
        seconds = timeout_seconds + WATCH_GRACE_SECONDS if timeout_seconds else None
        lines = Lines()
        async with aclosing(self._pieces(path, seconds)) as pieces:
            async for piece in pieces:
                for line in lines.feed(piece):
                    try:
                        yield watch_event(line)
                    except msgspec.DecodeError as error:
                        raise self._nonsense(error) from error

    async def get(self, kind: Kind, name: str, namespace: str = "") -> Object:
        return self._object(await self._exchange("GET", target(kind, namespace, name)))

    async def create(self, kind: Kind, obj: Object, namespace: str = "") -> Object:
        namespace = namespace or obj.get("metadata", {}).get("namespace", "")
        return self._object(await self._exchange("POST", target(kind, namespace), obj))

    async def update(self, kind: Kind, obj: Object, *, subresource: str = "") -> Object:
        metadata = obj["metadata"]
        path = target(kind, metadata.get("namespace", ""), metadata["name"], subresource)
        return self._object(await self._exchange("PUT", path, obj))

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
        manager = FIELD_MANAGER if type == "apply" else ""
        path = target(kind, namespace, name, subresource, fieldManager=manager)
        return self._object(await self._exchange("PATCH", path, patch, PATCH_TYPES[type]))

    async def delete(
        self,
        kind: Kind,
        name: str,
        namespace: str = "",
        *,
        grace_seconds: int | None = None,
        uid: str = "",
        propagation: str = "",
    ) -> Object:
        options = delete_options(grace_seconds, uid, propagation)
        return self._object(await self._exchange("DELETE", target(kind, namespace, name), options))

    async def post(self, kind: Kind, name: str, namespace: str, subresource: str, body: Object) -> Object:
        return self._object(await self._exchange("POST", target(kind, namespace, name, subresource), body))

    async def _exchange(
        self, method: str, path: str, body: Any = None, content_type: str = "application/json"
    ) -> bytes:
        encoded = b"" if body is None else msgspec.json.encode(body)
        begun, status = time.monotonic(), 0
        try:
            status, answer = await self._request(method, path, encoded, content_type)
        finally:
            self._tell(method, status, begun)
        if status >= 300:
            raise failure(status, answer)
        return answer

    async def _pieces(self, path: str, seconds: float | None) -> AsyncGenerator[bytes, None]:
        refusal = b""
        begun, status = time.monotonic(), 0
        try:
            async with aclosing(self._stream(path, seconds)) as pieces:
                async for found, piece in pieces:
                    if not status:
                        status = found
                        self._tell("GET", status, begun)
                    if status >= 300:
                        refusal += piece
                    elif piece:
                        yield piece
        finally:
            if not status:
                self._tell("GET", status, begun)
        if status >= 300:
            raise failure(status, refusal)

    def _tell(self, method: str, status: int, begun: float) -> None:
        if self.answered is not None:
            self.answered(method, status, time.monotonic() - begun)

    def _object(self, body: bytes) -> Object:
        try:
            return _DECODER.decode(body)
        except msgspec.DecodeError as error:
            raise self._nonsense(error) from error

    def _nonsense(self, error: Exception) -> Unreachable:
        return Unreachable(f"{self.server} does not answer as an API server does: {error}")
