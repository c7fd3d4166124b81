"""The way out of a lab: bytes pass both ways, and an end that is away is told by a closed connection."""

from __future__ import annotations

import asyncio
from pathlib import Path

from fairway.lab import relay


def test_bytes_pass_both_ways_and_the_end_too(tmp_path: Path) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(line.upper())
        writer.close()

    async def story() -> None:
        far = await asyncio.start_server(echo, "127.0.0.1", 0)
        endpoint = f"127.0.0.1:{far.sockets[0].getsockname()[1]}"
        stop = asyncio.Event()
        running = asyncio.ensure_future(relay.relay(tmp_path, [endpoint], stop))
        await asyncio.sleep(0)
        (path,) = relay.sockets(tmp_path, [endpoint])
        while not path.exists():
            await asyncio.sleep(0)
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(b"hello\n")
        assert await reader.readline() == b"HELLO\n"
        writer.write_eof()
        assert await reader.read() == b""
        far.close()
        await far.wait_closed()
        reader, _ = await asyncio.open_unix_connection(path)
        assert await asyncio.wait_for(_rest(reader), 5) == b""
        stop.set()
        await running

    asyncio.run(story())


async def _rest(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read()
    except ConnectionError:
        return b""


def test_endpoints_that_cannot_be_reached_are_told_unless_one_can() -> None:
    async def story() -> None:
        far = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
        endpoint = f"127.0.0.1:{far.sockets[0].getsockname()[1]}"
        assert relay.unreachable(["127.0.0.1:1", endpoint]) == ""
        assert relay.unreachable(["127.0.0.1:1"]) == "127.0.0.1:1: Connection refused"
        far.close()

    asyncio.run(story())


def test_addresses_of_both_families_are_endpoints() -> None:
    assert relay.parse_endpoint("[::1]:2379") == ("::1", 2379)
    assert relay.parse_endpoint("etcd.example:2379") == ("etcd.example", 2379)
