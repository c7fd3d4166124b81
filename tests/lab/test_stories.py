"""The stories in docs/stories: every command of each page does what the page says, in one lab."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.documents import Shell, blocks, follow
from tests.lab.cluster import Lab

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "docs" / "stories"
PAGES = sorted(path.stem for path in FOLDER.glob("*.md") if path.stem != "README")


def manifest(name: str) -> Path:
    return FOLDER / f"{name}.yaml"


@pytest.fixture
def shell(lab: Lab) -> Iterator[Shell]:
    """A reader's shell. What a page that failed has left is put away."""
    path = f"{Path(sys.executable).parent}:{lab.environment['PATH']}"
    with Shell(ROOT, {**lab.environment, "FAIRWAY_LAB": lab.name, "PATH": path}) as shell:
        yield shell
    files = (word for name in PAGES for word in ("-f", str(manifest(name))))
    lab.kubectl("delete", "--ignore-not-found", *files)
    lab.kubectl("label", "--overwrite", "pod", "web-a", "web-b", "web-c", "app=web", allow=True)


@pytest.mark.parametrize("name", PAGES)
def test_everything_is_as_the_page_says(name: str, shell: Shell) -> None:
    follow(shell, FOLDER / f"{name}.md")


@pytest.mark.parametrize("name", PAGES)
def test_the_manifest_shown_is_the_one_applied(name: str) -> None:
    page = (FOLDER / f"{name}.md").read_text()
    [(_, shown)] = blocks(page, "yaml")
    assert shown == manifest(name).read_text().splitlines()


def test_the_index_names_every_page() -> None:
    index = (FOLDER / "README.md").read_text()
    assert [name for name in PAGES if f"({name}.md)" not in index] == []
