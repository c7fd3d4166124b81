"""Which requests are answered, with what, and for whom."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import pytest

from fairway.api.answers import Answer, Stream
from fairway.api.intake import Exchange
from fairway.web import files, parcel
from fairway.web.door import Door
from fairway.web.events import Board
from fairway.web.pages import QUESTION_BYTES, Asked, Pages, Unanswerable

AT_HOME = {"host": "127.0.0.1:8080"}
ADMITTED = {**AT_HOME, "authorization": "Bearer s3cret"}


class Desk:
    """Answers with what it was asked."""

    board = Board(lambda: {"all": True}, lambda: None)

    def about(self) -> dict[str, Any]:
        return {"name": "here"}

    async def trace(self, asked: Asked) -> dict[str, Any]:
        if asked.source == "nobody":
            raise Unanswerable("there is no pod nobody")
        return {"source": asked.source, "family": asked.family}

    async def take(self, given: Mapping[str, bytes]) -> dict[str, Any]:
        return {name: len(content) for name, content in given.items()}

    async def findings(self, service: str) -> dict[str, Any]:
        return {"service": service}

    async def balancers(self) -> dict[str, Any]:
        return {"services": []}


def pages() -> Pages:
    return Pages(Door("s3cret", 8080), files.load(), Desk())


def ask(
    method: str, path: str, headers: Mapping[str, str] = ADMITTED, body: bytes = b"", query: str = ""
) -> tuple[int, Any]:
    """Status and what a JSON answer says, else its bytes."""
    answer = asyncio.run(pages().respond(method, path, query, headers, body))
    assert isinstance(answer, Answer)
    told = dict(answer.headers)
    assert told["content-security-policy"] == files.POLICY
    assert told["cache-control"] == "no-store"
    assert not [name for name in told if name.startswith("access-control")]
    return answer.status, json.loads(answer.bytes()) if "json" in told["content-type"] else answer.bytes()


def test_files_are_for_everybody_at_home() -> None:
    status, page = ask("GET", "/", AT_HOME)
    assert status == 200
    assert b'<script type="module" src="main.js">' in page
    assert ask("GET", "/main.js", AT_HOME)[0] == 200
    assert ask("GET", "/index.html", AT_HOME)[0] == 404
    assert ask("GET", "/../door.py", AT_HOME)[0] == 404
    assert ask("POST", "/", AT_HOME)[0] == 405
    assert ask("GET", "/", {"host": "evil.example"})[0] == 421


def test_no_file_holds_what_the_policy_forbids() -> None:
    for path, file in files.load().items():
        text = file.content.decode()
        if path == "/":
            assert "style=" not in text and "onclick" not in text and "<script>" not in text
        assert "http://" not in text.replace("http://www.w3.org/2000/svg", "")
        assert "https://" not in text
        assert "innerHTML" not in text


def test_an_old_token_in_the_address_is_told() -> None:
    assert ask("GET", "/", AT_HOME, query="token=s3cret")[0] == 200
    assert ask("GET", "/", AT_HOME, query="token=old")[0] == 403


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/about"),
        ("GET", "/api/stream"),
        ("GET", "/api/balancers"),
        ("POST", "/api/trace"),
        ("POST", "/api/files"),
        ("POST", "/api/findings"),
        ("GET", "/api/x"),
    ],
)
def test_everything_else_needs_the_token(method: str, path: str) -> None:
    assert ask(method, path, AT_HOME)[0] == 401
    assert ask(method, path, {**ADMITTED, "host": "evil.example"})[0] == 421
    assert ask(method, path, {**ADMITTED, "origin": "http://evil.example"})[0] == 403


def test_questions_are_answered() -> None:
    assert ask("GET", "/api/about") == (200, {"name": "here"})
    assert ask("GET", "/api/balancers") == (200, {"services": []})
    body = json.dumps({"source": "web-1", "destination": "db:1", "family": "IPv6", "sourcePort": 9}).encode()
    assert ask("POST", "/api/trace", body=body) == (200, {"source": "web-1", "family": "IPv6"})
    assert ask("POST", "/api/findings", body=b'{"service": "a/b"}') == (200, {"service": "a/b"})
    assert ask("POST", "/api/files", body=b'[{"name": "a", "size": 2}]\nab') == (200, {"a": 2})


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{}", b'{"source": "a"}', b'{"source": 1, "destination": "b"}',
     b'{"source": "a", "destination": "b", "protocol": "ICMP"}', b'{"source": "a", "destination": "b", "who": 1}'],
)  # fmt: skip
def test_what_is_no_question_is_refused_with_the_reason(body: bytes) -> None:
    status, told = ask("POST", "/api/trace", body=body)
    assert (status, told["error"][:31]) == (422, "The question is not understood:")


def test_what_cannot_be_answered_says_why() -> None:
    body = b'{"source": "nobody", "destination": "b"}'
    assert ask("POST", "/api/trace", body=body) == (422, {"error": "there is no pod nobody"})
    assert ask("POST", "/api/files", body=b"rubbish")[0] == 422
    assert ask("GET", "/api/trace")[0] == 405
    assert ask("GET", "/api/nothing")[0] == 404


def test_the_stream_begins_with_everything() -> None:
    async def story() -> bytes:
        answer = await pages().respond("GET", "/api/stream", "", ADMITTED, b"")
        assert isinstance(answer, Stream)
        assert dict(answer.headers)["content-type"] == "text/event-stream"
        first = await anext(answer.chunks)
        await answer.chunks.aclose()
        return first

    assert asyncio.run(story()) == b'event: whole\ndata: {"all":true}\n\n'


@pytest.mark.parametrize(
    ("path", "headers", "bytes_"),
    [
        ("/api/files", ADMITTED, parcel.MAX_BYTES),
        ("/api/files", AT_HOME, QUESTION_BYTES),
        ("/api/files", {**ADMITTED, "host": "evil.example"}, QUESTION_BYTES),
        ("/api/trace", ADMITTED, QUESTION_BYTES),
        ("/", {}, QUESTION_BYTES),
    ],
)
def test_only_who_may_give_files_may_send_much(path: str, headers: dict[str, str], bytes_: int) -> None:
    assert pages().bound(Exchange(path=path, headers=headers)) == bytes_
