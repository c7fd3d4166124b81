"""The documents that show what a lab says, the stories among them: every command of each page says it, in one lab."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.documents import Shell, blocks, follow, steps
from tests.lab.cluster import Lab

pytestmark = [pytest.mark.lab, pytest.mark.timeout(300)]

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
STORIES = sorted(path for path in (DOCS / "stories").glob("*.md") if path.stem != "README")
# The doctor comes first, while the kernels know no connections that others have left.
PAGES = [DOCS / "doctor.md", *sorted(DOCS.glob("[!d]*.md")), DOCS / "dns.md", *STORIES]
PAGES = [page for page in PAGES if steps(page.read_text())]


@pytest.fixture
def shell(lab: Lab) -> Iterator[Shell]:
    """A reader's shell. What a page that failed has left is put away."""
    path = f"{Path(sys.executable).parent}:{lab.environment['PATH']}"
    with Shell(ROOT, {**lab.environment, "FAIRWAY_LAB": lab.name, "PATH": path}) as shell:
        yield shell
    files = [word for story in STORIES for word in ("-f", str(story.with_suffix(".yaml")))]
    lab.kubectl("delete", "--ignore-not-found", *files)
    lab.kubectl("delete", "--ignore-not-found", "namespace", "shop")
    lab.kubectl("label", "node", "--all", "node.kubernetes.io/exclude-from-external-load-balancers-")
    lab.kubectl("label", "--overwrite", "pod", "web-a", "web-b", "web-c", "app=web", allow=True)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_everything_is_as_the_page_says(page: Path, shell: Shell) -> None:
    follow(shell, page)


@pytest.mark.parametrize("page", STORIES, ids=lambda page: page.stem)
def test_the_manifest_shown_is_the_one_applied(page: Path) -> None:
    [(_, shown)] = blocks(page.read_text(), "yaml")
    assert shown == page.with_suffix(".yaml").read_text().splitlines()


def test_every_page_that_shows_a_lab_is_followed() -> None:
    assert {page.stem for page in PAGES} >= {"dns", "doctor", "loadbalancer", "proxy", "trace"}
    index = (DOCS / "stories" / "README.md").read_text()
    assert [story.name for story in STORIES if f"({story.name})" not in index] == []
