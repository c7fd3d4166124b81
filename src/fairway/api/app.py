"""What a connection asks of the server behind it: answers, tunnels, and the word that it is over. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import msgspec

from fairway.api.answers import Answer, Stream, Tunnel, Upgrade
from fairway.api.intake import Bound, Exchange, usual
from fairway.api.requests import DOORS, UPGRADES
from fairway.api.status import Failure

WRITE_SECONDS = 60.0
"""How long a reader may stand still before it is dropped."""

_DOORS = tuple(f"/{door}" for door in DOORS)


class Respond(Protocol):
    """From the parts of a request to its answer."""

    async def __call__(
        self,
        method: str,
        path: str,
        query: str,
        headers: Mapping[str, str],
        body: bytes,
        certificate: Mapping[str, object] | None = None,
    ) -> Answer | Stream: ...


class Connect(Protocol):
    """From the parts of a request for an upgrade to its answer."""

    async def __call__(
        self,
        method: str,
        path: str,
        query: str,
        headers: Mapping[str, str],
        certificate: Mapping[str, object] | None = None,
    ) -> Answer | Tunnel | Upgrade: ...


class App:
    """The application behind a listener. A stream's reader that takes nothing for `write_seconds` is dropped; `bound`
    says how many bytes the body of a request may hold, by its head."""

    def __init__(
        self, respond: Respond, connect: Connect, write_seconds: float = WRITE_SECONDS, bound: Bound = usual
    ) -> None:
        self.respond = respond
        self.connect = connect
        self.write_seconds = write_seconds
        self.bound = bound

    def opens(self, exchange: Exchange) -> bool:
        """Whether a request for an upgrade is for something that is a connection."""
        return exchange.headers.get("upgrade", "").lower() in UPGRADES and exchange.path.endswith(_DOORS)

    def refusal(self, failure: Failure) -> Answer:
        """The answer to what is no request."""
        return Answer(failure.code, msgspec.json.encode(failure.status()))
