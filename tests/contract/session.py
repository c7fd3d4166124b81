"""A talk with an API server in process: requests as lines, answers as values. What tests of the API speak."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

from fairway.api.answers import Answer, Stream
from fairway.api.auth import User
from fairway.api.server import Api, ApiConfig
from fairway.store.base import Store
from fairway.store.memory import MemoryStore
from tests import plan

Object = dict[str, Any]

CONFIG = ApiConfig(
    service_cidrs=(plan.SERVICE_RANGE,),
    advertise_address=plan.CONTROL_PLANE,
    advertise_port=6443,
    tokens={"token": User("admin", ("system:masters",))},
)


class Session:
    """One user's requests to one server."""

    def __init__(self, api: Api, token: str = "token") -> None:
        self.api = api
        self.token = token

    async def ask(
        self, method: str, url: str, body: Any = None, *, content_type: str = "application/json", accept: str = ""
    ) -> tuple[int, Any, Answer | Stream]:
        """Status, decoded body and the answer itself."""
        path, _, query = url.partition("?")
        headers = {"authorization": f"Bearer {self.token}", "content-type": content_type, "accept": accept}
        data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        answer = await self.api.respond(method, path, query, headers, data)
        if isinstance(answer, Stream):
            return answer.status, None, answer
        return answer.status, json.loads(answer.bytes()), answer

    async def ok(self, method: str, url: str, body: Any = None, **more: str) -> Any:
        """The body of an answer that must be a success."""
        code, value, _ = await self.ask(method, url, body, **more)
        assert code < 300, value
        return value

    async def refused(self, method: str, url: str, body: Any = None, **more: str) -> tuple[int, str, str]:
        """Code, reason and message of an answer that must be a failure."""
        code, value, _ = await self.ask(method, url, body, **more)
        assert code >= 400 and value["kind"] == "Status" and value["code"] == code, value
        return code, value["reason"], value["message"]

    def watch(self, url: str, **more: str) -> Watch:
        """Open a watch; use it in `async with`."""
        return Watch(self, url, more)


class Watch:
    """The events of a watch, one by one."""

    def __init__(self, session: Session, url: str, more: dict[str, str]) -> None:
        self._session = session
        self._url = url + ("&" if "?" in url else "?") + "watch=true"
        self._more = more
        self._lines: list[Any] = []
        self._chunks: AsyncGenerator[bytes, None] | None = None

    async def __aenter__(self) -> Watch:
        code, value, answer = await self._session.ask("GET", self._url, **self._more)
        assert code == 200 and isinstance(answer, Stream), value
        self._chunks = answer.chunks
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._chunks
        await self._chunks.aclose()

    async def next(self) -> tuple[str, Object]:
        """The next event's type and object."""
        while not self._lines:
            assert self._chunks
            chunk = await asyncio.wait_for(anext(self._chunks), 5)
            self._lines = [json.loads(line) for line in chunk.splitlines()]
        event = self._lines.pop(0)
        return event["type"], event["object"]

    async def names(self, count: int) -> list[tuple[str, str]]:
        """Types and names of the next events."""
        events = [await self.next() for _ in range(count)]
        return [(change, obj["metadata"].get("name", "")) for change, obj in events]

    async def rest(self) -> list[tuple[str, Object]]:
        """Everything until the server ends the watch."""
        assert self._chunks
        events = [(line["type"], line["object"]) for line in self._lines]
        async with aclosing(self._chunks) as chunks:
            async for chunk in chunks:
                events += [(line["type"], line["object"]) for line in map(json.loads, chunk.splitlines())]
        return events


def told(
    story: Callable[[Session], Awaitable[None]], *, config: ApiConfig = CONFIG, store: Store | None = None
) -> None:
    """Run a story against a fresh server."""

    async def tell() -> None:
        kept = store or MemoryStore()
        api = Api(kept, config)
        await api.start()
        try:
            await story(Session(api))
        finally:
            await api.stop()
            await kept.close()

    asyncio.run(tell())


def service(name: str = "web", **spec: Any) -> Object:
    """A small Service."""
    wanted = {"selector": {"app": "web"}, "ports": [{"port": 80}], **spec}
    return {"kind": "Service", "apiVersion": "v1", "metadata": {"name": name}, "spec": wanted}


def pod(name: str = "web", **metadata: Any) -> Object:
    """A small Pod."""
    spec = {"containers": [{"name": "c", "image": "httpd"}]}
    return {"kind": "Pod", "apiVersion": "v1", "metadata": {"name": name, **metadata}, "spec": spec}


def config_map(name: str, **labels: str) -> Object:
    """A ConfigMap with labels."""
    return {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": name, "labels": labels}, "data": {"a": "b"}}
