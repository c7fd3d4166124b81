"""The README's walk, as a newcomer would type it: every command of it, in order, in one shell."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.documents import Shell, ask, changes
from tests.lab.cluster import FAIRWAY

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]

ROOT = Path(__file__).resolve().parents[2]
LAB = f"t{os.getpid()}walk"[:16]


def walk() -> list[str]:
    """The commands of the section "A walk": its indented lines."""
    section = (ROOT / "README.md").read_text().split("\n## A walk\n")[1].split("\n## ")[0]
    return [line[4:] for line in section.splitlines() if line.startswith("    ")]


@pytest.fixture
def shell() -> Iterator[Shell]:
    """The shell of the walk. Its lab has a name of its own, so that one that is up is left alone."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    with Shell(ROOT, {**os.environ, "FAIRWAY_LAB": LAB, "PATH": path}) as shell:
        yield shell
    subprocess.run([*FAIRWAY, "down", "--lab", LAB], capture_output=True)


def test_every_command_of_the_walk_works(shell: Shell) -> None:
    commands = walk()
    assert len(commands) > 10
    said: dict[str, str] = {}
    for command in commands:
        line = command.replace("/run/fairway/lab", f"/run/fairway/{LAB}")
        code, said[command] = ask(shell, line, again=not changes(line), fits=lambda code, _: code == 0)
        assert code == 0, f"{command}\n{said[command]}"
    by_name = {command: text for command, text in said.items() if "curl" in command}
    assert len(by_name) == 3
    for command, text in by_name.items():
        assert "It works!" in text or re.match(r"httpd-\w+-\w+\s*$", text), f"{command}: {text}"
    assert "KUBE-SVC-" in next(text for command, text in said.items() if "iptables-save" in command)
    assert "What becomes of it" in next(text for command, text in said.items() if "trace" in command)
