"""What kernel tests share."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from fairway.assemble.tracing import live
from fairway.trace.evidence.gathered import Gathered
from tests.kernel.agreement import described
from tests.kernel.pods_bench import Node
from tests.kernel.wires import Wires, wires


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    made = Node(f"fwt-{os.getpid()}-pods", tmp_path / "state")
    made.state_dir.mkdir(mode=0o700)
    try:
        made.start()
        yield made
    finally:
        made.remove()


@pytest.fixture(scope="module")
def world() -> Iterator[Wires]:
    """A node with hosts around it, set up as `agreement.described` says."""
    with wires() as built:
        built.settle(described())
        yield built


@pytest.fixture(scope="module")
def seen(world: Wires) -> Gathered:
    """The node of that world as the tracer sees any: from what programs print."""
    return live(world.path, "node-a", connections=False)


@pytest.fixture(scope="module")
def ports() -> Iterator[int]:
    """Source ports, each another."""
    return itertools.cycle(range(20000, 60000))
