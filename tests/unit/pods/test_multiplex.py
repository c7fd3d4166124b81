"""Streams of a SPDY connection: read in order, bounded, and ended with it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from fairway.pods.multiplex import AHEAD_BYTES, Session, Stream
from fairway.pods.spdy.frames import Data, GoAway, Ping, RstStream, SynReply, SynStream, WindowUpdate
from tests.unit.pods.spdy.client import Client


@asynccontextmanager
async def talk() -> AsyncIterator[tuple[Client, Session]]:
    client = Client()
    session = Session(client)
    running = asyncio.ensure_future(session.run())
    try:
        async with asyncio.timeout(10):
            yield client, session
    finally:
        client.leaves()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def accepted(session: Session) -> Stream:
    stream = await session.accept()
    assert stream is not None
    return stream


def test_a_stream_is_read_and_written() -> None:
    async def story() -> None:
        async with talk() as (client, session):
            client.says(SynStream(1, (("streamtype", "data"),)), Data(1, b"one"), Data(1, b"two", fin=True))
            stream = await accepted(session)
            assert stream.headers == {"streamtype": "data"}
            assert [await stream.read() for _ in range(3)] == [b"one", b"two", b""]
            await stream.write(b"three")
            await stream.finish()
            assert client.heard[0] == SynReply(1) and client.data(1) == b"three" and client.ended(1)
            assert sum(frame.delta for frame in client.heard if frame == WindowUpdate(0, 3)) == 6

    asyncio.run(story())


def test_who_does_not_read_holds_the_connection_up_and_not_more_is_kept() -> None:
    async def story() -> None:
        async with talk() as (client, session):
            client.says(SynStream(1), SynStream(3))
            slow, other = await accepted(session), await accepted(session)
            client.says(Data(1, bytes(AHEAD_BYTES)))
            client.says(Data(3, b"behind it"), Ping(1))
            waiting = asyncio.ensure_future(other.read())
            done, _ = await asyncio.wait([waiting], timeout=0.05)
            assert not done
            await slow.read()
            assert await waiting == b"behind it"
            await client.hears(lambda frames: Ping(1) in frames)

    asyncio.run(story())


def test_what_is_discarded_holds_nobody_up() -> None:
    async def story() -> None:
        async with talk() as (client, session):
            client.says(SynStream(1))
            stream = await accepted(session)
            client.says(Data(1, bytes(AHEAD_BYTES)), Data(1, b"more"), Ping(1))
            stream.discard()
            await client.hears(lambda frames: Ping(1) in frames)

    asyncio.run(story())


@pytest.mark.parametrize("how", ["reset", "leave", "nonsense"])
def test_streams_end_when_given_up_and_with_their_connection(how: str) -> None:
    async def story() -> None:
        async with talk() as (client, session):
            client.says(SynStream(1), Data(1, b"in vain"))
            stream = await accepted(session)
            if how == "reset":
                client.says(RstStream(1, 5))
            elif how == "leave":
                client.leaves()
            else:
                client.says(SynStream(2))
                await client.hears(lambda frames: GoAway(1, status=1) in frames)
            await stream.broken()
            with pytest.raises(ConnectionResetError):
                await stream.read()
            with pytest.raises(ConnectionResetError):
                await stream.write(b"x")
            if how != "reset":
                await session.departed()
                assert await session.accept() is None

    asyncio.run(story())


def test_a_stream_given_up_here_is_told_and_forgotten() -> None:
    async def story() -> None:
        async with talk() as (client, session):
            client.says(SynStream(1))
            stream = await accepted(session)
            await stream.reset()
            client.says(Data(1, b"too late"), Ping(3))
            await client.hears(lambda frames: RstStream(1, 5) in frames and Ping(3) in frames)

    asyncio.run(story())


def test_a_client_is_given_a_moment_to_part() -> None:
    async def story() -> None:
        async with talk() as (client, session):
            client.gone.set()
            await session.farewell()
            assert client.heard == [GoAway(0)] and client.closed

    asyncio.run(story())
