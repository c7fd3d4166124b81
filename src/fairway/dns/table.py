"""Replies that are ready: by the octets of their questions, each until what it was made of changes. No I/O.

This is no cache in the sense of DNS: nothing in it is ever old. The zone tells every change (`Zone.on_change`), and a
change takes away exactly the replies that were made of what has changed. When the table is full some make way that came
about the same time, whether they are asked for or not: a flood of names that nobody asks twice costs the others one
slow answer each now and then, and no bookkeeping while there is none. Which ones is as good as random: were it the
oldest, a client that goes through more names than fit, again and again, would never find one of them ready.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from fairway.dns.records import Root
from fairway.dns.wire import Ready

BUDGET = 10 << 20
"""Octets that the tables of a server may weigh: some 30,000 questions."""
OVERHEAD = 150
"""Octets that a question weighs besides its own: objects, places in the tables."""
OWN_OVERHEAD = 150
"""The same for a reply that is not shared."""
GENERATIONS = 8
"""When the table is full, one in so many replies makes way: many at once cost less than one by one."""

Tally = list[int]
"""How often (one number) replies of one kind were given; shared by all of that kind."""
_HEADER = 12


class Kept(NamedTuple):
    """One reply, or that to all questions which differ in nothing but their names (most denials): `front` is its header
    without the id, `end` where the question ends that follows; `rest`, `turning`, `tail` and `step` are what comes
    then, as in `wire.Ready`."""

    front: bytes
    end: int
    rest: bytes
    tally: Tally
    turning: bytes
    tail: bytes
    step: int

    def octets(self, query: bytes) -> bytes:
        """The reply to this query."""
        front, end, rest, _, turning, tail, step = self
        if not step:
            return query[:2] + front + query[_HEADER:end] + rest
        start = int.from_bytes(query[:2], "big") * step % len(turning)
        return b"".join((query[:2], front, query[_HEADER:end], rest, turning[start:], turning[:start], tail))


@dataclass(slots=True)
class _Generation:
    """Questions that came one after another, and which of them what was made of. A question that is gone may still
    stand here: it is dropped once more, in vain."""

    questions: list[bytes] = field(default_factory=list)
    by_root: dict[int, bytes | list[bytes]] = field(default_factory=dict)  # nearly all of one
    weight: int = 0

    def file(self, root: int, question: bytes) -> None:
        held = self.by_root.setdefault(root, question)
        if isinstance(held, list):
            held.append(question)
        elif held is not question:
            self.by_root[root] = [held, question]

    def of(self, root: int) -> Iterable[bytes]:
        held = self.by_root.pop(root, ())
        return (held,) if isinstance(held, bytes) else held


class Table:
    """`ready` may be read directly by who is in a hurry: keys are questions without their two octets of id. `budget` is
    in octets."""

    def __init__(self, budget: int = BUDGET) -> None:
        self.ready: dict[bytes, Kept] = {}
        self.budget = budget
        self._generations = [_Generation()]
        self._shapes: dict[tuple[bytes, int, bytes, int], Kept] = {}
        self._fronts: dict[bytes, bytes] = {}

    def put(self, question: bytes, reply: Ready, tally: Tally) -> bool:
        """Keep a lasting reply; whether others had to go for it. One that repeats its question in other octets than it
        came in is not kept."""
        if not reply.head.startswith(question[_HEADER - 2 : reply.end - 2], _HEADER - 2):
            return False
        kept, weight = self._kept(reply, tally)
        generation = self._generations[-1]
        generation.weight += len(question) + OVERHEAD + weight
        generation.questions.append(question)
        for root in reply.roots:
            # Of roots only the hashes are held: when two have the same, a change takes away some replies in vain.
            generation.file(hash(root), question)
        self.ready[question] = kept
        return generation.weight > self.budget // GENERATIONS and self._turn(hash(question))

    def forget(self, root: Root) -> None:
        """`root` has changed: what was made of it is no longer true. What it weighed is counted on until its generation
        makes way."""
        hashed = hash(root)
        for generation in self._generations:
            for question in generation.of(hashed):
                self.ready.pop(question, None)

    def clear(self) -> None:
        """Everything may have changed."""
        self.ready.clear()
        self._generations = [_Generation()]

    def tallies(self) -> Iterable[Tally]:
        """The tallies of all replies, most of them many times over."""
        return (kept.tally for kept in self.ready.values())

    def _kept(self, reply: Ready, tally: Tally) -> tuple[Kept, int]:
        """The reply as it is held, and what it adds in octets. Replies without an answer are shared."""
        front, rest = reply.head[: _HEADER - 2], reply.head[reply.end - 2 :]
        front = self._fronts.setdefault(front, front)
        denial = not (front[4] or front[5])
        shape = front, reply.end, rest, id(tally)
        held = self._shapes.get(shape) if denial else None
        if held is not None:
            return held, 0
        kept = Kept(front, reply.end, rest, tally, reply.turning, reply.tail, reply.step)
        if denial:
            self._shapes[shape] = kept
        return kept, OWN_OVERHEAD + len(rest) + len(reply.turning) + len(reply.tail)

    def _turn(self, lot: int) -> bool:
        """Begin another generation; whether one had to make way, which `lot` draws."""
        self._generations.append(_Generation())
        full = len(self._generations) > GENERATIONS
        if full:
            for question in self._generations.pop(lot % GENERATIONS).questions:
                self.ready.pop(question, None)
            self._shapes.clear()
            self._fronts.clear()
        return full
