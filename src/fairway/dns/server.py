"""EDGE. The DNS server: the zone kept true by watching the API, and answered from over UDP and TCP.

When the API goes away the answers stay as they were last known to be.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from time import monotonic, time
from typing import Any, Protocol, TypedDict

from fairway.client.base import Client
from fairway.client.follow import follow
from fairway.client.informer import Cache, Change, Key
from fairway.dns import metrics as told
from fairway.dns import view, wire
from fairway.dns.answers import Answers, Place
from fairway.dns.autopath import shortcut
from fairway.dns.cookies import Cookies
from fairway.dns.guard import SLIP, Guard, RateLimit
from fairway.dns.metrics import Metrics
from fairway.dns.names import Name
from fairway.dns.paths import Paths
from fairway.dns.records import Answer, Record, Root
from fairway.dns.table import BUDGET
from fairway.dns.tcp import DEFAULT_LIMITS, Limits, TcpListener
from fairway.dns.udp import Elsewhere, UdpListener
from fairway.dns.wire import Manner, Referral
from fairway.dns.zone import Zone
from fairway.objects import kinds
from fairway.objects.kinds import Kind

LOT = 32
"""Objects of a listing, and Services marked by events, that are gone through in one turn: a millisecond or less."""
TCP_BUDGET = BUDGET // 8
"""Octets of ready replies to questions over TCP: there are few, but large ones."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Source:
    """One kind the zone is made of: how its objects are read, and what becomes of them."""

    kind: Kind
    decode: Callable[[bytes], Any]
    set: Callable[[Zone, Key, Any], None]
    delete: Callable[[Zone, str, str], None]


def _without_key(set: Callable[[Zone, Any], None]) -> Callable[[Zone, Key, Any], None]:
    return lambda zone, _, value: set(zone, value)


_SOURCES = (
    _Source(kinds.NAMESPACE, view.decode_namespace, _without_key(Zone.set_namespace), Zone.delete_namespace),
    _Source(kinds.SERVICE, view.decode_service, _without_key(Zone.set_service), Zone.delete_service),
    _Source(kinds.ENDPOINT_SLICE, view.decode_slice, _without_key(Zone.set_slice), Zone.delete_slice),
)
_PODS = _Source(kinds.POD, view.decode_addresses, Zone.set_pod_addresses, Zone.delete_pod)


def _sources(zone: Zone, paths: Paths | None) -> Iterator[_Source]:
    """The kinds that a zone needs, and the search lists of Pods if they are wanted."""
    yield from _SOURCES
    if paths is not None:
        yield _Source(kinds.POD, view.decode_resolving_pod, partial(_set_pod, paths), partial(_delete_pod, paths))
    elif zone.pod_records == "verified":
        yield _PODS


def _set_pod(paths: Paths, zone: Zone, _: Key, pod: view.ResolvingPod) -> None:
    zone.set_pod(pod)
    paths.set(pod)


def _delete_pod(paths: Paths, zone: Zone, namespace: str, name: str) -> None:
    zone.delete_pod(namespace, name)
    paths.delete(namespace, name)


class Upstream(Protocol):
    """Who answers for names outside the zone."""

    async def run(self, stop: asyncio.Event) -> None:
        """Be at work until `stop` is set."""

    async def resolve(self, message: bytes, *, udp: bool, client: str) -> bytes:
        """The reply to a query, which came by UDP (its limits of size hold) or TCP from the address `client`."""

    def resolve_cached(self, message: bytes, *, udp: bool) -> bytes | None:
        """The reply to any octets, if they are a query that can be answered at once."""

    async def follow(self, name: Name, type: int) -> Answer:
        """The answer for a name that an alias leads to: its records, and how it ends (SERVFAIL: nobody could tell)."""

    async def lookup(self, name: Name, type: int) -> tuple[Record, ...]:
        """The records of a name, aliases on the way included; empty if there are none or nobody answers."""


