"""The printed truth table is what the oracle says now, and the same for all protocols and both families."""

from __future__ import annotations

from pathlib import Path

from fairway.packet import Family, Protocol
from tests.golden.truth_table import document, rows, said

DOCUMENT = Path(__file__).parents[2] / "docs" / "truth-table.md"


def test_the_document_is_current() -> None:
    assert DOCUMENT.read_text() == document(), "run `python -m tests.golden.truth_table > docs/truth-table.md`"


def test_every_family_and_protocol_fares_the_same() -> None:
    for row in rows():
        told = {tuple(said(row, family, protocol)) for family in Family for protocol in Protocol}
        assert len(told) == 1, row
