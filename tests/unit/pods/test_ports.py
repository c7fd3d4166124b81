"""The ports that a client names in its query."""

from __future__ import annotations

import pytest

from fairway.pods.ports import MAX_PORTS, ports_of


def test_ports_come_one_by_one_or_together() -> None:
    assert ports_of(["80"]) == [80]
    assert ports_of(["80,443", "8080"]) == [80, 443, 8080]


@pytest.mark.parametrize("values", [[], [""], ["0"], ["65536"], ["80,"], ["http"], ["-1"], ["80"] * (MAX_PORTS + 1)])
def test_what_is_no_list_of_ports_is_refused(values: list[str]) -> None:
    with pytest.raises(ValueError, match="ports"):
        ports_of(values)
