"""Streams between a program and a far client: descriptors, ends, and how an end is told."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from fairway.pods.channels import STDERR, STDOUT, SUCCESS, Wanted, exit_status
from fairway.pods.streaming import Output, Streams


def descriptors() -> set[str]:
    return {path.name for path in Path("/proc/self/fd").iterdir()}


class Recorder:
    """Channels that keep what was sent, and take it only when told."""

    def __init__(self) -> None:
        self.sent: list[tuple[int, bytes]] = []
        self.takes = asyncio.Event()
        self.takes.set()

    async def send(self, channel: int, data: bytes) -> None:
        await self.takes.wait()
        self.sent.append((channel, data))

    def said(self) -> bytes:
        return b"".join(data for _, data in self.sent)

    def received(self) -> AsyncIterator[tuple[int, bytes]]:
        raise AssertionError("an output receives nothing")


def test_an_end_is_told_as_clients_read_it() -> None:
    assert exit_status(0) == SUCCESS == {"metadata": {}, "status": "Success"}
    failure = exit_status(3)
    assert failure["reason"] == "NonZeroExitCode"
    assert failure["details"] == {"causes": [{"reason": "ExitCode", "message": "3"}]}


def test_the_query_says_what_is_wanted() -> None:
    query = {"command": ["sh", "-c"], "input": ["1"], "tty": ["1"], "error": ["0"]}
    assert Wanted.of(query) == Wanted(("sh", "-c"), stdin=True, stdout=False, stderr=False, tty=True)


@pytest.mark.parametrize("tty", [False, True])
def test_nothing_stays_open(tty: bool) -> None:
    before = descriptors()
    streams = Streams.make(Wanted(("x",), stdin=True, stdout=True, stderr=not tty, tty=tty))
    assert set(streams.outputs) == ({STDOUT} if tty else {STDOUT, STDERR})
    streams.let_go()
    streams.end_input()
    streams.close()
    assert descriptors() == before


def test_output_waits_for_its_client_and_loses_nothing_when_the_program_ends() -> None:
    async def story() -> bytes:
        streams = Streams.make(Wanted(("x",), stdout=True))
        recorder: Any = Recorder()
        recorder.takes.clear()
        output = Output(streams.outputs[STDOUT], STDOUT, recorder)
        running = asyncio.ensure_future(output.run())
        os.write(streams.theirs[1], b"a" * 60_000)
        await asyncio.sleep(0)
        output.finish()  # the program's end is known while its output still waits, and a child holds the pipe open
        recorder.takes.set()
        await asyncio.wait_for(running, 5)
        streams.close()
        said: bytes = recorder.said()
        return said

    assert asyncio.run(story()) == b"a" * 60_000


def test_an_idle_output_ends_with_its_program() -> None:
    async def story() -> None:
        streams = Streams.make(Wanted(("x",), stdout=True))
        recorder: Any = Recorder()
        output = Output(streams.outputs[STDOUT], STDOUT, recorder)
        running = asyncio.ensure_future(output.run())
        await asyncio.sleep(0)
        assert not running.done()
        output.finish()
        await asyncio.wait_for(running, 5)
        streams.close()

    asyncio.run(story())


def test_input_is_given_no_faster_than_it_is_read() -> None:
    async def story() -> None:
        streams = Streams.make(Wanted(("x",), stdin=True))
        feeding = asyncio.ensure_future(streams.feed(b"b" * 300_000))
        await asyncio.sleep(0)
        assert not feeding.done()
        read = 0
        while read < 300_000:
            read += len(await asyncio.to_thread(os.read, streams.theirs[0], 65536))
        await asyncio.wait_for(feeding, 5)
        streams.let_go()
        await streams.feed(b"nobody reads this")
        assert streams.input is None
        streams.close()

    asyncio.run(story())


def test_a_size_that_is_none_is_ignored() -> None:
    streams = Streams.make(Wanted(("x",), stdout=True, tty=True))
    for data in (b"", b"[]", b'{"Width":-1,"Height":1}', b'{"Width":70000,"Height":1}', b'{"Width":"a","Height":1}'):
        streams.resize(data)
    streams.resize(b'{"Width":90,"Height":30}')
    assert os.get_terminal_size(streams.theirs[0]) == (90, 30)
    streams.close()
