"""Replies that are ready: by the octets of their questions, each until what it was made of changes. No I/O.

This is no cache in the sense of DNS: nothing in it is ever old. The zone tells every change (`Zone.on_change`), and a
change takes away exactly the replies that were made of what has changed. When the table is full some make way that came
about the same time, whether they are asked for or not: a flood of names that nobody asks twice costs the others one
slow answer each now and then, and no bookkeeping while there is none. Which ones is as good as random: were it the
oldest, a client that goes through more names than fit, again and again, would never find one of them ready.

No call does much at once: those that make way go one by one, as others come.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from fairway.dns.ready import Ready, Reply, Tally
from fairway.dns.records import Root

BUDGET = 10 << 20
"""Octets that the tables of a server may weigh: some 30,000 questions."""
OVERHEAD = 150
"""Octets that a question weighs besides its own: objects, places in the tables."""
OWN_OVERHEAD = 150
"""The same for a reply that is not shared."""
GENERATIONS = 8
"""When the table is full, one in so many replies makes way: filed together, they need no books of their own."""
LEAVING = 4
"""How many at most go for one that comes."""


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
        self.ready: dict[bytes, Reply] = {}
        self.budget = budget
        self._generations = [_Generation()]
        self._leaving: list[_Generation] = []
        self._fronts: dict[bytes, bytes] = {}

    def put(self, question: bytes, made: Ready, tally: Tally) -> bool:
        """Keep a lasting reply; whether others have to go for it."""
        reply = made.reply
        reply.front = self._fronts.setdefault(reply.front, reply.front)
        reply.tally = tally
        tally.kept += 1
        generation = self._generations[-1]
        generation.weight += len(question) + OVERHEAD + (0 if made.shared else OWN_OVERHEAD + reply.length - reply.end)
        generation.questions.append(question)
        for root in made.roots:
            # Of roots only the hashes are held: when two have the same, a change takes away some replies in vain.
            generation.file(hash(root), question)
        self.ready[question] = reply
        self._take_leave()
        return generation.weight > self.budget // (GENERATIONS + 1) and self._turn(hash(question))

    def forget(self, root: Root) -> None:
        """`root` has changed: what was made of it is no longer true. What it weighed is counted on until its generation
        makes way."""
        hashed = hash(root)
        for generation in (*self._generations, *self._leaving):
            for question in generation.of(hashed):
                self._drop(question)

    def clear(self) -> None:
        """Everything may have changed."""
        for reply in self.ready.values():
            reply.tally.kept -= 1
        self.ready.clear()
        self._generations, self._leaving = [_Generation()], []

    def _drop(self, question: bytes) -> None:
        reply = self.ready.pop(question, None)
        if reply is not None:
            reply.tally.kept -= 1

    def _turn(self, lot: int) -> bool:
        """Begin another generation; whether one has to make way, which `lot` draws."""
        self._generations.append(_Generation())
        full = len(self._generations) > GENERATIONS
        if full:
            self._leaving.append(self._generations.pop(lot % GENERATIONS))
            self._fronts.clear()
        return full

    def _take_leave(self) -> None:
        """Drop a few questions of the generations that make way. Until its last one has gone, a generation hears of
        changes like any other."""
        if not self._leaving:
            return
        questions = self._leaving[0].questions
        for _ in range(min(LEAVING, len(questions))):
            self._drop(questions.pop())
        if not questions:
            del self._leaving[0]
