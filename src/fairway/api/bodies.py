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


class Bound(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a token is bound to: it ends with it."""

    kind: str
    name: str
    apiVersion: str = ""
    uid: str = ""


class TokenRequestSpec(msgspec.Struct, frozen=True, omit_defaults=True):
    """For whom a token shall be good, and how long."""

    audiences: list[str] | None = None
    expirationSeconds: int | None = None
    boundObjectRef: Bound | None = None


class TokenRequest(msgspec.Struct, frozen=True):
    """authentication.k8s.io/v1 `TokenRequest`, as far as it can be written."""

    kind: Literal["TokenRequest", ""] = "TokenRequest"
    spec: TokenRequestSpec = msgspec.field(default_factory=TokenRequestSpec)


class TokenReviewSpec(msgspec.Struct, frozen=True):
    """A token, and who it should be good for."""

    token: str = ""
    audiences: list[str] | None = None


class TokenReview(msgspec.Struct, frozen=True):
    """authentication.k8s.io/v1 `TokenReview`, as far as it can be written."""

    spec: TokenReviewSpec = msgspec.field(default_factory=TokenReviewSpec)


class ResourceAttributes(msgspec.Struct, frozen=True):
    """A verb on a resource, in the words of authorization.k8s.io."""

    namespace: str = ""
    verb: str = ""
    group: str = ""
    resource: str = ""
    subresource: str = ""
    name: str = ""


class NonResourceAttributes(msgspec.Struct, frozen=True):
    """A verb on a path."""

    path: str = ""
    verb: str = ""


class AccessReviewSpec(msgspec.Struct, frozen=True):
    """Who (not in the reviews of oneself) would do what."""

    resourceAttributes: ResourceAttributes | None = None
    nonResourceAttributes: NonResourceAttributes | None = None
    user: str = ""
    groups: list[str] | None = None
    uid: str = ""


class AccessReview(msgspec.Struct, frozen=True):
    """authorization.k8s.io/v1 `SubjectAccessReview` and its local and own forms."""

    spec: AccessReviewSpec = msgspec.field(default_factory=AccessReviewSpec)


class RulesReviewSpec(msgspec.Struct, frozen=True):
    """Where."""

    namespace: str = ""


class RulesReview(msgspec.Struct, frozen=True):
    """authorization.k8s.io/v1 `SelfSubjectRulesReview`."""

    spec: RulesReviewSpec = msgspec.field(default_factory=RulesReviewSpec)


def read(value: Any, type_: type[Body]) -> Body:
    """A decoded body as `type_`; fields it does not have are ignored. Raises 400 with the field's path."""
    try:
        return msgspec.convert(value, type_)
    except msgspec.ValidationError as error:
        raise status.bad_request(f"{type_.__name__} cannot be read: {error}") from error
