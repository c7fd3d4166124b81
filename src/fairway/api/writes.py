"""Create, update and patch: one transaction each, with everything an object drags along inside it."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from fairway.api import incoming, metadata, render, status
from fairway.api.answers import Answer
from fairway.api.keys import key_of
from fairway.api.requests import Request, Target
from fairway.api.services import NOTHING, Plan, ServiceAllocator
from fairway.api.users import User
from fairway.objects import admit, codec
from fairway.objects.kinds import NAMESPACE, SERVICE, Kind
from fairway.store.base import Check, Conflict, Delete, Entry, Put, Store

Object = dict[str, Any]

ATTEMPTS = 32
"""How often a write that lost a race it can win by looking again is tried."""


@dataclass(frozen=True, slots=True)
class Chance:
    """Time and randomness, handed in."""

    now: Callable[[], datetime]
    uid: Callable[[], str]
    random: random.Random

    def suffix(self) -> str:
        """The random end of a generated name."""
        return "".join(self.random.choices(metadata.SUFFIX_ALPHABET, k=metadata.SUFFIX_LENGTH))


@dataclass(frozen=True, slots=True)
class Written:
    """An object as it was stored (or would have been, in a dry run), and whether it is gone by that."""

    value: bytes
    revision: int
    removed: bool = False


@dataclass(frozen=True, slots=True)
class Draft:
    """A new state with the warnings its writer is owed."""

    obj: Object
    warnings: list[str] = field(default_factory=list)


Guard = Callable[[User, Kind, str, Object], None]
"""Whether a user may write that object of a kind in a namespace; raises 403."""

Make = Callable[[Object], Draft]
"""From the stored object (with resourceVersion) to the one that shall be; called again when a race was lost."""


class Writer:
    """Writes objects to the store."""

    def __init__(
        self,
        store: Store,
        services: ServiceAllocator,
        chance: Chance,
        toleration_seconds: int = admit.TOLERATION_SECONDS,
        guard: Guard = lambda user, kind, namespace, obj: None,
    ) -> None:
        self._store = store
        self._services = services
        self._chance = chance
        self._toleration_seconds = toleration_seconds
        self._guard = guard

    async def create(self, request: Request, body: bytes) -> Answer:
        """A new object. Raises 400, 403, 404 (namespace), 409, 422."""
        read = incoming.read_object(request, body)
        metadata.place(request.target, read.obj)
        self._guard(request.user, request.target.kind, request.target.namespace, read.obj)
        written = await self.add(request.target, read.obj, dry_run=request.options.dry_run)
        return self.answer(request, written, read.warnings, 201)

    async def update(self, request: Request, body: bytes) -> Answer:
        """The object replaced, or one of its subresources. Raises 400, 404, 409, 422."""
        read = incoming.read_object(request, body)
        metadata.place(request.target, read.obj)
        self._guard(request.user, request.target.kind, request.target.namespace, read.obj)
        written, warnings = await self.change(
            request.target,
            lambda _: Draft(codec.copied(read.obj), read.warnings),
            dry_run=request.options.dry_run,
        )
        return self.answer(request, written, warnings)

    async def patch(self, request: Request, body: bytes) -> Answer:
        """The object patched. A lost race is tried again unless the patch names a resourceVersion."""

        def make(old: Object) -> Draft:
            read = incoming.apply_patch(request, body, old)
            metadata.place(request.target, read.obj)
            self._guard(request.user, request.target.kind, request.target.namespace, read.obj)
            return Draft(read.obj, read.warnings)

        written, warnings = await self.change(request.target, make, dry_run=request.options.dry_run)
        return self.answer(request, written, warnings)

    def answer(self, request: Request, written: Written, warnings: list[str], code: int = 200) -> Answer:
        """What was written, in the form the client wants, with its warnings (RFC 7234, section 5.5)."""
        body = render.form_bytes(
            request.target, request.wanted, request.options, written.value, written.revision, self._chance.now()
        )
        headers = tuple(("warning", f"299 - {_quoted(text)}") for text in warnings)
        return render.encoded(body, request.wanted, request.options, code, headers)

    async def add(self, target: Target, obj: Object, *, dry_run: bool = False) -> Written:
        """Create an object that is already decoded and placed."""
        kind = target.kind
        for _ in range(ATTEMPTS):
            fresh = self._drafted(kind, obj)
            name = fresh["metadata"]["name"]
            key = key_of(kind, target.namespace, name)
            guard = await self._open_namespace(target, name)
            if await self._store.get(key):
                if obj["metadata"].get("name"):
                    raise status.already_exists(kind, name)
                continue
            plan = await self._services.plan(fresh, None) if kind is SERVICE else NOTHING
            value = codec.encode(fresh)
            if dry_run:
                return Written(value, await self._store.revision())
            try:
                checks = [Check(key, 0), *guard, *plan.checks]
                return Written(value, await self._store.commit(checks, [Put(key, value), *plan.changes]))
            except Conflict:
                continue
        raise _busy(kind, obj["metadata"].get("name", ""))

    async def change(
        self, target: Target, make: Make, *, trusted: bool = False, dry_run: bool = False
    ) -> tuple[Written, list[str]]:
        """Replace an object by what `make` makes of it; `trusted` skips admission: the server's own hand."""
        key = key_of(target.kind, target.namespace, target.name)
        for _ in range(ATTEMPTS):
            entry = await self._store.get(key)
            if entry is None:
                raise status.not_found(target.kind, target.name)
            old = render.load(entry.value, entry.modified)
            draft = make(codec.copied(old))
            plan = NOTHING
            if not trusted:
                metadata.carry(target, draft.obj, old)
                plan = await self._admitted(target, draft.obj, old)
            try:
                return await self._put(entry, draft.obj, old, plan, dry_run), draft.warnings
            except Conflict:
                continue
        raise _busy(target.kind, target.name)

    async def remove(self, target: Target, entry: Entry) -> int:
        """Delete a stored object with all it holds. Raises the store's Conflict when it has changed."""
        plan = NOTHING
        if target.kind is SERVICE:
            plan = await self._services.plan(None, render.load(entry.value, entry.modified))
        checks = [Check(entry.key, entry.modified), *plan.checks]
        return await self._store.commit(checks, [Delete(entry.key), *plan.changes])

    async def _put(self, entry: Entry, obj: Object, old: Object, plan: Plan, dry_run: bool) -> Written:
        value = codec.encode(obj)
        gone = metadata.finished(obj)
        if not gone and not plan.changes and _equal(obj, old):
            return Written(entry.value, entry.modified)
        if dry_run:
            return Written(value, entry.modified, gone)
        if gone and obj["kind"] == SERVICE.name:
            plan = await self._services.plan(None, old)
        change = Delete(entry.key) if gone else Put(entry.key, value)
        checks = [Check(entry.key, entry.modified), *plan.checks]
        revision = await self._store.commit(checks, [change, *plan.changes])
        return Written(value, revision, gone)

    def _drafted(self, kind: Kind, obj: Object) -> Object:
        """A complete, valid object with the server's metadata. Raises Invalid."""
        fresh = codec.copied(obj)
        meta = fresh["metadata"]
        if not meta.get("name") and meta.get("generateName"):
            meta["name"] = metadata.generated_name(meta["generateName"], self._chance.suffix())
        metadata.begin(fresh, self._chance.uid(), self._chance.now())
        fresh = admit.prepare_create(kind, admit.default(kind, fresh), self._toleration_seconds)
        if errors := admit.validate_create(kind, fresh):
            raise status.invalid(kind, meta.get("name", ""), errors)
        return fresh

    async def _admitted(self, target: Target, new: Object, old: Object) -> Plan:
        """Hold a new state against the old one. Raises Invalid."""
        kind = target.kind
        completed = admit.prepare_update(kind, admit.default(kind, new), old, target.subresource)
        if errors := admit.validate_update(kind, completed, old, target.subresource):
            raise status.invalid(kind, target.name, errors)
        if completed is not new:
            new.clear()
            new.update(completed)
        return await self._services.plan(new, old) if kind is SERVICE and not target.subresource else NOTHING

    async def _open_namespace(self, target: Target, name: str) -> list[Check]:
        """The namespace must exist and stay as it is until the commit, else a write could slip into one that is
        being emptied. Raises 404, 403."""
        if not target.kind.namespaced:
            return []
        entry = await self._store.get(key_of(NAMESPACE, "", target.namespace))
        if entry is None:
            raise status.not_found(NAMESPACE, target.namespace)
        if render.load(entry.value, entry.modified)["metadata"].get("deletionTimestamp"):
            why = f"unable to create new content in namespace {target.namespace} because it is being terminated"
            cause = {
                "reason": "NamespaceTerminating",
                "message": f"namespace {target.namespace} is being terminated",
                "field": "metadata.namespace",
            }
            raise status.forbidden(target.kind, name, why, [cause])
        return [Check(entry.key, entry.modified)]


def _equal(left: Object, right: Object) -> bool:
    """Whether two states say the same, whatever their revisions and the order of their fields."""
    ignored = {"resourceVersion": ""}
    return (left | {"metadata": left["metadata"] | ignored}) == (right | {"metadata": right["metadata"] | ignored})


def _quoted(text: str) -> str:
    plain = "".join(" " if ord(char) < 32 or ord(char) == 127 else char for char in text)
    return '"' + plain.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _busy(kind: Kind, name: str) -> status.Failure:
    return status.conflict(kind, name, "too many writers at once; please try again")
