"""The client contract without HTTP: straight into the handlers of an API server in the same process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from fairway.api.answers import Answer, Stream
from fairway.api.handlers import Handlers, failed
from fairway.api.requests import Plain, parse
from fairway.api.status import no_such_path
from fairway.api.users import LOOPBACK, User
from fairway.client.base import Unreachable
from fairway.client.verbs import Verbs


class LocalClient(Verbs):
    """Asks `handlers` as `user`, or as the server itself (`system:masters`). Closing it leaves the server alone."""

    def __init__(self, handlers: Handlers, user: User = LOOPBACK) -> None:
        self.server = "the server in this process"
        self._handlers = handlers
        self._user = user

    async def close(self) -> None:
        """Nothing is held."""

    async def _request(self, method: str, path: str, body: bytes, content_type: str) -> tuple[int, bytes]:
        answer = await self._answer(method, path, body, content_type)
        if not isinstance(answer, Answer):
            raise Unreachable(f"{self.server} answers {path} with a stream")
        return answer.status, answer.bytes()

    async def _stream(self, path: str, seconds: float | None) -> AsyncGenerator[tuple[int, bytes], None]:
        answer = await self._answer("GET", path, b"", "")
        if isinstance(answer, Answer):
            yield answer.status, answer.bytes()
            return
        yield answer.status, b""
        async with aclosing(answer.chunks) as chunks:
            while True:
                try:
                    async with asyncio.timeout(seconds):
                        chunk = await anext(chunks)
                except StopAsyncIteration:
                    return
                except TimeoutError as error:
                    raise Unreachable(f"{self.server} is silent") from error
                yield answer.status, chunk

    async def _answer(self, method: str, path: str, body: bytes, content_type: str) -> Answer | Stream:
        route, _, query = path.partition("?")
        headers = {"accept": "application/json", "content-type": content_type, "user-agent": "fairway"}
        try:
            request = parse(method, route, query, headers)
            if isinstance(request, Plain):
                raise no_such_path()
        except Exception as error:
            return failed(error)
        return await self._handlers.handle(request, body, self._user)
