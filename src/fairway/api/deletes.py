"""Delete and deletecollection: preconditions, grace for pods, finalizers, what happens to dependents."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

import msgspec

from fairway.api import incoming, metadata, render, status
from fairway.api.answers import Answer, json_answer
from fairway.api.bodies import DeleteOptions, Preconditions, read
from fairway.api.keys import key_of
from fairway.api.requests import Options, Request, Target
from fairway.api.selection import narrow, select
from fairway.api.writes import ATTEMPTS, Draft, Writer
from fairway.objects.kinds import NAMESPACE, POD, REPLICATION_CONTROLLER, SERVICE, SERVICE_ACCOUNT, Kind
from fairway.store.base import Conflict, Entry, Store

Object = dict[str, Any]
Propagation = Literal["Background", "Foreground", "Orphan"]

FOREGROUND = "foregroundDeletion"
ORPHAN = "orphan"
DEFAULT_GRACE_SECONDS = 30

# Namespaces without which a cluster is none.
KEPT_NAMESPACES = frozenset({"default", "kube-system", "kube-public"})
# Whose deletion answers with the object; the others answer with a Status.
_ANSWER_WITH_OBJECT = frozenset({POD, SERVICE, SERVICE_ACCOUNT, NAMESPACE})
# Versions from before garbage collection left dependents alone unless told otherwise.
_ORPHANING_VERSIONS = frozenset({"extensions/v1beta1", "apps/v1beta1", "apps/v1beta2"})


@dataclass(frozen=True, slots=True)
class Order:
    """How to delete: `DeleteOptions` of the body and the query. `grace_seconds` is -1 and `propagation` "" when not
    given."""

    grace_seconds: int = -1
    propagation: Propagation | Literal[""] = ""
    uid: str = ""
    resource_version: str = ""
    dry_run: bool = False


def read_order(options: Options, content_type: str, body: bytes) -> Order:
    """The order of a request: its body wins over its query. Raises 400."""
    given = incoming.decode(body, content_type)[0] if body.strip() else {}
    return order_of(options, read(given, DeleteOptions))


def order_of(options: Options, given: DeleteOptions) -> Order:
    """The order that delete options and a query make together. Raises 400."""
    preconditions = given.preconditions or Preconditions()
    grace = given.gracePeriodSeconds
    if grace is not None and grace < 0:
        raise status.bad_request("gracePeriodSeconds: must be a whole number, 0 or more")
    propagation = given.propagationPolicy or _propagation(options.propagation)
    if not propagation and given.orphanDependents is not None:
        propagation = "Orphan" if given.orphanDependents else "Background"
    return Order(
        grace_seconds=options.grace_seconds if grace is None else grace,
        propagation=propagation,
        uid=preconditions.uid or "",
        resource_version=preconditions.resourceVersion or "",
        dry_run=options.dry_run or bool(given.dryRun),
    )


def _propagation(text: str) -> Propagation | Literal[""]:
    match text:
        case "" | "Background" | "Foreground" | "Orphan":
            return text
    raise status.bad_request(
        f'propagationPolicy: Unsupported value: "{text}": supported values: "Background", "Foreground", "Orphan"'
    )


def doomed(target: Target, obj: Object, options: Order, now: datetime) -> Object | None:
    """The object as it waits for its end, or None when nothing keeps it. `obj` is changed."""
    meta = obj["metadata"]
    _mark_dependents(target, meta, options)
    grace = _grace(target.kind, obj, options)
    waits = grace > 0 or meta.get("finalizers") or (target.kind is NAMESPACE and obj["spec"].get("finalizers"))
    if not waits:
        return None
    if not meta.get("deletionTimestamp"):
        meta["deletionTimestamp"] = metadata.timestamp(now + timedelta(seconds=grace))
        meta["deletionGracePeriodSeconds"] = grace
        if "generation" in meta:
            meta["generation"] += 1
    elif grace < meta.get("deletionGracePeriodSeconds", 0):
        # A second delete may shorten the grace, counted from the first one.
        asked_at = metadata.parse_timestamp(meta["deletionTimestamp"])
        asked_at -= timedelta(seconds=meta["deletionGracePeriodSeconds"])
        meta["deletionTimestamp"] = metadata.timestamp(asked_at + timedelta(seconds=grace))
        meta["deletionGracePeriodSeconds"] = grace
    if target.kind is NAMESPACE:
        obj.setdefault("status", {})["phase"] = "Terminating"
    return obj


def _grace(kind: Kind, obj: Object, options: Order) -> int:
    """Seconds a pod gets to end: none if no node runs it or it has ended. Other kinds have no grace."""
    if kind is not POD:
        return 0
    ended = obj.get("status", {}).get("phase") in ("Succeeded", "Failed")
    if ended or not obj["spec"].get("nodeName"):
        return 0
    if options.grace_seconds >= 0:
        asked = options.grace_seconds
    else:
        asked = int(obj["spec"].get("terminationGracePeriodSeconds", DEFAULT_GRACE_SECONDS))
    if obj["metadata"].get("deletionTimestamp"):
        return min(asked, int(obj["metadata"].get("deletionGracePeriodSeconds", asked)))
    return asked


def _mark_dependents(target: Target, meta: Object, options: Order) -> None:
    """The garbage collector reads its orders from finalizers."""
    policy = options.propagation
    if not policy:
        orphans = target.kind is REPLICATION_CONTROLLER or target.api_version in _ORPHANING_VERSIONS
        if not orphans:
            return
        policy = "Orphan"
    kept = [name for name in meta.get("finalizers") or [] if name not in (FOREGROUND, ORPHAN)]
    kept += {"Foreground": [FOREGROUND], "Orphan": [ORPHAN], "Background": []}[policy]
    if kept:
        meta["finalizers"] = kept
    else:
        meta.pop("finalizers", None)


class Deleter:
    """Removes objects, now or when nothing holds them any more."""

    def __init__(self, store: Store, writer: Writer, now: Callable[[], datetime]) -> None:
        self._store = store
        self._writer = writer
        self._now = now

    async def delete(self, request: Request, body: bytes) -> Answer:
        """One object. Raises 403, 404, 409."""
        options = read_order(request.options, request.content_type, body)
        obj = await self.end(request.target, options)
        if request.target.kind in _ANSWER_WITH_OBJECT or obj["metadata"].get("deletionTimestamp"):
            return json_answer(obj)
        return json_answer(status.success(request.target.kind, request.target.name, obj["metadata"]["uid"]))

    async def delete_collection(self, request: Request, body: bytes) -> Answer:
        """Every selected object, one after the other; those that went meanwhile are no failure."""
        options = read_order(request.options, request.content_type, body)
        selection = select(request.target, request.options)
        page = await self._store.range(narrow(request.target, selection))
        chosen = [entry for entry in page.entries if selection.matches(entry)]
        for entry in chosen:
            try:
                await self.end(_named(request.target, entry), options)
            except status.Failure as failure:
                if failure.code != 404:
                    raise
        meta = render.list_metadata(page.revision, "", 0)
        pieces = render.list_body(request.target, request.wanted, request.options, chosen, meta, self._now())
        return render.encoded(b"".join(pieces), request.wanted, request.options)

    async def end(self, target: Target, options: Order) -> Object:
        """Delete an object or begin its end; the object as it was last seen. Raises as delete does."""
        if target.kind is NAMESPACE and target.name in KEPT_NAMESPACES:
            raise status.forbidden(NAMESPACE, target.name, "this namespace may not be deleted")
        key = key_of(target.kind, target.namespace, target.name)
        for _ in range(ATTEMPTS):
            entry = await self._store.get(key)
            if entry is None:
                raise status.not_found(target.kind, target.name)
            obj = render.load(entry.value, entry.modified)
            _hold_preconditions(target, obj, options)
            try:
                return await self._end(target, entry, obj, options)
            except Conflict:
                continue
        raise status.conflict(target.kind, target.name, "too many writers at once; please try again")

    async def _end(self, target: Target, entry: Entry, obj: Object, options: Order) -> Object:
        waiting = doomed(target, render.load(entry.value, entry.modified), options, self._now())
        if options.dry_run:
            return waiting or obj
        if waiting is None:
            revision = await self._writer.remove(target, entry)
            return render.load(entry.value, revision)
        state: Object = waiting
        # The state was made from this very entry: if another write came first, look again.
        written, _ = await self._writer.change(
            target, lambda old: Draft(state if _same(old, obj) else _lost(entry)), trusted=True
        )
        return render.load(written.value, written.revision)


def _same(left: Object, right: Object) -> bool:
    return bool(left["metadata"]["resourceVersion"] == right["metadata"]["resourceVersion"])


def _lost(entry: Entry) -> Object:
    raise Conflict(entry.key, entry)


def _hold_preconditions(target: Target, obj: Object, options: Order) -> None:
    meta = obj["metadata"]
    if options.uid and options.uid != meta["uid"]:
        raise metadata.uid_mismatch(target, options.uid, meta["uid"])
    if options.resource_version and options.resource_version != meta["resourceVersion"]:
        why = (
            f"Precondition failed: ResourceVersion in precondition: {options.resource_version}, "
            f"ResourceVersion in object meta: {meta['resourceVersion']}"
        )
        raise status.conflict(target.kind, target.name, why)


def _named(target: Target, entry: Entry) -> Target:
    meta = msgspec.json.decode(entry.value)["metadata"]
    return Target(target.kind, target.api_version, meta.get("namespace", ""), meta["name"])
