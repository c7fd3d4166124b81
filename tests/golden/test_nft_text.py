"""The reference's nftables rules, read and printed back: the same text, but for where long lists break."""

from __future__ import annotations

import json
import re

import pytest

from fairway.ruleset.nft import Other, Ruleset
from fairway.ruleset.nft_parse import parse
from fairway.ruleset.nft_print import text
from tests.golden import cases


def reference(name: str) -> str:
    """What `nft -s list ruleset` said; the reference was not captured in this mode for every case."""
    expected = json.loads((cases.FOLDER / f"{name}.json").read_text())["expected"]
    return expected["nftables"]["nft"] if "nftables" in expected else ""


NAMES = [name for name in cases.NAMES if reference(name)]


def one_line(listing: str) -> str:
    return re.sub(r",\s+", ", ", listing)


def understood(rules: Ruleset) -> bool:
    statements = (
        statement
        for table in rules.tables.values()
        for chain in table.chains.values()
        for rule in chain.rules
        for statement in rule.statements
    )
    return not any(isinstance(statement, Other) for statement in statements)


@pytest.mark.parametrize("name", NAMES)
def test_what_the_reference_programs_is_read_whole(name: str) -> None:
    rules = parse(reference(name))

    assert understood(rules)
    assert one_line(text(rules.tables.values())) == one_line(reference(name))
    assert parse(text(rules.tables.values())) == rules


def test_nearly_all_cases_were_captured() -> None:
    assert len(NAMES) == len(cases.NAMES) - 1
