"""What a walk teaches: what would make it shorter, and which namespaces and Services stand in a name's way. Pure.

A namespace is a label, and whoever may create one may put a label into every client's search path: `svc` catches
`web.shop.svc` (CVE-2022-2835), `com` catches `www.example.com` (CVE-2022-2837).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from fairway.dns import names
from fairway.dns.names import Name
from fairway.dns.origin import Facts, place
from fairway.dns.walk import Candidate, Walk

_ENDS = frozenset({"aero", "arpa", "biz", "com", "coop", "edu", "gov", "info", "int", "mil", "museum", "net", "org"})
"""Ends of public names that mean nothing else. Others are common words too, and fine names for namespaces."""
_OWN_WORDS = frozenset({"svc", "pod"})
"""Labels of the zone's own tree."""


def shorter(walk: Walk) -> tuple[str, ...]:
    """What would make the walk shorter, the best first."""
    found, trips = walk.found, len(walk.steps)
    if found is None or trips < 2:
        return ()
    saved = f"1 round trip instead of {trips}"
    said = [f"write {found.candidate.name} with the final dot: {saved}"]
    if found.candidate.as_written and walk.dots < walk.settings.ndots:
        ndots = max(walk.dots, 1)
        said.append(
            f"give the pod ndots:{ndots} (spec.dnsConfig.options): names of {ndots} or more dots are then asked as "
            f"written first"
        )
    return tuple(said)


def warnings(walk: Walk, domain: Name, facts: Facts, exists: Callable[[Name], bool]) -> tuple[str, ...]:
    """What stands, or could stand, in the name's way. `exists` says whether the zone has records for a name."""
    return (*_shadowed(walk, domain, exists), *_captured(walk, domain), *_colliding(walk, domain, facts))


def _shadowed(walk: Walk, domain: Name, exists: Callable[[Name], bool]) -> Iterator[str]:
    """Names further down the list that exist too and are never reached."""
    if walk.found is None:
        return
    found = walk.answered(walk.found)
    later = [each.name for each in walk.unasked]
    passed = later.index(found) + 1 if found in later else 0
    for name in later[passed:]:
        if exists(names.parse(name)):
            yield f"{found} shadows {name}, which exists too and is never asked for"


def _captured(walk: Walk, domain: Name) -> Iterator[str]:
    """A name that was meant as it is written, answered by a namespace that is called like its end."""
    found = walk.found
    if found is None or found.candidate.as_written:
        return
    where = place(names.parse(walk.answered(found)), domain)
    last = walk.written.lower().rpartition(".")[2]
    if where is not None and walk.dots and where[0] == last and (_collides(last, domain) or _is_country(last)):
        yield (
            f"{walk.written} looks like a name of its own, but namespace {last} captures it: "
            f"write {walk.written}. with the final dot, or rename the namespace"
        )


def _colliding(walk: Walk, domain: Name, facts: Facts) -> Iterator[str]:
    """Namespaces of the cluster whose names collide with the search path."""
    if walk.written.endswith("."):
        return
    yield from collisions(facts.namespaces, domain)


def collisions(namespaces: Iterable[str], domain: Name) -> Iterator[str]:
    """A sentence for each namespace whose name collides with pods' search path."""
    for namespace in sorted(namespaces):
        if _collides(namespace, domain):
            caught = f"SERVICE.{namespace}" if namespace not in _OWN_WORDS else f"POD.SERVICE.{namespace}"
            yield (
                f"namespace {namespace} collides with the search path: its Services answer for names that end in "
                f".{namespace} when pods ask for {caught} without the final dot (CVE-2022-2835)"
            )


def _collides(namespace: str, domain: Name) -> bool:
    """Whether a namespace is called like the end of names that are no Services': a public one, or the zone's."""
    return namespace in _ENDS or namespace in _OWN_WORDS or namespace.encode() in domain


def _is_country(label: str) -> bool:
    """Whether public names end so: all labels of two letters are countries, or may become one (ISO 3166)."""
    return len(label) == 2 and label.isalpha()


def exposed(walk: Walk, domain: Name, facts: Facts) -> tuple[Candidate, ...]:
    """The candidates asked in vain only because nobody has made the namespace they name: whoever makes it, and a
    Service in it, gets the traffic. Only of names that a later candidate answers, or may answer from outside."""
    if walk.found is None and walk.steps and _inside(walk.steps[-1].candidate, domain):
        return ()
    return tuple(
        step.candidate
        for step in walk.steps[:-1]
        if (where := place(names.parse(step.candidate.name), domain)) is not None and where[0] not in facts.namespaces
    )


def _inside(candidate: Candidate, domain: Name) -> bool:
    return names.lower(names.parse(candidate.name))[-len(domain) :] == domain
