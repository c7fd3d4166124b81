"""Which objects a request is about: label and field selectors over stored bytes. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from fairway.api.keys import key_of, prefix_of
from fairway.api.requests import Options, Target
from fairway.objects.kinds import Kind
from fairway.objects.selectors import FieldSelector, FieldTerm, LabelSelector, parse_fields, parse_labels
from fairway.store.base import Entry


class _Labels(msgspec.Struct):
    labels: dict[str, str] | None = None


class _Labelled(msgspec.Struct):
    metadata: _Labels


@dataclass(frozen=True, slots=True)
class Selection:
    """A compiled pair of selectors for one kind."""

    kind: Kind
    labels: LabelSelector
    fields: FieldSelector

    @property
    def everything(self) -> bool:
        """Whether nothing needs to be looked at."""
        return self.labels.everything and not self.fields.terms

    def matches(self, entry: Entry) -> bool:
        """Whether the stored object is selected; decodes no more of it than the selectors ask for."""
        if self.everything:
            return True
        if not self.fields.terms:
            metadata = msgspec.json.decode(entry.value, type=_Labelled).metadata
            return self.labels.matches(metadata.labels or {})
        obj: dict[str, Any] = msgspec.json.decode(entry.value)
        return self.labels.matches(obj["metadata"].get("labels") or {}) and self.fields.matches(self.kind, obj)


def select(target: Target, options: Options) -> Selection:
    """The selection a request's options make. Raises SelectorError."""
    fields = parse_fields(options.field_selector)
    if target.name:
        fields = FieldSelector((FieldTerm("metadata.name", True, target.name), *fields.terms))
    fields.check(target.kind)
    return Selection(target.kind, parse_labels(options.label_selector), fields)


def narrow(target: Target, selection: Selection) -> str:
    """The shortest stretch of keys that holds everything selected: a field selector on namespace or name narrows it.

    With a name the stretch may hold more keys (those the name is a prefix of); the selection sorts them out.
    """
    namespace = target.namespace
    if target.kind.namespaced and not namespace:
        namespace = selection.fields.exact("metadata.namespace") or ""
    name = target.name or selection.fields.exact("metadata.name") or ""
    if name and (namespace or not target.kind.namespaced):
        return key_of(target.kind, namespace, name)
    return prefix_of(target.kind, namespace)
