"""Which addresses may be programmed."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.desired.addresses import of_family, usable
from fairway.packet import Family

parts = st.one_of(st.integers(0, 300).map(str), st.sampled_from(["00", "01", "007", "", " 1", "1\n", "\u0661", "0x1"]))
quads = st.lists(parts, min_size=3, max_size=5).map(".".join)
numbers = st.ip_addresses(v=4).map(str)
special = st.builds(
    lambda start, end: f"{start}.{end}",
    st.sampled_from(["0.0", "127.0", "169.254", "224.0", "240.0"]),
    st.sampled_from(["0.0", "0.1", "9.9"]),
)


@given(st.one_of(numbers, quads, special))
def test_the_short_way_agrees_with_the_long_one(text: str) -> None:
    try:
        address = ipaddress.IPv4Address(text)
    except ValueError:
        assert usable(text) == ""
        return
    kept_out = address.is_loopback or address.is_link_local or address.is_multicast or address.is_unspecified
    assert usable(text) == ("" if kept_out else str(address))


@pytest.mark.parametrize(
    ("text", "canonical"),
    [("FD00:0::5", "fd00::5"), ("::ffff:10.0.0.1", ""), ("fe80::1", ""), ("::1", ""), ("10.0.0.5/32", "")],
)
def test_other_spellings(text: str, canonical: str) -> None:
    assert usable(text) == canonical


def test_of_one_family_sorted_and_each_once() -> None:
    given_texts = ["10.0.0.2", "FD00::1", "10.0.0.1", "10.0.0.2", "127.0.0.1"]

    assert of_family(given_texts, Family.IPV4) == ("10.0.0.1", "10.0.0.2")
    assert of_family(given_texts, Family.IPV6) == ("fd00::1",)
    assert of_family(None, Family.IPV4) == ()
