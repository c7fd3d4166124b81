"""What all controllers share: one mirror of each kind, kept by following it, and the hands that perform writes."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NoReturn

from fairway.client.base import ApiError, Client, Object, Unreachable
from fairway.client.follow import Backoff, follow
from fairway.client.informer import as_dict
from fairway.control.events import Recorder
from fairway.control.identities import user_of
from fairway.control.mirror import Mirror
from fairway.control.writes import Create, Delete, Living, Note, Patch, Post, Tell, Update, Write
from fairway.objects.kinds import Kind

Decoder = Callable[[bytes], Object]
AT_ONCE = 16
"""Writes of one burst in flight together, at most."""


class Cluster:
    """The state that controllers decide from, and their way to change it.

    `client` reads; `acting` gives the client of a user in whose name a controller writes (identities.user_of), without
    it all write by `client`. `clock` gives seconds since the epoch. Mirrors take in the answers of writes at once, so
    that a decision made after a write knows of it.
    """

    def __init__(
        self,
        client: Client,
        kinds: Iterable[Kind],
        *,
        clock: Callable[[], float],
        decoders: Mapping[Kind, Decoder] | None = None,
        jitter: Callable[[], float] = random.random,
        acting: Callable[[str], Client] | None = None,
    ) -> None:
        chosen = decoders or {}
        self.client = client
        self.clock = clock
        self.random = jitter
        self.mirrors = {kind: Mirror(kind, chosen.get(kind, as_dict)) for kind in kinds}
        self._acting = acting
        self._clients: dict[str, Client] = {}
        self.recorder = Recorder(self.client_of, clock)
        self._unsynced = set(self.mirrors)
        self._synced = asyncio.Event()

    def get(self, kind: Kind, name: str, namespace: str = "") -> Object | None:
        """The object as known here."""
        return self.mirrors[kind].items.get((namespace, name))

    def client_of(self, component: str) -> Client:
        """The client that a controller writes by."""
        user = user_of(component)
        if self._acting is None or not user:
            return self.client
        if user not in self._clients:
            self._clients[user] = self._acting(user)
        return self._clients[user]

    async def synced(self) -> None:
        """Wait until every kind has been listed once: before that, absence means nothing."""
        await self._synced.wait()

    async def run(self) -> NoReturn:
        """Follow all kinds and write events until cancelled."""
        async with asyncio.TaskGroup() as group:
            for mirror in self.mirrors.values():
                group.create_task(self._follow(mirror))
            await self.recorder.run()

    async def _follow(self, mirror: Mirror) -> None:
        def note_synced() -> None:
            self._unsynced.discard(mirror.kind)
            if not self._unsynced:
                self._synced.set()

        await follow(
            self.client,
            mirror.kind,
            mirror.cache,
            on_change=mirror.observe,
            on_synced=note_synced,
            jitter=self.random,
        )

    def tell(self, note: Note, component: str) -> None:
        """Make an Event of the note."""
        self.recorder.tell(note, component)

    async def perform(self, writes: Sequence[Write], component: str) -> None:
        """Do the writes in order and stop at the first that fails. Raises ApiError and Unreachable."""
        for write in writes:
            await self.perform_one(write, component)

    async def perform_burst(self, writes: Sequence[Write], component: str) -> None:
        """Do writes that do not depend on each other, in growing groups: one, then two, then four ... so that what
        fails for all of them (a quota, an invalid template) fails once and not for each. Raises the first error after
        its group has ended."""
        size, rest = 1, list(writes)
        while rest:
            group, rest = rest[:size], rest[size:]
            results = await asyncio.gather(
                *(self.perform_one(each, component) for each in group), return_exceptions=True
            )
            for result in results:
                if isinstance(result, BaseException):
                    raise result
            size = min(size * 2, AT_ONCE)

    async def perform_one(self, write: Write, component: str) -> Object | None:
        """Do one write and let the mirror know of the outcome; returns the server's answer, None after a deletion."""
        answer = await self._dispatch(write, self.client_of(component))
        if write.told is not None:
            self.tell(write.told, component)
        return answer

    async def _dispatch(self, write: Write, client: Client) -> Object | None:
        match write:
            case Create():
                return self._took(write.kind, await self._create(write, client))
            case Update():
                if write.living is not None:
                    await self._require(write.living)
                return self._took(write.kind, await client.update(write.kind, write.obj, subresource=write.subresource))
            case Patch():
                return self._took(
                    write.kind,
                    await client.patch(
                        write.kind,
                        write.name,
                        write.patch,
                        write.namespace,
                        type=write.type,
                        subresource=write.subresource,
                    ),
                )
            case Delete():
                return await self._delete(write, client)
            case Post():
                return await client.post(write.kind, write.name, write.namespace, write.subresource, write.body)
            case Tell():
                return None

    def _took(self, kind: Kind, answer: Object) -> Object:
        mirror = self.mirrors.get(kind)
        if mirror is not None:
            mirror.wrote(answer)
        return answer

    async def _create(self, write: Create, client: Client) -> Object:
        """Create; when the connection breaks, find out whether it happened before anything else is decided."""
        metadata = write.obj["metadata"]
        namespace = metadata.get("namespace", "")
        try:
            return await client.create(write.kind, write.obj, namespace)
        except Unreachable:
            if not metadata.get("name"):
                raise
            found = await self._find(write.kind, metadata["name"], namespace)
            if found is None:
                raise
            return found

    async def _find(self, kind: Kind, name: str, namespace: str) -> Object | None:
        backoff = Backoff(self.random)
        while True:
            await asyncio.sleep(backoff.next())
            try:
                return await self.client.get(kind, name, namespace)
            except ApiError as error:
                if error.code == 404:
                    return None
                if error.code < 500:
                    raise
            except Unreachable:
                pass

    async def _require(self, living: Living) -> None:
        owner = await self.client.get(living.kind, living.name, living.namespace)
        if owner["metadata"].get("uid") != living.uid or owner["metadata"].get("deletionTimestamp"):
            raise ApiError(409, "Conflict", f"{living.kind.singular} {living.name!r} is not the one it was")

    async def _delete(self, write: Delete, client: Client) -> Object | None:
        key = (write.namespace, write.name)
        mirror = self.mirrors.get(write.kind)
        try:
            answer = await client.delete(
                write.kind,
                write.name,
                write.namespace,
                grace_seconds=write.grace_seconds,
                uid=write.uid,
                propagation=write.propagation,
            )
        except ApiError as error:
            if error.code != 404 and not (error.code == 409 and write.uid):
                raise
            answer = {}
        if mirror is not None:
            if _lingers(answer):
                mirror.wrote(answer)
            else:
                mirror.removed(key, write.uid)
        return None


def _lingers(answer: Object) -> bool:
    """Whether the answer to a delete is an object that stays for a while: it has a grace period or finalizers."""
    metadata = answer.get("metadata") or {}
    if not metadata.get("deletionTimestamp"):
        return False
    return bool(metadata.get("finalizers") or metadata.get("deletionGracePeriodSeconds"))
