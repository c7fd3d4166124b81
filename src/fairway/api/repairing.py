"""Keeps Services and what they hold in agreement: everything now and then, an IPAddress that somebody deletes at once.

Every server does it. Each fix is a transaction on what was seen, so that of several servers one lands it and the others
find it done, and none undoes what a user writes meanwhile.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import aclosing
from typing import Any, TypeVar

from fairway.api import repair, status
from fairway.api.holdings import Holder, ip_address
from fairway.api.keys import ADDRESSES, NODE_PORTS, address_claim_key, key_of, node_port_key, prefix_of
from fairway.api.metadata import timestamp
from fairway.api.repair import Fix, Limits, Scene, Service, Word
from fairway.api.requests import Target
from fairway.api.services import ServiceAllocator
from fairway.api.writes import Chance, Draft, Writer
from fairway.objects.kinds import EVENT, IP_ADDRESS, SERVICE
from fairway.store.base import Conflict, Entry, Store, StoreError

Object = dict[str, Any]
Found = TypeVar("Found")

COMPONENT = "service-repair-controller"
RETRY_SECONDS = 1.0
AT_ONCE = 100
"""How many Services are looked at before others may go on: a large cluster's take a second."""

_log = logging.getLogger(__name__)


class Repairer:
    """Looks after the holdings of Services."""

    def __init__(self, store: Store, allocator: ServiceAllocator, writer: Writer, chance: Chance) -> None:
        self._store = store
        self._allocator = allocator
        self._writer = writer
        self._chance = chance

    async def run(self, period: float) -> None:
        """Look at everything every `period` seconds, and at a Service whose IPAddress goes, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._sweep_again_and_again(period))
            group.create_task(self._follow())

    async def sweep(self) -> int:
        """Look at everything once; returns how many fixes landed."""
        scene, limits = await self._scene(), await self._limits()
        fixes: list[Fix] = []
        for at, service in enumerate(scene.services.values()):
            with _going_on(service.holder):
                fixes += repair.lacking(service, scene, limits, self._make)
            if at % AT_ONCE == 0:
                await asyncio.sleep(0)
        return await self._mend([*fixes, *repair.leaked(scene, self._chance.now())])

    async def look_at(self, namespace: str, name: str) -> int:
        """Look at what one Service lacks; returns how many fixes landed."""
        entry = await self._store.get(key_of(SERVICE, namespace, name))
        if entry is None:
            return 0
        service = repair.service_of(entry)
        scene = await self._scene_of(service)
        return await self._mend(repair.lacking(service, scene, await self._limits(), self._make))

    async def _sweep_again_and_again(self, period: float) -> None:
        while True:
            try:
                await self.sweep()
            except StoreError as error:
                _log.warning("Services were not held against what they hold: %s", error)
            except Exception:
                _log.exception("Services were not held against what they hold")
            await asyncio.sleep(period)

    async def _follow(self) -> None:
        while True:
            try:
                revision = await self._store.revision()
                async with aclosing(self._store.watch(prefix_of(IP_ADDRESS), revision)) as batches:
                    async for events in batches:
                        for event in events:
                            if event.entry is None and event.previous is not None:
                                with _going_on(event.key):
                                    await self._missed(event.previous)
            except StoreError as error:
                _log.warning("addresses are followed anew: %s", error)
            await asyncio.sleep(RETRY_SECONDS)

    async def _missed(self, gone: Entry) -> None:
        parent = repair.address_of(gone).parent
        if parent:
            await self.look_at(*parent)

    async def _limits(self) -> Limits:
        return Limits((await self._allocator.ranges()).known, self._allocator.ports)

    async def _scene(self) -> Scene:
        page = await self._store.range(prefix_of(SERVICE))
        services = await _each(page.entries, repair.service_of)

        async def read(prefix: str, make: Callable[[Entry], Found]) -> dict[str, Found]:
            entries = (await self._store.range(prefix, revision=page.revision)).entries
            return {entry.key.removeprefix(prefix): found for entry, found in await _each(entries, make)}

        ports = await read(NODE_PORTS, repair.claim_of)
        return Scene(
            {(one.holder.namespace, one.holder.name): one for _, one in services},
            await read(prefix_of(IP_ADDRESS), repair.address_of),
            await read(ADDRESSES, repair.claim_of),
            {int(port): held for port, held in ports.items()},
            len(services) == len(page.entries),
        )

    async def _scene_of(self, service: Service) -> Scene:
        """What a Service says it holds, and those Services that hold it, too."""

        async def read(keys: dict[Any, str], make: Callable[[Entry], Found]) -> dict[Any, Found]:
            entries = {name: await self._store.get(key) for name, key in keys.items()}
            return {name: make(entry) for name, entry in entries.items() if entry}

        addresses = await read({ip: key_of(IP_ADDRESS, "", ip) for ip in service.addresses}, repair.address_of)
        claims = await read({ip: address_claim_key(ip) for ip in service.addresses}, repair.claim_of)
        ports = await read({port: node_port_key(port) for port in service.ports}, repair.claim_of)
        others = {found.parent for found in addresses.values() if found.parent}
        others |= {(held.holder.namespace, held.holder.name) for held in [*claims.values(), *ports.values()]}
        services = await read({other: key_of(SERVICE, *other) for other in others}, repair.service_of)
        return Scene(services | {(service.holder.namespace, service.holder.name): service}, addresses, claims, ports)

    def _make(self, holder: Holder, address: str) -> bytes:
        return ip_address(holder, address, self._chance.uid(), self._chance.now())

    async def _mend(self, fixes: Iterable[Fix]) -> int:
        landed = 0
        for fix in fixes:
            with _going_on(fix.word.regarding.name if fix.word else fix.changes):
                landed += await self._mended(fix)
        return landed

    async def _mended(self, fix: Fix) -> bool:
        """Whether a fix has landed; it is told of then, as is one that only tells."""
        try:
            if fix.changes:
                await self._store.commit(fix.checks, fix.changes)
        except Conflict:
            return False  # somebody was faster, or the Service has changed: the next look will tell
        if fix.word:
            _log.warning("%s %s: %s", fix.word.kind, fix.word.regarding.name, fix.word.message)
            await self._tell(fix.word)
        return bool(fix.changes)

    async def _tell(self, word: Word) -> None:
        """An Event about it; one that is there already is counted."""
        event = event_of(word, timestamp(self._chance.now()))
        namespace = event["metadata"]["namespace"]

        def again(old: Object) -> Draft:
            return Draft({**old, "count": old.get("count", 1) + 1, "lastTimestamp": event["lastTimestamp"]})

        try:
            await self._writer.add(Target(EVENT, EVENT.api_version, namespace), event)
        except status.Failure as failure:
            if failure.reason == "AlreadyExists":
                with contextlib.suppress(status.Failure):
                    await self._writer.change(
                        Target(EVENT, EVENT.api_version, namespace, event["metadata"]["name"]), again
                    )


async def _each(entries: Iterable[Entry], make: Callable[[Entry], Found]) -> list[tuple[Entry, Found]]:
    """What entries are read as; others may go on meanwhile."""
    found = []
    for at, entry in enumerate(entries):
        with _going_on(entry.key):
            found.append((entry, make(entry)))
        if at % AT_ONCE == 0:
            await asyncio.sleep(0)
    return found


@contextlib.contextmanager
def _going_on(about: object) -> Iterator[None]:
    """What fails over one object, however it fails, is told and keeps nobody from the others. That the store does not
    answer is no fault of an object's."""
    try:
        yield
    except StoreError:
        raise
    except Exception:
        _log.exception("%s: what it holds could not be looked after", about)


def event_of(word: Word, now: str) -> Object:
    """The warning as an Event, whose name is the same whenever the same is said of the same object."""
    regarding, kind = word.regarding, word.kind
    digest = hashlib.sha256(f"{regarding.uid}/{word.reason}/{word.message}".encode()).hexdigest()[:16]
    namespace = regarding.namespace or "default"
    involved = {
        "kind": kind.name,
        "apiVersion": kind.api_version,
        "namespace": regarding.namespace,
        "name": regarding.name,
        "uid": regarding.uid,
    }
    return {
        "kind": EVENT.name,
        "apiVersion": EVENT.api_version,
        "metadata": {"name": f"{regarding.name}.{digest}", "namespace": namespace},
        "involvedObject": {name: value for name, value in involved.items() if value},
        "type": "Warning",
        "reason": word.reason,
        "message": word.message,
        "source": {"component": COMPONENT},
        "reportingComponent": COMPONENT,
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
    }
