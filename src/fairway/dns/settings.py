"""Whom to ask for names outside, and how."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import Literal

from fairway.dns.cache import Limits
from fairway.dns.kept import Bounds
from fairway.dns.names import Name
from fairway.dns.resolv import Endpoint

Policy = Literal["random", "round_robin", "sequential"]
"""Which of several servers is asked first. The others follow in their order; those that are down come last."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Whom to ask and how. `servers` are for all names, `stubs` for the names in a domain. `per_try` and `total` are
    seconds, and so is `patience`: how long a client waits for a fresh answer when there is a stale one (RFC 8767
    section 5). `questions` are under way at once at most, for `clients` waiting ones. `mark` is a word that only those
    know who must not forward to one another: made anew here, shared by workers of one server."""

    servers: tuple[Endpoint, ...] = ()
    stubs: tuple[tuple[Name, tuple[Endpoint, ...]], ...] = ()
    policy: Policy = "random"
    cache: Limits = field(default_factory=Limits)
    bounds: Bounds = field(default_factory=Bounds)
    per_try: float = 2.0
    total: float = 5.0
    patience: float = 1.8
    questions: int = 512
    clients: int = 10_000
    mark: str = field(default_factory=lambda: secrets.token_hex(8), compare=False)

    @property
    def configured(self) -> bool:
        """Whether there is anybody to ask."""
        return bool(self.servers or self.stubs)
