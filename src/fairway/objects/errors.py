"""The room's errors: what is wrong with a text, an object or a selector, worded as kubectl users know it.

`FieldError` is a value (validation collects them); the rest are exceptions under `ObjectError`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from fairway.objects.kinds import Kind

Reason = Literal[
    "Required", "Invalid", "NotSupported", "Duplicate", "Forbidden", "TooLong", "TooMany", "TypeInvalid", "NotFound"
]

_LEAD: dict[Reason, str] = {
    "Required": "Required value",
    "Invalid": "Invalid value",
    "TypeInvalid": "Invalid value",
    "NotSupported": "Unsupported value",
    "Duplicate": "Duplicate value",
    "Forbidden": "Forbidden",
    "TooLong": "Too long",
    "TooMany": "Too many",
    "NotFound": "Not found",
}
_WITHOUT_VALUE = frozenset({"Required", "Forbidden", "TooLong"})


def show(value: Any) -> str:
    """A value as error messages print it: strings quoted, the rest as JSON."""
    return msgspec.json.encode(value).decode()


@dataclass(frozen=True, slots=True)
class FieldError:
    """One thing wrong with one field. `path` is as users write it (`spec.ports[0].port`)."""

    path: str
    reason: Reason
    value: Any
    detail: str

    def body(self) -> str:
        """The message without the path."""
        lead = _LEAD[self.reason]
        if self.reason not in _WITHOUT_VALUE:
            lead = f"{lead}: {show(self.value)}"
        return f"{lead}: {self.detail}" if self.detail else lead

    def message(self) -> str:
        """`spec.ports[0].port: Invalid value: 70000: must be between 1 and 65535, inclusive`."""
        return f"{self.path}: {self.body()}"

    def cause(self) -> dict[str, str]:
        """The entry of a Status' `details.causes`."""
        return {"reason": f"FieldValue{self.reason}", "message": self.body(), "field": self.path}


def required(path: str, detail: str = "") -> FieldError:
    """The field must be given."""
    return FieldError(path, "Required", "", detail)


def invalid(path: str, value: Any, detail: str) -> FieldError:
    """The value breaks a rule."""
    return FieldError(path, "Invalid", value, detail)


def not_supported(path: str, value: Any, allowed: Sequence[str]) -> FieldError:
    """The value is none of a closed list."""
    return FieldError(path, "NotSupported", value, "supported values: " + ", ".join(show(word) for word in allowed))


def duplicate(path: str, value: Any) -> FieldError:
    """The value was given before where it must be unique."""
    return FieldError(path, "Duplicate", value, "")


def forbidden(path: str, detail: str) -> FieldError:
    """The field may not be set (or changed) here."""
    return FieldError(path, "Forbidden", "", detail)


def too_long(path: str, value: str, limit: int) -> FieldError:
    """The text exceeds `limit` bytes."""
    return FieldError(path, "TooLong", value, f"may not be more than {limit} bytes")


def too_many(path: str, count: int, limit: int) -> FieldError:
    """A list holds more than `limit` items."""
    return FieldError(path, "TooMany", count, f"must have at most {limit} items")


class ObjectError(Exception):
    """Root of the errors of what people write. Always the writer's fault, never the server's."""


class Malformed(ObjectError):
    """The body is not one well-formed document. `line` and `column` count from 1; 0 means not known."""

    def __init__(self, detail: str, line: int = 0, column: int = 0) -> None:
        where = f"line {line}, column {column}: " if line else ""
        super().__init__(f"{where}{detail}")
        self.detail = detail
        self.line = line
        self.column = column


class TooLarge(Malformed):
    """The body is larger than the server reads (HTTP 413)."""


class UnsupportedMedia(Malformed):
    """The body's content type is none the server reads (HTTP 415)."""


class SelectorError(ObjectError):
    """A label or field selector cannot be understood; the message holds its text."""


class QuantityError(ObjectError):
    """A text is no quantity."""


class Invalid(ObjectError):
    """An object breaks the rules of its kind (HTTP 422)."""

    def __init__(self, kind: Kind, name: str, errors: Sequence[FieldError]) -> None:
        self.kind = kind
        self.name = name
        self.errors = tuple(errors)
        super().__init__(self.message())

    def message(self) -> str:
        """`Service "web" is invalid: spec.ports: Required value`; several errors stand in brackets."""
        lines = list(dict.fromkeys(error.message() for error in self.errors))
        text = lines[0] if len(lines) == 1 else "[" + ", ".join(lines) + "]"
        qualified = f"{self.kind.name}.{self.kind.group}" if self.kind.group else self.kind.name
        return f'{qualified} "{self.name}" is invalid: {text}'

    def details(self) -> dict[str, Any]:
        """The Status' `details`."""
        causes = [error.cause() for error in self.errors]
        return {"name": self.name, "group": self.kind.group, "kind": self.kind.name, "causes": causes}
