"""EDGE: the client contract against any Kubernetes API server, over HTTP/1.1 with JSON.

Credentials are a client certificate, a bearer token, or a token file that is read again every minute (projected
service-account tokens are replaced while a pod lives).
"""

from __future__ import annotations

import contextlib
import copy
import ssl
import tempfile
import time
from collections.abc import AsyncGenerator, Iterator
from pathlib import Path
from urllib.parse import urlsplit

from fairway.client.base import ApiError
from fairway.client.connection import Connections
from fairway.client.verbs import Verbs
from fairway.http1 import Headers

TOKEN_SECONDS = 60.0


class HttpClient(Verbs):
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
        self._taken_for = ""
        self._connections = Connections(server, parts.hostname, port, tls, tls_name)

    def acting_as(self, user: str) -> HttpClient:
        """This client asking to be taken for another user (impersonation), over the same connections."""
        other = copy.copy(self)
        other._taken_for = user
        return other

    async def close(self) -> None:
        await self._connections.close()

    async def _request(self, method: str, path: str, body: bytes, content_type: str) -> tuple[int, bytes]:
        headers = self._headers()
        if body:
            headers = [*headers, ("Content-Type", content_type)]
        return await self._connections.request(method, self._prefix + path, headers, body)

    def _stream(self, path: str, seconds: float | None) -> AsyncGenerator[tuple[int, bytes], None]:
        return self._connections.stream(self._prefix + path, self._headers(), seconds)

    def _headers(self) -> Headers:
        headers = [("Accept", "application/json"), ("User-Agent", "fairway")]
        if self._taken_for:
            headers.append(("Impersonate-User", self._taken_for))
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
