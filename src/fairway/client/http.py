"""EDGE: the client contract against any Kubernetes API server, over HTTP/1.1 with JSON.

Credentials are a client certificate, a bearer token, or a token file that is read again every minute (projected
service-account tokens are replaced while a pod lives).
"""

from __future__ import annotations

import contextlib
import ssl
import tempfile
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from fairway.client.base import ApiError, Listing, Object, PatchType, Unreachable, WatchEvent
from fairway.client.connection import Connections, Headers
from fairway.client.wire import PATCH_TYPES, Lines, delete_options, failure, listing, target, watch_event
from fairway.objects.kinds import Kind

FIELD_MANAGER = "fairway"
"""Who the server is told applies fields (server-side apply)."""
TOKEN_SECONDS = 60.0
WATCH_GRACE_SECONDS = 30.0
"""How long after its own time-out a watch may be silent before the connection counts as dead."""

_DECODER = msgspec.json.Decoder(dict[str, Any])


class HttpClient:
    """One API server at `server` (`https://10.0.0.10:6443`, a path prefix is kept).

    `*_file` are paths of PEM files, `*_data` PEM text; without a CA the system's are trusted; `insecure` skips the
    check of the server's certificate. `tls_name` is the name to expect in that certificate instead of the host.
    Raises ValueError on an address that is none and OSError on files that cannot be read.
    """

    def __init__(
        self,
        server: str,
        *,
        ca_file: str = "",
        cert_file: str = "",
        key_file: str = "",
        token: str = "",
        ca_data: str = "",
        cert_data: str = "",
        key_data: str = "",
        token_file: str = "",
        insecure: bool = False,
        tls_name: str = "",
    ) -> None:
        parts = urlsplit(server if "//" in server else f"//{server}", scheme="https")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{server!r} is no address of an API server; say https://HOST:PORT")
        self.server = server
        self._prefix = parts.path.rstrip("/")
        self._token = token.strip()
        self._token_file = token_file
        self._token_read = float("-inf")
        tls = None
        if parts.scheme == "https":
            tls = _tls(ca_file, ca_data, insecure)
            _identify(tls, (cert_file, cert_data), (key_file, key_data))
        port = parts.port or (443 if tls else 80)
        self._connections = Connections(server, parts.hostname, port, tls, tls_name)

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
    ) -> Listing:
        path = target(
            kind,
            namespace,
            labelSelector=label_selector,
            fieldSelector=field_selector,
            resourceVersion=resource_version,
            limit=limit,
            **{"continue": continue_token},
        )
        body = await self._exchange("GET", path)
        try:
            return listing(kind, body)
        except msgspec.DecodeError as error:
            raise self._nonsense(error) from error

    async def watch(
        self,
        kind: Kind,
        namespace: str = "",
        *,
        resource_version: str,
        label_selector: str = "",
        field_selector: str = "",
        timeout_seconds: int = 0,
    ) -> AsyncIterator[WatchEvent]:
        path = target(
            kind,
            namespace,
            watch=True,
            allowWatchBookmarks=True,
            resourceVersion=resource_version,
            labelSelector=label_selector,
            fieldSelector=field_selector,
            timeoutSeconds=timeout_seconds,
        )
        seconds = timeout_seconds + WATCH_GRACE_SECONDS if timeout_seconds else None
        lines = Lines()
        async with aclosing(self._stream(path, seconds)) as pieces:
            async for piece in pieces:
                for line in lines.feed(piece):
                    try:
                        yield watch_event(line)
                    except msgspec.DecodeError as error:
                        raise self._nonsense(error) from error

    async def get(self, kind: Kind, name: str, namespace: str = "") -> Object:
        return self._object(await self._exchange("GET", target(kind, namespace, name)))

    async def create(self, kind: Kind, obj: Object, namespace: str = "") -> Object:
        namespace = namespace or obj.get("metadata", {}).get("namespace", "")
        return self._object(await self._exchange("POST", target(kind, namespace), obj))

    async def update(self, kind: Kind, obj: Object, *, subresource: str = "") -> Object:
        metadata = obj["metadata"]
        path = target(kind, metadata.get("namespace", ""), metadata["name"], subresource)
        return self._object(await self._exchange("PUT", path, obj))

    async def patch(
        self,
        kind: Kind,
        name: str,
        patch: Any,
        namespace: str = "",
        *,
        type: PatchType = "merge",
        subresource: str = "",
    ) -> Object:
        manager = FIELD_MANAGER if type == "apply" else ""
        path = target(kind, namespace, name, subresource, fieldManager=manager)
        return self._object(await self._exchange("PATCH", path, patch, PATCH_TYPES[type]))

    async def delete(
        self,
        kind: Kind,
        name: str,
        namespace: str = "",
        *,
        grace_seconds: int | None = None,
        uid: str = "",
        propagation: str = "",
    ) -> Object:
        options = delete_options(grace_seconds, uid, propagation)
        return self._object(await self._exchange("DELETE", target(kind, namespace, name), options))

    async def post(self, kind: Kind, name: str, namespace: str, subresource: str, body: Object) -> Object:
        return self._object(await self._exchange("POST", target(kind, namespace, name, subresource), body))

    async def close(self) -> None:
        await self._connections.close()

    async def raw(self, path: str) -> bytes:
        """The body of a GET of any path on the server (`/healthz`, `/version`). Raises ApiError and Unreachable."""
        return await self._exchange("GET", path)

    async def raw_stream(self, path: str) -> AsyncGenerator[bytes, None]:
        """The body of a GET as it comes, for as long as the server sends (`.../log?follow=true`)."""
        async with aclosing(self._stream(path, None)) as pieces:
            async for piece in pieces:
                yield piece

    async def _exchange(
        self, method: str, path: str, body: Any = None, content_type: str = "application/json"
    ) -> bytes:
        encoded = b"" if body is None else msgspec.json.encode(body)
        headers = self._headers()
        if encoded:
            headers = [*headers, ("Content-Type", content_type)]
        status, answer = await self._connections.request(method, self._prefix + path, headers, encoded)
        if status >= 300:
            raise failure(status, answer)
        return answer

    async def _stream(self, path: str, seconds: float | None) -> AsyncGenerator[bytes, None]:
        refusal = b""
        status = 200
        async with aclosing(self._connections.stream(self._prefix + path, self._headers(), seconds)) as pieces:
            async for status, piece in pieces:
                if status >= 300:
                    refusal += piece
                elif piece:
                    yield piece
        if status >= 300:
            raise failure(status, refusal)

    def _headers(self) -> Headers:
        headers = [("Accept", "application/json"), ("User-Agent", "fairway")]
        token = self._bearer()
        return [*headers, ("Authorization", f"Bearer {token}")] if token else headers

    def _bearer(self) -> str:
        if self._token_file and time.monotonic() - self._token_read > TOKEN_SECONDS:
            try:
                self._token = Path(self._token_file).read_text().strip()
            except OSError as error:
                raise ApiError(401, "Unauthorized", f"the token file cannot be read: {error}") from error
            self._token_read = time.monotonic()
        return self._token

    def _object(self, body: bytes) -> Object:
        try:
            return _DECODER.decode(body)
        except msgspec.DecodeError as error:
            raise self._nonsense(error) from error

    def _nonsense(self, error: Exception) -> Unreachable:
        return Unreachable(f"{self.server} does not answer as an API server does: {error}")


def _tls(ca_file: str, ca_data: str, insecure: bool) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=ca_file or None, cadata=ca_data or None)
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _identify(tls: ssl.SSLContext, cert: tuple[str, str], key: tuple[str, str]) -> None:
    """Give `tls` the client certificate, each half a (path, text) of which one may be empty."""
    if not any(cert):
        return
    with _as_file(*cert) as cert_path, _as_file(*key) as key_path:
        tls.load_cert_chain(cert_path, key_path or None)


@contextlib.contextmanager
def _as_file(path: str, text: str) -> Iterator[str]:
    """The path of a file with `text` in it (for OpenSSL, which reads files only), readable by this user alone."""
    if not text:
        yield path
        return
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
        file.write(text)
        file.flush()
        yield file.name
