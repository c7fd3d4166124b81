"""Whom a host asks, as its resolv.conf and flags say."""

from __future__ import annotations

import pytest

from fairway.dns.errors import BadUpstream
from fairway.dns.resolv import endpoint, endpoint_text, nameservers, searches


def test_the_nameservers_of_a_resolv_conf_in_their_order() -> None:
    text = """
# a comment
search example.com
nameserver 192.0.2.53
nameserver\t2001:db8::53 trailing words
; another
nameserver fe80::1%eth0
 nameserver 192.0.2.53
nameserver
nameserver not-an-address
options ndots:1
"""
    assert nameservers(text) == (("192.0.2.53", 53), ("2001:db8::53", 53), ("fe80::1%eth0", 53))


@pytest.mark.parametrize(
    ("written", "read", "told"),
    [
        ("10.0.0.5", ("10.0.0.5", 53), "10.0.0.5:53"),
        ("10.0.0.5:5353", ("10.0.0.5", 5353), "10.0.0.5:5353"),
        ("fd00::5", ("fd00::5", 53), "[fd00::5]:53"),
        ("[fd00::5]:5353", ("fd00::5", 5353), "[fd00::5]:5353"),
    ],
)
def test_a_server_is_written_with_or_without_its_port(written: str, read: tuple[str, int], told: str) -> None:
    assert endpoint(written) == read
    assert endpoint_text(read) == told


@pytest.mark.parametrize(
    "written", ["", "dns.example.com", "10.0.0.5:", "10.0.0.5:0", "10.0.0.5:70000", "[10.0.0.5]:53"]
)
def test_anything_else_is_refused(written: str) -> None:
    with pytest.raises(BadUpstream, match="is no server: needs ADDRESS or ADDRESS:PORT"):
        endpoint(written)


def test_of_search_lists_the_last_counts() -> None:
    assert searches("domain a.example\nnameserver 10.0.0.1\nsearch b.example c.example\noptions ndots:2\n") == (
        "b.example",
        "c.example",
    )
    assert searches("search b.example\ndomain a.example\n") == ("a.example",)
    assert searches("search\n") == ()
    assert searches("") == ()
