"""Replies that may be given again: to everyone who asks the same octets with any id. No I/O."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from fairway.dns.records import ANY_CHANGE, Root

HEADER_LENGTH = 12
"""Octets of the header, id included; the question follows."""


class Tally(msgspec.Struct, gc=False):
    """How often the replies of one kind were given since somebody looked, and how many of them are kept."""

    given: int = 0
    kept: int = 0


class Turning(NamedTuple):
    """A run of address records, each of `step` octets, that may begin at any of them, and the octets after it."""

    run: bytes
    tail: bytes
    step: int


class Reply(msgspec.Struct, gc=False):
    """The octets of a reply but for what it repeats of its query. `front` is the header without the id, `end` where the
    question ends that follows, `rest` and `turning` are what comes then. Neither garbage collection nor a dictionary of
    its own: there are tens of thousands."""

    front: bytes
    end: int
    rest: bytes
    turning: Turning | None = None
    tally: Tally = msgspec.field(default_factory=Tally)

    def octets(self, query: bytes) -> bytes:
        """The reply to this query. Its id, which clients draw at random (RFC 5452), says where addresses begin, so that
        clients which take the first one spread."""
        begun = query[:2] + self.front + query[HEADER_LENGTH : self.end] + self.rest
        if self.turning is None:
            return begun
        run, tail, step = self.turning
        start = int.from_bytes(query[:2], "big") * step % len(run)
        return b"".join((begun, run[start:], run[:start], tail))

    @property
    def length(self) -> int:
        """Octets of the reply."""
        turning = len(self.turning.run) + len(self.turning.tail) if self.turning else 0
        return self.end + len(self.rest) + turning


class Ready(NamedTuple):
    """A reply, what it was made of (`roots`), and what the books say of it: the type asked for, how it ended and the
    apex of the zone. A `shared` one is given to other questions, too."""

    reply: Reply
    roots: frozenset[Root]
    type: int
    rcode: int
    zone: str
    shared: bool = False

    @property
    def lasting(self) -> bool:
        """Whether it may be given again until one of its roots changes."""
        return ANY_CHANGE not in self.roots
