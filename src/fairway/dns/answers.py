"""What one listener says to each query, and the books of what it said. No I/O.

A question seen before is answered from the table of ready replies; any other takes the general path through `wire`.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Protocol

from fairway.dns import metrics, wire
from fairway.dns.brief import Briefs
from fairway.dns.inquiry import question_of
from fairway.dns.metrics import Metrics
from fairway.dns.ready import Ready, Tally
from fairway.dns.records import Rcode, Type
from fairway.dns.table import BUDGET, Table
from fairway.dns.wire import Manner, Referral
from fairway.dns.zone import Zone

_log = logging.getLogger(__name__)
_TYPES = {int(type): type.name for type in Type}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a listener listens: the names that metrics have for it."""

    server: str
    udp: bool
    v6: bool

    @property
    def proto(self) -> str:
        """The transport."""
        return "udp" if self.udp else "tcp"

    @property
    def family(self) -> str:
        """1 for IPv4, 2 for IPv6 (the numbers of address families that DNS uses)."""
        return "2" if self.v6 else "1"


_Books = tuple[int, int, str, int, int]
"""Type, rcode, zone and the octets of question and reply: what replies of one kind have in common."""


class Known(Protocol):
    """What is known of names that are none of ours."""

    def __call__(self, message: bytes, /, *, udp: bool) -> bytes | None:
        """The reply to any octets, if they are a query that can be answered at once."""


class Answers:
    """The answers of one listener. `synced` is set once the zone is the whole truth of some moment. `known` has the
    replies of others that may be given again; never to names of ours. `budget` is the table's."""

    def __init__(
        self,
        zone: Zone,
        place: Place,
        told: Metrics,
        manner: Manner = wire.PLAIN,
        known: Known | None = None,
        *,
        budget: int = BUDGET,
    ) -> None:
        self.table = Table(budget)
        self.synced = False
        self.duration = told.histogram(metrics.DURATION, place.server)
        self._zone = zone
        self._place = place
        self._metrics = told
        self._manner = manner
        self._known = known
        self._briefs = Briefs(zone, manner, udp=place.udp)
        self._tallies: dict[_Books, Tally] = {}
        told.gather_from(self._gather)

    def settle(self) -> None:
        """Make the table true to all events; to be called before it is read, once for many queries."""
        if self.synced:
            self._zone.settle()

    def answer(self, query: bytes) -> bytes | Referral | None:
        """The reply, None for silence, or what somebody else has to answer. When making the reply fails, the client
        hears so at once: one query must not take the server down, and silence would cost its sender seconds."""
        kept = self.table.ready.get(query[2:])
        if kept is not None:
            kept.tally.given += 1
            return kept.octets(query)
        try:
            made = self._make(query)
        except Exception:
            _log.exception("this query could not be answered, please report it: %s", query.hex())
            self._metrics.count(metrics.PANICS)
            return wire.failure(query)
        if not isinstance(made, Ready):
            return made
        self._keep(query, made)
        return made.reply.octets(query)

    def note(self, referral: Referral, reply: bytes) -> None:
        """Enter into the books a reply that somebody else gave."""
        self._enter((referral.question.type, reply[3] & 0xF, ".", len(referral.message), len(reply)), 1)

    def _make(self, query: bytes) -> Ready | Referral | bytes | None:
        """The reply, which may be had in one stroke, or from what is known of names of others."""
        brief = self._briefs.ready(query) if self.synced else None
        if brief is not None:
            return brief
        reply = self._known(query, udp=self._place.udp) if self._known is not None else None
        if reply is not None:
            type = int.from_bytes(question_of(query)[-4:-2], "big")
            self._enter((type, reply[3] & 0xF, ".", len(query), len(reply)), 1)
            return reply
        return wire.prepare(query, self._zone, udp=self._place.udp, synced=self.synced, manner=self._manner)

    def _keep(self, query: bytes, made: Ready) -> None:
        books = (made.type, made.rcode, made.zone, len(query), made.reply.length)
        if not self.synced or not made.lasting:
            self._enter(books, 1)
            return
        tally = self._tallies.get(books)
        if tally is None:
            tally = self._tallies[books] = Tally()
        tally.given += 1
        if self.table.put(query[2:], made, tally):
            self._gather()
            self._close_books()

    def _close_books(self) -> None:
        """Drop the tallies that no reply has any more, once they have been gathered."""
        self._tallies = {books: tally for books, tally in self._tallies.items() if tally.kept}

    def _gather(self) -> None:
        for books, tally in self._tallies.items():
            if tally.given:
                self._enter(books, tally.given)
                tally.given = 0

    def _enter(self, books: _Books, times: int) -> None:
        type, rcode, zone, asked, given = books
        place, told = self._place, self._metrics
        name = _TYPES.get(type, "other")
        told.count(metrics.REQUESTS, place.server, zone, name, place.proto, place.family, by=times)
        told.count(metrics.RESPONSES, place.server, zone, _rcode(rcode), by=times)
        told.observe(metrics.REQUEST_SIZE, asked, place.server, zone, place.proto, times=times)
        told.observe(metrics.RESPONSE_SIZE, given, place.server, zone, place.proto, times=times)


def _rcode(number: int) -> str:
    return Rcode(number).name if number in Rcode._value2member_map_ else str(number)
