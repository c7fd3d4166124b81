"""Get and list: consistent pages, resourceVersion semantics, selectors."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Annotated

import msgspec

from fairway.api import render, status
from fairway.api.answers import Answer
from fairway.api.keys import key_of
from fairway.api.options import check_list
from fairway.api.requests import Request
from fairway.api.selection import narrow, select
from fairway.store.base import Compacted, Entry, Page, Store

CHUNK = 2000
"""How many entries a filtered list reads at a time before it looks whether its page is full."""


class ContinueToken(msgspec.Struct, frozen=True):
    """Where the next page begins: after which key, as of which revision (0: the present, whatever was shown before)."""

    after: str
    revision: Annotated[int, msgspec.Meta(ge=0)]

    def text(self) -> str:
        """The token as clients hold it."""
        return base64.urlsafe_b64encode(msgspec.json.encode(self)).decode().rstrip("=")


def parse_continue(text: str) -> ContinueToken:
    """Read a token back. Raises 400."""
    try:
        padded = text + "=" * (-len(text) % 4)
        return msgspec.json.decode(base64.urlsafe_b64decode(padded), type=ContinueToken)
    except (ValueError, binascii.Error, msgspec.MsgspecError) as error:
        raise status.bad_request("continue key is not valid: it must be one a list of this server gave") from error


def parse_revision(text: str) -> int:
    """A resourceVersion as a number; "" and "0" are 0. Raises 400."""
    if not text:
        return 0
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise status.bad_request(f"resourceVersion: Invalid value: {text!r}: must be a number the server gave")
    return int(text)


class Reader:
    """Answers get and list from the store."""

    def __init__(self, store: Store, now: Callable[[], datetime]) -> None:
        self._store = store
        self._now = now

    async def get(self, request: Request) -> Answer:
        """One object. Raises 404, and 504 for a revision from the future."""
        target = request.target
        await self._reached(parse_revision(request.options.resource_version))
        entry = await self._store.get(key_of(target.kind, target.namespace, target.name))
        if entry is None:
            raise status.not_found(target.kind, target.name)
        body = render.form_bytes(target, request.wanted, request.options, entry.value, entry.modified, self._now())
        return render.encoded(body, request.wanted, request.options)

    async def list(self, request: Request) -> Answer:
        """A collection or one page of it. Raises 400, 410."""
        options = request.options
        check_list(options)
        prefix = narrow(request.target, select(request.target, options))
        after, revision = await self._start(request)
        entries, at, last, remaining = await self._page(request, prefix, after, revision)
        token = ContinueToken(last, at).text() if last else ""
        metadata = render.list_metadata(at, token, remaining)
        pieces = render.list_body(request.target, request.wanted, options, entries, metadata, self._now())
        if request.wanted.encoding == "json" and not options.pretty:
            return Answer(200, pieces)
        return render.encoded(b"".join(pieces), request.wanted, options)

    async def _start(self, request: Request) -> tuple[str, int]:
        """After which key to begin, and as of which revision (0: now)."""
        options = request.options
        if options.continue_token:
            if options.resource_version not in ("", "0"):
                raise status.bad_request("specifying resource version is not allowed when using continue")
            token = parse_continue(options.continue_token)
            return token.after, token.revision
        revision = parse_revision(options.resource_version)
        match = options.resource_version_match
        if match == "Exact":
            return "", revision
        await self._reached(revision)
        # A page that names its revision without saying how to match it means exactly that revision.
        return "", revision if revision and options.limit and not match else 0

    async def _reached(self, revision: int) -> None:
        if revision and revision > (current := await self._store.revision()):
            raise status.too_large_version(revision, current)

    async def _page(
        self, request: Request, prefix: str, after: str, revision: int
    ) -> tuple[Sequence[Entry], int, str, int]:
        """The entries, their revision, and if more follow the last key looked at and how many remain (0: unknown)."""
        selection = select(request.target, request.options)
        limit = request.options.limit
        if selection.everything:
            page = await self._range(prefix, after, limit, revision)
            last = page.entries[-1].key if page.more else ""
            return page.entries, page.revision, last, page.remaining
        found: list[Entry] = []
        while True:
            page = await self._range(prefix, after, CHUNK if limit else 0, revision)
            for entry in page.entries:
                if selection.matches(entry):
                    found.append(entry)
                    if len(found) == limit and (page.more or entry is not page.entries[-1]):
                        return found, page.revision, entry.key, 0
            if not page.more:
                return found, page.revision, "", 0
            after, revision = page.entries[-1].key, page.revision

    async def _range(self, prefix: str, after: str, limit: int, revision: int) -> Page:
        try:
            return await self._store.range(prefix, after=after, limit=limit, revision=revision)
        except Compacted as error:
            if not after:
                raise
            raise status.expired(
                "The provided continue parameter is too old to display a consistent list result. Start a new list "
                "without it, or go on with the continue parameter of this answer: that shows the rest as it is now, "
                "and what changed since the first page may be missing or appear twice.",
                ContinueToken(after, 0).text(),
            ) from error
