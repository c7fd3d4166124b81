"""The walk of a name, told: as text for people, as JSON for programs. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from fairway.dns import advice, names
from fairway.dns.names import Name
from fairway.dns.origin import Facts, origin
from fairway.dns.records import Question, Rcode, Type
from fairway.dns.walk import Candidate, Reply, Step, Walk
from fairway.dns.zone import Zone

UPSTREAM = "outside the cluster's zones: the DNS server's upstream answers, or refuses"
NOT_ASKED = "NOT ASKED"
"""Stands for the rcode where only a server could tell."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """A walk with the origin of each step's name, and what it teaches. `who` is the client; `remarks` are about how
    we know."""

    walk: Walk
    who: str
    origins: tuple[str, ...]
    shorter: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


def from_objects(zone: Zone) -> Callable[[Candidate, str], Reply]:
    """Replies as the cluster's objects give them, without asking a server. Names outside the zone are NOT ASKED."""

    def ask(candidate: Candidate, type: str) -> Reply:
        answer = zone.answer(Question(names.parse(candidate.name), Type[type]))
        rcode = NOT_ASKED if answer.rcode is Rcode.REFUSED else answer.rcode.name
        return Reply(rcode, tuple(map(str, answer.answer)))

    return ask


def explain(
    walk: Walk, who: str, zone: Zone, facts: Facts, remarks: Sequence[str] = (), live: bool = False
) -> Explanation:
    """What there is to say about a walk. With `live` its replies come from a server, and are held against the
    objects."""
    origins = tuple(_origin(walk, step, zone, facts) for step in walk.steps)
    told = [*advice.warnings(walk, zone.domain, facts, lambda name: _exists(zone, name))]
    if live:
        told += _differences(walk, zone)
    notes = (*remarks, *map(_exposure, advice.exposed(walk, zone.domain, facts)))
    return Explanation(walk, who, origins, advice.shorter(walk), tuple(told), notes)


def _exposure(candidate: Candidate) -> str:
    return (
        f"{candidate.name} is free because its namespace does not exist: "
        f"who may create that, and a Service in it, can take the name over"
    )


def _origin(walk: Walk, step: Step, zone: Zone, facts: Facts) -> str:
    answered = walk.answered(step)
    said = _origin_of(answered, zone, facts)
    return said if answered == step.candidate.name else f"{said}, to which the server went on by itself"


def _origin_of(text: str, zone: Zone, facts: Facts) -> str:
    name = names.parse(text)
    return origin(name, zone.domain, facts) or ("a reverse zone of the cluster" if zone.covers(name) else UPSTREAM)


def _exists(zone: Zone, name: Name) -> bool:
    return any(zone.answer(Question(name, type)).answer for type in (Type.A, Type.AAAA))


def _differences(walk: Walk, zone: Zone) -> Iterator[str]:
    """Where the server's answer is not what the objects say: it is behind, or serves another cluster."""
    told = from_objects(zone)
    for step in walk.steps:
        for type, reply in step.replies:
            answered = walk.answered(step)
            should = told(Candidate(answered), type)
            if answered != step.candidate.name:
                reply = Reply(reply.rcode, reply.records[1:])
            same = (_rdata(reply), reply.rcode) == (_rdata(should), should.rcode)
            if should.rcode != NOT_ASKED and not same:
                yield (
                    f"{step.candidate.name} {type}: the server says {_said(reply)}, "
                    f"the cluster's objects say {_said(should)}"
                )


def _rdata(reply: Reply) -> set[str]:
    """Type and data of the records, without names' case and TTLs, which may differ."""
    return {" ".join(line.split()[3:]).lower() for line in reply.records}


def _said(reply: Reply) -> str:
    return ", ".join(" ".join(line.split()[3:]) for line in reply.records) or outcome(reply)


def outcome(reply: Reply) -> str:
    """The rcode, with the two kinds of nothing told apart."""
    return "NODATA (the name exists, without such a record)" if reply.rcode == "NOERROR" else reply.rcode


