"""docs/dns.md says what the code does: its tables are the program's."""

from __future__ import annotations

import re
from pathlib import Path

from fairway.cli.serve import dns
from fairway.dns.grammar import GRAMMAR
from tests.plan import DNS_IP

PAGE = (Path(__file__).parents[3] / "docs" / "dns.md").read_text()


def test_the_table_of_names_is_the_grammar() -> None:
    rows = re.findall(r"^\| (?:`([^`]+)`|\(the zone itself\)) \| ([a-z ]+) \|", PAGE, re.MULTILINE)
    assert tuple(rows) == GRAMMAR


def test_flags_that_are_spoken_of_are_there() -> None:
    flags = {name for each in dns.params for name in (*each.opts, *each.secondary_opts)}
    explain = {name for each in dns.commands["explain"].params for name in each.opts}
    spoken = set(re.findall(r"`(--[a-z-]+)", PAGE)) - {"--dns-forward"}
    assert spoken <= flags | explain


def test_addresses_are_those_of_the_plan() -> None:
    assert f"at {DNS_IP} as `kube-system/kube-dns`" in PAGE
