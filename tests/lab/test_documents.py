"""The documents that show what a lab says, the stories among them: every command of each page says it, in one lab."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
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
EXCLUDED = "node.kubernetes.io/exclude-from-external-load-balancers"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_everything_is_as_the_page_says(page: Path, lab: Lab) -> None:
    path = f"{Path(sys.executable).parent}:{lab.environment['PATH']}"
    with Shell(ROOT, {**lab.environment, "FAIRWAY_LAB": lab.name, "PATH": path}) as shell, put_away(lab):
        follow(shell, page)


@contextmanager
def put_away(lab: Lab) -> Iterator[None]:
    """What a page that fails has left, which the next one must not find."""
    try:
        yield
    except BaseException:
        files = [word for story in STORIES for word in ("-f", str(story.with_suffix(".yaml")))]
        lab.kubectl("delete", "--ignore-not-found", *files, allow=True)
        lab.kubectl("delete", "--ignore-not-found", "namespace", "shop", allow=True)
        lab.kubectl("label", "node", "--all", f"{EXCLUDED}-", allow=True)
        lab.kubectl("label", "--overwrite", "pod", "web-a", "web-b", "web-c", "app=web", allow=True)
        raise


@pytest.mark.parametrize("page", STORIES, ids=lambda page: page.stem)
def test_the_manifest_shown_is_the_one_applied(page: Path) -> None:
    [(_, shown)] = blocks(page.read_text(), "yaml")
    assert shown == page.with_suffix(".yaml").read_text().splitlines()


def test_every_page_that_shows_a_lab_is_followed() -> None:
    assert {page.stem for page in PAGES} >= {"dns", "doctor", "loadbalancer", "proxy", "trace"}
    index = (DOCS / "stories" / "README.md").read_text()
    assert [story.name for story in STORIES if f"({story.name})" not in index] == []
