"""A connection without a network: answers in order, streams that end with their reader, slow and rude clients."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairway.api.answers import Answer, Stream, Tunnel, json_answer
from fairway.api.protocol import BODY_SECONDS, HEAD_SECONDS, KEEP_ALIVE_SECONDS, LINGER_BYTES
from tests.unit.api.wire import Talk, app, codes, split, talk

GET = b"GET /x%20y?a=b HTTP/1.1\r\nHost: x\r\nAccept: */*\r\n\r\n"
SLOW = b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST /p HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"
CLOSING = b"GET /last HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


def answering(answer: Answer | Stream) -> Any:
    async def respond(*_: object) -> Answer | Stream:
        return answer

    return lambda: app(respond)


def body_of(answer: bytes) -> bytes:
    return answer.partition(b"\r\n\r\n")[2]


def test_an_answer_is_one_piece_with_its_length_and_the_connection_stays() -> None:
    answer, closed = talk(GET)
    first, *lines = answer.partition(b"\r\n\r\n")[0].split(b"\r\n")
    assert first == b"HTTP/1.1 200 OK"
    assert lines == [
        b"content-type: application/json",
        b"cache-control: no-cache, private",
        b"content-length: %d" % len(body_of(answer)),
    ]
    assert json.loads(body_of(answer)) == ["GET", "/x%20y", "a=b", "", {"host": "x", "accept": "*/*"}]
    assert not closed


def test_pieces_leave_in_order_and_warnings_hold_what_lines_can() -> None:
    pieces = [b"a" * 300_000, b"b", b"c"]
    answer, _ = talk(GET, served=answering(Answer(201, pieces, headers=(("warning", "299 - \u00e9\u4e00\r\nx: y"),))))
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"\r\ncontent-length: 300002" in head and body == b"".join(pieces)
    assert "\r\nwarning: 299 - \u00e9? x: y\r\n".encode("latin-1") in head + b"\r\n"


def test_the_answer_to_head_has_a_length_and_no_body() -> None:
    answer, closed = talk(b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n" + GET, served=answering(json_answer({})))
    assert answer.count(b"content-length: 2\r\n") == 2 and answer.endswith(b"{}") and answer.count(b"{}") == 1
    assert not closed


@given(st.lists(st.integers(0, 1000), max_size=8))
@settings(max_examples=40)
def test_requests_in_a_row_are_answered_in_order_however_they_arrive(places: list[int]) -> None:
    data = SLOW + GET + POST + SLOW + POST + CLOSING + GET
    whole, closed = talk(data)
    assert codes(whole) == [200] * 6 and closed, "nothing is answered behind the last"
    assert [json.loads(part.partition(b"]")[0] + b"]")[1] for part in whole.split(b"\r\n\r\n")[1:]] == [
        "/slow",
        "/x%20y",
        "/p",
        "/slow",
        "/p",
        "/last",
    ]
    assert talk(*split(data, places)) == (whole, closed)


def test_a_client_that_sends_ahead_is_not_read_until_it_is_answered() -> None:
    async def story() -> None:
        one = Talk(app())
        one.connection.data_received(SLOW)
        assert one.line.reading
        one.connection.data_received(GET)
        assert not one.line.reading
        await one.settle()
        assert one.line.reading and codes(bytes(one.line.sent)) == [200, 200]

    asyncio.run(story())


def test_http_1_0_is_answered_and_left_unless_it_wants_to_stay() -> None:
    answer, closed = talk(b"GET / HTTP/1.0\r\n\r\n")
    assert codes(answer) == [200] and b"connection: close" in answer and closed
    answer, closed = talk(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    assert b"connection: keep-alive" in answer and not closed


def test_a_body_that_is_announced_is_asked_for() -> None:
    head = b"POST /p HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"
    answer, _ = talk(head, b"hello")
    assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n")
    assert asyncio.run(in_turn(SLOW + head, b"hello")) == [[200, 100], [200]], "its turn comes after the one before it"
    answer, _ = talk(head.replace(b": 5", b": 50000000"))
    assert codes(answer) == [413], "and not when it would be refused"
    answer, _ = talk(head + b"hello")
    assert codes(answer) == [200], "nor when it comes unasked"


async def in_turn(*parts: bytes) -> list[list[int]]:
    one = Talk(app())
    return [codes(await one.say(part)) for part in parts]


def test_a_refused_client_gets_its_status_in_turn_and_the_connection_ends_a_little_later() -> None:
    async def story() -> None:
        one = Talk(app())
        answer = await one.say(SLOW + b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n")
        assert codes(answer) == [200, 400] and answer.endswith(b'"code":400}')
        assert not one.line.closed and one.line.reading
        assert await one.say(GET) == b""
        one.connection.data_received(b"x" * LINGER_BYTES)
        assert one.line.closed

    asyncio.run(story())


def test_slow_clients_are_parted_with() -> None:
    async def story(part: bytes, patience: float) -> bytes:
        one = Talk(app())
        now = asyncio.get_running_loop().time()
        await one.say(GET)
        sent = len(one.line.sent)
        await one.say(part)
        one.connection.look(now + patience - 1)
        assert len(one.line.sent) == sent and not one.line.closed
        one.connection.look(now + patience + 5)
        await one.settle()
        assert one.line.closed or b"connection: close" in one.line.sent
        return bytes(one.line.sent[sent:])

    assert asyncio.run(story(b"", KEEP_ALIVE_SECONDS)) == b""
    assert codes(asyncio.run(story(b"GET / HT", HEAD_SECONDS))) == [408]
    assert codes(asyncio.run(story(POST[:-1], BODY_SECONDS))) == [408]


def test_a_failure_nobody_foresaw_is_500_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def respond(*_: object) -> Answer:
        raise RuntimeError("oops")

    answer, closed = talk(GET, served=lambda: app(respond))
    assert codes(answer) == [500] and b"oops" not in answer and not closed
    assert "oops" in caplog.text


class Endless:
    """A stream that tells when it was closed."""

    def __init__(self) -> None:
        self.closed = asyncio.Event()
        self.told = 0

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        try:
            while True:
                self.told += 1
                yield b"x"
                await asyncio.sleep(0)
        finally:
            self.closed.set()


def streaming(stream: Endless, **options: Any) -> Talk:
    async def respond(*_: object) -> Stream:
        return Stream(stream.chunks())

    return Talk(app(respond, **options))


async def brief() -> AsyncGenerator[bytes, None]:
    for piece in (b"one", b"", b"t" * 20):
        yield piece


def test_a_stream_is_chunked_and_ends() -> None:
    expected = b"3\r\none\r\n14\r\n" + b"t" * 20 + b"\r\n0\r\n\r\n"
    answer, closed = talk(GET, served=answering(Stream(brief())))
    assert b"transfer-encoding: chunked\r\n" in answer and body_of(answer) == expected and not closed
    answer, closed = talk(GET.replace(b"1.1", b"1.0"), served=answering(Stream(brief())))
    assert b"chunked" not in answer and body_of(answer) == b"one" + b"t" * 20 and closed
    handed_on = Stream(brief(), "", 299, (("content-length", "23"),))
    answer, closed = talk(GET, served=answering(handed_on))
    assert answer.startswith(b"HTTP/1.1 299 \r\n") and body_of(answer) == b"one" + b"t" * 20 and not closed
    answer, _ = talk(GET, served=answering(Stream(nothing(), "", 204)))
    assert body_of(answer) == b"" and b"chunked" not in answer


async def nothing() -> AsyncGenerator[bytes, None]:
    return
    yield b""


def test_a_stream_that_breaks_off_does_not_look_whole(caplog: pytest.LogCaptureFixture) -> None:
    async def broken() -> AsyncGenerator[bytes, None]:
        yield b"x"
        raise RuntimeError("oops")

    async def story() -> None:
        async def respond(*_: object) -> Stream:
            return Stream(broken())

        one = Talk(app(respond))
        answer = await one.say(GET)
        assert answer.endswith(b"1\r\nx\r\n") and one.line.closed

    asyncio.run(story())
    assert "oops" in caplog.text


@pytest.mark.parametrize("leave", ["connection_lost", "stop"])
def test_a_stream_is_closed_when_its_reader_or_the_server_leaves(leave: str) -> None:
    async def story() -> None:
        stream = Endless()
        one = streaming(stream)
        one.connection.data_received(GET)
        while stream.told < 3:
            await asyncio.sleep(0)
        getattr(one.connection, leave)(*[None] * (leave == "connection_lost"))
        await asyncio.wait_for(stream.closed.wait(), 5)
        await one.settle()
        await asyncio.sleep(0)
        assert not one.everyone

    asyncio.run(story())


def test_a_reader_that_reads_nothing_holds_its_stream_and_then_loses_it(caplog: pytest.LogCaptureFixture) -> None:
    async def story() -> None:
        stream = Endless()
        one = streaming(stream, write_seconds=0.02)
        one.connection.data_received(GET)
        while stream.told < 3:
            await asyncio.sleep(0)
        one.connection.pause_writing()
        held = stream.told
        await asyncio.sleep(0)
        one.connection.resume_writing()
        while stream.told < held + 3:
            await asyncio.sleep(0)
        one.connection.pause_writing()
        await asyncio.wait_for(stream.closed.wait(), 5)
        assert one.line.closed and stream.told <= held + 5

    with caplog.at_level(logging.WARNING):
        asyncio.run(story())
    assert "read nothing for 0.02 seconds" in caplog.text


def test_a_write_is_finished_though_its_client_left() -> None:
    async def story() -> None:
        go, done = asyncio.Event(), asyncio.Event()

        async def respond(*_: object) -> Answer:
            await go.wait()
            done.set()
            return json_answer({})

        one = Talk(app(respond))
        one.connection.data_received(POST)
        await asyncio.sleep(0)
        one.line.close()
        await asyncio.sleep(0)
        go.set()
        await asyncio.wait_for(done.wait(), 5)
        await one.settle()
        assert not one.line.sent

    asyncio.run(story())


def test_a_server_that_stops_answers_what_it_was_asked_and_leaves() -> None:
    async def story() -> None:
        one = Talk(app())
        one.connection.data_received(SLOW + GET)
        one.connection.stop()
        await one.settle()
        assert codes(bytes(one.line.sent)) == [200] and b"connection: close" in one.line.sent and one.line.closed
        idle = Talk(app())
        idle.connection.stop()
        assert idle.line.closed

    asyncio.run(story())


def test_a_door_that_stays_shut_is_an_answer_and_the_end() -> None:
    asked: list[Any] = []

    async def connect(*parts: Any) -> Answer | Tunnel:
        asked.append(parts)
        return json_answer({"code": 404}, 404)

    door = b"GET /pods/p/exec?a=b HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    answer, closed = talk(GET + door + b"early", served=lambda: app(connect=connect))
    assert codes(answer) == [200, 404] and closed
    method, path, query, headers, certificate = asked[0]
    assert (method, path, query, headers["upgrade"]) == ("GET", "/pods/p/exec", "a=b", "websocket")
    assert certificate == {"subject": "whoever"}
