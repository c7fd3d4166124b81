"""The ASGI face: bodies within bounds, answers whole, streams that end with their reader."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from typing import Any

from fairway.api.answers import Answer, Stream, json_answer
from fairway.api.app import App, Respond
from fairway.objects.codec import MAX_BYTES


def scope(method: str = "GET", path: str = "/x", query: str = "") -> dict[str, Any]:
    return {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": [(b"accept", b"*/*")],
    }


def answering(answer: Answer | Stream) -> tuple[Respond, list[tuple[Any, ...]]]:
    seen: list[tuple[Any, ...]] = []

    async def respond(
        method: str,
        path: str,
        query: str,
        headers: Mapping[str, str],
        body: bytes,
        certificate: Mapping[str, object] | None = None,
    ) -> Answer | Stream:
        seen.append((method, path, query, headers, body, certificate))
        return answer

    return respond, seen


async def no_upgrades(*_: Any) -> Answer:
    raise AssertionError("nobody asked for an upgrade")


async def call(app: App, given: dict[str, Any], *parts: bytes) -> list[Any]:
    sent: list[Any] = []
    messages = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
    messages.append({"type": "http.request", "body": b"", "more_body": False})

    async def receive() -> Any:
        if messages:
            return messages.pop(0)
        await asyncio.Event().wait()
        return None

    async def send(message: Any) -> None:
        sent.append(message)

    await app(given, receive, send)
    return sent


def test_an_answer_is_sent_whole_with_its_length() -> None:
    respond, seen = answering(Answer(201, [b"a" * 300_000, b"b", b"c"], headers=(("warning", "299 - \u00e9\u4e00"),)))
    start, *bodies = asyncio.run(call(App(respond, no_upgrades), scope("POST", "/x%20y", "a=b"), b"1", b"2"))
    assert seen == [("POST", "/x%20y", "a=b", {"accept": "*/*"}, b"12", None)]
    headers = dict(start["headers"])
    assert start["status"] == 201 and headers[b"content-length"] == b"300002"
    assert headers[b"warning"] == "299 - \u00e9?".encode("latin-1")
    assert b"".join(body["body"] for body in bodies) == b"a" * 300_000 + b"bc"
    assert not bodies[-1].get("more_body")


def test_the_answer_to_head_has_no_body() -> None:
    respond, _ = answering(json_answer({}))
    start, body = asyncio.run(call(App(respond, no_upgrades), scope("HEAD")))
    assert dict(start["headers"])[b"content-length"] == b"2" and body["body"] == b""


def test_a_body_beyond_the_limit_is_413_and_never_held() -> None:
    respond, seen = answering(json_answer({}))
    start, *_ = asyncio.run(call(App(respond, no_upgrades), scope("POST"), *[b"x" * 1_000_000] * 4))
    assert start["status"] == 413 and not seen and MAX_BYTES < 4_000_000
    assert dict(start["headers"])[b"connection"] == b"close"


class Endless:
    """A stream that tells when it was closed."""

    def __init__(self) -> None:
        self.closed = asyncio.Event()

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        try:
            while True:
                yield b"x"
                await asyncio.sleep(0)
        finally:
            self.closed.set()


def test_a_stream_is_closed_when_its_reader_leaves() -> None:
    async def story() -> None:
        stream = Endless()
        respond, _ = answering(Stream(stream.chunks()))
        received = asyncio.Event()
        messages = [{"type": "http.request", "body": b"", "more_body": False}]

        async def receive() -> Any:
            if messages:
                return messages.pop(0)
            await received.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            if message.get("body"):
                received.set()

        await asyncio.wait_for(App(respond, no_upgrades)(scope(), receive, send), 5)
        assert stream.closed.is_set()

    asyncio.run(story())


def test_a_server_that_stops_ends_its_streams() -> None:
    async def story() -> None:
        stream = Endless()
        respond, _ = answering(Stream(stream.chunks()))
        app = App(respond, no_upgrades)
        messages = [{"type": "http.request", "body": b"", "more_body": False}]

        async def receive() -> Any:
            if messages:
                return messages.pop(0)
            await asyncio.Event().wait()
            return None

        async def send(message: Any) -> None:
            if message.get("body"):
                app.close()

        await asyncio.wait_for(app(scope(), receive, send), 5)
        assert stream.closed.is_set()

    asyncio.run(story())


def test_a_reader_that_reads_nothing_loses_its_stream() -> None:
    async def story() -> None:
        stream = Endless()
        respond, _ = answering(Stream(stream.chunks()))
        messages = [{"type": "http.request", "body": b"", "more_body": False}]

        async def receive() -> Any:
            if messages:
                return messages.pop(0)
            await asyncio.Event().wait()
            return None

        async def send(message: Any) -> None:
            if message.get("body"):
                await asyncio.Event().wait()

        await asyncio.wait_for(App(respond, no_upgrades, write_seconds=0.01)(scope(), receive, send), 5)
        assert stream.closed.is_set()

    asyncio.run(story())
