"""Servers with a thread for each connection, since an answer may wait for another server, or for this one."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import _socket
import _thread
import os
import time
from collections.abc import Callable

from fairway.pods.standin import Rejected, Request, address_text, bound, read_request, say

PIECE = 65536


class Answer:
    """What a server says to a request."""

    def __init__(self, body: str | bytes = "", status: int = 200, **headers: str) -> None:
        self.body = body.encode() if isinstance(body, str) else body
        self.status = status
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}

    def text(self, request: Request) -> bytes:
        """As HTTP/1.1 (RFC 9112)."""
        headers = {"Content-Type": "text/plain; charset=utf-8", **self.headers, "Content-Length": str(len(self.body))}
        headers["Connection"] = "keep-alive" if request.keep else "close"
        head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return f"HTTP/1.1 {self.status} Status\r\n{head}\r\n".encode() + (
            b"" if request.method == "HEAD" else self.body
        )


Page = Callable[[Request, str], Answer]
"""(request, the client as IP:port) -> what it is answered."""


def serve_http(port: int, page: Page, protocol: str = "TCP", wrap: Callable[[int], object] | None = None) -> None:
    """Answer requests on a port from now on, in the background. `wrap` turns a descriptor into a connection that is
    secured. Raises OSError when the port cannot be had."""

    def connection(descriptor: int, peer: str) -> None:
        handle = _socket.socket(fileno=descriptor) if wrap is None else wrap(descriptor)
        converse(handle, peer, page)

    serve_connections(port, connection, protocol)


def serve_connections(port: int, serve: Callable[[int, str], None], protocol: str = "TCP") -> None:
    """Hand each connection to `serve` on a thread of its own, in the background. Raises OSError."""
    listener = bound(protocol, port)
    listener.listen(1024)
    say(f"listening on {port}/{protocol}")

    def accept() -> None:
        while True:
            descriptor, peer = listener._accept()  # type: ignore[attr-defined]
            _thread.start_new_thread(_guarded, (serve, descriptor, address_text(peer[:2])[1]))

    _thread.start_new_thread(accept, ())


def _guarded(serve: Callable[[int, str], None], descriptor: int, peer: str) -> None:
    try:
        serve(descriptor, peer)
    except OSError:  # the client went away
        pass


def converse(handle: object, peer: str, page: Page) -> None:
    """Answer one client's requests until it has had enough. Raises OSError."""
    connection: _socket.socket = handle  # type: ignore[assignment]
    received = b""
    try:
        while data := connection.recv(PIECE):
            received += data
            while (request := read_request(received)) is not None:
                received = received[request.size :]
                answer = page(request, peer)
                connection.sendall(answer.text(request))
                say(f'{peer} "{request.method} {request.path}" {answer.status}')
                if not request.keep:
                    return
    except Rejected as error:
        connection.sendall(f"HTTP/1.1 {error.status} {error}\r\nConnection: close\r\n\r\n".encode())
    finally:
        connection.close()


def serve_datagrams(port: int, reply: Callable[[str, str], str | None]) -> None:
    """Answer datagrams on a port: `reply` has the text and the client as IP:port. In the background. Raises OSError."""
    handle = bound("UDP", port)
    say(f"listening on {port}/UDP")

    def answer() -> None:
        while True:
            try:
                data, peer = handle.recvfrom(PIECE)
                text = reply(data.decode(errors="replace").strip(), address_text(peer[:2])[1])
                if text is not None:
                    handle.sendto(text.encode(), peer)
            except OSError:  # an ICMP error of an earlier answer
                continue

    _thread.start_new_thread(answer, ())


def wait_for_end(delay: float = 0.0) -> int:
    """Sleep until SIGTERM or SIGINT, and `delay` seconds longer."""
    _signal.signal(_signal.SIGTERM, lambda *_: None)
    _signal.signal(_signal.SIGINT, lambda *_: None)
    _signal.pause()
    time.sleep(delay)
    os._exit(0)  # threads that serve do not hold it up
