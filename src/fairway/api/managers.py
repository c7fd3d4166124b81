"""Who owns which field: `metadata.managedFields` through updates and applies (KEP-555). Pure.

An entry is held as it travels: `manager`, `operation` (Apply or Update), `apiVersion`, `time`, `fieldsType`,
`fieldsV1`, and `subresource` where the write went through one. The server's own metadata belongs to nobody.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from fairway.api.fieldsets import Change, Fields, both, compare, minus, named, paths, union, well_formed, whole
from fairway.api.merging import merge, thinned
from fairway.objects.schema import Type

Object = dict[str, Any]
Entry = dict[str, Any]

MOST_UPDATERS = 10
"""How many entries of updates an object has; older ones are put together as `ancient-changes`."""
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
"""Where client-side apply keeps what it applied last."""

_KUBECTL = "kubectl"
_ANCIENT = "ancient-changes"
_BEFORE = "before-first-apply"
_NOBODYS = frozenset(
    {
        "creationTimestamp",
        "generation",
        "managedFields",
        "name",
        "namespace",
        "resourceVersion",
        "selfLink",
        "uid",
    }
)


@dataclass(frozen=True, slots=True)
class Author:
    """Who writes: a manager (at most 128 characters), in which version, through which subresource."""

    manager: str
    api_version: str
    subresource: str = ""

    def owns(self, entry: Entry, operation: str) -> bool:
        """Whether an entry is the author's own. Applies are one whatever the version, updates are not."""
        return (
            entry["manager"] == self.manager
            and entry["operation"] == operation
            and entry.get("subresource", "") == self.subresource
            and (operation == "Apply" or entry["apiVersion"] == self.api_version)
        )

    def entry(self, operation: Literal["Apply", "Update"], fields: Fields, now: str) -> Entry:
        """An entry as it travels."""
        made: Entry = {
            "manager": self.manager,
            "operation": operation,
            "apiVersion": self.api_version,
            "time": now,
            "fieldsType": "FieldsV1",
            "fieldsV1": fields,
        }
        return made | {"subresource": self.subresource} if self.subresource else made


class Contested(Exception):
    """An apply would change fields that others own. `fields` names them by entry, in the entries' order."""

    def __init__(self, fields: Sequence[tuple[Entry, list[str]]]) -> None:
        super().__init__(self._message(fields))
        self.fields = fields

    def causes(self) -> list[dict[str, str]]:
        """The entries of a Status' `details.causes`."""
        return [
            {"reason": "FieldManagerConflict", "message": f"conflict with {_who(entry)}", "field": path}
            for entry, found in self.fields
            for path in found
        ]

    @staticmethod
    def _message(fields: Sequence[tuple[Entry, list[str]]]) -> str:
        count = sum(len(found) for _, found in fields)
        if count == 1:
            entry, [path] = fields[0]
            return f"Apply failed with 1 conflict: conflict with {_who(entry)}: {path}"
        told = ["\n- ".join([f"conflicts with {_who(entry)}:", *found]) for entry, found in fields]
        return f"Apply failed with {count} conflicts: " + "\n".join(told)


def _who(entry: Entry) -> str:
    name = msgspec.json.encode(entry["manager"]).decode()
    if entry.get("subresource"):
        name += f' with subresource "{entry["subresource"]}"'
    return f"{name} using {entry['apiVersion']}" if entry["operation"] == "Update" else name


def chosen(given: Any, kept: list[Entry]) -> list[Entry]:
    """The entries a writer sent along where they may stand: one empty entry clears the list, none or malformed ones
    leave it as it was."""
    if given == [{}]:
        return []
    return given if given and given != kept and _readable(given) else kept


def _readable(given: Any) -> bool:
    return isinstance(given, list) and all(
        isinstance(entry, dict)
        and entry.get("operation") in ("Apply", "Update")
        and entry.get("fieldsType") == "FieldsV1"
        and all(isinstance(entry.get(name), str) for name in ("manager", "apiVersion"))
        and all(isinstance(entry.get(name, ""), str) for name in ("subresource", "time"))
        and well_formed(entry.get("fieldsV1"))
        for entry in given
    )


def after_update(type_: Type, old: Object, new: Object, entries: list[Entry], author: Author, now: str) -> list[Entry]:
    """The owners once `new` has replaced `old` ({} for a create): whoever changes a field owns it alone."""
    change = compare(whole(type_), _bare(old) if old else {}, _bare(new))
    if not change:
        return entries
    if not entries:
        return [author.entry("Update", change.made, now)] if change.made else []
    kept = _reduced(entries, change)
    if change.made:
        had: Fields = next((entry["fieldsV1"] for entry in kept if author.owns(entry, "Update")), {})
        kept = [entry for entry in kept if not author.owns(entry, "Update")]
        kept.append(author.entry("Update", union(had, change.made), now))
    return _bounded(kept)


@dataclass(frozen=True, slots=True)
class Applied:
    """What an apply comes to: the merged object (without managedFields) and its owners."""

    obj: Object
    entries: list[Entry]


