"""What the page's requests are answered with: its files to everybody on this machine, all else to who has the token."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Literal, Protocol, TypeAlias, TypeVar
from urllib.parse import parse_qs

import msgspec

from fairway.api.answers import Answer, Stream, json_answer
from fairway.api.app import App
from fairway.api.intake import Exchange
from fairway.web import parcel
from fairway.web.door import Door
from fairway.web.events import Board
from fairway.web.files import GUARDS, KEPT_NOWHERE, File

Row: TypeAlias = dict[str, Any]

QUESTION_BYTES = 65536
WORKERS = 2
"""Questions worked on at a time; others wait."""
_EVENTS = "text/event-stream"

_log = logging.getLogger(__name__)


class Asked(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """A packet that the page asks about. `ground` is whose rules are followed: "" of the cluster, else the name that
    dropped files got; `node` which node's, where the source does not tell."""

    source: str
    destination: str
    protocol: Literal["TCP", "UDP", "SCTP"] = "TCP"
    family: Literal["", "IPv4", "IPv6"] = ""
    ground: str = ""
    node: str = ""
    namespace: str = "default"
    source_port: int = 0
    in_interface: str = ""
    language: Literal["en", "zh"] = "en"


class AskedAbout(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A Service, "NAMESPACE/NAME"."""

    service: str


class Unanswerable(Exception):
    """The question is at fault; the message says what to do."""


class Desk(Protocol):
    """Who answers. What takes long is awaited."""

    @property
    def board(self) -> Board | None:
        """What pages follow; None without a cluster."""

    def about(self) -> Row:
        """What is looked at."""

    async def trace(self, asked: Asked) -> Row:
        """The way of a packet. Raises Unanswerable."""

    async def take(self, files: Mapping[str, bytes]) -> Row:
        """Files to go by from now on. Raises Unanswerable."""

    async def findings(self, service: str) -> Row:
        """What is wrong with a Service, by the objects. Raises Unanswerable."""

    async def balancers(self) -> Row:
        """Who holds which load-balancer address. Raises Unanswerable."""


Handler: TypeAlias = Callable[[bytes], Awaitable[Answer | Stream]]

T = TypeVar("T")

_ASKED = msgspec.json.Decoder(Asked)
_ASKED_ABOUT = msgspec.json.Decoder(AskedAbout)


class Pages:
    """What answers every request."""

    def __init__(self, door: Door, files: Mapping[str, File], desk: Desk) -> None:
        self._door = door
        self._files = files
        self._desk = desk
        self._working = asyncio.Semaphore(WORKERS)
        self._handlers: Mapping[tuple[str, str], Handler] = {
            ("GET", "/api/about"): self._about,
            ("GET", "/api/stream"): self._stream,
            ("GET", "/api/balancers"): self._balancers,
            ("POST", "/api/trace"): self._trace,
            ("POST", "/api/findings"): self._findings,
            ("POST", "/api/files"): self._take,
        }

    def app(self) -> App:
        """The application behind the listener."""
        return App(self.respond, self._no_upgrades, bound=self.bound)

    def bound(self, exchange: Exchange) -> int:
        """Nobody sends much who may not."""
        if exchange.path != "/api/files" or self._door.stranger(exchange.headers):
            return QUESTION_BYTES
        return parcel.MAX_BYTES if self._door.admits(exchange.headers) else QUESTION_BYTES

    async def respond(
        self,
        method: str,
        path: str,
        query: str,
        headers: Mapping[str, str],
        body: bytes,
        certificate: Mapping[str, object] | None = None,
    ) -> Answer | Stream:
        """The answer to one request."""
        if refusal := self._door.stranger(headers):
            return _refused(refusal.status, refusal.why)
        if path in self._files:
            return self._file(method, path, query)
        if not path.startswith("/api/"):
            return _refused(404, "There is no such page.")
        if not self._door.admits(headers):
            return _refused(401, "Open the address that `fairway ui` printed: it bears the token.")
        handler = self._handlers.get((method, path))
        if handler is None:
            return _refused(405 if any(path == known for _, known in self._handlers) else 404, "There is no such page.")
        try:
            return await handler(body)
        except (Unanswerable, parcel.ParcelError) as error:
            return _refused(422, str(error))

    def _file(self, method: str, path: str, query: str) -> Answer:
        if method not in ("GET", "HEAD"):
            return _refused(405, "Files are only read.")
        said = parse_qs(query, keep_blank_values=True).get("token", [])
        if said and not self._door.knows(said[0]):
            return _refused(403, "This address bears an old token: open the one that `fairway ui` printed last.")
        return self._files[path].answer()

    async def _about(self, _: bytes) -> Answer:
        return _told(self._desk.about())

    async def _stream(self, _: bytes) -> Answer | Stream:
        board = self._desk.board
        if board is None:
            raise Unanswerable("No cluster is looked at: there is nothing to follow.")
        if board.full:
            return _refused(503, "Too many pages are open.")
        return Stream(board.read(), "", 200, (("content-type", _EVENTS), *KEPT_NOWHERE, *GUARDS))

    async def _trace(self, body: bytes) -> Answer:
        asked = _understood(_ASKED, body)
        async with self._working:
            return _told(await self._desk.trace(asked))

    async def _findings(self, body: bytes) -> Answer:
        asked = _understood(_ASKED_ABOUT, body)
        async with self._working:
            return _told(await self._desk.findings(asked.service))

    async def _take(self, body: bytes) -> Answer:
        async with self._working:
            return _told(await self._desk.take(parcel.unpack(body)))

    async def _balancers(self, _: bytes) -> Answer:
        return _told(await self._desk.balancers())

    async def _no_upgrades(
        self,
        method: str,
        path: str,
        query: str,
        headers: Mapping[str, str],
        certificate: Mapping[str, object] | None = None,
    ) -> Answer:
        return _refused(400, "Nothing here is upgraded.")


def _understood(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    try:
        return decoder.decode(body)
    except msgspec.DecodeError as error:
        raise Unanswerable(f"The question is not understood: {error}") from None


def _told(row: Row) -> Answer:
    return _guarded(json_answer(row))


def _refused(status: int, why: str) -> Answer:
    return _guarded(json_answer({"error": why}, status))


def _guarded(answer: Answer) -> Answer:
    headers = (("content-type", "application/json"), *KEPT_NOWHERE, *GUARDS)
    return Answer(answer.status, answer.body, "", headers)
