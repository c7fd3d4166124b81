"""What an HTTP/1.1 answer begins with, as bytes, and in which pieces its body leaves. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus

PIECE = 256 * 1024
LARGE = PIECE // 2

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
CHUNKED = b"transfer-encoding: chunked\r\n"
LAST_CHUNK = b"0\r\n\r\n"

Headers = Iterable[tuple[str, str]]

_LINE_ENDS = re.compile(r"[\r\n\0]+")


def head(code: int, content_type: str, headers: Headers, second: int, framing: bytes) -> bytes:
    """A status line and header lines, with the empty line that ends them. `second` is the time, in whole seconds
    since 1970; `framing` are complete lines about length and connection.

    Without a content type the headers are somebody else's and complete."""
    first = _first_lines(code, content_type) + _date(second)
    if not headers:
        return first + framing + b"\r\n"
    lines = [first]
    for name, value in headers:
        # Texts in warnings may hold any character; header lines hold latin-1 (RFC 9110, section 5.5).
        lines.append(f"{name}: {_LINE_ENDS.sub(' ', value)}\r\n".encode("latin-1", "replace"))
    return b"".join([*lines, framing, b"\r\n"])


def chunk(piece: bytes) -> bytes:
    """A piece of a body that does not tell its length (RFC 9112, section 7.1)."""
    return b"%x\r\n%b\r\n" % (len(piece), piece)


def bodyless(code: int) -> bool:
    """Whether answers with this status never have a body, nor its length (RFC 9110, section 8.6)."""
    return code in (204, 304) or code < 200


def joined(pieces: Iterable[bytes]) -> list[bytes]:
    """Many small pieces as few large ones: a write costs more than a copy."""
    found: list[bytes] = []
    current: list[bytes] = []
    size = 0
    for piece in pieces:
        if len(piece) < LARGE:
            current.append(piece)
            size += len(piece)
        if current and (size >= PIECE or len(piece) >= LARGE):
            found.append(b"".join(current))
            current, size = [], 0
        if len(piece) >= LARGE:
            found.append(piece)
    return [*found, b"".join(current)] if current or not found else found


@lru_cache(256)
def _first_lines(code: int, content_type: str) -> bytes:
    try:
        phrase = HTTPStatus(code).phrase
    except ValueError:  # somebody else's answer, handed on
        phrase = ""
    lines = [f"HTTP/1.1 {code} {phrase}"]
    if content_type:
        lines += [f"content-type: {content_type}", "cache-control: no-cache, private"]
    return "\r\n".join([*lines, ""]).encode("latin-1")


@lru_cache(4)
def _date(second: int) -> bytes:
    return f"date: {formatdate(second, usegmt=True)}\r\n".encode("ascii")
