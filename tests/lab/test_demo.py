"""`make demo`, the first thing that a newcomer sees: it holds, and Ctrl-C at any moment leaves nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.cluster import FAIRWAY, host_state

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]

DEMO = Path(__file__).resolve().parents[2] / "examples" / "demo.py"
LAB = f"t{os.getpid()}demo"[:16]


def left() -> list[str]:
    """What on the host bears the lab's name: namespaces, links, mounts, folders."""
    return [line for line in host_state(LAB).splitlines() if LAB in line]


@pytest.fixture
def demo() -> Iterator[subprocess.Popen[str]]:
    """The demo, begun in a process group of its own, as a shell begins what stands in the foreground."""
    running = subprocess.Popen(
        [sys.executable, str(DEMO)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "FAIRWAY_LAB": LAB},
        process_group=0,
    )
    with running:
        try:
            yield running
        finally:
            running.kill()
    subprocess.run([*FAIRWAY, "down", "--lab", LAB], capture_output=True)


def test_every_step_of_the_demo_holds(demo: subprocess.Popen[str]) -> None:
    said, _ = demo.communicate()
    assert demo.returncode == 0, said
    assert "All steps held" in said.splitlines()[-1]
    assert left() == []


@pytest.mark.parametrize("moment", ["== A cluster of three nodes", "✓ certificates", "✓ three nodes", "requests go on"])
def test_an_interrupted_demo_says_so_and_leaves_nothing(demo: subprocess.Popen[str], moment: str) -> None:
    assert demo.stdout
    said = next((line for line in demo.stdout if moment in line), "")
    os.killpg(demo.pid, signal.SIGINT)
    rest, _ = demo.communicate(timeout=60)
    assert said, rest
    assert demo.returncode == 130, rest
    assert rest.splitlines()[-1] == "interrupted; the lab is taken down"
    assert left() == []
