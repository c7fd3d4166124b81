"""A Pod's whole walk through its search list in one trip: the answer to its first name is an alias of the one found.

No worse than the walk itself: when the rest of it finds nothing here, the first name is answered as it is (NXDOMAIN),
and the client goes on by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from fairway.dns.names import Name
from fairway.dns.paths import Paths
from fairway.dns.records import Answer, Question, Rcode, Record, Target, Type
from fairway.dns.zone import Zone

_OTHER_FAMILY: Mapping[int, Type] = {Type.A: Type.AAAA, Type.AAAA: Type.A}


class Lookup(Protocol):
    """Who knows names outside the zone."""

    async def lookup(self, name: Name, type: int) -> tuple[Record, ...]:
        """The records of a name, aliases on the way included; empty if there are none or nobody answers."""


async def shortcut(question: Question, client: str, paths: Paths, zone: Zone, upstream: Lookup | None) -> Answer | None:
    """What the Pod at the address `client` finds at the end of the walk that begins with `question`, whose name does
    not exist; None when it finds nothing, or there is no such walk."""
    for name in paths.rest(client, question.name):
        asked = Question(name, question.type)
        found = await _answer(asked, zone, upstream)
        if found is not None:
            alias = Record(question.name, Type.CNAME, zone.ttl, Target(name))
            return Answer(Rcode.NOERROR, (alias, *found.answer), found.authority, found.additional)
    return None


async def _answer(question: Question, zone: Zone, upstream: Lookup | None) -> Answer | None:
    """The answer for a name at which a client would stop; None for any other, or one that nobody knows."""
    if not zone.covers(question.name):
        outside = await upstream.lookup(question.name, question.type) if upstream else ()
        return Answer(Rcode.NOERROR, outside) if outside else None
    found = zone.answer(question)
    if found.rcode is not Rcode.NOERROR or not (found.answer or _has_other_family(question, zone)):
        return None
    if found.alias is None or upstream is None:
        return found
    beyond = await upstream.lookup(found.alias.name, found.alias.type)
    return Answer(Rcode.NOERROR, (*found.answer, *beyond))


def _has_other_family(question: Question, zone: Zone) -> bool:
    """Whether the name has addresses of the family that was not asked for: clients ask for both, and go on where there
    is neither, as at a namespace's own name."""
    other = _OTHER_FAMILY.get(question.type)
    return other is not None and bool(zone.answer(Question(question.name, other)).answer)
