"""Bodies that are no objects of the store: delete options, scales, bindings, evictions; typed at the door. Pure."""

from __future__ import annotations

from typing import Any, Literal, TypeVar

import msgspec

from fairway.api import status

Body = TypeVar("Body", bound=msgspec.Struct)


class Identity(msgspec.Struct, frozen=True):
    """What a body's metadata says of the object it is about."""

    name: str | None = None
    uid: str | None = None
    resourceVersion: str | None = None


class Preconditions(msgspec.Struct, frozen=True):
    """The object must be this one."""

    uid: str | None = None
    resourceVersion: str | None = None


class DeleteOptions(msgspec.Struct, frozen=True):
    """meta/v1 `DeleteOptions`."""

    kind: Literal["DeleteOptions", ""] = "DeleteOptions"
    gracePeriodSeconds: int | None = None
    preconditions: Preconditions | None = None
    orphanDependents: bool | None = None
    propagationPolicy: Literal["Background", "Foreground", "Orphan", ""] | None = None
    dryRun: list[Literal["All"]] | None = None


class ScaleSpec(msgspec.Struct, frozen=True):
    """How many are wanted."""

    replicas: int = 0


class Scale(msgspec.Struct, frozen=True):
    """autoscaling/v1 `Scale`, as far as it can be written."""

    metadata: Identity = msgspec.field(default_factory=Identity)
    spec: ScaleSpec = msgspec.field(default_factory=ScaleSpec)


class Goal(msgspec.Struct, frozen=True):
    """The node a pod is bound to."""

    name: str


class Binding(msgspec.Struct, frozen=True):
    """v1 `Binding`."""

    target: Goal
    metadata: Identity = msgspec.field(default_factory=Identity)


class Eviction(msgspec.Struct, frozen=True):
    """policy/v1 `Eviction`."""

    deleteOptions: DeleteOptions | None = None


def read(value: Any, type_: type[Body]) -> Body:
    """A decoded body as `type_`; fields it does not have are ignored. Raises 400 with the field's path."""
    try:
        return msgspec.convert(value, type_)
    except msgspec.ValidationError as error:
        raise status.bad_request(f"{type_.__name__} cannot be read: {error}") from error
