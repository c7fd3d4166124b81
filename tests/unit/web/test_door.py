"""Who may ask."""

from __future__ import annotations

import pytest

from fairway.web.door import Door

DOOR = Door("s3cret", 8080)
AT_HOME = {"host": "127.0.0.1:8080"}


@pytest.mark.parametrize("host", ["127.0.0.1:8080", "localhost:8080", "LOCALHOST:8080", "[::1]:8080"])
def test_whoever_calls_us_by_a_name_of_loopback_is_no_stranger(host: str) -> None:
    assert DOOR.stranger({"host": host}) is None


@pytest.mark.parametrize("host", ["", "127.0.0.1", "127.0.0.1:80", "evil.example:8080", "127.0.0.1.evil.example:8080"])
def test_other_names_are_refused_though_they_lead_here(host: str) -> None:
    refusal = DOOR.stranger({"host": host})
    assert refusal is not None
    assert refusal.status == 421


def test_port_80_stands_in_no_host_line() -> None:
    assert Door("s3cret", 80).stranger({"host": "127.0.0.1"}) is None


@pytest.mark.parametrize(
    ("name", "value", "fits"),
    [
        ("origin", "http://127.0.0.1:8080", True),
        ("origin", "https://127.0.0.1:8080", False),
        ("origin", "http://127.0.0.1:9090", False),
        ("origin", "http://localhost:8080", False),
        ("origin", "null", False),
        ("sec-fetch-site", "same-origin", True),
        ("sec-fetch-site", "none", True),
        ("sec-fetch-site", "same-site", False),
        ("sec-fetch-site", "cross-site", False),
    ],
)
def test_pages_of_others_may_not_ask(name: str, value: str, fits: bool) -> None:
    refusal = DOOR.stranger({**AT_HOME, name: value, "sec-fetch-mode": "cors"})
    assert (refusal is None) is fits


def test_links_of_others_may_lead_here() -> None:
    assert DOOR.stranger({**AT_HOME, "sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}) is None


@pytest.mark.parametrize(
    "said", ["", "s3cret", "Bearer ", "Bearer s3cre", "Bearer s3crets", "bearer s3cret", "Bearer \u20ac"]
)
def test_without_the_whole_token_nobody_is_admitted(said: str) -> None:
    assert DOOR.admits({"authorization": "Bearer s3cret"})
    assert not DOOR.admits({"authorization": said})
    assert not DOOR.admits({})
