"""When a configuration file counts as changed."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from fairway.assemble.configwatch import Configured

EACH = 0.001


async def still(waiting: asyncio.Task[None]) -> bool:
    """Whether nothing is noticed though it was looked several times."""
    await asyncio.wait([waiting], timeout=20 * EACH)
    return not waiting.done()


def test_what_is_no_change_and_what_is_one(tmp_path: Path) -> None:
    file = tmp_path / "config.conf"
    file.write_bytes(b"one")

    async def scene() -> None:
        waiting = asyncio.create_task(Configured(str(file), b"one").changed(EACH))
        assert await still(waiting)
        file.touch()
        assert await still(waiting)
        file.unlink()
        assert await still(waiting)
        file.write_bytes(b"one")
        assert await still(waiting)
        file.write_bytes(b"two")
        await asyncio.wait_for(waiting, 10)

    asyncio.run(scene())


@pytest.mark.parametrize("content", [b"changed between reading and watching", b""])
def test_what_changed_before_anybody_looked(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "config.conf"
    file.write_bytes(content)

    asyncio.run(asyncio.wait_for(Configured(str(file), b"as it was read").changed(EACH), 10))


def test_the_links_of_a_volume(tmp_path: Path) -> None:
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.conf").write_text(name)
    (tmp_path / "data").symlink_to("old")
    (tmp_path / "config.conf").symlink_to("data/config.conf")

    async def scene() -> None:
        waiting = asyncio.create_task(Configured(str(tmp_path / "config.conf"), b"old").changed(EACH))
        assert await still(waiting)
        (tmp_path / "next").symlink_to("new")
        (tmp_path / "next").rename(tmp_path / "data")
        await asyncio.wait_for(waiting, 10)

    asyncio.run(scene())
