"""The README's walk, as a newcomer would type it: every command of it, in order, in one shell."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.cluster import FAIRWAY

pytestmark = pytest.mark.lab

ROOT = Path(__file__).resolve().parents[2]
LAB = f"t{os.getpid()}walk"[:16]


def walk() -> list[str]:
    """The commands of the section "A walk": its indented lines."""
    section = (ROOT / "README.md").read_text().split("\n## A walk\n")[1].split("\n## ")[0]
    return [line[4:] for line in section.splitlines() if line.startswith("    ")]


@pytest.fixture
def shell() -> Iterator[dict[str, str]]:
    """The environment of the walk. Its lab has a name of its own, so that one that is up is left alone."""
    yield {**os.environ, "FAIRWAY_LAB": LAB, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    subprocess.run([*FAIRWAY, "down", "--lab", LAB], capture_output=True)


def test_every_command_of_the_walk_works(shell: dict[str, str]) -> None:
    commands = walk()
    assert len(commands) > 10
    script = "\n".join(["set -e", *(f"echo '## {number}'\n{line}" for number, line in enumerate(commands))])
    script = script.replace("/run/fairway/lab", f"/run/fairway/{LAB}")
    done = subprocess.run(["bash"], input=script, capture_output=True, text=True, cwd=ROOT, env=shell, timeout=100)
    reached = re.findall(r"^## (\d+)$", done.stdout, re.M)
    assert done.returncode == 0, f"{commands[int(reached[-1])]}\n{done.stdout[-2000:]}{done.stderr}"
    said = dict(zip(commands, re.split(r"^## \d+\n", done.stdout, flags=re.M)[1:], strict=True))
    by_name = {command: text for command, text in said.items() if "curl" in command}
    assert len(by_name) == 3
    for command, text in by_name.items():
        assert "It works!" in text or re.match(r"httpd-\w+-\w+\s*$", text), f"{command}: {text}"
    assert "KUBE-SVC-" in next(text for command, text in said.items() if "iptables-save" in command)
    assert "What becomes of it" in next(text for command, text in said.items() if "trace" in command)
