"""Remote commands over SPDY: which streams are waited for, what comes of them, and how an end is told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from fairway.pods import remote
from fairway.pods.channels import CLOSE, ERROR, RESIZE, STDERR, STDIN, STDOUT, SUCCESS, Wanted, exit_status
from fairway.pods.remote import PROTOCOLS, SpdyChannels, expected
from fairway.pods.spdy.frames import Data, RstStream, SynStream
from tests.unit.pods.spdy.client import Client

V4, V3, V2, V1 = PROTOCOLS


def played(story: Callable[[Client, SpdyChannels], Coroutine[Any, Any, None]], protocol: str = V4) -> None:
    async def play() -> None:
        client: Any = Client()
        channels = SpdyChannels(client, protocol)
        try:
            async with asyncio.timeout(10):
                await story(client, channels)
        finally:
            await channels.end()

    asyncio.run(play())


def opened(number: int, kind: str) -> SynStream:
    return SynStream(number, (("streamtype", kind),))


def test_clients_make_a_stream_for_each_wish() -> None:
    assert expected(Wanted(stdout=True, stderr=True), V4) == {ERROR, STDOUT, STDERR}
    assert expected(Wanted(stdin=True, stdout=True, tty=True), V4) == {ERROR, STDIN, STDOUT, RESIZE}
    assert expected(Wanted(stdin=True, stdout=True, tty=True), V2) == {ERROR, STDIN, STDOUT}, "sizes came with v3"


def test_input_and_sizes_come_however_they_are_cut() -> None:
    async def story(client: Client, channels: SpdyChannels) -> None:
        client.says(opened(1, "error"), opened(3, "stdin"), opened(5, "stdout"), opened(7, "resize"))
        assert await channels.greet(Wanted(stdin=True, stdout=True, tty=True))
        client.says(Data(7, b'{"Width":1,"Hei'), Data(7, b'ght":2}\n{"Wid'), Data(3, b"typed"), Data(3, b"", fin=True))
        received = channels.received()
        messages = sorted([await anext(received) for _ in range(3)])
        assert messages == [(STDIN, b"typed"), (RESIZE, b'{"Width":1,"Height":2}'), (CLOSE, bytes((STDIN,)))]
        client.leaves()
        with pytest.raises(StopAsyncIteration):
            await anext(received)

    played(story)


def test_streams_that_nobody_asked_for_are_refused() -> None:
    async def story(client: Client, channels: SpdyChannels) -> None:
        client.says(opened(1, "stdin"), opened(3, "what"), opened(5, "error"), opened(7, "error"), opened(9, "stdout"))
        assert await channels.greet(Wanted(stdout=True))
        refused = [frame.stream for frame in client.heard if isinstance(frame, RstStream)]
        assert refused == [1, 3, 7]

    played(story)


@pytest.mark.parametrize("leaves", [True, False])
def test_a_client_that_does_not_make_its_streams_is_not_served(leaves: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "STREAMS_SECONDS", 10.0 if leaves else 0.01)

    async def story(client: Client, channels: SpdyChannels) -> None:
        client.says(opened(1, "error"))
        if leaves:
            client.leaves()
        assert not await channels.greet(Wanted(stdout=True))

    played(story)


@pytest.mark.parametrize(
    ("protocol", "code", "said"),
    [
        (V4, 0, json.dumps(SUCCESS).encode()),
        (V4, 3, json.dumps(exit_status(3)).encode()),
        (V3, 0, b""),
        (V1, 3, b"command terminated with non-zero exit code: exit status 3"),
    ],
)
def test_an_end_is_told_as_the_protocol_has_it(protocol: str, code: int, said: bytes) -> None:
    async def story(client: Client, channels: SpdyChannels) -> None:
        client.says(opened(1, "error"), opened(3, "stdout"))
        assert await channels.greet(Wanted(stdout=True))
        await channels.send(STDOUT, b"output")
        client.gone.set()
        await channels.finish(exit_status(code))
        assert client.data(1) == said and client.data(3) == b"output"
        assert client.ended(1) and client.ended(3) and client.closed

    played(story, protocol)
