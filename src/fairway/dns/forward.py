"""EDGE. Names that are not ours: asked of other servers, and their answers kept for as long as they may be.

Each question goes to the servers of the longest stub domain that it is in, else to the servers for all. One that does
not answer is followed by the next; the same question asked by many is sent once. A question that comes back to us while
it is under way waits for itself like any other: a loop costs time, but never more than one query.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from time import monotonic
from typing import Any

from msgspec import structs

from fairway.dns import metrics as told
from fairway.dns.cache import Cache, Hit, State
from fairway.dns.encode import HEADER
from fairway.dns.errors import Unreadable
from fairway.dns.harvest import denial, harvest, records
from fairway.dns.inquiry import QR, Inquiry, Query, read_query, wire_name
from fairway.dns.kept import Kept, plain, render
from fairway.dns.metrics import Metrics
from fairway.dns.names import Name, lower
from fairway.dns.records import Answer, Rcode, Record
from fairway.dns.settings import Policy, Settings
from fairway.dns.upstream import Health, NoAnswer, Upstream

ROUNDS = 3
"""How often the servers of a question are gone through, time allowing: datagrams get lost."""
FAILURE_LIFETIME = 1
"""Seconds for which nobody is asked again after all have failed (RFC 9520 section 3.2: at least one)."""
STALE_TTL = 30
"""Seconds for which a stale answer may be kept (RFC 8767 section 4)."""

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Route:
    """The servers for the names in `domain`."""

    domain: Name
    upstreams: tuple[Upstream, ...]
    policy: Policy
    turn: int = 0

    def order(self) -> list[Upstream]:
        """Whom to ask, one after another. Servers that lead back to us are not asked."""
        first = self._first()
        turned = [*self.upstreams[first:], *self.upstreams[:first]]
        well = [each for each in turned if each.health is Health.WELL]
        return well + [each for each in turned if each.health is Health.DOWN]

    def _first(self) -> int:
        match self.policy:
            case "random":
                return random.randrange(len(self.upstreams))
            case "round_robin":
                self.turn = (self.turn + 1) % len(self.upstreams)
                return self.turn - 1 if self.turn else len(self.upstreams) - 1
            case "sequential":
                return 0


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What a question came to."""

    kept: Kept
    age: int = 0
    stale: bool = False


