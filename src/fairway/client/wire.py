"""What goes over the wire between a client and an API server, as values: paths, queries, bodies, lists, watch lines.

Pure; `client.http` does the talking. Source: Kubernetes API conventions ("Types", "Verbs on resources", "Efficient
detection of changes", "Response status kind").
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, overload
from urllib.parse import quote, urlencode

import msgspec

from fairway.client.base import ApiError, Listing, Object, PatchType, WatchEvent
from fairway.objects.kinds import Kind

PATCH_TYPES: Mapping[PatchType, str] = {
    "json": "application/json-patch+json",
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "apply": "application/apply-patch+yaml",
}


class _ListMetadata(msgspec.Struct, rename={"resource_version": "resourceVersion", "token": "continue"}):
    resource_version: str = ""
    token: str = ""


class _List(msgspec.Struct):
    metadata: _ListMetadata
    items: list[msgspec.Raw] | None = None


class _Line(msgspec.Struct):
    type: str
    object: msgspec.Raw


class _Head(msgspec.Struct, rename="camel"):
    kind: str = ""
    api_version: str = ""


class _Status(msgspec.Struct):
    kind: str = ""
    message: str = ""
    reason: str = ""
    code: int = 0
    details: dict[str, Any] | None = None


_LIST = msgspec.json.Decoder(_List)
_LINE = msgspec.json.Decoder(_Line)
_HEAD = msgspec.json.Decoder(_Head)
_STATUS = msgspec.json.Decoder(_Status)
_REASONS = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    405: "MethodNotAllowed",
    409: "Conflict",
    410: "Expired",
    422: "Invalid",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
    504: "Timeout",
}


def target(kind: Kind, namespace: str = "", name: str = "", subresource: str = "", **query: str | int | bool) -> str:
    """The request target: `/api/v1/namespaces/default/pods/web/status?...`; empty query values are left out."""
    parts = ["apis", kind.group, kind.version] if kind.group else ["api", kind.version]
    if kind.namespaced and namespace:
        parts += ["namespaces", namespace]
    parts.append(kind.plural)
    parts += [part for part in (name, subresource) if part]
    path = "/" + "/".join(quote(part, safe="") for part in parts)
    asked = {key: _text(value) for key, value in query.items() if value}
    return f"{path}?{urlencode(asked)}" if asked else path


def _text(value: str | int | bool) -> str:
    return "true" if value is True else str(value)


def listing(kind: Kind, body: bytes) -> Listing:
    """A list's body taken apart without decoding its items. Raises msgspec.DecodeError."""
    decoded = _LIST.decode(body)
    items = _Items(kind, decoded.items or [])
    return Listing(items, decoded.metadata.resource_version, decoded.metadata.token)


class _Items(Sequence[bytes]):
    """The items of a list as views of its body, each copied out when it is asked for: lists are long, and most who
    read them look at each item once."""

    def __init__(self, kind: Kind, raws: list[msgspec.Raw]) -> None:
        self._kind = kind
        self._raws = raws

    def __len__(self) -> int:
        return len(self._raws)

    @overload
    def __getitem__(self, index: int) -> bytes: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[bytes]: ...

    def __getitem__(self, index: int | slice) -> bytes | Sequence[bytes]:
        if isinstance(index, slice):
            return _Items(self._kind, self._raws[index])
        return with_type(self._kind, bytes(self._raws[index]))


def with_type(kind: Kind, raw: bytes) -> bytes:
    """`raw` with `kind` and `apiVersion`, which servers leave out of list items, put in where they are missing."""
    if raw.startswith((b'{"kind":', b'{"apiVersion":')) or _HEAD.decode(raw).kind:
        return raw
    head = f'{{"kind":"{kind.name}","apiVersion":"{kind.api_version}"'.encode()
    rest = raw.lstrip()[1:].lstrip()
    return head + (rest if rest.startswith(b"}") else b"," + rest)


def watch_event(line: bytes) -> WatchEvent:
    """One line of a watch. Raises ApiError when the line is the stream's error, msgspec.DecodeError when it is none."""
    decoded = _LINE.decode(line)
    if decoded.type == "ERROR":
        raise failure(500, bytes(decoded.object))
    return WatchEvent(decoded.type, bytes(decoded.object))


def failure(code: int, body: bytes) -> ApiError:
    """The error that an answer with HTTP status `code` and this body stands for. A body that is no `Status` (a proxy's
    page, say) becomes the message."""
    try:
        status = _STATUS.decode(body)
    except msgspec.DecodeError:
        status = _Status()
    if status.kind != "Status":
        message = body[:200].decode("utf-8", "replace").strip()
        return ApiError(code, _REASONS.get(code, "Unknown"), message or f"the server answered with status {code}")
    code = status.code or code
    reason = status.reason or _REASONS.get(code, "Unknown")
    return ApiError(code, "Expired" if code == 410 else reason, status.message or reason, status.details)


def delete_options(grace_seconds: int | None, uid: str, propagation: str) -> Object | None:
    """The body of a delete, or None when the server's defaults are wanted."""
    options: Object = {}
    if grace_seconds is not None:
        options["gracePeriodSeconds"] = grace_seconds
    if uid:
        options["preconditions"] = {"uid": uid}
    if propagation:
        options["propagationPolicy"] = propagation
    return {"kind": "DeleteOptions", "apiVersion": "v1", **options} if options else None


class Lines:
    """Cuts a stream of chunks into lines, however the chunks fall."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        """The lines that `chunk` completes, without their ends; empty lines are passed over."""
        *complete, rest = chunk.split(b"\n")
        for piece in complete:
            self._parts.append(piece)
            line = b"".join(self._parts)
            self._parts.clear()
            if line.strip():
                yield line
        if rest:
            self._parts.append(rest)
