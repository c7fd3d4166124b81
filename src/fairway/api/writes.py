"""Create, update and patch: one transaction each, with everything an object drags along inside it."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Protocol

from fairway.api import accounts, incoming, managers, metadata, render, status
from fairway.api.answers import Answer
from fairway.api.authorship import author_of
from fairway.api.keys import key_of, prefix_of
from fairway.api.managers import Author
from fairway.api.requests import Request, Target
from fairway.api.services import NOTHING, Plan, ServiceAllocator
from fairway.api.users import User
from fairway.objects import admit, codec, schema
from fairway.objects.kinds import IP_ADDRESS, NAMESPACE, POD, SERVICE, Kind
from fairway.store.base import Check, Conflict, Delete, Entry, Put, Store, View

Object = dict[str, Any]

MAX_STORED = 3 * 512 * 1024
"""The largest object in bytes: what etcd takes in one request unless told otherwise."""
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
    """A new state with the warnings its writer is owed, and its owners where they are known already (an apply)."""

    obj: Object
    warnings: list[str] = field(default_factory=list)
    managed: list[managers.Entry] | None = None


class Judge(Protocol):
    """Says what a writer may do."""

    def authorize(self, user: User, request: Request) -> None:
        """Whether the user may make the request; raises 403."""

    def guard(self, user: User, kind: Kind, namespace: str, obj: Object, old: Object | None) -> None:
        """Whether the user may write that object of a kind in a namespace, in place of `old` if there is one; raises
        403."""


Make = Callable[[Object], Draft]
"""From the stored object (with resourceVersion) to the one that shall be; called again when a race was lost."""


class Writer:
    """Writes objects to the store."""

    def __init__(
        self,
        store: Store,
        services: ServiceAllocator,
        chance: Chance,
        judge: Judge,
        toleration_seconds: int = admit.TOLERATION_SECONDS,
    ) -> None:
        self._store = store
        self._services = services
        self._chance = chance
        self._toleration_seconds = toleration_seconds
        self._judge = judge
        self._last_open: Entry | None = None

    async def create(self, request: Request, body: bytes) -> Answer:
        """A new object. Raises 400, 403, 404 (namespace), 409, 422."""
        author = author_of(request)
        read = incoming.read_object(request, body)
        metadata.place(request.target, read.obj)
        self.guard(request, read.obj, None)
        written = await self.add(request.target, read.obj, dry_run=request.options.dry_run, author=author)
        return self.answer(request, written, read.warnings, 201)

    async def update(self, request: Request, body: bytes) -> Answer:
        """The object replaced, or one of its subresources. Some kinds are created by that when they are not there.
        Raises 400, 404, 409, 422."""
        author, target, dry_run = author_of(request), request.target, request.options.dry_run
        read = incoming.read_object(request, body)
        metadata.place(target, read.obj)

        def make(old: Object) -> Draft:
            self.guard(request, read.obj, old)
            return Draft(codec.copied(read.obj), read.warnings)

        try:
            written, warnings = await self.change(target, make, dry_run=dry_run, author=author)
        except status.Failure as failure:
            if failure.code != 404 or target.subresource or not target.kind.created_by_update:
                raise
            self.licence(request)
            self.guard(request, read.obj, None)
            metadata.expect_nothing(target, read.obj)
            written = await self.add(target, read.obj, dry_run=dry_run, author=author)
            return self.answer(request, written, read.warnings, 201)
        return self.answer(request, written, warnings)

    async def patch(self, request: Request, body: bytes) -> Answer:
        """The object patched. A lost race is tried again unless the patch names a resourceVersion."""

        def make(old: Object) -> Draft:
            read = incoming.apply_patch(request, body, old)
            metadata.place(request.target, read.obj)
            self.guard(request, read.obj, old)
            return Draft(read.obj, read.warnings)

        author = author_of(request)
        written, warnings = await self.change(request.target, make, dry_run=request.options.dry_run, author=author)
        return self.answer(request, written, warnings)

    def answer(self, request: Request, written: Written, warnings: list[str], code: int = 200) -> Answer:
        """What was written, in the form the client wants, with its warnings (RFC 7234, section 5.5)."""
        body = render.form_bytes(
            request.target, request.wanted, request.options, written.value, written.revision, self._chance.now()
        )
        headers = tuple(("warning", f"299 - {_quoted(text)}") for text in warnings)
        return render.encoded(body, request.wanted, request.options, code, headers)

    def guard(self, request: Request, obj: Object, old: Object | None) -> None:
        """Hold what is to be written against what its writer may grant, and what is there. Raises 403."""
        self._judge.guard(request.user, request.target.kind, request.target.namespace, obj, old)

    def licence(self, request: Request) -> None:
        """Hold an update or apply that turns out to create against the right to create. Raises 403."""
        self._judge.authorize(request.user, replace(request, verb="create"))

    async def add(
        self,
        target: Target,
        obj: Object,
        *,
        dry_run: bool = False,
        author: Author | None = None,
        managed: list[managers.Entry] | None = None,
    ) -> Written:
        """Create an object that is already decoded and placed: `author` owns what it says, unless an apply has settled
        who is `managed` by what; the server's own hand owns nothing."""
        kind, name = target.kind, ""
        if kind is POD:
            await accounts.equip(self._store, obj, target.namespace, self._chance.suffix)
        sure = dry_run and await self._store.catch_up()
        for _ in range(ATTEMPTS):
            fresh = self._drafted(kind, obj, author, managed)
            name = fresh["metadata"]["name"]
            try:
                return await self._added(target, fresh, not obj["metadata"].get("name"), dry_run)
            except Conflict:
                sure = await self._store.catch_up()
            except status.Failure:
                # Only what others have really done refuses a write.
                if sure or not (sure := await self._store.catch_up()):
                    raise
        if not obj["metadata"].get("name"):
            raise status.no_free_name(kind, name)
        raise _busy(kind, name)

    async def _added(self, target: Target, fresh: Object, generated: bool, dry_run: bool) -> Written:
        """A complete object, by what the store's view shows. Raises Conflict, Failure."""
        kind, name = target.kind, fresh["metadata"]["name"]
        key = key_of(kind, target.namespace, name)
        view = await self._store.view()
        guard = self._open_namespace(target, name, view)
        if found := view.get(key):
            if generated:
                raise Conflict(key, found)
            raise status.already_exists(kind, name)
        plan = await self._services.plan(fresh, None) if kind is SERVICE else NOTHING
        value = _encoded(fresh)
        if dry_run:
            return Written(value, await self._store.revision())
        checks = [Check(key, 0), *guard, *plan.checks]
        return Written(value, await self._store.commit(checks, [Put(key, value), *plan.changes]))

    async def change(
        self,
        target: Target,
        make: Make,
        *,
        trusted: bool = False,
        dry_run: bool = False,
        author: Author | None = None,
    ) -> tuple[Written, list[str]]:
        """Replace an object by what `make` makes of it; `author` comes to own what it changes. `trusted` skips
        admission: the server's own hand."""
        key = key_of(target.kind, target.namespace, target.name)
        for _ in range(ATTEMPTS):
            entry = await self._store.get(key)
            if entry is None:
                raise status.not_found(target.kind, target.name)
            old = render.load(entry.value, entry.modified)
            draft = make(codec.copied(old))
            plan = NOTHING if trusted else await self._admitted(target, draft, old, author)
            try:
                return await self._put(entry, draft.obj, old, plan, dry_run), draft.warnings
            except Conflict:
                continue
        raise _busy(target.kind, target.name)

    async def stored(self, kind: Kind, namespace: str) -> tuple[Entry, ...]:
        """The stored objects of a kind in a namespace."""
        return (await self._store.range(prefix_of(kind, namespace))).entries

    async def remove(self, target: Target, entry: Entry) -> int:
        """Delete a stored object with all it holds. Raises the store's Conflict when it has changed."""
        plan = NOTHING
        if target.kind is SERVICE:
            plan = await self._services.plan(None, render.load(entry.value, entry.modified))
        elif target.kind is IP_ADDRESS:
            plan = await self._services.forsaken(entry)
        checks = [Check(entry.key, entry.modified), *plan.checks]
        return await self._store.commit(checks, [Delete(entry.key), *plan.changes])

    async def _put(self, entry: Entry, obj: Object, old: Object, plan: Plan, dry_run: bool) -> Written:
        value = _encoded(obj)
        gone = metadata.finished(obj)
        if not gone and not plan.changes and _equal(obj, old):
            return Written(entry.value, entry.modified)
        if dry_run:
            return Written(value, entry.modified, gone)
        if gone and obj["kind"] == SERVICE.name:
            plan = await self._services.plan(None, old)
        elif gone and obj["kind"] == IP_ADDRESS.name:
            plan = await self._services.forsaken(entry)
        change = Delete(entry.key) if gone else Put(entry.key, value)
        checks = [Check(entry.key, entry.modified), *plan.checks]
        revision = await self._store.commit(checks, [change, *plan.changes])
        return Written(value, revision, gone)

    def _drafted(self, kind: Kind, obj: Object, author: Author | None, managed: list[managers.Entry] | None) -> Object:
        """A complete, valid object with the server's metadata. Raises Invalid."""
        fresh = codec.copied(obj)
        meta = fresh["metadata"]
        if not meta.get("name") and meta.get("generateName"):
            meta["name"] = metadata.generated_name(meta["generateName"], self._chance.suffix())
        metadata.begin(fresh, self._chance.uid(), self._chance.now())
        fresh = admit.default(kind, fresh)
        if managed is None and author:
            # Before the server adds what is nobody's.
            managed = self._owners(kind, {}, _said(kind, fresh), [], author)
        fresh = admit.prepare_create(kind, fresh, self._toleration_seconds)
        if errors := admit.validate_create(kind, fresh):
            raise status.invalid(kind, meta.get("name", ""), errors)
        if managed:
            fresh["metadata"]["managedFields"] = managed
        return fresh

    async def _admitted(self, target: Target, draft: Draft, old: Object, author: Author | None) -> Plan:
        """Hold a new state against the old one and settle who owns what. Raises Invalid."""
        kind, new = target.kind, draft.obj
        # Owners are no part of what is compared and judged.
        before = old["metadata"].pop("managedFields", None)
        given = new["metadata"].pop("managedFields", None)
        metadata.carry(target, new, old)
        completed = admit.prepare_update(kind, admit.default(kind, new), old, target.subresource)
        if errors := admit.validate_update(kind, completed, old, target.subresource):
            raise status.invalid(kind, target.name, errors)
        if completed is not new:
            new.clear()
            new.update(completed)
        managed = draft.managed
        if managed is None:
            # Subresources leave the list of owners alone, whatever they are sent.
            managed = (before or []) if target.subresource else managers.chosen(given, before or [])
            managed = self._owners(kind, old, new, managed, author) if author else managed
        plan = await self._services.plan(new, old) if kind is SERVICE and not target.subresource else NOTHING
        for obj, entries in ((old, before), (new, managed)):
            if entries:
                obj["metadata"]["managedFields"] = entries
        return plan

    def _owners(
        self, kind: Kind, old: Object, new: Object, entries: list[managers.Entry], author: Author
    ) -> list[managers.Entry]:
        now = metadata.timestamp(self._chance.now())
        return managers.after_update(schema.for_kind(kind), old, new, entries, author, now)

    def _open_namespace(self, target: Target, name: str, view: View) -> list[Check]:
        """The namespace must exist and stay as it is until the commit, else a write could slip into one that is
        being emptied. Raises 404, 403."""
        if not target.kind.namespaced:
            return []
        entry = view.get(key_of(NAMESPACE, "", target.namespace))
        if entry is None:
            raise status.not_found(NAMESPACE, target.namespace)
        if self._last_open is not entry and _ends(entry):
            why = f"unable to create new content in namespace {target.namespace} because it is being terminated"
            cause = {
                "reason": "NamespaceTerminating",
                "message": f"namespace {target.namespace} is being terminated",
                "field": "metadata.namespace",
            }
            raise status.forbidden(target.kind, name, why, [cause])
        self._last_open = entry
        return [Check(entry.key, entry.modified)]


def _ends(namespace: Entry) -> bool:
    """Whether a namespace is being emptied."""
    return bool(render.load(namespace.value, namespace.modified)["metadata"].get("deletionTimestamp"))


def _said(kind: Kind, obj: Object) -> Object:
    """What of a new object is its writer's word: a status is none where only its subresource can be believed."""
    without = ("status",) if "status" in kind.subresources else ()
    return {name: part for name, part in obj.items() if name not in without}


def _encoded(obj: Object) -> bytes:
    """The object as it is stored. Raises 413: what is larger no store of a cluster takes."""
    value = codec.encode(obj)
    if len(value) > MAX_STORED:
        raise status.too_large(MAX_STORED)
    return value


def _equal(left: Object, right: Object) -> bool:
    """Whether two states say the same, whatever their revisions and the order of their fields."""
    ignored = {"resourceVersion": ""}
    return (left | {"metadata": left["metadata"] | ignored}) == (right | {"metadata": right["metadata"] | ignored})


def _quoted(text: str) -> str:
    plain = "".join(" " if ord(char) < 32 or ord(char) == 127 else char for char in text)
    return '"' + plain.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _busy(kind: Kind, name: str) -> status.Failure:
    return status.conflict(kind, name, "too many writers at once; please try again")