class Forwarder:
    """Asks other servers, as `settings` say, and counts in `metrics`. `run` must run for servers to be looked after.
    `clock` tells the seconds by which answers grow old."""

    def __init__(self, settings: Settings, metrics: Metrics, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._settings = settings
        self._metrics = metrics
        self._cache = Cache(settings.cache)
        self._routes = _routes(settings)
        self._upstreams = tuple(upstream for route in self._routes for upstream in route.upstreams)
        self._under_way: dict[Inquiry, asyncio.Task[Kept]] = {}
        self._waiting = 0
        metrics.gather_from(self._tell)

    async def run(self, stop: asyncio.Event) -> None:
        """Look after the servers until `stop`, then let go of what is under way."""
        tasks: list[asyncio.Task[Any]] = [asyncio.create_task(each.watch()) for each in self._upstreams]
        try:
            await stop.wait()
        finally:
            tasks += self._under_way.values()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def resolve(self, message: bytes, *, udp: bool, client: str) -> bytes:
        """The reply to a query of one question, whatever happens. `client` is the asker's address."""
        try:
            query = read_query(message, udp=udp)
        except Unreadable:
            return _bare(message, Rcode.FORMERR)
        if any(upstream.is_probe(query.inquiry, client) for upstream in self._upstreams):
            return render(query, plain(query.inquiry, Rcode.SERVFAIL))
        outcome = await self._resolve(query.inquiry, ask=query.recursive)
        return _reply(query, outcome)

    def resolve_cached(self, message: bytes, *, udp: bool) -> bytes | None:
        """The same for any query, if it can be had at once from the cache; None says nothing about the query. Most
        questions are answered so, at a tenth of the cost."""
        try:
            query = read_query(message, udp=udp)
        except Unreadable:
            return None
        hit = self._hit(query.inquiry, peek=True)
        return render(query, hit.kept, age=hit.age) if hit is not None else None

    async def follow(self, name: Name, type: int) -> Answer:
        """The answer to a question of our own: its records, aliases first, and how it ends (of a denial, the SOA)."""
        outcome = await self._resolve(Inquiry(wire_name(name), type), ask=True)
        rcode = Rcode(outcome.kept.rcode) if not outcome.kept.failure else Rcode.SERVFAIL
        found, soa = (part(outcome.kept, outcome.age) for part in (records, denial))
        if outcome.stale:
            found, soa = (tuple(structs.replace(each, ttl=STALE_TTL) for each in part) for part in (found, soa))
        return Answer(rcode, found, soa, authoritative=False)

    async def lookup(self, name: Name, type: int) -> tuple[Record, ...]:
        """The records alone; none if nobody could tell."""
        return (await self.follow(name, type)).answer

    # ---- the cache --------------------------------------------------------------------------------------------

    async def _resolve(self, inquiry: Inquiry, *, ask: bool) -> _Outcome:
        """What is known, or can be learnt. Not asking is for clients that do not want others to be asked."""
        route = self._route(inquiry)
        if route is None:
            return _Outcome(plain(inquiry, Rcode.REFUSED))
        hit = self._hit(inquiry)
        if hit is not None and hit.state in (State.FRESH, State.ENDING):
            return _Outcome(hit.kept, hit.age)
        if hit is not None and hit.state is State.RESTING:
            return self._stale(hit)
        if not ask or self._waiting >= self._settings.clients:
            return _Outcome(plain(inquiry, Rcode.REFUSED))
        self._waiting += 1
        try:
            return await self._learn(inquiry, route, hit)
        finally:
            self._waiting -= 1

    def _hit(self, inquiry: Inquiry, *, peek: bool = False) -> Hit | None:
        """What the cache holds; an answer that is hot and soon gone is asked for anew meanwhile. With `peek` only what
        can be given as it is."""
        hit = self._cache.get(inquiry, self._clock())
        good = hit is not None and hit.state in (State.FRESH, State.ENDING)
        if hit is not None and good:
            self._metrics.count(told.CACHE_HITS, "denial" if hit.kept.denial else "success")
            if hit.state is State.ENDING:
                self._metrics.count(told.CACHE_PREFETCHES)
                self._start(inquiry)
            return hit
        if not peek:
            self._metrics.count(told.CACHE_MISSES)
        return None if peek else hit

    async def _learn(self, inquiry: Inquiry, route: _Route, stale: Hit | None) -> _Outcome:
        """Ask, or wait with those who have asked the same. With something stale at hand not for long."""
        task = self._start(inquiry)
        if task is None:
            self._metrics.count(told.FORWARD_REJECTS)
            return self._stale(stale) if stale else _Outcome(plain(inquiry, Rcode.REFUSED))
        done, _ = await asyncio.wait((task,), timeout=self._settings.patience if stale else None)
        if not done or task.cancelled():
            return self._stale(stale) if stale else _Outcome(plain(inquiry, Rcode.SERVFAIL))
        kept = task.result()
        return self._stale(stale) if stale and kept.failure else _Outcome(kept)

    def _stale(self, hit: Hit) -> _Outcome:
        self._metrics.count(told.CACHE_STALE)
        return _Outcome(hit.kept, hit.age, stale=True)

    # ---- the servers ------------------------------------------------------------------------------------------

    def _route(self, inquiry: Inquiry) -> _Route | None:
        """The servers of the longest domain that the name is in."""
        name = inquiry.labels
        return next((each for each in self._routes if name[len(name) - len(each.domain) :] == each.domain), None)

    def _start(self, inquiry: Inquiry) -> asyncio.Task[Kept] | None:
        """The task that asks this question, perhaps for others already; None when too much is under way."""
        task = self._under_way.get(inquiry)
        if task is not None:
            return task
        route = self._route(inquiry)
        if route is None or len(self._under_way) >= self._settings.questions:
            return None
        task = asyncio.create_task(self._find(inquiry, route))
        self._under_way[inquiry] = task
        task.add_done_callback(lambda _: self._under_way.pop(inquiry, None))
        return task

    async def _find(self, inquiry: Inquiry, route: _Route) -> Kept:
        """Ask until somebody knows, and remember it, or that nobody does."""
        best: Kept | None = None
        async for kept in self._answers(inquiry, route):
            best = kept if best is None or kept.helpful else best
            if kept.helpful:
                break
        if best is None or not best.helpful:
            rcode = best.rcode if best is not None and best.failure else Rcode.SERVFAIL
            best = plain(inquiry, rcode, FAILURE_LIFETIME)
        self._cache.put(inquiry, best, self._clock())
        return best

    async def _answers(self, inquiry: Inquiry, route: _Route) -> AsyncIterator[Kept]:
        """The answers of the servers in their order. One that has answered, or cannot be asked, is not asked again;
        one that was silent is, in the next round."""
        deadline = monotonic() + self._settings.total
        candidates = route.order()
        for _ in range(ROUNDS):
            silent: list[Upstream] = []
            for upstream in candidates:
                left = deadline - monotonic()
                if left <= 0:
                    return
                try:
                    yield await self._ask(upstream, inquiry, min(self._settings.per_try, left))
                except NoAnswer as error:
                    _log.debug("%s", error)
                    if isinstance(error.__cause__, TimeoutError):
                        silent.append(upstream)
                except Unreadable as error:
                    _log.info("%s: %s", upstream.text, error)
            candidates = silent

    async def _ask(self, upstream: Upstream, inquiry: Inquiry, limit: float) -> Kept:
        """Ask one server. Raises NoAnswer, Unreadable."""
        self._metrics.count(told.FORWARD_REQUESTS, upstream.text)
        began = monotonic()
        kept = harvest(inquiry, await upstream.ask(inquiry, limit), self._settings.bounds)
        rcode = Rcode(kept.rcode).name if kept.rcode in Rcode.__members__.values() else str(kept.rcode)
        self._metrics.count(told.FORWARD_RESPONSES, upstream.text, rcode)
        self._metrics.observe(told.FORWARD_DURATION, monotonic() - began, upstream.text, rcode)
        return kept

    def _tell(self) -> None:
        """Numbers that are read off when they are asked for."""
        self._metrics.put(told.CACHE_ENTRIES, len(self._cache))
        self._metrics.put(told.CACHE_OCTETS, self._cache.octets)
        self._metrics.put(told.CACHE_EVICTIONS, self._cache.evictions)
        for upstream in self._upstreams:
            self._metrics.put(told.FORWARD_UP, upstream.health is Health.WELL, upstream.text)


def _routes(settings: Settings) -> list[_Route]:
    """The longest domains first, so that the first that fits is the one."""
    groups = [*settings.stubs, ((), settings.servers)] if settings.servers else settings.stubs
    made: list[_Route] = []
    for group, (domain, servers) in enumerate(groups):
        marks = [f"{group}-{number}-{settings.mark}".encode() for number in range(len(servers))]
        upstreams = tuple(Upstream(each, lower(domain), mark) for each, mark in zip(servers, marks, strict=True))
        made.append(_Route(lower(domain), upstreams, settings.policy))
    return sorted(made, key=lambda route: -len(route.domain))


def _reply(query: Query, outcome: _Outcome) -> bytes:
    return render(query, outcome.kept, age=outcome.age, ttl=STALE_TTL if outcome.stale else None)


def _bare(message: bytes, rcode: Rcode) -> bytes:
    """A reply of nothing but a header."""
    return HEADER.pack(int.from_bytes(message[:2], "big"), QR | rcode, 0, 0, 0, 0)
