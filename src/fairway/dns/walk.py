"""A client's way from the name a program asks for to an answer: search list and `ndots`, query by query. Pure.

Which names are asked, in which order, and what ends the walk, is the client's own affair, and clients differ: glibc
(resolv.conf(5), res_search(3)) goes on after an empty answer; musl's resolver stops at the first name that exists, and
asks a name that has `ndots` dots only as it is written. Whom to ask is an argument.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from fairway.dns import names
from fairway.dns.errors import BadName

Library = Literal["glibc", "musl"]
"""Whose rules a client follows."""

AS_WRITTEN = "as written"
_ANSWERED = "NOERROR"
_ABSENT = "NXDOMAIN"
_FAILED = "SERVFAIL"


@dataclass(frozen=True, slots=True)
class Settings:
    """What a client's resolv.conf says. `ndots`: from how many dots on a name is first asked as it is written."""

    nameservers: tuple[str, ...] = ()
    searches: tuple[str, ...] = ()
    ndots: int = 1


@dataclass(frozen=True, slots=True)
class Candidate:
    """One name that is asked, with its final dot, and why: as written, or with which search domain."""

    name: str
    why: str = AS_WRITTEN

    @property
    def as_written(self) -> bool:
        """Whether it is the very name the program gave."""
        return self.why == AS_WRITTEN


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer: rcode and the lines of its answer section. `seconds` is its round trip where one was made."""

    rcode: str
    records: tuple[str, ...] = ()
    seconds: float | None = None

    @property
    def found(self) -> bool:
        """Whether it ends a walk: with any record, also an alias to a name without addresses, but not with one to a
        name that does not exist."""
        return bool(self.records) and self.rcode == _ANSWERED


@dataclass(frozen=True, slots=True)
class Step:
    """One candidate with its replies, by type in the order asked. The types travel together: one round trip."""

    candidate: Candidate
    replies: tuple[tuple[str, Reply], ...]

    @property
    def found(self) -> bool:
        """Whether the walk ends here with an answer."""
        return any(reply.found for _, reply in self.replies)


@dataclass(frozen=True, slots=True)
class Walk:
    """All that was asked for `written`, in order, and what would have come next."""

    written: str
    settings: Settings
    library: Library
    steps: tuple[Step, ...]
    unasked: tuple[Candidate, ...] = ()

    @property
    def found(self) -> Step | None:
        """The step that ended the walk with an answer, if any."""
        return self.steps[-1] if self.steps and self.steps[-1].found else None

    def answered(self, step: Step) -> str:
        """The name that a step's replies are about: the candidate's, or one further down the list when the server has
        gone on by itself and answers with an alias of it."""
        further = {each.name.lower(): each.name for each in self.unasked}
        for _, reply in step.replies:
            words = reply.records[0].lower().split() if reply.records else []
            if words[:1] == [step.candidate.name.lower()] and words[3:4] == ["cname"] and words[4] in further:
                return further[words[4]]
        return step.candidate.name

    @property
    def queries(self) -> int:
        """Messages sent, not counting repeated ones."""
        return sum(len(step.replies) for step in self.steps)

    @property
    def dots(self) -> int:
        """Dots in the name as written, a final one apart."""
        return self.written.removesuffix(".").count(".")


def candidates(written: str, settings: Settings, library: Library = "glibc") -> tuple[Candidate, ...]:
    """The names a client asks, in order, as long as none is answered. Those that are no names (too long) are left out,
    as clients leave them out. Raises BadName when the name as written is none."""
    names.parse(written)
    itself = Candidate(written.removesuffix(".") + ".")
    if written.endswith("."):
        return (itself,)
    first = written.count(".") >= settings.ndots
    if first and library == "musl":
        return (itself,)
    searched = [
        Candidate(f"{written}.{domain}.", domain)
        for domain in (each.strip(".") for each in settings.searches)
        if domain and _is_name(f"{written}.{domain}")
    ]
    return (itself, *searched) if first else (*searched, itself)


def walk(
    written: str,
    settings: Settings,
    ask: Callable[[Candidate, str], Reply],
    types: Sequence[str] = ("A", "AAAA"),
    library: Library = "glibc",
) -> Walk:
    """Walk until an answer, or to the end. `ask` gives the reply to a candidate's question of a type; all `types` are
    asked of each. Raises BadName."""
    left = list(candidates(written, settings, library))
    steps: list[Step] = []
    while left:
        candidate = left.pop(0)
        step = Step(candidate, tuple((type, ask(candidate, type)) for type in types))
        steps.append(step)
        if step.found:
            break
        if not _goes_on(step, library):
            left = _last_resort(left, library)
    return Walk(written, settings, library, tuple(steps), tuple(left))


def _goes_on(step: Step, library: Library) -> bool:
    """Whether the client asks with the next search domain after replies without an answer. musl stops where a name
    exists or the server failed; glibc only for failures other than SERVFAIL, like REFUSED."""
    goes_on = {_ABSENT} if library == "musl" else {_ABSENT, _ANSWERED, _FAILED}
    return all(reply.rcode in goes_on for _, reply in step.replies)


def _last_resort(left: Sequence[Candidate], library: Library) -> list[Candidate]:
    """What is still asked when the search list is given up: with glibc the name as written, if it was not yet."""
    return [each for each in left if each.as_written and library == "glibc"]


def _is_name(text: str) -> bool:
    try:
        names.parse(text)
    except BadName:
        return False
    return True
