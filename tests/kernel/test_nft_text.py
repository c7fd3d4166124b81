"""nftables text against nft itself: what is printed is loaded, and what is listed then reads as what was printed."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from fairway.ruleset import nft
from fairway.ruleset.nft import creation
from fairway.ruleset.nft_parse import parse
from fairway.ruleset.nft_parse_json import parse_json
from fairway.ruleset.nft_print import changes, text
from tests.golden.test_nft_text import NAMES, reference

pytestmark = pytest.mark.kernel

NAMESPACE = f"fwt-{os.getpid()}-nft"
SAMPLE = (Path(__file__).parents[1] / "unit" / "ruleset" / "sample.nft").read_text()


@pytest.fixture(scope="module")
def namespace() -> Iterator[str]:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    subprocess.run(["ip", "netns", "add", NAMESPACE], check=True)
    try:
        yield NAMESPACE
    finally:
        subprocess.run(["ip", "netns", "delete", NAMESPACE], check=False)


def tool(namespace: str, *arguments: str, stdin: str = "") -> str:
    command = ("ip", "netns", "exec", namespace, "nft", *arguments)
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stderr}\n{stdin}"
    return done.stdout


def load(namespace: str, written: str) -> None:
    tool(namespace, "-f", "-", stdin=f"flush ruleset\n{written}")


def listed(namespace: str, *options: str) -> nft.Ruleset:
    return parse(tool(namespace, *options, "list", "ruleset"))


def one_line(listing: str) -> str:
    return re.sub(r",\s+", ", ", listing)


def test_the_language_is_read_back_as_it_was_printed(namespace: str) -> None:
    printed = text(parse(SAMPLE).tables.values())

    load(namespace, printed)

    assert one_line(tool(namespace, "list", "ruleset")) == one_line(printed)
    assert listed(namespace, "-a") == listed(namespace) == parse(SAMPLE)
    assert parse_json(tool(namespace, "-j", "list", "ruleset")).tables.keys() == parse(SAMPLE).tables.keys()


def test_a_transaction_makes_what_the_table_says(namespace: str) -> None:
    wanted = parse(SAMPLE).tables[nft.TableName("ip", "layout")]

    load(namespace, changes(creation(wanted)))

    assert listed(namespace).tables == {nft.TableName("ip", "layout"): wanted}


@pytest.mark.parametrize("name", NAMES[::8])
def test_the_references_rules_are_listed_as_they_were(namespace: str, name: str) -> None:
    load(namespace, text(parse(reference(name)).tables.values()))

    assert sorted_elements(parse(tool(namespace, "-s", "list", "ruleset"))) == sorted_elements(parse(reference(name)))


def sorted_elements(rules: nft.Ruleset) -> dict[nft.TableName, object]:
    """Chains in their order, elements in that of their keys: hash sets have none of their own."""
    return {
        name: (list(table.chains.items()), [(kept.name, sorted(kept.elements)) for kept in table.sets.values()])
        for name, table in rules.tables.items()
    }
