"""Bytes of a connection to whole HTTP/1.1 requests, in order and within bounds, or a refusal. No I/O.

The grammar is httptools' (llhttp in its strict mode: what could be read in two ways is an error); this module adds what
a server must decide itself: bounds, versions, the Host line, codings, expectations and upgrades (RFC 9112).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum

import httptools

from fairway.api import status
from fairway.api.status import Failure
from fairway.objects.codec import MAX_BYTES

HEAD_BYTES = 65536
"""What a request line and its headers may hold (one network read more, where they come in several)."""
HEADER_LINES = 256
NAMES = 1024
"""How many spellings of header names are remembered: clients send the same ones with every request."""


class Phase(IntEnum):
    """What the next byte belongs to."""

    IDLE = 0
    HEAD = 1
    BODY = 2


@dataclass(slots=True)
class Exchange:
    """A request by its parts; `path` is still percent-encoded, header names are in lower case. `refusal` is what is
    wrong with it, if it never became one; `opens` says that it asks for its connection, on which `rest` came after
    it."""

    method: str = ""
    path: str = ""
    query: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    http_1_0: bool = False
    keep_alive: bool = False
    refusal: Failure | None = None
    opens: bool = False
    rest: bytes = b""


Opens = Callable[[Exchange], bool]
"""Whether a request that asks for an upgrade of its connection shall get one; what is not upgraded is answered as if it
had not asked (RFC 9110, section 7.8)."""

Bound = Callable[[Exchange], int]
"""How many bytes the body of a request may hold, by what its head says."""


def usual(_: Exchange) -> int:
    """As much as an object of the API may hold."""
    return MAX_BYTES


_names: dict[bytes, str] = {}


class Intake:
    """Collects requests from what a connection receives. It ends with the first request that is refused or that takes
    the connection over; what comes later is not looked at."""

    def __init__(self, opens: Opens, bound: Bound = usual) -> None:
        self.phase = Phase.IDLE
        self.ended = False
        self.expecting = False
        self._opens = opens
        self._bounds = bound
        self._most = MAX_BYTES
        self._parser = httptools.HttpRequestParser(self)
        self._done: list[Exchange] = []
        self._exchange = Exchange()
        self._target = b""
        self._version = ""
        self._parts: list[bytes] = []
        self._lines = self._hosts = self._size = self._unfinished = 0

    def feed(self, data: bytes) -> list[Exchange]:
        """The requests that became complete with `data`."""
        while data and not self.ended:
            data = self._feed(data)
        found, self._done = self._done, []
        return found

    def refuse(self, failure: Failure) -> Exchange:
        """End here: the answer to whatever was under way."""
        self.ended = True
        exchange = self._exchange
        exchange.refusal, exchange.keep_alive = failure, False
        return exchange

    def expected(self) -> bool:
        """Whether the request under way waits for word that its body is welcome (RFC 9110, section 10.1.1); said
        once."""
        expecting, self.expecting = self.expecting, False
        return expecting and not self.ended

    def _feed(self, data: bytes) -> bytes:
        """What is left of the data, to be read by a parser of its own."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            return self._upgraded(data[upgrade.args[0] :])
        except httptools.HttpParserError as error:
            if not self.ended:
                self._done.append(self.refuse(status.bad_request(f"this is no HTTP request: {error}")))
        else:
            self._bound(len(data))
        return b""

    def _bound(self, size: int) -> None:
        """Give up on a head that does not end; the parser itself would collect it for ever."""
        if self.phase is not Phase.HEAD:
            self._unfinished = 0
            return
        self._unfinished += size
        if self._unfinished > HEAD_BYTES:
            self._done.append(self.refuse(status.head_too_large(HEAD_BYTES)))

    def _upgraded(self, rest: bytes) -> bytes:
        """The parser stops behind every request that asks for an upgrade, whether or not it gets one."""
        exchange = self._done[-1]
        if self._opens(exchange):
            exchange.opens, exchange.rest, self.ended = True, rest, True
            return b""
        self._parser = httptools.HttpRequestParser(self)
        return rest

    # What the parser calls, in this order. An exception ends its work.

    def on_message_begin(self) -> None:
        """A request line begins."""
        self.phase = Phase.HEAD
        self._exchange = Exchange()
        self._target = b""
        self._parts = []
        self._lines = self._hosts = self._size = 0

    def on_url(self, url: bytes) -> None:
        """A piece of the request's target."""
        self._target += url
        self._count(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header line, or (not looked at) a trailer's."""
        if self.phase is not Phase.HEAD:
            return
        self._count(len(name) + len(value))
        self._lines += 1
        known = _names.get(name) or _name(name)
        text = value.decode("latin-1")
        headers = self._exchange.headers
        if known == "host":
            self._hosts += 1
        if known in headers:
            # Lines of one name are one list (RFC 9110, section 5.3); whom to impersonate may have commas in it, so
            # there each line stays one.
            text = headers[known] + ("\n" if known.startswith("impersonate-") else ", ") + text
        headers[known] = text

    def on_headers_complete(self) -> None:
        """Everything but the body is known."""
        self.phase, self._size, self._unfinished = Phase.BODY, 0, 0
        exchange, parser = self._exchange, self._parser
        exchange.method = parser.get_method().decode("ascii")
        self._version = parser.get_http_version()
        exchange.http_1_0 = self._version == "1.0"
        exchange.keep_alive = parser.should_keep_alive()
        failure = self._locate(exchange)
        self._most = self._bounds(exchange)
        if failure := failure or self._unacceptable(exchange):
            self._stop(failure)
        if "expect" in exchange.headers and not exchange.http_1_0:
            self.expecting = True

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        self._size += len(body)
        if self._size > self._most:
            self._stop(status.too_large(self._most))
        self._parts.append(body)
        self.expecting = False

    def on_message_complete(self) -> None:
        """A whole request."""
        self.phase, self.expecting = Phase.IDLE, False
        parts = self._parts
        if parts:
            self._exchange.body = parts[0] if len(parts) == 1 else b"".join(parts)
        self._done.append(self._exchange)
        self.ended = not self._exchange.keep_alive
        self._exchange = Exchange()

    def _count(self, size: int) -> None:
        self._size += size
        if self._size > HEAD_BYTES or self._lines >= HEADER_LINES:
            self._stop(status.head_too_large(HEAD_BYTES))

    def _stop(self, failure: Failure) -> None:
        self._done.append(self.refuse(failure))
        raise failure

    def _locate(self, exchange: Exchange) -> Failure | None:
        """Take the target apart: path and query, or a whole URL (RFC 9112, section 3.2)."""
        target = self._target
        try:
            if not target.startswith(b"/") or b"#" in target:
                url = httptools.parse_url(target)
                target = (url.path or b"/") + (b"?" + url.query if url.query else b"")
            path, _, query = target.partition(b"?")
            exchange.path, exchange.query = path.decode("ascii"), query.decode("latin-1")
        except (httptools.HttpParserInvalidURLError, UnicodeDecodeError):
            return status.bad_request("the request's target is no path")
        return None

    def _unacceptable(self, exchange: Exchange) -> Failure | None:
        headers = exchange.headers
        if self._version not in ("1.0", "1.1"):
            return status.Failure(505, "HTTPVersionNotSupported", f"HTTP/{self._version} is not spoken")
        if self._hosts != 1 and not (exchange.http_1_0 and not self._hosts):
            # RFC 9112, section 3.2: not one, not two.
            return status.bad_request("a request has one Host line")
        if exchange.method == "CONNECT":
            return status.method_not_allowed()
        if coding := headers.get("transfer-encoding", ""):
            if exchange.http_1_0:
                return status.bad_request("HTTP/1.0 has no transfer codings")
            if coding.lower() != "chunked":
                return status.Failure(501, "NotImplemented", f"the transfer coding {coding!r} is not understood")
        if headers.get("expect", "100-continue").lower() != "100-continue":
            return status.Failure(417, "ExpectationFailed", "only 100-continue can be expected")
        length = headers.get("content-length", "")
        if "upgrade" in headers and (coding or length.strip("0")):
            # The parser leaves off behind the head, and the body would be read as the next request.
            return status.bad_request("a request with a body cannot ask for an upgrade")
        return status.too_large(self._most) if length.isdigit() and int(length) > self._most else None


def _name(raw: bytes) -> str:
    name = raw.lower().decode("latin-1")
    if len(_names) < NAMES:
        _names[raw] = name
    return name
