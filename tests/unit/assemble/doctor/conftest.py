"""What tests of the doctor share."""

from __future__ import annotations

from typing import Any

import pytest

from fairway.assemble.doctor import chinese
from fairway.assemble.doctor.findings import Finding


@pytest.fixture(autouse=True)
def said_in_chinese(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is found in any of these tests, there are Chinese words for it."""
    init = Finding.__init__

    def checked(self: Finding, *given: Any, **named: Any) -> None:
        init(self, *given, **named)
        assert chinese.known(self.message), self.message

    monkeypatch.setattr(Finding, "__init__", checked)
