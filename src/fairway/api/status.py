"""Failures as `Status` objects, worded as users of kubectl know them: one table from every error to its answer.

Shapes and reasons: the meta/v1 API reference ("Status", "StatusReason"); message forms as kubectl prints them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fairway.objects.codec import MAX_BYTES
from fairway.objects.errors import FieldError, Invalid, Malformed, SelectorError, TooLarge, UnsupportedMedia, show
from fairway.objects.errors import invalid as invalid_field
from fairway.objects.kinds import Kind
from fairway.store.base import Compacted, Conflict, FutureRevision, StoreError

Status = dict[str, Any]

BODY_TYPES = ("application/json", "application/yaml")


class Failure(Exception):
    """An answer other than success. `code` is the HTTP status, `reason` the machine word."""

    def __init__(
        self,
        code: int,
        reason: str,
        message: str,
        details: dict[str, Any] | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.details = details
        self.metadata = metadata or {}

    def status(self) -> Status:
        """The `Status` object."""
        status: Status = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": self.metadata,
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            "code": self.code,
        }
        if self.details is not None:
            status["details"] = self.details
        return status


def success(kind: Kind, name: str, uid: str, code: int = 200) -> Status:
    """What a write that leaves no object to show answers."""
    details = _details(kind, name) | ({"uid": uid} if uid else {})
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details, "code": code}


def not_found(kind: Kind, name: str) -> Failure:
    return Failure(404, "NotFound", f'{kind.resource} "{name}" not found', _details(kind, name))


def no_such_path() -> Failure:
    return Failure(404, "NotFound", "the server could not find the requested resource", {})


def already_exists(kind: Kind, name: str) -> Failure:
    return Failure(409, "AlreadyExists", f'{kind.resource} "{name}" already exists', _details(kind, name))


def conflict(kind: Kind, name: str, why: str, subresource: str = "") -> Failure:
    resource = f"{kind.plural}/{subresource}" if subresource else kind.resource
    return Failure(
        409, "Conflict", f'Operation cannot be fulfilled on {resource} "{name}": {why}', _details(kind, name)
    )


def contested(message: str, causes: Sequence[dict[str, str]]) -> Failure:
    """An apply that others own fields of."""
    return Failure(409, "Conflict", message, {"causes": list(causes)})


def no_free_name(kind: Kind, name: str) -> Failure:
    """Every name that was generated is taken: clients may try again."""
    message = (
        f'{kind.resource} "{name}" already exists, the server was not able to generate a unique name for the object'
    )
    return Failure(409, "AlreadyExists", message, _details(kind, name) | {"retryAfterSeconds": 1})


def modified(kind: Kind, name: str) -> Failure:
    """The optimistic lock failed."""
    why = "the object has been modified; please apply your changes to the latest version and try again"
    return conflict(kind, name, why)


def invalid(kind: Kind, name: str, errors: Sequence[FieldError]) -> Failure:
    """422 with one cause per field."""
    return _unprocessable(Invalid(kind, name, errors))


def invalid_patch(result: Any, why: str) -> Failure:
    """422 about what a patch made: of no kind and no name, as kube-apiserver says it."""
    fault = invalid_field("patch", show(result), why)
    details = {"causes": [fault.cause()]}
    return Failure(422, "Invalid", f' "" is invalid: {fault.message()}', details)


def bad_request(message: str) -> Failure:
    return Failure(400, "BadRequest", message)


def unauthorized() -> Failure:
    return Failure(401, "Unauthorized", "Unauthorized")


def forbidden(kind: Kind, name: str, why: str, causes: Sequence[dict[str, str]] = ()) -> Failure:
    details = _details(kind, name) | ({"causes": list(causes)} if causes else {})
    what = f'{kind.resource} "{name}"' if name else kind.resource
    return Failure(403, "Forbidden", f"{what} is forbidden: {why}", details)


def method_not_allowed() -> Failure:
    message = "the server does not allow this method on the requested resource"
    return Failure(405, "MethodNotAllowed", message, {})


def not_acceptable(offers: Sequence[str]) -> Failure:
    message = f"only the following media types are accepted: {', '.join(offers)}"
    return Failure(406, "NotAcceptable", message)


def unsupported_media_type(accepted: Sequence[str]) -> Failure:
    message = f"the body of the request was in an unknown format - accepted media types include: {', '.join(accepted)}"
    return Failure(415, "UnsupportedMediaType", message)


def too_large(limit: int) -> Failure:
    return Failure(413, "RequestEntityTooLarge", f"Request entity too large: limit is {limit}")


def head_too_large(limit: int) -> Failure:
    message = f"the request line and its headers are too large: limit is {limit}"
    return Failure(431, "RequestHeaderFieldsTooLarge", message)


def expired(message: str, continue_token: str = "") -> Failure:
    """The asked revision is forgotten. `continue_token` carries on from where a list was, with the state of now."""
    return Failure(410, "Expired", message, metadata={"continue": continue_token} if continue_token else None)


def too_large_version(asked: int, current: int) -> Failure:
    """A resourceVersion that has not happened: clients wait and ask again."""
    message = f"Too large resource version: {asked}, current: {current}"
    cause = {"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}
    return Failure(504, "Timeout", f"Timeout: {message}", {"causes": [cause], "retryAfterSeconds": 1})


def too_many_disruptions(why: str, retry_seconds: int) -> Failure:
    """429: the pod's disruption budget does not let it go now."""
    details: dict[str, Any] = {"causes": [{"reason": "DisruptionBudget", "message": why}]}
    details |= {"retryAfterSeconds": retry_seconds} if retry_seconds else {}
    message = "Cannot evict pod as it would violate the pod's disruption budget."
    return Failure(429, "TooManyRequests", message, details)


def internal(message: str) -> Failure:
    cause = {"message": message}
    return Failure(500, "InternalError", f"Internal error occurred: {message}", {"causes": [cause]})


def unavailable(message: str) -> Failure:
    return Failure(503, "ServiceUnavailable", message, {"retryAfterSeconds": 1})


def of(error: Exception) -> Failure | None:
    """The failure an error of a lower room amounts to; None for what nobody foresaw."""
    match error:
        case Failure():
            return error
        case Invalid():
            return _unprocessable(error)
        case TooLarge():
            return too_large(MAX_BYTES)
        case UnsupportedMedia():
            return unsupported_media_type(BODY_TYPES)
        case Malformed():
            return bad_request(f"the object provided is unrecognized: {error}")
        case SelectorError():
            return bad_request(str(error))
        case Compacted():
            return expired(f"too old resource version: {error.asked} ({error.oldest})")
        case FutureRevision():
            return too_large_version(error.asked, error.current)
        case Conflict():
            return Failure(409, "Conflict", f"{error}; please try again")
        case StoreError():
            return unavailable(f"the store failed: {error}")
    return None


def _unprocessable(error: Invalid) -> Failure:
    return Failure(422, "Invalid", error.message(), error.details())


def _details(kind: Kind, name: str) -> dict[str, Any]:
    return {
        **({"name": name} if name else {}),
        **({"group": kind.group} if kind.group else {}),
        "kind": kind.plural,
    }
