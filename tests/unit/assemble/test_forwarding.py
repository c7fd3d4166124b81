"""From the flags of `fairway dns` to whom it asks."""

from __future__ import annotations

from pathlib import Path

import pytest

from fairway.assemble.forwarding import Forwarding
from fairway.dns.errors import BadUpstream


def test_the_servers_of_the_host_unless_others_are_given(tmp_path: Path) -> None:
    host = tmp_path / "resolv.conf"
    host.write_text("nameserver 192.0.2.53\nnameserver 192.0.2.54\n")
    assert Forwarding(resolv_conf=str(host)).settings().servers == (("192.0.2.53", 53), ("192.0.2.54", 53))
    given = Forwarding(resolv_conf=str(host), forward=("10.0.0.5:5353", "10.0.0.6, fd00::7"))
    assert given.settings().servers == (("10.0.0.5", 5353), ("10.0.0.6", 53), ("fd00::7", 53))


@pytest.mark.parametrize("text", [None, "search example.com\n"], ids=["no file", "no server in it"])
def test_a_host_without_servers_forwards_nothing(
    tmp_path: Path, text: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    host = tmp_path / "resolv.conf"
    if text is not None:
        host.write_text(text)
    assert Forwarding(resolv_conf=str(host)).settings().servers == ()
    assert "names outside the zone are refused" in caplog.text


def test_no_file_no_forwarding() -> None:
    assert Forwarding(resolv_conf="").settings().servers == ()


def test_stub_domains() -> None:
    flags = Forwarding(resolv_conf="", stub=("example.org=10.0.0.5", "lab.example.org.=10.0.0.6:5353,10.0.0.7"))
    assert flags.settings().stubs == (
        ((b"example", b"org"), (("10.0.0.5", 53),)),
        ((b"lab", b"example", b"org"), (("10.0.0.6", 5353), ("10.0.0.7", 53))),
    )


def test_the_cache() -> None:
    cache = Forwarding(resolv_conf="", cache_size=5, serve_stale=3600, prefetch=2).settings().cache
    assert (cache.entries, cache.stale, cache.prefetch) == (5, 3600, 2)


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        (Forwarding(forward=("dns.example.com",)), "--forward: 'dns.example.com' is no server"),
        (Forwarding(resolv_conf="", stub=("example.org",)), "--stub example.org: needs DOMAIN=ADDRESS"),
        (Forwarding(resolv_conf="", stub=("example.org=x",)), "--stub example.org=x: 'x' is no server"),
        (Forwarding(resolv_conf="", stub=("a..b=10.0.0.5",)), r"--stub a\.\.b=10\.0\.0\.5: 'a\.\.b' is no domain name"),
    ],
)
def test_what_cannot_be_read_is_told_with_its_flag(flags: Forwarding, complaint: str) -> None:
    with pytest.raises(BadUpstream, match=complaint):
        flags.settings()
