"""Bytes to requests: any split gives the same, and what could be read in two ways is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.api.intake import HEAD_BYTES, Exchange, Intake, Phase
from fairway.objects.codec import MAX_BYTES
from tests.unit.api.wire import split

GET = (
    b"GET /a%20b?c=d HTTP/1.1\r\nHost: x\r\nAccept: a\r\naccept: b\r\n"
    b"Impersonate-Group: p, q\r\nImpersonate-Group: r\r\n\r\n"
)
POST = b"POST /p HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = (
    b"POST /c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"3\r\nfoo\r\n4;x=y\r\nbarz\r\n0\r\nAuthorization: Bearer forged\r\n\r\n"
)
OLD = b"GET /old HTTP/1.0\r\nConnection: keep-alive\r\n\r\n"
UNTAKEN = b"GET /plain HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
LAST = b"DELETE /z HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


def read(*parts: bytes) -> list[Exchange]:
    intake = Intake(lambda exchange: exchange.path == "/door")
    return [exchange for part in parts for exchange in intake.feed(part)]


def test_requests_are_told_by_their_parts() -> None:
    [first, post, chunked, old] = read(GET + POST + CHUNKED + OLD)
    assert (first.method, first.path, first.query) == ("GET", "/a%20b", "c=d")
    assert first.headers == {"host": "x", "accept": "a, b", "impersonate-group": "p, q\nr"}
    assert first.keep_alive and not first.http_1_0 and not first.body
    assert (post.body, chunked.body) == (b"hello", b"foobarz")
    assert "authorization" not in chunked.headers, "trailers are no headers"
    assert old.http_1_0 and old.keep_alive


def test_a_target_may_be_a_whole_url_and_has_no_fragment() -> None:
    targets = (b"http://x:1/a?b", b"//a/b?c", b"/a#f", b"*")
    read_as = [read(b"GET " + target + b" HTTP/1.1\r\nHost: x\r\n\r\n")[0] for target in targets]
    assert [(one.path, one.query) for one in read_as[:3]] == [("/a", "b"), ("//a/b", "c"), ("/a", "")]
    assert read_as[3].path == "*" and not read_as[3].refusal


@given(st.lists(st.integers(0, 10_000), max_size=12))
def test_how_the_bytes_arrive_does_not_matter(places: list[int]) -> None:
    data = GET + POST + UNTAKEN + CHUNKED + OLD + LAST
    assert read(*split(data, places)) == read(data)
    assert len(read(data)) == 6


@given(st.lists(st.integers(0, 10_000), max_size=12))
def test_what_follows_an_upgrade_belongs_to_who_takes_the_connection(places: list[int]) -> None:
    door = b"GET /door HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    [*before, opened] = read(*split(GET + POST + door, places), b"GET / no request")
    assert [one.path for one in before] == ["/a%20b", "/p"]
    assert opened.opens and not opened.rest
    assert read(door + b"early")[0].rest == b"early"


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        (b"POST /p HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"POST /p HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", 400),
        (b"POST /p HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!", 400),
        (b"POST /p HTTP/1.1\r\nHost: x\r\nContent-Length: 5, 6\r\n\r\nhello!", 400),
        (b"POST /p HTTP/1.1\r\nHost: x\r\nContent-Length: +5\r\n\r\nhello", 400),
        (b"POST /p HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\nhello", 400),
        (b"POST /p HTTP/1.1\r\nHost: x\r\nContent-Length : 5\r\n\r\nhello", 400),
        (b"POST /p HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nfoo\r\n0\r\n\r\n", 400),
        (b"POST /p HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n-3\r\nfoo\r\n0\r\n\r\n", 400),
        (b"POST /p HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nfooX\r\n0\r\n\r\n", 400),
        (b"POST /p HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\nfoo", 400),
        (b"POST /p HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
        (b"POST /p HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n", 400),
        (b"POST /p HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 501),
        (b"POST /p HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n folded\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nA: b\x00c\r\n\r\n", 400),
        (b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\nHost: x\n\n", 400),
        (b"GET / HTTP/2.0\r\nHost: x\r\n\r\n", 505),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        (b"CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nExpect: miracles\r\n\r\n", 417),
        (b"POST / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 2\r\n\r\nhi", 400),
        (b"\x16\x03\x01\x02\x00", 400),
        (b"POST /p HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (MAX_BYTES + 1), 413),
        (b"GET /%b HTTP/1.1\r\nHost: x\r\n\r\n" % (b"x" * HEAD_BYTES), 431),
        (b"GET / HTTP/1.1\r\nHost: x\r\n%b\r\n" % (b"a: b\r\n" * 300), 431),
    ],
)
@given(st.lists(st.integers(0, 10_000), max_size=5))
def test_what_is_no_request_or_two_at_once_is_refused_and_ends_the_connection(
    request_: bytes, code: int, places: list[int]
) -> None:
    parts = split(request_, places)
    first, *more = read(POST, *parts, GET)
    assert first.body == b"hello"
    assert [one.refusal and one.refusal.code for one in more] == [code]
    assert not more[0].keep_alive


def test_a_body_that_grows_beyond_the_limit_is_not_held() -> None:
    intake = Intake(lambda _: False)
    assert not intake.feed(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
    piece = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    found = [exchange for _ in range(MAX_BYTES // 65536 + 2) for exchange in intake.feed(piece)]
    assert [one.refusal and one.refusal.code for one in found] == [413] and intake.ended


def test_a_head_without_an_end_is_given_up() -> None:
    intake = Intake(lambda _: False)
    assert not intake.feed(b"GET / HTTP/1.1\r\nHost: x\r\nX: ")
    found = [exchange for _ in range(70) for exchange in intake.feed(b"y" * 1000)]
    assert [one.refusal and one.refusal.code for one in found] == [431]


def test_the_phase_tells_what_is_waited_for() -> None:
    intake = Intake(lambda _: False)
    seen = []
    for part in (b"PO", b"ST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n", b"a", b"b"):
        intake.feed(part)
        seen.append((intake.phase, intake.expected()))
    assert seen == [(Phase.HEAD, False), (Phase.BODY, True), (Phase.BODY, False), (Phase.IDLE, False)]


def test_what_a_body_may_hold_is_asked_by_its_head() -> None:
    intake = Intake(lambda _: False, lambda exchange: 5 if exchange.path == "/files" else 2)
    [fits] = intake.feed(b"POST /files HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello")
    assert (fits.body, fits.refusal) == (b"hello", None)
    [refused] = intake.feed(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello")
    assert refused.refusal and refused.refusal.code == 413

    intake = Intake(lambda _: False, lambda _: 2)
    [chunked] = intake.feed(CHUNKED)
    assert chunked.refusal and chunked.refusal.code == 413
