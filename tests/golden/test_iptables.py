"""Our rules against the reference's, chain for chain, both families."""

from __future__ import annotations

import pytest

from fairway.dataplane.iptables import render
from fairway.packet import Family
from fairway.ruleset.iptables import dump, parse
from tests.golden import cases


@pytest.mark.parametrize("family", list(Family))
@pytest.mark.parametrize("name", cases.NAMES)
def test_rendered_rules_are_the_reference_s(name: str, family: Family) -> None:
    case = cases.load(name)

    rendered = render(case.desired, family)

    got = {t: {c.name: c.rules for c in table.chains.values()} for t, table in rendered.tables.items()}
    assert cases.comparable(got) == cases.comparable(case.expected[family])


@pytest.mark.parametrize("name", cases.NAMES)
def test_rendered_rules_survive_print_and_parse(name: str) -> None:
    rendered = render(cases.load(name).desired, Family.IPV4)

    assert parse(dump(rendered)) == rendered


def test_there_are_all_goldens() -> None:
    assert len(cases.NAMES) == 48
