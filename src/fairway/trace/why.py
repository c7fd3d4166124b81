"""A trace in one paragraph: what becomes of the packet, which object and field decided it, what would change it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction

from fairway.packet import Outcome, Verdict, host_port
from fairway.trace import words
from fairway.trace.causes import Cause, Causes
from fairway.trace.explain import Journeys, Tongue
from fairway.trace.journey import End
from fairway.trace.names import Subject, named
from fairway.trace.steps import Event, Path, Step, Trace
from fairway.trace.story import share_of

_ENDS = (Event.REJECT, Event.DROP, Event.DNAT)

SHOWN = 4
"""Of more endpoints than these, the rest is only counted."""


def why(
    trace: Trace,
    names: Mapping[str, str],
    causes: Causes | None = None,
    say: Tongue = str,
    journeys: Journeys | None = None,
) -> str:
    """The paragraph, on one line. Of answers it tells those that do not come back as they should."""
    groups: dict[tuple[Verdict, bool, str], list[Path]] = {}
    for path in trace.branches:
        key = (path.outcome.verdict, path.outcome.masqueraded, path.reason if not _arrives(path.outcome) else "")
        groups.setdefault(key, []).append(path)
    packet = trace.packet
    there = host_port(packet.destination, packet.destination_port)
    begin = f"The packet from {words.named_address(packet.source, names)} to {packet.protocol} {there}"
    told = [" ".join(_group(trace, paths, names, causes)) for paths in groups.values()]
    ends = [journey for journey in (journeys or {}).values() if journey.end is not End.RIGHT]
    said = [f"{'Or it' if number else begin} {text}" for number, text in enumerate(told)]
    return say(" ".join([*said, *dict.fromkeys(words.answer(journey) for journey in ends)]))


def _arrives(outcome: Outcome) -> bool:
    return outcome.verdict in (Verdict.ENDPOINT, Verdict.UNTRANSLATED)


def _group(trace: Trace, paths: Sequence[Path], names: Mapping[str, str], causes: Causes | None) -> Iterator[str]:
    """The sentences about paths that end alike; the first goes on from "the packet"."""
    first, share = paths[0], share_of(paths)
    doubt = "" if share.certain else "maybe "
    yield doubt + _end(trace, paths, names) + ("." if share.chance == 1 else f" ({share.chance} of the packets).")
    cause = causes.of_path(first, trace) if causes is not None else None
    if reason := _reason(paths, cause):
        yield reason
    if _arrives(first.outcome):
        yield _source(trace, paths)
    if cause is not None and cause.remedy:
        yield f"It would be otherwise if {cause.remedy}."


def _source(trace: Trace, paths: Sequence[Path]) -> str:
    """Whom the receivers see; a node masquerades by the device that a packet leaves by, so these may be several."""
    first = paths[0]
    seen = " or ".join(dict.fromkeys(words.source_seen(path) for path in paths))
    if first.source_seen == trace.packet.source and not first.outcome.masqueraded:
        return f"The receiver sees its own source {seen}."
    return f"The receiver sees {'the source ' if first.source_seen else ''}{seen}, {_masquerade(first)}."


def _end(trace: Trace, paths: Sequence[Path], names: Mapping[str, str]) -> str:
    outcome = paths[0].outcome
    if outcome.verdict is not Verdict.ENDPOINT:
        return words.ends(outcome, trace.packet, names)
    endpoints: dict[str, Fraction] = {}
    for path in paths:
        endpoints[path.outcome.endpoint] = endpoints.get(path.outcome.endpoint, Fraction(0)) + path.chance
    shown = [words.place(endpoint, names) for endpoint in list(endpoints)[:SHOWN]]
    more = f" and {len(endpoints) - SHOWN} more" if len(endpoints) > SHOWN else ""
    if len(endpoints) == 1:
        return f"reaches {shown[0]}"
    return f"reaches one of {len(endpoints)} endpoints, {', '.join(shown)}{more}"


def _reason(paths: Sequence[Path], cause: Cause | None) -> str:
    """The sentence about what decided: an object where one is known, else the Service and the rule."""
    if cause is not None:
        return f"That is because {cause.why} ({cause})." if cause.why else f"It is sent there by {cause}."
    path = paths[0]
    deciding = _deciding(path)
    if deciding is None:
        return f"That is because {path.reason}." if path.outcome.verdict is Verdict.UNKNOWN and path.reason else ""
    place = deciding.detail
    if deciding.event is Event.POLICY:
        place = f"the policy of {deciding.table} {deciding.chain} is {deciding.detail}"
    elif deciding.number:
        place = f"rule {deciding.number} of {deciding.table} {deciding.chain} says so"
    elif deciding.event is Event.ROUTE:
        place = words.why_no_way(deciding)
    about = _about(path)
    if path.outcome.verdict is Verdict.ENDPOINT and about:
        return f"It is sent there for {about}" + ("." if len(paths) > 1 else f": {place}.")
    return f"That is because {place}" + (f" ({about})." if about else ".")


def _deciding(path: Path) -> Step | None:
    """The step that decided about the end."""
    ends = {
        Verdict.REJECTED: (Event.REJECT, Event.ROUTE),
        Verdict.DROPPED: (Event.DROP, Event.POLICY, Event.MARTIAN, Event.ROUTE),
        Verdict.ENDPOINT: (Event.DNAT,),
    }.get(path.outcome.verdict, ())
    return next((step for step in reversed(path.steps) if step.event in ends), None)


def _about(path: Path) -> str:
    """The Service that the rules on the way name, with what they say of it."""
    applied = (step for step in path.steps if step.rule and step.event in (Event.JUMP, Event.GOTO, *_ENDS))
    found: list[Subject] = [about for step in applied if (about := named(step)) is not None]
    if not found:
        return ""
    roles = [about.role for about in found if about.role]
    return f"{found[-1]} ({roles[-1]})" if roles else str(found[-1])


def _masquerade(path: Path) -> str:
    """Why the source is replaced."""
    for step in path.steps:
        if step.event in (Event.JUMP, Event.GOTO) and step.detail.startswith("KUBE-MARK-MASQ"):
            return f"masqueraded because {words.why_masquerade(step)}"
    found = next((s for s in reversed(path.steps) if s.event in (Event.MASQUERADE, Event.SNAT)), None)
    if found is None or not found.number:
        return "as its connection began"
    return f"translated by rule {found.number} of {found.table} {found.chain}"
