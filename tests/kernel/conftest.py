"""What kernel tests share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kernel.pods_bench import Node


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    made = Node(f"fwt-{os.getpid()}-pods", tmp_path / "state")
    made.state_dir.mkdir(mode=0o700)
    try:
        made.start()
        yield made
    finally:
        made.remove()
