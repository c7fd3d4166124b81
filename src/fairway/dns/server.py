"""EDGE. The DNS server: the zone kept true by watching the API, and answered from over UDP and TCP.

When the API goes away the answers stay as they were last known to be.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from fairway.client.base import Client
from fairway.client.follow import follow
from fairway.client.informer import Cache, Change
from fairway.dns import view, wire
from fairway.dns.tcp import DEFAULT_LIMITS, Limits, TcpListener
from fairway.dns.udp import UdpListener
from fairway.dns.zone import Zone
from fairway.objects import kinds
from fairway.objects.kinds import Kind

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Source:
    """One kind the zone is made of: how its objects are read, and what becomes of them."""

    kind: Kind
    decode: Callable[[bytes], Any]
    set: Callable[[Zone, Any], None]
    delete: Callable[[Zone, str, str], None]


_SOURCES = (
    _Source(kinds.NAMESPACE, view.decode_namespace, Zone.set_namespace, Zone.delete_namespace),
    _Source(kinds.SERVICE, view.decode_service, Zone.set_service, Zone.delete_service),
    _Source(kinds.ENDPOINT_SLICE, view.decode_slice, Zone.set_slice, Zone.delete_slice),
)
_POD_SOURCE = _Source(kinds.POD, view.decode_pod, Zone.set_pod, Zone.delete_pod)


class DnsServer:
    """Serves `zone` on `addresses` (address, port), kept in step with the API server behind `client`.

    `synced` is True once every kind has been listed; until then questions for the zone get SERVFAIL. `listening` is
    set when queries are taken, `bound` then holds the addresses with their real ports (port 0 asks for any).
    `upstreams` are for names outside the zone; such names are refused as long as forwarding is not part of the server.
    """

    def __init__(
        self,
        client: Client,
        *,
        zone: Zone,
        addresses: Sequence[tuple[str, int]],
        upstreams: Sequence[str] = (),
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        self._client = client
        self._zone = zone
        self._addresses = tuple(addresses)
        self._upstreams = tuple(upstreams)
        self._limits = limits
        self._sources = (*_SOURCES, _POD_SOURCE) if zone.pod_records == "verified" else _SOURCES
        self._unsynced = {source.kind for source in self._sources}
        self.bound: tuple[tuple[str, int], ...] = ()
        self.listening = asyncio.Event()
        self.complete = asyncio.Event()

    @property
    def synced(self) -> bool:
        """Whether the zone is the whole truth of some moment."""
        return not self._unsynced

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until `stop` is set. Raises CannotListen when an address cannot be had."""
        if self._upstreams:
            _log.warning("names outside the zone are refused; these upstreams are not asked: %s", self._upstreams)
        listeners: list[UdpListener | TcpListener] = []
        try:
            self.bound = tuple([await self._listen(address, port, listeners) for address, port in self._addresses])
            self.listening.set()
            await self._follow_until(stop)
        finally:
            for listener in listeners:
                closing = listener.close()
                if closing is not None:
                    await closing

    async def _listen(self, address: str, port: int, listeners: list[UdpListener | TcpListener]) -> tuple[str, int]:
        tcp = TcpListener(address, port, partial(self._answer, udp=False), self._limits)
        listeners.append(tcp)
        udp = UdpListener(address, tcp.port, partial(self._answer, udp=True))
        listeners.append(udp)
        await tcp.start()
        udp.start()
        return address, tcp.port

    async def _follow_until(self, stop: asyncio.Event) -> None:
        """Follow every source until `stop`; a follower that ends before that ends the server with its error."""
        tasks = [asyncio.create_task(self._follow(source)) for source in self._sources]
        stopped = asyncio.create_task(stop.wait())
        try:
            done, _ = await asyncio.wait((stopped, *tasks), return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in (stopped, *tasks):
                task.cancel()
            await asyncio.gather(stopped, *tasks, return_exceptions=True)

    async def _follow(self, source: _Source) -> None:
        await follow(
            self._client,
            source.kind,
            Cache(source.decode),
            on_change=partial(self._change, source),
            on_synced=partial(self._sync, source),
        )

    def _change(self, source: _Source, changes: Sequence[Change[Any]]) -> None:
        for change in changes:
            if change.new is None:
                source.delete(self._zone, *change.key)
            else:
                source.set(self._zone, change.new)

    def _sync(self, source: _Source) -> None:
        self._unsynced.discard(source.kind)
        if self.synced:
            self._zone.settle()
            self.complete.set()

    def _answer(self, query: bytes, *, udp: bool) -> bytes | None:
        """The reply. When making it fails, the client hears so at once: one query must not take the server down, and
        silence would cost its sender seconds."""
        try:
            return wire.respond(query, self._zone, udp=udp, synced=self.synced)
        except Exception:
            _log.exception("this query could not be answered, please report it: %s", query.hex())
            return wire.failure(query)
