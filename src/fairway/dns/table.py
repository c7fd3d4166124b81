"""Replies that are ready: by the octets of their questions, each until what it was made of changes. No I/O.

This is no cache in the sense of DNS: nothing in it is ever old. The zone tells every change (`Zone.on_change`), and a
change takes away exactly the replies that were made of what has changed. A table that is full starts again from empty:
a flood of names that nobody asks twice costs the others one slow answer each, and no bookkeeping while there is none.
"""

from __future__ import annotations

from typing import NamedTuple

from fairway.dns.records import Root
from fairway.dns.wire import Ready

BUDGET = 24 << 20
"""Octets that a table may weigh: some 55,000 questions."""
OVERHEAD = 300
"""Octets that one reply weighs besides its own and its question's: objects, places in the tables."""

Tally = list[int]
"""How often (one number) replies of one kind were given; shared by all of that kind."""


class Kept(NamedTuple):
    """One reply; the parts are those of `wire.Ready`."""

    head: bytes
    tally: Tally
    turning: bytes
    tail: bytes
    step: int

    def octets(self, query: bytes) -> bytes:
        """The reply to this query."""
        head, _, turning, tail, step = self
        if not step:
            return query[:2] + head
        start = int.from_bytes(query[:2], "big") * step % len(turning)
        return b"".join((query[:2], head, turning[start:], turning[:start], tail))


class Table:
    """`ready` may be read directly by who is in a hurry: keys are questions without their two octets of id. `budget` is
    in octets."""

    def __init__(self, budget: int = BUDGET) -> None:
        self.ready: dict[bytes, Kept] = {}
        self._by_root: dict[Root, list[bytes]] = {}
        self.budget = budget
        self._weight = 0

    def put(self, question: bytes, reply: Ready, tally: Tally) -> bool:
        """Keep a lasting reply; whether all others had to go for it."""
        weight = len(question) + reply.length + OVERHEAD
        full = self._weight + weight > self.budget
        if full:
            self._clear()
        self._weight += weight
        self.ready[question] = Kept(reply.head, tally, reply.turning, reply.tail, reply.step)
        for root in reply.roots:
            self._by_root.setdefault(root, []).append(question)
        return full

    def forget(self, root: Root) -> None:
        """`root` has changed: what was made of it is no longer true. What it weighed is counted on until the table
        starts again, which bounds the index too."""
        for question in self._by_root.pop(root, ()):
            self.ready.pop(question, None)

    def _clear(self) -> None:
        self.ready.clear()
        self._by_root.clear()
        self._weight = 0
