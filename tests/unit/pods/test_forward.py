"""Port-forward: pairs of streams become connections, and end as the connections do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from fairway.pods import forward
from fairway.pods.forward import Connection
from fairway.pods.spdy.frames import Data, Frame, RstStream, SynStream
from tests.unit.pods.spdy.client import Client

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]


def played(story: Callable[[Client], Coroutine[Any, Any, None]], pod: Handler) -> None:
    """Play a client against a pod in which `pod` serves port 80 and nothing any other."""

    async def play() -> None:
        server = await asyncio.start_server(pod, "127.0.0.1", 0)

        async def dial(port: int) -> Connection:
            if port != 80:
                raise OSError("nothing accepts connections there")
            return await asyncio.open_connection("127.0.0.1", server.sockets[0].getsockname()[1])

        client: Any = Client()
        serving = asyncio.ensure_future(forward.serve(client, dial))
        try:
            async with asyncio.timeout(10):
                await story(client)
                client.leaves()
                await serving
                assert client.closed
        finally:
            serving.cancel()
            server.close()

    asyncio.run(play())


async def upper(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(100):
        writer.write(data.upper())
    writer.close()


def half(number: int, kind: str, request: int = 0, port: object = 80) -> SynStream:
    return SynStream(number, (("port", str(port)), ("requestid", str(request)), ("streamtype", kind)))


def test_a_pair_is_a_connection_until_both_have_finished() -> None:
    async def story(client: Client) -> None:
        client.says(half(1, "error"), Data(1, b"", fin=True), half(3, "data"), Data(3, b"hello"))
        await client.hears(lambda _: client.data(3) == b"HELLO")
        assert not client.ended(3)
        client.says(Data(3, b" there", fin=True))
        await client.hears(lambda _: client.ended(3) and client.ended(1))
        assert client.data(3) == b"HELLO THERE" and client.data(1) == b""

    played(story, upper)


def test_connections_do_not_know_each_other() -> None:
    async def story(client: Client) -> None:
        client.says(half(1, "error", 0), half(3, "error", 1), half(5, "data", 1), half(7, "data", 0))
        client.says(Data(5, b"one"), Data(7, b"zero", fin=True))
        await client.hears(lambda _: client.ended(7) and client.ended(1))
        assert (client.data(5), client.data(7)) == (b"ONE", b"ZERO") and not client.ended(5)

    played(story, upper)


def test_a_port_that_nobody_listens_on_is_told_on_the_error_stream() -> None:
    async def story(client: Client) -> None:
        client.says(half(1, "error", port=81), half(3, "data", port=81))
        await client.hears(lambda _: client.ended(1) and client.ended(3))
        assert client.data(1) == b"error forwarding port 81 to the pod: nothing accepts connections there"

    played(story, upper)


@pytest.mark.parametrize("port", ["", "0", "65536", "http", "-1", "999999", "8 0"])
def test_what_is_no_port_is_refused(port: str) -> None:
    async def story(client: Client) -> None:
        client.says(half(1, "error", port=port), half(3, "data", 7), half(5, "data", 7), SynStream(7), half(9, "more"))

        def refused(frames: list[Frame]) -> bool:
            return {frame.stream for frame in frames if isinstance(frame, RstStream)} == {1, 3, 5, 7, 9}

        await client.hears(refused)

    played(story, upper)


@pytest.mark.parametrize("how", ["reset", "finish and reset", "leave", "depart"])
def test_a_client_that_gives_up_frees_the_pod(how: str) -> None:
    freed = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\n")
            if how == "finish and reset":
                await reader.read()
                while True:
                    writer.write(b"on and on")
                    await writer.drain()
                    await asyncio.sleep(0)
            await reader.read()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        freed.set()
        writer.close()

    async def story(client: Client) -> None:
        client.says(half(1, "error"), half(3, "data"), Data(3, b"begin\n"))
        if how == "finish and reset":
            client.says(Data(3, b"", fin=True))
            await client.hears(lambda _: client.data(3) != b"")
        await client.hears(lambda frames: len(frames) > 2)
        if how == "leave":
            client.leaves()
        elif how == "depart":
            client.gone.set()
        else:
            client.says(RstStream(3, 5))
        await freed.wait()

    played(story, silent)


def test_a_pod_that_closes_at_once_ends_both_streams_whatever_the_client_still_sends() -> None:
    async def closing(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"bye")
        writer.close()

    async def story(client: Client) -> None:
        client.says(half(1, "error"), half(3, "data"))
        await client.hears(lambda _: client.ended(3) and client.ended(1))
        assert client.data(3) == b"bye"
        for _ in range(20):
            client.says(Data(3, bytes(100_000)))
        client.says(Data(3, b"", fin=True), half(5, "error", 1), half(7, "data", 1))
        await client.hears(lambda _: client.ended(7))

    played(story, closing)