def after_apply(type_: Type, live: Object, config: Object, author: Author, now: str, *, force: bool) -> Applied:
    """`live` ({} when there is none yet) with `config` applied: what the author applied before and does not name any
    more goes, unless somebody else owns it. Raises Contested unless `force`."""
    grain = whole(type_)
    entries = _known(type_, live, author, now)
    before, wanted = _bare(live), _bare(config)
    mine = next((entry for entry in entries if author.owns(entry, "Apply")), None)
    others = [entry for entry in entries if entry is not mine]
    fields = named(grain, wanted)
    merged = merge(grain, before, wanted)
    if mine is not None:
        kept = fields
        for entry in others:
            kept = union(kept, entry["fieldsV1"])
        merged = thinned(grain, merged, minus(mine["fieldsV1"], kept), kept) or {}
    change = compare(grain, before, merged)
    if not force and (contested := _contested(type_, live, others, change, author)):
        raise Contested(contested)
    others = _reduced(others, change)
    if fields:
        same = mine is not None and not change and mine["fieldsV1"] == fields
        unchanged = same and mine is not None and mine["apiVersion"] == author.api_version
        others.append(mine if unchanged and mine is not None else author.entry("Apply", fields, now))
    obj = _dressed(merged, live, config)
    return Applied(_in_step(obj, config, author), _bounded(others))


def _known(type_: Type, live: Object, author: Author, now: str) -> list[Entry]:
    """The owners of a live object; fields from before anybody was written down belong to nobody in particular."""
    found: list[Entry] = live.get("metadata", {}).get("managedFields") or []
    if found or not live:
        return found
    return after_update(type_, {}, live, [], Author(_BEFORE, author.api_version), now)


def _contested(
    type_: Type, live: Object, others: Sequence[Entry], change: Change, author: Author
) -> list[tuple[Entry, list[str]]]:
    """The fields each of the others owns that the change touches. What client-side apply put there and nobody has
    changed since is kubectl's own: moving from one to the other contests nothing."""
    own = _last_applied(type_, live) if author.manager == _KUBECTL else {}
    found = ((entry, list(paths(minus(both(entry["fieldsV1"], change.made), own)))) for entry in others)
    return sorted(((entry, shared) for entry, shared in found if shared), key=lambda pair: _who(pair[0]))


def _last_applied(type_: Type, live: Object) -> Fields:
    """The fields that client-side apply set and that still are as it set them."""
    text = (live.get("metadata", {}).get("annotations") or {}).get(LAST_APPLIED, "")
    try:
        applied = msgspec.json.decode(text, type=Object)
        grain = whole(type_)
        change = compare(grain, _bare(applied), _bare(live))
        return minus(minus(named(grain, _bare(applied)), change.made), change.gone)
    except (msgspec.MsgspecError, AttributeError, TypeError):
        # The annotation is the users' own and may hold anything.
        return {}


def _in_step(obj: Object, config: Object, author: Author) -> Object:
    """The object with client-side apply's annotation, if it has one, saying what kubectl applied just now: so that
    users can go back."""
    metadata = obj["metadata"]
    annotations = metadata.get("annotations") or {}
    if author.manager != _KUBECTL or LAST_APPLIED not in annotations:
        return obj
    said = {**config, "metadata": {name: part for name, part in config["metadata"].items() if name != "annotations"}}
    own = config["metadata"].get("annotations") or {}
    said["metadata"]["annotations"] = {name: text for name, text in own.items() if name != LAST_APPLIED}
    told = annotations | {LAST_APPLIED: msgspec.json.encode(said, order="sorted").decode() + "\n"}
    return {**obj, "metadata": metadata | {"annotations": told}}


def _bare(obj: Object) -> Object:
    """What of an object can be owned."""
    bare = {name: part for name, part in obj.items() if name not in ("apiVersion", "kind", "metadata")}
    metadata = {name: part for name, part in (obj.get("metadata") or {}).items() if name not in _NOBODYS}
    return {"metadata": metadata, **bare} if metadata else bare


def _dressed(bare: Object, live: Object, config: Object) -> Object:
    """A bare object with identity and the server's metadata; what the config says of these, are preconditions."""
    sources = (live.get("metadata", {}), config.get("metadata", {}))
    served = {name: part for source in sources for name, part in source.items() if name in _NOBODYS}
    served.pop("managedFields", None)
    kind = {name: config[name] for name in ("kind", "apiVersion")}
    return {**kind, **bare, "metadata": {**served, **bare.get("metadata", {})}}


def _reduced(entries: Sequence[Entry], change: Change) -> list[Entry]:
    """The entries without what has been changed or is gone; those left without anything are left out."""
    reduced: list[Entry] = []
    for entry in entries:
        fields = minus(minus(entry["fieldsV1"], change.made), change.gone)
        if fields:
            reduced.append(entry if fields == entry["fieldsV1"] else {**entry, "fieldsV1": fields})
    return reduced


def _bounded(entries: list[Entry]) -> list[Entry]:
    """In order (applies first, then by time), with the oldest of too many updates put together."""
    ordered = sorted(
        entries, key=lambda entry: (entry["operation"], entry.get("time", ""), entry["manager"], entry["apiVersion"])
    )
    updates = [entry for entry in ordered if entry["operation"] == "Update"]
    if len(updates) <= MOST_UPDATERS:
        return ordered
    oldest = updates[: len(updates) - MOST_UPDATERS + 1]
    versions = {entry["apiVersion"] for entry in oldest}
    together = [
        Author(_ANCIENT, version).entry("Update", _all(oldest, version), _latest(oldest, version))
        for version in sorted(versions)
    ]
    applies = [entry for entry in ordered if entry["operation"] == "Apply"]
    return applies + together + updates[len(oldest) :]


def _all(entries: Sequence[Entry], version: str) -> Fields:
    fields: Fields = {}
    for entry in entries:
        if entry["apiVersion"] == version:
            fields = union(fields, entry["fieldsV1"])
    return fields


def _latest(entries: Sequence[Entry], version: str) -> str:
    return max(str(entry.get("time", "")) for entry in entries if entry["apiVersion"] == version)
