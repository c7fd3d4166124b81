"""Who may ask: only who was told the token, from a page of ours, by the name we were told to be. Pure.

Loopback alone keeps nobody out: pages of others can make a browser ask here (the Host line then names them, or the
Origin line does), and so can other users of the machine (who have no token).
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass

SCHEME = "Bearer "
NAMES = ("127.0.0.1", "localhost", "[::1]")
"""What a browser on this machine calls us. A name that an attacker's DNS turned to 127.0.0.1 is none of these."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """The status of the answer, and a sentence for people."""

    status: int
    why: str


@dataclass(frozen=True, slots=True)
class Door:
    """The door of a page served on `port`."""

    token: str
    port: int

    def stranger(self, headers: Mapping[str, str]) -> Refusal | None:
        """What is wrong with a request whoever sends it: it was not meant for us, or another page sends it. Links of
        others may lead here: the page alone tells nothing."""
        hosts = [f"{name}:{self.port}" for name in NAMES] + (list(NAMES) if self.port == 80 else [])
        host = headers.get("host", "").lower()
        if host not in hosts:
            return Refusal(421, "This is a page of loopback: ask for it by 127.0.0.1.")
        origin = headers.get("origin", "")
        if origin and origin.lower() != f"http://{host}":
            return Refusal(403, "Pages of others may not ask here.")
        ours = headers.get("sec-fetch-site", "none") in ("same-origin", "none")
        if not ours and headers.get("sec-fetch-mode", "") != "navigate":
            return Refusal(403, "Pages of others may not ask here.")
        return None

    def admits(self, headers: Mapping[str, str]) -> bool:
        """Whether a request bears the token, as our page's scripts send it."""
        said = headers.get("authorization", "")
        return said.startswith(SCHEME) and self.knows(said.removeprefix(SCHEME))

    def knows(self, token: str) -> bool:
        """Compared in a time that does not tell how much of it was right."""
        return hmac.compare_digest(token.encode("latin-1", "replace"), self.token.encode())
