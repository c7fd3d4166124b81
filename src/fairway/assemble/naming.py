"""Cluster DNS as a process of its own; apart from `processes` since a pod should not pay for the other rooms."""

from __future__ import annotations

import asyncio
import os
import resource
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fairway.assemble import workers
from fairway.assemble.forwarding import RESOLV_CONF, Forwarding
from fairway.assemble.life import loading, run
from fairway.client.kubeconfig import SERVICE_ACCOUNT, ConnectInfo, connect, in_cluster, load
from fairway.dns import resolv
from fairway.dns.cookies import SECRET_LENGTH
from fairway.dns.errors import BadUpstream
from fairway.dns.metrics import Metrics
from fairway.dns.server import DnsServer, Options, Upstream
from fairway.dns.settings import Settings
from fairway.dns.zone import PodRecords, Zone
from fairway.observe.answer import Answer
from fairway.observe.exposition import CONTENT_TYPE
from fairway.observe.pages import Respond, keep_listening

PLAIN = {"Content-Type": CONTENT_TYPE}
OPEN_FILES = 8192
"""Sockets that a worker may have open: its clients' connections and one for each question under way elsewhere."""
_WILDCARDS = ("0.0.0.0", "::", "")

_Place = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Flags:
    """What `fairway dns` was told. Addresses are "ADDRESS:PORT" texts, "" for nowhere; those of `node_local`
    have no port. Without any the server listens on all of the host. `rate_limit` is queries a second of one client, 0
    for any."""

    kubeconfig: str = ""
    domain: str = "cluster.local"
    addresses: Sequence[str] = ()
    node_local: Sequence[str] = ()
    reverse: Sequence[str] = ()
    ttl: int = 5
    pods: PodRecords = "verified"
    shuffle: bool = True
    workers: int = 1
    metrics_address: str = ""
    health_address: str = ""
    rate_limit: float = 0
    cookies: bool = False
    log_queries: bool = False
    autopath: bool = False
    forwarding: Forwarding = field(default_factory=lambda: Forwarding(resolv_conf=""))


def dns(flags: Flags) -> None:
    """Cluster DNS for any API server. Raises ValueError for flags that cannot be meant."""
    listening = _listening(flags)
    pages = [_place(flag, text) for flag, text in _pages(flags) if text]
    for address, port in pages:
        if address in _WILDCARDS or (address, port) in listening:
            raise ValueError(
                f"metrics and health at {address}:{port} would be had by every client: name another address"
            )
    try:
        upstream = flags.forwarding.settings()
    except BadUpstream as error:
        raise ValueError(str(error)) from error
    if flags.workers > 1 and any(not port for _, port in listening):
        raise ValueError("--workers needs ports that are given: all of them listen on the same")
    secret = secrets.token_bytes(SECRET_LENGTH) if flags.cookies else b""
    with _node_local(flags.node_local):
        if flags.workers == 1:
            _work(flags, upstream, secret, 0)
        else:
            workers.share(flags.workers, lambda number: _work(flags, upstream, secret, number))


def _listening(flags: Flags) -> list[_Place]:
    """Where to listen."""
    given = [_place("listen", text) for text in flags.addresses]
    return [*given, *((address, 53) for address in flags.node_local)] or [("0.0.0.0", 53)]


def _node_local(addresses: Sequence[str]) -> AbstractContextManager[None]:
    """The node's own addresses; the kernel's room is loaded by those who have any."""
    if not addresses:
        return nullcontext()
    from fairway.assemble.nodelocal import untracked

    return untracked(addresses)


def _work(flags: Flags, upstream: Settings, secret: bytes, number: int) -> None:
    """Worker `number`, which follows the API by itself; the `secret` of cookies is that of all."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, OPEN_FILES)), hard))

    async def main(stop: asyncio.Event) -> None:
        zone = Zone(flags.domain, flags.ttl, flags.reverse, pods=flags.pods)
        client = connect(_way(flags.kubeconfig))
        options = Options(
            shuffle=flags.shuffle,
            shared=flags.workers > 1,
            rate=flags.rate_limit,
            cookie_secret=secret,
            log_queries=flags.log_queries,
            autopath=flags.autopath,
            searches=_searches(flags.forwarding.resolv_conf) if flags.autopath else (),
        )
        addresses = _listening(flags)
        metrics = Metrics()
        others = _forwarder(upstream, metrics)
        server = DnsServer(client, zone=zone, addresses=addresses, upstream=others, metrics=metrics, options=options)
        async with _beside(server, flags, number):
            await server.run(stop)
        await client.close()

    run(main)


def _forwarder(settings: Settings, metrics: Metrics) -> Upstream | None:
    """Who asks others, if there are any; else what that takes is not even loaded."""
    if not settings.configured:
        return None
    from fairway.dns.forward import Forwarder

    return Forwarder(settings, metrics)


@asynccontextmanager
async def _beside(server: DnsServer, flags: Flags, number: int) -> AsyncIterator[None]:
    """What goes on next to the server: its pages, and a lighter memory once it is loaded."""
    responds: dict[str, Respond] = {"metrics-address": _metrics(server), "health-address": _health(server)}
    works: list[Any] = [loading(server.complete)]
    for flag, text in _pages(flags):
        if text:
            address, port = _place(flag, text)
            works.append(keep_listening(responds[flag], address, port + number, f"--{flag}"))
    tasks = [asyncio.create_task(work) for work in works]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _searches(file: str) -> tuple[str, ...]:
    """What nodes pass on to pods: taken to be what this host has, since all nodes are set up alike."""
    try:
        return resolv.searches(Path(file or RESOLV_CONF).read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return ()


def _pages(flags: Flags) -> tuple[tuple[str, str], ...]:
    return ("metrics-address", flags.metrics_address), ("health-address", flags.health_address)


def _metrics(server: DnsServer) -> Respond:
    def respond(path: str) -> Answer:
        if path != "/metrics":
            return Answer(404, b"only /metrics is here\n", PLAIN)
        return Answer(200, server.metrics.text().encode(), PLAIN)

    return respond


def _health(server: DnsServer) -> Respond:
    """`/health` says that the process is at work, `/ready` that its answers are the truth."""

    def respond(path: str) -> Answer:
        match path:
            case "/health":
                return Answer(200, b"OK", PLAIN)
            case "/ready" if server.synced and server.listening.is_set():
                return Answer(200, b"OK", PLAIN)
            case "/ready":
                return Answer(503, b"the cluster's objects have not been listed yet\n", PLAIN)
        return Answer(404, b"only /health and /ready are here\n", PLAIN)

    return respond


def _way(kubeconfig: str) -> ConnectInfo:
    """In a pod its service account, whatever kubeconfig the host's home may hold, unless one is named."""
    inside = "KUBERNETES_SERVICE_HOST" in os.environ and (SERVICE_ACCOUNT / "token").is_file()
    return in_cluster(os.environ, SERVICE_ACCOUNT) if inside and not kubeconfig else load(kubeconfig or None)


def _place(flag: str, text: str) -> _Place:
    address, _, port = text.rpartition(":")
    if not address or not port.isdigit():
        raise ValueError(f"--{flag} {text}: needs ADDRESS:PORT")
    return address.strip("[]"), int(port)
