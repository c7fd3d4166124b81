"""Whom cluster DNS asks for names that are not the cluster's, as its flags say."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fairway.dns import names, resolv
from fairway.dns.cache import Limits
from fairway.dns.errors import BadName, BadUpstream
from fairway.dns.names import Name
from fairway.dns.resolv import Endpoint
from fairway.dns.settings import Policy, Settings

RESOLV_CONF = "/etc/resolv.conf"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Forwarding:
    """The words of the flags. Without `forward` the servers of the file `resolv_conf` are asked; without either only
    those of the `stub` domains (DOMAIN=SERVER[,SERVER...]). `serve_stale` is in seconds."""

    forward: tuple[str, ...] = ()
    resolv_conf: str = RESOLV_CONF
    stub: tuple[str, ...] = ()
    upstream_policy: Policy = "random"
    cache_size: int = Limits().entries
    serve_stale: int = 0
    prefetch: int = 0

    def settings(self) -> Settings:
        """The same as the forwarder takes it. Raises BadUpstream naming the flag."""
        servers = _servers("--forward", self.forward) if self.forward else _of_host(self.resolv_conf)
        return Settings(
            servers=servers,
            stubs=tuple(_stub(text) for text in self.stub),
            policy=self.upstream_policy,
            cache=Limits(entries=self.cache_size, stale=self.serve_stale, prefetch=self.prefetch),
        )


def _servers(flag: str, written: Sequence[str]) -> tuple[Endpoint, ...]:
    try:
        return tuple(resolv.endpoint(each.strip()) for text in written for each in text.split(","))
    except BadUpstream as error:
        raise BadUpstream(f"{flag}: {error}") from error


def _stub(text: str) -> tuple[Name, tuple[Endpoint, ...]]:
    domain, _, servers = text.partition("=")
    if not servers:
        raise BadUpstream(f"--stub {text}: needs DOMAIN=ADDRESS[:PORT][,ADDRESS...]")
    try:
        return names.parse(domain), _servers(f"--stub {text}", [servers])
    except BadName as error:
        raise BadUpstream(f"--stub {text}: {error}") from error


def _of_host(path: str) -> tuple[Endpoint, ...]:
    """The servers of the host. A host without the file, or without servers in it, is no reason not to serve the
    cluster's own names."""
    if not path:
        return ()
    try:
        found = resolv.nameservers(Path(path).read_text(encoding="utf-8", errors="replace"))
    except OSError as error:
        _log.warning("names outside the zone are refused: %s cannot be read (%s)", path, error.strerror)
        return ()
    if not found:
        _log.warning("names outside the zone are refused: %s names no server", path)
    return found
