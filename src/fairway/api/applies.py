"""Server-side apply (KEP-555): a patch that says all its author wants to be so; what nobody wants any more goes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from fairway.api import incoming, metadata, status
from fairway.api.answers import Answer
from fairway.api.authorship import author_of
from fairway.api.managers import Applied, Author, Contested, after_apply
from fairway.api.requests import Request, Target
from fairway.api.writes import ATTEMPTS, Draft, Writer
from fairway.objects import codec, convert, schema
from fairway.objects.kinds import Kind

Object = dict[str, Any]


def applied(kind: Kind, live: Object, config: Object, author: Author, now: datetime, *, force: bool) -> Applied:
    """See managers.after_apply. Raises 409 with the contested fields."""
    try:
        return after_apply(
            schema.for_kind(kind, author.api_version), live, config, author, metadata.timestamp(now), force=force
        )
    except Contested as error:
        raise status.contested(str(error), error.causes()) from error


class Applier:
    """Applies configurations to objects, which need not exist yet."""

    def __init__(self, writer: Writer, now: Callable[[], datetime]) -> None:
        self._writer = writer
        self._now = now

    async def apply(self, request: Request, body: bytes) -> Answer:
        """One apply. Raises 400, 404 (subresources, namespace), 409, 422."""
        author = author_of(request, applies=True)
        config = incoming.read_config(request, body)
        metadata.place(request.target, config.obj)
        for _ in range(ATTEMPTS):
            try:
                return await self._change(request, config, author)
            except status.Failure as failure:
                if failure.code != 404 or request.target.subresource:
                    raise
            try:
                return await self._create(request, config, author)
            except status.Failure as failure:
                if failure.reason != "AlreadyExists":
                    raise
        raise status.conflict(request.target.kind, request.target.name, "too many writers at once; please try again")

    async def _change(self, request: Request, config: incoming.Incoming, author: Author) -> Answer:
        target = request.target

        def make(old: Object) -> Draft:
            live = convert.from_storage(target.kind, old, target.api_version)
            return self._draft(request, live, config, author)

        written, warnings = await self._writer.change(target, make, dry_run=request.options.dry_run)
        return self._writer.answer(request, written, warnings)

    async def _create(self, request: Request, config: incoming.Incoming, author: Author) -> Answer:
        target = request.target
        self._writer.licence(request)
        if uid := config.obj["metadata"].get("uid"):
            raise metadata.uid_mismatch(target, uid, "")
        draft = self._draft(request, {}, config, author)
        written = await self._writer.add(target, draft.obj, dry_run=request.options.dry_run, managed=draft.managed)
        return self._writer.answer(request, written, draft.warnings, 201)

    def _draft(self, request: Request, live: Object, config: incoming.Incoming, author: Author) -> Draft:
        target, force = request.target, request.options.force
        wanted = codec.copied(_within(target, config.obj))
        made = applied(target.kind, live, wanted, author, self._now(), force=force)
        read = incoming.accept(target, made.obj, request.options.field_validation)
        self._writer.guard(request, read.obj, live or None)
        return Draft(read.obj, [*config.warnings, *read.warnings], made.entries)


def _within(target: Target, config: Object) -> Object:
    """What of a configuration this way of writing may set: the status only through its subresource, and there nothing
    else."""
    if target.subresource == "status":
        identity = ("name", "namespace", "uid", "resourceVersion")
        found: Object = {name: config[name] for name in ("kind", "apiVersion", "status") if name in config}
        found["metadata"] = {name: config["metadata"][name] for name in identity if name in config["metadata"]}
        return found
    if "status" in target.kind.subresources:
        return {name: part for name, part in config.items() if name != "status"}
    return config
