"""Header blocks of SPDY/3: names and values behind one zlib stream per direction (draft, section 2.6.10)."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence

from fairway.pods.spdy.errors import Violation

Headers = tuple[tuple[str, str], ...]
"""Pairs of a lower-case name and its value; several values of one name are joined by NUL."""

MAX_BLOCK_BYTES = 16 * 1024
"""What a header block may hold, unpacked."""

_COUNT = struct.Struct(">I")
_LISTED = (
    "options head post put delete trace accept accept-charset accept-encoding accept-language accept-ranges age allow "
    "authorization cache-control connection content-base content-encoding content-language content-length "
    "content-location content-md5 content-range content-type date etag expect expires from host if-match "
    "if-modified-since if-none-match if-range if-unmodified-since last-modified location max-forwards pragma "
    "proxy-authenticate proxy-authorization range referer retry-after server te trailer transfer-encoding upgrade "
    "user-agent vary via warning www-authenticate method get status|200 OK|version HTTP/1.1 url public set-cookie "
    "keep-alive origin"
)
_LOOSE = (
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505"
    "203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized"
    "403 Forbidden404 Not Found500 Internal Server Error501 Not Implemented503 Service Unavailable"
    "Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMT"
    "chunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,"
    "text/javascript,publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0."
)


def _words() -> list[str]:
    before, phrase, after = _LISTED.split("|")
    return [*before.split(), phrase, *after.split()]


def _prefixed(text: bytes) -> bytes:
    return _COUNT.pack(len(text)) + text


DICTIONARY = b"".join(_prefixed(word.encode()) for word in _words()) + _LOOSE.encode()
"""What both ends' zlib streams know from the beginning (draft, section 2.6.10.1)."""


def pack(headers: Sequence[tuple[str, str]]) -> bytes:
    """A name/value block, not yet compressed."""
    pairs = (_prefixed(name.encode("latin-1")) + _prefixed(value.encode("latin-1")) for name, value in headers)
    return _COUNT.pack(len(headers)) + b"".join(pairs)


def unpack(block: bytes) -> Headers:
    """The pairs of a name/value block. Raises Violation."""
    try:
        (count,) = _COUNT.unpack_from(block)
        pairs, position = [], _COUNT.size
        for _ in range(count):
            name, position = _text(block, position)
            value, position = _text(block, position)
            pairs.append((name, value))
    except struct.error:
        raise Violation("a header block ends within a header") from None
    if position != len(block):
        raise Violation("a header block goes on behind its last header")
    names = [name for name, _ in pairs]
    if len(set(names)) < len(names) or not all(name and name == name.lower() for name in names):
        raise Violation("names of headers must be there, in lower case, and once each")
    return tuple(pairs)


def _text(block: bytes, position: int) -> tuple[str, int]:
    (length,) = _COUNT.unpack_from(block, position)
    begin, end = position + _COUNT.size, position + _COUNT.size + length
    if end > len(block):
        raise Violation("a header block ends within a header")
    return block[begin:end].decode("latin-1"), end


class Deflater:
    """One direction's compression: blocks must be sent in the order they were packed."""

    def __init__(self) -> None:
        self._zlib = zlib.compressobj(zdict=DICTIONARY)

    def block(self, headers: Sequence[tuple[str, str]]) -> bytes:
        """The next block as it is sent."""
        return self._zlib.compress(pack(headers)) + self._zlib.flush(zlib.Z_SYNC_FLUSH)


class Inflater:
    """The other direction's: blocks must be given in the order they came."""

    def __init__(self) -> None:
        self._zlib = zlib.decompressobj(zdict=DICTIONARY)

    def headers(self, block: bytes) -> Headers:
        """What a block says. Raises Violation, after which nothing that follows can be read."""
        try:
            unpacked = self._zlib.decompress(block, MAX_BLOCK_BYTES)
        except zlib.error as error:
            raise Violation(f"a header block cannot be unpacked: {error}") from None
        if self._zlib.unconsumed_tail:
            raise Violation(f"a header block is larger than {MAX_BLOCK_BYTES} bytes")
        if self._zlib.eof:
            raise Violation("the stream of header blocks has ended")
        return unpack(unpacked)