@dataclass(frozen=True, slots=True)
class Options:
    """How a server serves. `shared` binds addresses that other workers bind too; `rate` is the number of replies a
    second that one client may have (0: any) by the clock `now`, and one in `slip` queries beyond is sent to TCP; a
    `cookie_secret` has clients given cookies, which are made of it; `log_queries` writes a line for each query;
    `autopath` answers the walk of a Pod through its search list in one trip, where `searches` are those that nodes pass
    on."""

    limits: Limits = DEFAULT_LIMITS
    shuffle: bool = True
    shared: bool = False
    rate: float = 0
    slip: int = SLIP
    cookie_secret: bytes = b""
    now: Callable[[], float] = monotonic
    log_queries: bool = False
    autopath: bool = False
    searches: tuple[str, ...] = ()


DEFAULT_OPTIONS = Options()


def _guard(options: Options) -> Guard | None:
    limit, proven = (RateLimit(options.rate, options.now) if options.rate else None for _ in range(2))
    cookies = Cookies(options.cookie_secret, time) if options.cookie_secret else None
    if limit is None and cookies is None and not options.log_queries:
        return None
    return Guard(limit, proven, slip=options.slip, cookies=cookies, log=options.log_queries)


class _Ways(TypedDict):
    """What all listeners are given."""

    guard: Guard | None
    elsewhere: Elsewhere | None
    shared: bool


