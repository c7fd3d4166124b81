"""Replies that are ready: by the octets of their questions, each until what it was made of changes. No I/O.

This is no cache in the sense of DNS: nothing in it is ever old. The zone tells every change (`Zone.on_change`), and a
change takes away exactly the replies that were made of what has changed. When the table is full some make way that came
about the same time, whether they are asked for or not: a flood of names that nobody asks twice costs the others one
slow answer each now and then, and no bookkeeping while there is none. Which ones is as good as random: were it the
oldest, a client that goes through more names than fit, again and again, would never find one of them ready.

No call does much at once: those that make way go one by one, as others come, and of what one change may alter not too
many are kept.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Collection

from fairway.dns.ready import Ready, Reply, Tally
from fairway.dns.records import Root

BUDGET = 16 << 20
"""Octets that the tables of a server may weigh: some 50,000 questions."""
OVERHEAD = 130
"""Octets that a question weighs besides its own: objects, places in the tables."""
OWN_OVERHEAD = 110
"""The same for a reply that is not shared."""
TURNING_OVERHEAD = 130
"""The same for addresses that turn."""
GENERATIONS = 32
"""When the table is full, one in so many replies makes way: filed together, they need no books of their own."""
LEAVING = 4
"""How many at most go for one that comes."""
MOST_OF_ONE = 128
"""Replies of one generation that are made of the same thing at most."""


class _Generation:
    """Questions that came one after another, by what they were made of. A question that is gone may still stand here:
    it is dropped once more, in vain."""

    def __init__(self) -> None:
        self.weight = 0
        self._by_root: dict[int, list[bytes]] = {}
        self._lasting: list[bytes] = []

    def file(self, roots: Collection[Root], question: bytes) -> bool:
        """Take a question; False if there are too many of its kind."""
        # Of roots only the hashes are held: when two have the same, a change takes away some replies in vain.
        for root in map(hash, roots):
            held = self._by_root.get(root)
            if held is None:
                self._by_root[root] = [question]
            elif len(held) < MOST_OF_ONE:
                held.append(question)
            else:
                return False
        if not roots:
            self._lasting.append(question)
        return True

    def take(self, root: int) -> Collection[bytes]:
        """The questions whose replies were made of this, which are filed no more."""
        return self._by_root.pop(root, ())

    def sealed(self) -> _Sealed:
        """The same when no more will come."""
        held = self._by_root
        order = sorted(held)
        hashes = array("q", [root for root in order for _ in held[root]])
        return _Sealed(hashes, (*(question for root in order for question in held[root]), *self._lasting))


class _Sealed:
    """A generation in a sixth of the memory: its questions, sorted by the hashes of what they were made of, and at the
    end those that are made of nothing. (A tuple, since the garbage collector does not look into tuples of octets.)"""

    def __init__(self, hashes: array[int], questions: tuple[bytes, ...]) -> None:
        self._hashes = hashes
        self._questions = questions
        self._left = len(questions)

    def of(self, root: int) -> Collection[bytes]:
        """The questions whose replies were made of this."""
        hashes = self._hashes
        place = end = bisect_left(hashes, root)
        while end < len(hashes) and hashes[end] == root:
            end += 1
        return self._questions[place:end]

    def leave(self, count: int) -> Collection[bytes]:
        """So many questions at most that have not left before; none when all have."""
        end, self._left = self._left, max(0, self._left - count)
        return self._questions[self._left : end]


class Table:
    """`ready` may be read directly by who is in a hurry: keys are questions without their two octets of id. `budget` is
    in octets."""

    def __init__(self, budget: int = BUDGET) -> None:
        self.ready: dict[bytes, Reply] = {}
        self.budget = budget
        self._open = _Generation()
        self._sealed: list[_Sealed] = []
        self._leaving: list[_Sealed] = []
        self._fronts: dict[bytes, bytes] = {}

    def put(self, question: bytes, made: Ready, tally: Tally) -> bool:
        """Keep a lasting reply; whether others have to go for it."""
        if not self._open.file(made.roots, question):
            return False
        reply = made.reply
        reply.front = self._fronts.setdefault(reply.front, reply.front)
        reply.tally = tally
        tally.kept += 1
        self._open.weight += len(question) + OVERHEAD + (0 if made.shared else _weight(reply))
        self.ready[question] = reply
        if self._leaving:
            self._take_leave()
        return self._open.weight > self.budget // (GENERATIONS + 1) and self._turn(hash(question))

    def forget(self, root: Root) -> None:
        """`root` has changed: what was made of it is no longer true. What it weighed is counted on until its generation
        makes way."""
        hashed = hash(root)
        for question in self._open.take(hashed):
            self._drop(question)
        for generation in (*self._sealed, *self._leaving):
            for question in generation.of(hashed):
                self._drop(question)

    def clear(self) -> None:
        """Everything may have changed."""
        for reply in self.ready.values():
            reply.tally.kept -= 1
        self.ready.clear()
        self._open, self._sealed, self._leaving = _Generation(), [], []

    def _drop(self, question: bytes) -> None:
        reply = self.ready.pop(question, None)
        if reply is not None:
            reply.tally.kept -= 1

    def _turn(self, lot: int) -> bool:
        """Begin another generation; whether one has to make way, which `lot` draws."""
        self._sealed.append(self._open.sealed())
        self._open = _Generation()
        full = len(self._sealed) >= GENERATIONS
        if full:
            self._leaving.append(self._sealed.pop(lot % GENERATIONS))
            self._fronts.clear()
        return full

    def _take_leave(self) -> None:
        """Drop a few questions of a generation that makes way. Until its last one has gone, it hears of changes like
        any other."""
        leaving = self._leaving[0].leave(LEAVING)
        for question in leaving:
            self._drop(question)
        if not leaving:
            del self._leaving[0]


def _weight(reply: Reply) -> int:
    """What a reply of one question weighs, about."""
    return OWN_OVERHEAD + reply.length - reply.end + (TURNING_OVERHEAD if reply.turning else 0)
