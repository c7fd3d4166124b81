"""A client of WebSockets, spoken by hand (RFC 6455), so that nothing of the server's own reads what it wrote."""

from __future__ import annotations

import base64
import os
import socket
import ssl
import struct
from collections.abc import Iterator
from types import TracebackType
from urllib.parse import urlsplit

BINARY, CLOSE, PING, PONG = 2, 8, 9, 10


class WebSocket:
    """A connection that speaks one sub-protocol. Iterating tells its messages until the server closes;
    `close_code` is what it said then."""

    def __init__(self, url: str, protocol: str, context: ssl.SSLContext) -> None:
        parts = urlsplit(url)
        assert parts.hostname and parts.port
        self.close_code: int | None = None
        handle = socket.create_connection((parts.hostname, parts.port), timeout=10)
        self._handle = context.wrap_socket(handle, server_hostname=parts.hostname)
        self._file = self._handle.makefile("rb")
        lines = [
            f"GET {parts.path}?{parts.query} HTTP/1.1",
            f"Host: {parts.netloc}",
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}",
            f"Sec-WebSocket-Protocol: {protocol}",
        ]
        self._handle.sendall("\r\n".join([*lines, "", ""]).encode())
        head = b"".join(iter(self._file.readline, b"\r\n"))
        assert head.startswith(b"HTTP/1.1 101 "), head + self._file.read()
        assert f"sec-websocket-protocol: {protocol}".encode() in head.lower()

    def send(self, data: bytes, opcode: int = BINARY) -> None:
        """One masked frame."""
        assert len(data) < 126
        mask = os.urandom(4)
        masked = bytes(byte ^ mask[at % 4] for at, byte in enumerate(data))
        self._handle.sendall(bytes((0x80 | opcode, 0x80 | len(data))) + mask + masked)

    def __iter__(self) -> Iterator[bytes]:
        while True:
            first, size = self._file.read(2)
            assert first & 0x80 and not size & 0x80, "whole frames, not masked"
            if size >= 126:
                form = ">H" if size == 126 else ">Q"
                [size] = struct.unpack(form, self._file.read(struct.calcsize(form)))
            data = self._file.read(size)
            if first & 0x0F == CLOSE:
                [self.close_code] = struct.unpack(">H", data[:2])
                self.send(data, CLOSE)
                return
            assert first & 0x0F == BINARY
            yield data

    def __enter__(self) -> WebSocket:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()
        self._handle.close()
