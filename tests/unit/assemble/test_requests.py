"""Requests to the API server, as they are counted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest

from fairway.assemble.requests import Requests
from fairway.client.base import ApiError, Unreachable
from fairway.client.verbs import Verbs
from fairway.objects import kinds
from fairway.observe import exposition


class Server(Verbs):
    """Answers in turn what it was given; None: not at all."""

    server = "https://10.0.0.1:6443/prefix"

    def __init__(self, *answers: tuple[int, bytes] | None) -> None:
        self._answers = list(answers)

    async def _request(self, method: str, path: str, body: bytes, content_type: str) -> tuple[int, bytes]:
        answer = self._answers.pop(0)
        if answer is None:
            raise Unreachable("nobody there")
        return answer

    async def _stream(self, path: str, seconds: float | None) -> AsyncGenerator[tuple[int, bytes], None]:
        status, body = await self._request("GET", path, b"", "")
        yield status, b""
        yield status, body


def test_every_request_counts_once_by_its_answer() -> None:
    async def scenario() -> str:
        client = Server((200, b"{}"), (200, b"{}"), (404, b"{}"), None, (200, b""), None)
        requests = Requests(client)
        await client.get(kinds.SERVICE, "a", "default")
        await client.delete(kinds.SERVICE, "a", "default")
        with pytest.raises(ApiError):
            await client.get(kinds.SERVICE, "a", "default")
        with pytest.raises(Unreachable):
            await client.get(kinds.SERVICE, "a", "default")
        for _ in range(2):
            try:
                async for _ in client.watch(kinds.SERVICE, resource_version="1"):
                    pass
            except Unreachable:
                pass
        return exposition.text(requests.metrics())

    page = asyncio.run(scenario())

    labels = 'host="10.0.0.1:6443",method'
    for code, method, times in (("200", "GET", 2), ("200", "DELETE", 1), ("404", "GET", 1), ("<error>", "GET", 2)):
        assert f'rest_client_requests_total{{code="{code}",{labels}="{method}"}} {times}\n' in page
    assert 'rest_client_request_duration_seconds_count{host="10.0.0.1:6443",verb="GET"} 5\n' in page
