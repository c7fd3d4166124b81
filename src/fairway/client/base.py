"""How Fairway's own parts ask an API server: the verbs, the errors, the shape of a watch.

`client.http` speaks to any real API server, `client.local` to handlers in the same process; both pass the contract
suite in `tests/contract/test_client.py`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from fairway.objects.kinds import Kind

Object = dict[str, Any]
PatchType = Literal["json", "merge", "strategic", "apply"]


class ApiError(Exception):
    """The server's answer was a `Status` failure. `reason` is the machine word ("NotFound", "Conflict",
    "AlreadyExists", "Invalid", "Expired" ...), `code` the HTTP status."""

    def __init__(self, code: int, reason: str, message: str, details: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.details = details or {}


class Unreachable(Exception):
    """No answer came: the server is away or the connection broke. Whether a write happened is not known."""


@dataclass(frozen=True, slots=True)
class Listing:
    """A list's items, each as the JSON bytes of one object, and the revision they were read at."""

    items: Sequence[bytes]
    resource_version: str
    continue_token: str = ""


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """One line of a watch: "ADDED", "MODIFIED", "DELETED", "BOOKMARK" and the object's JSON bytes. Errors inside a
    stream are raised as ApiError (410 Gone has the reason "Expired")."""

    type: str
    object: bytes


class Client(Protocol):
    """One API server, asked by kind. `namespace` "" means all namespaces (reads) or a cluster-scoped kind."""

    async def list(
        self,
        kind: Kind,
        namespace: str = "",
        *,
        label_selector: str = "",
        field_selector: str = "",
        resource_version: str = "",
        limit: int = 0,
        continue_token: str = "",
    ) -> Listing: ...

    def watch(
        self,
        kind: Kind,
        namespace: str = "",
        *,
        resource_version: str,
        label_selector: str = "",
        field_selector: str = "",
        timeout_seconds: int = 0,
    ) -> AsyncIterator[WatchEvent]:
        """Ends normally when the server ends it; raises ApiError or Unreachable otherwise."""

    async def get(self, kind: Kind, name: str, namespace: str = "") -> Object: ...

    async def create(self, kind: Kind, obj: Object, namespace: str = "") -> Object: ...

    async def update(self, kind: Kind, obj: Object, *, subresource: str = "") -> Object:
        """Replace; the namespace and name are the object's own; a resourceVersion in it is a precondition."""

    async def patch(
        self,
        kind: Kind,
        name: str,
        patch: Any,
        namespace: str = "",
        *,
        type: PatchType = "merge",
        subresource: str = "",
    ) -> Object: ...

    async def delete(
        self,
        kind: Kind,
        name: str,
        namespace: str = "",
        *,
        grace_seconds: int | None = None,
        uid: str = "",
        propagation: str = "",
    ) -> Object: ...

    async def post(self, kind: Kind, name: str, namespace: str, subresource: str, body: Object) -> Object:
        """Create on a subresource (`pods/binding`, `pods/eviction`, `serviceaccounts/token`)."""

    async def close(self) -> None: ...
