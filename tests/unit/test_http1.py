"""A client's side of HTTP/1.1, against servers that say what they like."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from fairway.http1 import HEAD_BYTES, Connection, Garbled, authority, request_head

Story = Callable[[Connection], Awaitable[None]]


def told(story: Story, said: bytes, *, ends: bool = True) -> tuple[bytes, bool]:
    """Play a story with a server that answers `said` to whatever it hears, and then ends the connection or keeps it.
    Returns what it heard, and whether the client ended the connection."""
    heard = b""
    ended = False

    async def play() -> None:
        nonlocal heard, ended
        done = asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal heard, ended
            heard = await reader.read(65536)
            writer.write(said)
            if ends:
                writer.write_eof()
            try:
                ended = not await reader.read()
            except ConnectionResetError:
                ended = True
            writer.close()
            done.set()

        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            connection = await Connection.open("127.0.0.1", server.sockets[0].getsockname()[1], None)
            await connection.send(b"GET / HTTP/1.1\r\n\r\n", b"")
            try:
                await story(connection)
            finally:
                connection.close()
                await done.wait()

    asyncio.run(play())
    return heard, ended


@pytest.mark.parametrize(
    ("said", "body", "reusable"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", b"hi", True),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nh\r\n1\r\ni\r\n0\r\nX: y\r\n\r\n", b"hi", True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi", b"hi", False),
        (b"HTTP/1.1 200 OK\r\n\r\nhi", b"hi", False),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 204 Gone\r\n\r\n", b"", False),
    ],
)
def test_an_answer_ends_where_it_says(said: bytes, body: bytes, reusable: bool) -> None:
    async def story(connection: Connection) -> None:
        assert await connection.status() in (200, 204)
        assert await connection.body() == body
        assert connection.reusable == reusable
        assert not [name for name, _ in connection.headers if name in ("link", "x")]

    told(story, said)


def test_an_answer_to_head_has_no_body_whatever_it_says() -> None:
    async def story(connection: Connection) -> None:
        await connection.send(b"HEAD / HTTP/1.1\r\n\r\n", b"", bodyless=True)
        assert (await connection.status(), await connection.body()) == (200, b"")
        assert connection.headers == [("content-length", "9")] and not connection.reusable

    told(story, b"HTTP/1.1 200 Fine so far\r\nContent-Length: 9\r\n\r\n", ends=False)


@pytest.mark.parametrize(
    ("said", "error"),
    [
        (b"220 mail.example.com ESMTP\r\n", Garbled),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nxyz", Garbled),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * HEAD_BYTES * 2, Garbled),
        (b"", ConnectionResetError),
        (b"HTTP/1.1 200 OK\r\nContent-", ConnectionResetError),
    ],
)
def test_what_is_no_answer_is_an_error_of_the_connection(said: bytes, error: type[OSError]) -> None:
    async def story(connection: Connection) -> None:
        with pytest.raises(error):
            await connection.status()

    told(story, said)


def test_an_answer_that_breaks_off_does_not_end() -> None:
    async def story(connection: Connection) -> None:
        assert (await connection.status(), connection.reason) == (200, "Fine")
        with pytest.raises(ConnectionResetError):
            assert [piece async for piece in connection.rest()] == [b"hi"]

    told(story, b"HTTP/1.1 200 Fine\r\nContent-Length: 9\r\n\r\nhi")


def test_whoever_does_not_read_on_ends_the_connection() -> None:
    async def story(connection: Connection) -> None:
        await connection.status()
        await connection.rest().aclose()
        assert not connection.alive

    assert told(story, b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhi", ends=False)[1]


def test_heads() -> None:
    head = request_head("POST", "/x?y", "h:1", [("A", "b")], 0)
    assert head == b"POST /x?y HTTP/1.1\r\nHost: h:1\r\nA: b\r\nContent-Length: 0\r\n\r\n"
    assert request_head("GET", "/", "h", [], 0) == b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"
    assert authority("10.0.0.1", 80, "http") == "10.0.0.1"
    assert authority("fd00::1", 443, "https") == "[fd00::1]"
    assert authority("fd00::1", 80, "https") == "[fd00::1]:80"