class DnsServer:
    """Serves `zone` on `addresses` (address, port), kept in step with the API server behind `client`.

    `synced` is True once every kind has been listed; until then questions for the zone get SERVFAIL. `listening` is
    set when queries are taken, `bound` then holds the addresses with their real ports (port 0 asks for any).
    `upstream` is asked for names outside the zone; without one such names are refused. `metrics` counts what is done.
    """

    def __init__(
        self,
        client: Client,
        *,
        zone: Zone,
        addresses: Sequence[tuple[str, int]],
        upstream: Upstream | None = None,
        metrics: Metrics | None = None,
        options: Options = DEFAULT_OPTIONS,
    ) -> None:
        self._client = client
        self._zone = zone
        self._addresses = tuple(addresses)
        self._upstream = upstream
        self._options = options
        self._paths = Paths(zone.domain, options.searches) if options.autopath else None
        self._sources = tuple(_sources(zone, self._paths))
        self._unsynced = {source.kind for source in self._sources}
        self._answers: list[Answers] = []
        self._guard = _guard(options)
        self.metrics = metrics or Metrics()
        self.bound: tuple[tuple[str, int], ...] = ()
        self.listening = asyncio.Event()
        self.complete = asyncio.Event()
        zone.on_change = self._forget
        if self._paths is not None:
            self._paths.on_first = self._forget_all

    @property
    def synced(self) -> bool:
        """Whether the zone is the whole truth of some moment."""
        return not self._unsynced

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until `stop` is set. Raises CannotListen when an address cannot be had."""
        listeners: list[UdpListener | TcpListener] = []
        try:
            self.bound = tuple([await self._listen(address, port, listeners) for address, port in self._addresses])
            self.listening.set()
            await self._work_until(stop)
        finally:
            for listener in listeners:
                await listener.close()

    async def _listen(self, address: str, port: int, listeners: list[UdpListener | TcpListener]) -> tuple[str, int]:
        tcp_answers = self._new_answers(address, port, udp=False)
        tcp = TcpListener(address, port, tcp_answers, self._options.limits, **self._ways(tcp_answers))
        listeners.append(tcp)
        udp_answers = self._new_answers(address, tcp.port, udp=True)
        udp = UdpListener(address, tcp.port, udp_answers, **self._ways(udp_answers))
        listeners.append(udp)
        await tcp.start()
        udp.start()
        return address, tcp.port

    def _new_answers(self, address: str, port: int, *, udp: bool) -> Answers:
        place = Place(f"dns://:{port}", udp=udp, v6=":" in address)
        known = None if self._upstream is None else self._upstream.resolve_cached
        budget = (BUDGET if udp else TCP_BUDGET) // len(self._addresses)
        answers = Answers(self._zone, place, self.metrics, self._manner(begins=True), known, budget=budget)
        answers.synced = self.synced
        self._answers.append(answers)
        return answers

    def _manner(self, *, begins: bool) -> Manner:
        recursion, shuffle = self._upstream is not None, self._options.shuffle
        return Manner(recursion, shuffle, self._paths.begins if self._paths is not None and begins else None)

    def _ways(self, answers: Answers) -> _Ways:
        alone = self._upstream is None and self._paths is None
        elsewhere = None if alone else partial(self._elsewhere, answers)
        return {"guard": self._guard, "elsewhere": elsewhere, "shared": self._options.shared}

    async def _elsewhere(self, answers: Answers, referral: Referral, client: str) -> bytes:
        """The reply to what the zone has no answer to. Whatever goes wrong, the client hears something."""
        try:
            if self._paths is not None and not referral.chain and self._zone.covers(referral.question.name):
                reply = await self._walk(self._paths, referral, client)
            else:
                reply = await self._ask(referral, client)
        except Exception:
            _log.exception("asking elsewhere failed, please report it: %s", referral.message.hex())
            reply = wire.failure(referral.message)
        answers.note(referral, reply)
        return reply

    async def _ask(self, referral: Referral, client: str) -> bytes:
        """The reply to what is none of ours."""
        if self._upstream is None:
            return wire.failure(referral.message)
        if referral.chain:
            found = await self._upstream.follow(referral.question.name, referral.question.type)
            return referral.finish(found.answer, rcode=found.rcode, authority=found.authority)
        return await self._upstream.resolve(referral.message, udp=referral.udp, client=client)

    async def _walk(self, paths: Paths, referral: Referral, client: str) -> bytes:
        """The reply to a name that does not exist, but with which a Pod's search list begins."""
        found = await shortcut(referral.question, client, paths, self._zone, self._upstream)
        manner = self._manner(begins=False)
        return wire.reply(referral, found or self._zone.answer(referral.question), manner)

    async def _work_until(self, stop: asyncio.Event) -> None:
        """Follow every source until `stop`; a follower that ends before that ends the server with its error."""
        tasks = [asyncio.create_task(self._follow(source)) for source in self._sources]
        if self._upstream is not None:
            tasks.append(asyncio.create_task(self._upstream.run(stop)))
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
            Cache(source.decode, keep=False),
            lot=LOT,
            on_change=partial(self._change, source),
            on_synced=partial(self._sync, source),
        )

    def _change(self, source: _Source, changes: Sequence[Change[Any]]) -> None:
        for change in changes:
            if change.new is None:
                source.delete(self._zone, *change.key)
            else:
                source.set(self._zone, change.key, change.new)
                if self.synced and isinstance(change.new, view.EndpointSlice) and change.new.triggered:
                    self._note_delay(change.new)
        if self.synced and self._zone.unsettled >= LOT:
            self._zone.settle()

    def _note_delay(self, piece: view.EndpointSlice) -> None:
        """How long ago the change happened that is answered from now on. A text that is no time is passed over."""
        if not self._zone.shows(piece):
            return
        with suppress(ValueError):
            happened = datetime.fromisoformat(piece.triggered).timestamp()
            self.metrics.observe(told.PROGRAMMING, max(0.0, time() - happened), "headless_with_selector")

    def _sync(self, source: _Source) -> None:
        self._unsynced.discard(source.kind)
        if self.synced:
            self._zone.settle()
            for answers in self._answers:
                answers.synced = True
            self.complete.set()

    def _forget(self, root: Root) -> None:
        """Something has changed: no listener may answer by it any more."""
        for answers in self._answers:
            answers.table.forget(root)

    def _forget_all(self) -> None:
        """Names that were told not to exist may begin a walk now."""
        for answers in self._answers:
            answers.table.clear()
