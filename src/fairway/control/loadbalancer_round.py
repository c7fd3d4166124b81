"""One round of the load balancer's controller, in the order that keeps every address with one owner.

However many controllers run, whenever they die, and however old what they believe is:

1. The Services are read, then the record. Only then something is written.
2. An address is given by a conditional write of the record; the statuses follow.
3. It is taken back by first writing its holder's status, without it and marked with the record's version, and then
   the record, if it still has that version.
4. Nobody writes a status whose mark names the record's present version, but to finish the taking back.

So a write that would show an address to a Service that has lost it meets a Service that has changed since it was read,
and is refused: had it been read after the mark, the record would have been read after it, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from fairway.client.base import Object
from fairway.control.loadbalancer import Decision, Facts, decide
from fairway.control.loadbalancer_claims import Claim, Record, written
from fairway.control.loadbalancer_pools import Settings
from fairway.control.loadbalancer_requests import Request, request
from fairway.control.loadbalancer_status import cleaning, mark, settled, withdrawal
from fairway.control.writes import Update


class Desk(Protocol):
    """What a round reads and writes; each may raise ApiError and Unreachable."""

    async def record(self) -> Record:
        """The record as the server has it now."""

    async def keep(self, record: Object) -> Record:
        """Replace the record, if it still is the version that `record` bears. Raises ApiError (Conflict)."""

    async def show(self, update: Update) -> bool:
        """Replace a Service's status, if the Service still is the version read; whether that was so."""

    async def lives(self, claim: Claim) -> bool:
        """Whether the server still has the very Service of a claim."""


@dataclass(frozen=True, slots=True)
class Scene:
    """What is believed at the beginning of a round: Services by uid (all of ours, and those with claims that are
    known), the settings, and what else has addresses. `own` gives the addresses of the nodes that serve a Service."""

    services: Mapping[str, Object]
    settings: Settings
    facts: Facts
    own: Callable[[Request], tuple[str, ...]]
    now: float


async def settle(desk: Desk, scene: Callable[[], Scene]) -> bool:
    """Do one round; False when another one is due at once. What a `desk` raises ends it; it is to be repeated then."""
    seen = scene()
    record = await desk.record()
    services = seen.services
    gone = {each.uid for each in record.claims if each.uid not in services and not await desk.lives(each)}
    standing = [each for each in record.claims if each.uid not in gone]
    requests = {uid: request(service, seen.settings.style) for uid, service in services.items()}
    marked = {uid for uid, service in services.items() if record.version and mark(service) == record.version}
    decision = decide(requests, standing, seen.settings, seen.facts, marked)
    held = await _withdraw(desk, seen, record, decision)
    claims = _restored(decision.claims, standing, held)
    if claims != list(record.claims):
        record = await desk.keep(written(record, claims))
    if decision.withdrawn:
        return False
    results = [await desk.show(update) for update in _shown(seen, record, decision, requests)]
    return all(results)


async def _withdraw(desk: Desk, seen: Scene, record: Record, decision: Decision) -> dict[str, set[str]]:
    """Mark the statuses that lose addresses; returns what could not be taken back, because its Service has changed."""
    held: dict[str, set[str]] = {}
    for uid, addresses in decision.withdrawn.items():
        update = withdrawal(seen.services[uid], addresses, record.version, seen.now)
        if update is not None and not await desk.show(update):
            held[uid] = set(addresses)
    return held


def _restored(claims: Iterable[Claim], before: Iterable[Claim], held: Mapping[str, set[str]]) -> list[Claim]:
    """The claims to record, in the order they came: as decided, with those `held` as they were."""
    decided = {each.uid: each for each in claims}
    found: list[Claim] = []
    for claim in before:
        new = decided.pop(claim.uid, None)
        if claim.uid in held:
            found.append(claim)
        elif new is not None:
            found.append(new)
    return [*found, *decided.values()]


def _shown(seen: Scene, record: Record, decision: Decision, requests: Mapping[str, Request | None]) -> Iterable[Update]:
    """The statuses that do not say yet what is recorded."""
    claims = {each.uid: each for each in record.claims}
    for uid, service in seen.services.items():
        wish = requests[uid]
        if wish is None:
            update = cleaning(service, seen.now)
        else:
            own = seen.own(wish) if wish.style == "nodes" else ()
            update = settled(service, claims.get(uid), decision.reasons.get(uid), own, seen.settings, seen.now)
        if update is not None:
            yield update
