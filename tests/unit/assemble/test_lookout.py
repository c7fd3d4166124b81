"""A cluster followed for the page: an API server in the same process, and what pages are told of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any

from fairway.api.server import Api
from fairway.assemble.lookout import Lookout
from fairway.client.base import Client, Unreachable
from fairway.client.local import LocalClient
from fairway.objects import kinds
from fairway.store.memory import MemoryStore
from tests.contract.session import CONFIG
from tests.lab.page_cluster import populate, slice_of

SECONDS = 20.0

Row = dict[str, Any]


class Page:
    """What a page knows from what it was told."""

    def __init__(self, frames: AsyncGenerator[bytes, None]) -> None:
        self._frames = frames
        self.rows: dict[str, dict[str, Row]] = {"services": {}, "pods": {}, "nodes": {}}
        self.synced = False
        self.trouble = ""

    async def until(self, holds: Callable[[Page], bool]) -> None:
        """Hear on until it holds."""
        async with asyncio.timeout(SECONDS):
            while not holds(self):
                self._hear(await anext(self._frames))

    def _hear(self, frame: bytes) -> None:
        event, _, data = frame.decode().partition("\ndata: ")
        if event.startswith(":"):
            return
        told = json.loads(data)
        for kind, rows in self.rows.items():
            if event == "event: whole":
                rows.clear()
            rows.update({row["key"]: row for row in told[kind]})
            for key in told.get("gone", {}).get(kind, ()):
                del rows[key]
        self.synced, self.trouble = told["synced"], told["trouble"]

    def endpoints(self, service: str) -> list[str]:
        return [each["address"] for each in self.rows["services"].get(service, {}).get("endpoints", [])]


def test_what_is_there_and_what_becomes_of_it() -> None:
    async def story() -> None:
        api = Api(MemoryStore(), CONFIG)
        await api.start()
        client = LocalClient(api.handlers)
        await populate(client)
        lookout = Lookout(client)
        following = asyncio.create_task(lookout.run())
        async with aclosing(lookout.board.read()) as frames:
            page = Page(frames)
            await page.until(lambda page: page.synced)
            assert page.endpoints("default/web") == ["10.244.0.5", "10.244.1.5"]
            assert page.rows["services"]["default/nobody"]["state"] == "none"
            assert page.rows["nodes"]["node-a"]["addresses"] == ["10.0.0.11"]
            assert page.rows["pods"]["default/shell"]["node"] == "node-a"

            await client.update(kinds.ENDPOINT_SLICE, {**slice_of("web", "web-2"), **await _place(client, "web-1")})
            await page.until(lambda page: page.endpoints("default/web") == ["10.244.1.5"])
            await client.delete(kinds.ENDPOINT_SLICE, "web-1", "default")
            await page.until(lambda page: page.endpoints("default/web") == [])
            await client.delete(kinds.SERVICE, "web", "default")
            await client.delete(kinds.NODE, "node-b")
            await page.until(lambda page: "default/web" not in page.rows["services"] and len(page.rows["nodes"]) == 1)

            kept = lookout.catalogue()
            assert ("default", "local") in kept.services
            assert "managedFields" not in kept.services["default", "local"]["metadata"]
            assert kept.pods["default", "shell"]["spec"] == {
                "nodeName": "node-a",
                "restartPolicy": "Always",
                "containers": [{"name": "c", "ports": [{"containerPort": 8080, "protocol": "TCP"}]}],
            }
            around = lookout.around("default/local")
            assert around is not None
            assert (list(around.services), len(around.slices)) == ([("default", "local")], 1)
            assert lookout.around("default/nothing") is None
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        await api.stop()

    asyncio.run(story())


async def _place(client: Client, name: str) -> Row:
    found = await client.get(kinds.ENDPOINT_SLICE, name, "default")
    return {"metadata": {**found["metadata"], "labels": {"kubernetes.io/service-name": "web"}}}


class Away(LocalClient):
    """A client whose server cannot be reached."""

    async def list(self, *_: Any, **__: Any) -> Any:
        raise Unreachable("nobody is there")


def test_a_server_that_is_away_is_told() -> None:
    async def story() -> None:
        api = Api(MemoryStore(), CONFIG)
        lookout = Lookout(Away(api.handlers))
        following = asyncio.create_task(lookout.run())
        async with aclosing(lookout.board.read()) as frames:
            page = Page(frames)
            await page.until(lambda page: page.trouble == "nobody is there")
            assert not page.synced
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)

    asyncio.run(story())
