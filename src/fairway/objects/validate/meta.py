"""Metadata of all kinds: names, namespaces, labels, annotations, finalizers, owners; and what of it never changes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Annotated, Any, Union

import msgspec

from fairway.objects import forms, names
from fairway.objects.errors import FieldError, forbidden, invalid, required
from fairway.objects.kinds import Kind
from fairway.objects.validate.fields import address, labels

Object = dict[str, Any]

ANNOTATIONS_LIMIT = 256 * 1024
"""Bytes of all keys and values together."""
IMMUTABLE = "field is immutable"

_NAME_RULES: Mapping[str, Callable[[str], list[str]]] = {
    "Namespace": names.label,
    "Service": names.label,
    "IPAddress": address,
    "Role": names.path_segment,
    "RoleBinding": names.path_segment,
    "ClusterRole": names.path_segment,
    "ClusterRoleBinding": names.path_segment,
}
_NAME_PATTERNS: Mapping[Callable[[str], list[str]], str] = {
    names.label: names.PATTERNS.label,
    names.subdomain: names.PATTERNS.subdomain,
}
_FIXED = ("name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds")
_EVENTS = frozenset({("v1", "Event"), ("events.k8s.io/v1", "Event")})
# The only ones without a domain.
_OWN_FINALIZERS = frozenset({"kubernetes", "orphan", "foregroundDeletion"})


def plain(kind: Kind, metadata: Mapping[str, Any]) -> bool:
    """Whether metadata is a name, a namespace, labels and what the server adds, and nothing is wrong with it. False
    says nothing."""
    form = _plain(_NAME_RULES.get(kind.name, names.subdomain), kind.namespaced)
    return form is not None and forms.fits(metadata, form)


@cache
def _plain(rule: Callable[[str], list[str]], namespaced: bool) -> type[msgspec.Struct] | None:
    pattern = _NAME_PATTERNS.get(rule)
    if pattern is None:
        return None
    fields: list[Any] = [
        ("name", Annotated[str, msgspec.Meta(pattern=rf"\A(?:{pattern})\Z")]),
        ("uid", str),
        ("creationTimestamp", str),
        ("labels", Union[forms.LABELS, msgspec.UnsetType], msgspec.UNSET),  # noqa: UP007
        ("generation", Union[int, msgspec.UnsetType], msgspec.UNSET),  # noqa: UP007
    ]
    if namespaced:
        label = Annotated[str, msgspec.Meta(pattern=rf"\A(?:{names.PATTERNS.label})\Z")]
        fields.append(("namespace", label))
    return msgspec.defstruct("PlainMetadata", fields, forbid_unknown_fields=True, kw_only=True, gc=False)


def validate_metadata(kind: Kind, metadata: Mapping[str, Any], path: str = "metadata") -> Iterator[FieldError]:
    """The metadata of an object about to be created, its name already given or generated."""
    yield from _name(kind, metadata, path)
    yield from _namespace(kind, metadata, path)
    yield from validate_template_metadata(metadata, path)
    yield from _finalizers(metadata.get("finalizers") or [], f"{path}.finalizers")
    yield from _owners(metadata.get("ownerReferences") or [], f"{path}.ownerReferences")


def _finalizers(finalizers: list[str], path: str) -> Iterator[FieldError]:
    for index, finalizer in enumerate(finalizers):
        details = names.qualified(finalizer)
        if not details and "/" not in finalizer and finalizer not in _OWN_FINALIZERS:
            details = ["name is neither a standard finalizer name nor is it fully qualified"]
        for detail in details:
            yield invalid(f"{path}[{index}]", finalizer, detail)
    if {"orphan", "foregroundDeletion"} <= set(finalizers):
        yield invalid(path, finalizers, "orphan and foregroundDeletion cannot be both set")


def validate_template_metadata(metadata: Mapping[str, Any], path: str) -> Iterator[FieldError]:
    """Labels and annotations: what a pod template's metadata is held to."""
    yield from labels(metadata.get("labels") or {}, f"{path}.labels")
    annotations = metadata.get("annotations") or {}
    for key in annotations:
        for detail in names.qualified(key.lower()):
            yield invalid(f"{path}.annotations", key, detail)
    size = sum(len(key.encode()) + len(value.encode()) for key, value in annotations.items())
    if size > ANNOTATIONS_LIMIT:
        detail = f"may not be more than {ANNOTATIONS_LIMIT} bytes"
        yield FieldError(f"{path}.annotations", "TooLong", "", detail)


def validate_metadata_update(new: Mapping[str, Any], old: Mapping[str, Any]) -> Iterator[FieldError]:
    """What an update may not do to metadata."""
    for name in _FIXED:
        if new.get(name) != old.get(name):
            yield invalid(f"metadata.{name}", new.get(name), IMMUTABLE)
    if old.get("deletionTimestamp"):
        added = [name for name in new.get("finalizers") or [] if name not in (old.get("finalizers") or [])]
        if added:
            detail = f"no new finalizers can be added if the object is being deleted, found new finalizers {added}"
            yield forbidden("metadata.finalizers", detail)


def _name(kind: Kind, metadata: Mapping[str, Any], path: str) -> Iterator[FieldError]:
    rule = _NAME_RULES.get(kind.name, names.subdomain)
    name, prefix = metadata.get("name"), metadata.get("generateName")
    # The server appends five letters or digits to the prefix, so its own end is free to be a hyphen.
    for detail in rule(prefix.rstrip("-") + "a") if prefix and kind.name != "IPAddress" else []:
        yield invalid(f"{path}.generateName", prefix, detail)
    if not name:
        yield required(f"{path}.name", "name or generateName is required")
        return
    for detail in rule(name):
        yield invalid(f"{path}.name", name, detail)


def _namespace(kind: Kind, metadata: Mapping[str, Any], path: str) -> Iterator[FieldError]:
    namespace = metadata.get("namespace")
    if not kind.namespaced:
        if namespace:
            yield forbidden(f"{path}.namespace", "not allowed on this type")
        return
    if not namespace:
        yield required(f"{path}.namespace")
        return
    for detail in names.label(namespace):
        yield invalid(f"{path}.namespace", namespace, detail)


def _owners(owners: list[Object], path: str) -> Iterator[FieldError]:
    controllers = []
    for index, owner in enumerate(owners):
        for name in ("apiVersion", "kind", "name", "uid"):
            if not owner.get(name):
                yield required(f"{path}[{index}].{name}", "must not be empty")
        if (owner.get("apiVersion"), owner.get("kind")) in _EVENTS:
            yield invalid(f"{path}[{index}]", owner, "events are no owners")
        if owner.get("controller"):
            controllers.append(owner.get("name") or "")
    if len(controllers) > 1:
        detail = f"only one reference can have controller set to true, found it for {' and '.join(controllers)}"
        yield invalid(path, owners, detail)
