"""What a controller wants done: values that `control.cluster` performs in order, stopping at the first that fails."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from fairway.client.base import Object, PatchType
from fairway.objects.kinds import Kind


@dataclass(frozen=True, slots=True)
class Note:
    """Something to tell users as an Event about `regarding`, an object of `kind`."""

    kind: Kind
    regarding: Object
    type: Literal["Normal", "Warning"]
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Create:
    """Make `obj` (namespace in its metadata). `told` becomes an Event once it is done."""

    kind: Kind
    obj: Object
    told: Note | None = None


@dataclass(frozen=True, slots=True)
class Living:
    """A precondition: the object still has this uid and is not being deleted, asked of the server itself."""

    kind: Kind
    namespace: str
    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class Update:
    """Replace the object; its resourceVersion is the precondition, and `living` another one if given."""

    kind: Kind
    obj: Object
    subresource: str = ""
    told: Note | None = None
    living: Living | None = None


@dataclass(frozen=True, slots=True)
class Patch:
    """Change part of an object."""

    kind: Kind
    namespace: str
    name: str
    patch: Any
    type: PatchType = "merge"
    subresource: str = ""
    told: Note | None = None


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete the object if it still is the one with `uid`. What is gone already counts as deleted."""

    kind: Kind
    namespace: str
    name: str
    uid: str
    grace_seconds: int | None = None
    propagation: str = ""
    told: Note | None = None


@dataclass(frozen=True, slots=True)
class Post:
    """Create on a subresource (`pods/binding`)."""

    kind: Kind
    namespace: str
    name: str
    subresource: str
    body: Object
    told: Note | None = None


@dataclass(frozen=True, slots=True)
class Tell:
    """An Event alone."""

    told: Note


Write: TypeAlias = Create | Update | Patch | Delete | Post | Tell


@dataclass(frozen=True, slots=True)
class Plan:
    """A controller's answer to a state: what to write, and in how many seconds to look again (None: when something
    changes)."""

    writes: list[Write] = field(default_factory=list)
    again: float | None = None
