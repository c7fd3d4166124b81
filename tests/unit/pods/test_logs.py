"""Logs: cut into CRI lines, and read back as they were."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.pods import logs
from fairway.pods.errors import NotFound
from fairway.pods.inside import logs as writing
from fairway.pods.logs import Query, Source
from fairway.pods.records import PodDir, PodRecord

TIME = "2026-01-02T03:04:0{}.000000000Z"


@given(st.lists(st.binary(max_size=50)))
def test_what_is_cut_into_entries_is_put_together_again(pieces: list[bytes]) -> None:
    pending, entries = b"", []
    for piece in pieces:
        made, pending = writing.split_lines(pending, piece)
        entries += made
    entries.append(("P", pending))
    lines = [b"2026-01-02T03:04:05Z stdout " + tag.encode() + b" " + text for tag, text in entries]
    assert b"".join(logs.render(line, Query()) for line in lines) == b"".join(pieces)


def test_long_lines_come_in_parts() -> None:
    entries, rest = writing.split_lines(b"", b"x" * (writing.LINE * 2 + 5) + b"\ny")
    assert [(tag, len(text)) for tag, text in entries] == [("P", writing.LINE), ("P", writing.LINE), ("F", 5)]
    assert rest == b"y"


def test_time_stamps_have_nanoseconds() -> None:
    assert writing.stamp(1_767_323_045_000_000_042) == "2026-01-02T03:04:05.000000042Z"


def make(tmp_path: Path, *lines: str, running: bool = False, previous: bool = False) -> Source:
    directory = PodDir(tmp_path / "u")
    directory.create(PodRecord(uid="u", namespace="default", name="web-1", containers=("web",)), {})
    directory.log("web", 1).parent.mkdir(parents=True)
    directory.log("web", 1).write_text("".join(line + "\n" for line in lines))
    record = {"attempt": 1, "exited": None if running else 1.0, "previous": {"attempt": 0} if previous else None}
    (directory.path / "state.json").write_text(json.dumps({"containers": {"web": record}}))
    return logs.source(directory, "web", previous=False)


def entries(count: int) -> list[str]:
    return [f"{TIME.format(i)} stdout F line {i}" for i in range(count)]


def read(source: Source, query: Query) -> str:
    async def gather() -> bytes:
        return b"".join([piece async for piece in logs.read(source, query)])

    return asyncio.run(gather()).decode()


@pytest.mark.parametrize(
    ("query", "said"),
    [
        (Query(), "line 0\nline 1\nline 2\n"),
        (Query(tail=2), "line 1\nline 2\n"),
        (Query(tail=0), ""),
        (Query(limit=9), "line 0\nli"),
        (Query(since=1767323042.0), "line 2\n"),
        (Query(timestamps=True, tail=1), TIME.format(2) + " line 2\n"),
        (Query(follow=True, tail=1), "line 2\n"),
    ],
)
def test_the_wanted_part(tmp_path: Path, query: Query, said: str) -> None:
    assert read(make(tmp_path, *entries(3)), query) == said


def test_a_file_that_was_set_aside_is_read_first(tmp_path: Path) -> None:
    source = make(tmp_path, *entries(3)[2:])
    source.path.with_name("1.log.1").write_text("\n".join(entries(2)) + "\n")
    assert read(source, Query()) == "line 0\nline 1\nline 2\n"


def test_following_ends_with_the_container_and_misses_nothing(tmp_path: Path) -> None:
    source = make(tmp_path, *entries(2), running=True)

    async def play() -> str:
        said = bytearray()
        arrived = asyncio.Event()

        async def reader() -> None:
            async for piece in logs.read(source, Query(follow=True)):
                said.extend(piece)
                arrived.set()

        async def until(text: bytes) -> None:
            while not said.endswith(text):
                arrived.clear()
                await arrived.wait()

        task = asyncio.create_task(reader())
        async with asyncio.timeout(10):
            await until(b"line 1\n")
            with source.path.open("a") as file:
                file.write(f"{TIME.format(3)} stderr F more\n{TIME.format(3)} stdout F hal")
                file.flush()
                await until(b"more\n")
                file.write("f\n")
            await until(b"half\n")
            source.path.rename(source.path.with_name("1.log.1"))
            source.path.write_text(f"{TIME.format(4)} stdout F anew\n")
            await until(b"anew\n")
            state = source.directory.path / "state.json"
            ended = {"containers": {"web": {"attempt": 1, "exited": 5.0, "previous": None}}}
            state.with_suffix(".new").write_text(json.dumps(ended))
            state.with_suffix(".new").replace(state)
            await task
        return said.decode()

    assert asyncio.run(play()) == "line 0\nline 1\nmore\nhalf\nanew\n"


def test_what_is_not_there_is_said_in_the_users_words(tmp_path: Path) -> None:
    directory = make(tmp_path).directory
    with pytest.raises(NotFound, match='container "other" in pod "web-1" is waiting to start'):
        logs.source(directory, "other", previous=False)
    with pytest.raises(NotFound, match='previous terminated container "web" in pod "web-1" not found'):
        logs.source(directory, "web", previous=True)


def test_the_previous_attempt(tmp_path: Path) -> None:
    directory = make(tmp_path, previous=True).directory
    assert logs.source(directory, "web", previous=True).path.name == "0.log"