def text(told: Explanation) -> str:
    """For people."""
    return "\n".join(_lines(told))


def _lines(told: Explanation) -> Iterator[str]:
    walk, settings = told.walk, told.walk.settings
    yield f"{walk.written} asked by {told.who}, as {walk.library} asks"
    yield f"  nameserver {' '.join(settings.nameservers) or '(none)'}"
    yield f"  search {' '.join(settings.searches) or '(none)'}"
    yield f"  ndots:{settings.ndots}; the name has {_count(walk.dots, 'dot')}: {_order(walk)}"
    for number, (step, source) in enumerate(zip(walk.steps, told.origins, strict=True), 1):
        yield ""
        yield f"{number}. {step.candidate.name}  ({_why(step.candidate)})"
        yield from (f"     {line}" for line in _replies(step))
        yield f"     from: {source}"
    yield ""
    yield f"{_result(walk)} Cost: {_count(len(walk.steps), 'round trip')}, {_queries(walk)}{_time(walk)}."
    for title, lines in (("Shorter", told.shorter), ("Warning", told.warnings), ("Note", told.remarks)):
        yield from (f"{title}: {line}." for line in lines)


def _replies(step: Step) -> Iterator[str]:
    """Each type's outcome; types with one outcome share a line."""
    empty: dict[str, list[str]] = {}
    for type, reply in step.replies:
        yield from (f"{type:<5} {line}" for line in reply.records)
        if not reply.found:
            empty.setdefault(outcome(reply), []).append(type)
    for said, types in empty.items():
        yield f"{', '.join(types)}: {said}"


def _order(walk: Walk) -> str:
    if walk.written.endswith("."):
        return "the final dot keeps the search list out"
    if walk.dots < walk.settings.ndots:
        return "the search list comes first" if walk.settings.searches else "there is no search list"
    rest = "" if walk.library == "musl" else ", then the search list"
    return f"it is asked as written first{rest}"


def _why(candidate: Candidate) -> str:
    return candidate.why if candidate.as_written else f"search domain {candidate.why}"


def _result(walk: Walk) -> str:
    if walk.found is not None:
        return f"Found at step {len(walk.steps)}."
    if any(reply.rcode == NOT_ASKED for step in walk.steps for _, reply in step.replies):
        return "Not found in the cluster; whether its upstream knows it, only a server can tell (--server)."
    return "Not found."


def _queries(walk: Walk) -> str:
    types = " and ".join(type for type, _ in walk.steps[0].replies) if walk.steps else ""
    return f"{_count(walk.queries, 'query', 'queries')} ({types} of each name)"


def _time(walk: Walk) -> str:
    """Types travel together, so a step takes as long as its slowest reply."""
    taken = [max((reply.seconds or 0.0) for _, reply in step.replies) for step in walk.steps]
    return f", {sum(taken) * 1000:.1f} ms" if any(taken) else ""


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"


def as_json(told: Explanation) -> dict[str, Any]:
    """For programs; seconds are floats, absent where no server was asked."""
    walk, settings = told.walk, told.walk.settings
    return {
        "name": walk.written,
        "client": told.who,
        "library": walk.library,
        "nameservers": list(settings.nameservers),
        "searches": list(settings.searches),
        "ndots": settings.ndots,
        "steps": [_step_json(step, source) for step, source in zip(walk.steps, told.origins, strict=True)],
        "unasked": [each.name for each in walk.unasked],
        "found": walk.found.candidate.name if walk.found else None,
        "roundTrips": len(walk.steps),
        "queries": walk.queries,
        "shorter": list(told.shorter),
        "warnings": list(told.warnings),
        "notes": list(told.remarks),
    }


def _step_json(step: Step, source: str) -> dict[str, Any]:
    replies = [
        {"type": type, "rcode": reply.rcode, "records": list(reply.records)}
        | ({} if reply.seconds is None else {"seconds": round(reply.seconds, 6)})
        for type, reply in step.replies
    ]
    return {"name": step.candidate.name, "why": step.candidate.why, "from": source, "replies": replies}
