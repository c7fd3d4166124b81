"""The stand-in: the small web server that runs for images Fairway has no program for. A program of its own.

    python -I -S standin.py --pod NAME --node NAME [PROTOCOL:PORT[?] ...]

It listens on every port given (`TCP:80`, `UDP:53`, `SCTP:7777`), over IPv4 and IPv6. A port marked `?` was not asked
for by anyone and may be missed; any other that cannot be had ends the program with exit code 1.
TCP and SCTP speak HTTP/1.1 (RFC 9112; GET and HEAD, keep-alive): `/` says that it works, `/hostname` which pod
answers, `/clientip` whom it sees as its client, `/healthz` ok, `/env` its environment as JSON. Every answer carries
X-Fairway-Pod, X-Fairway-Node and X-Fairway-Client. UDP answers any datagram that says `hostname`.
Each request is one line on stdout. On SIGTERM it goes on for LINGER seconds, as a good server does: the word that the
pod leaves takes a moment to reach every node. Standard library only, few imports: every pod pays for them.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # the C parts of signal and socket: the rest costs 1 MB a pod
import _socket
import os
import select
import sys

HEAD_LIMIT = 16 * 1024  # of a request's line and headers
BODY_LIMIT = 1024 * 1024  # of a request's body, which is read and forgotten
CLIENTS = 1000  # at once; further ones wait in the listen queue
LINGER = 0.5
PAGE = "<html><body><h1>It works!</h1></body></html>\n"
REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed", 413: "Content Too Large"}
SCTP = 132


class Rejected(Exception):
    """A request that cannot be answered and ends its connection: (status)."""

    def __init__(self, status: int) -> None:
        super().__init__(REASONS[status])
        self.status = status


class Request:
    """One HTTP request; `size` is its length in bytes with its body, header names are in lower case."""

    def __init__(self, method: str, target: str, headers: dict[str, str], keep: bool, size: int, body: bytes) -> None:
        self.method, self.keep, self.size, self.headers, self.body = method, keep, size, headers, body
        self.path, _, self.query = target.partition("?")


def read_request(data: bytes) -> Request | None:
    """The first request in `data`; None while it is not all there. Raises Rejected."""
    head, end, _ = data.partition(b"\r\n\r\n")
    if not end:
        if len(data) > HEAD_LIMIT:
            raise Rejected(413)
        return None
    line, *rest = head.decode("latin-1").split("\r\n")
    words = line.split(" ")
    if len(words) != 3 or words[2] not in ("HTTP/1.0", "HTTP/1.1"):
        raise Rejected(400)
    headers = {name.strip().lower(): value.strip() for name, _, value in (field.partition(":") for field in rest)}
    length = headers.get("content-length", "0")
    if "transfer-encoding" in headers or not (length.isascii() and length.isdigit()):
        raise Rejected(400)
    if int(length) > BODY_LIMIT:
        raise Rejected(413)
    size = len(head) + 4 + int(length)
    if len(data) < size:
        return None
    connection = headers.get("connection", "").lower()
    keep = connection == "keep-alive" if words[2] == "HTTP/1.0" else connection != "close"
    return Request(words[0], words[1], headers, keep, size, data[len(head) + 4 : size])


def address_text(peer: tuple[str, int]) -> tuple[str, str]:
    """A peer as (`10.0.0.1`, `10.0.0.1:4711`); IPv4 clients of a dual-stack socket without their ::ffff: prefix."""
    host = peer[0].removeprefix("::ffff:") if "." in peer[0] else peer[0]
    return host, f"[{host}]:{peer[1]}" if ":" in host else f"{host}:{peer[1]}"


def bound(protocol: str, port: int) -> _socket.socket:
    """A socket at a port of both families (or of IPv4 alone where IPv6 is switched off). Raises OSError."""
    try:
        handle = _open(_socket.AF_INET6, protocol)
        handle.setsockopt(_socket.IPPROTO_IPV6, _socket.IPV6_V6ONLY, 0)
        handle.bind(("::", port))
    except OSError as error:
        if error.errno not in (97, 99):  # EAFNOSUPPORT, EADDRNOTAVAIL: no IPv6 here
            raise
        handle = _open(_socket.AF_INET, protocol)
        handle.bind(("0.0.0.0", port))
    return handle


def _open(family: int, protocol: str) -> _socket.socket:
    kind = _socket.SOCK_DGRAM if protocol == "UDP" else _socket.SOCK_STREAM
    handle = _socket.socket(family, kind, SCTP if protocol == "SCTP" else 0)
    handle.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
    return handle


class StandIn:
    """The server: who it is, and its sockets."""

    def __init__(self, pod: str, node: str) -> None:
        self.pod, self.node = pod, node
        self.poll = select.epoll()
        self.listeners: dict[int, _socket.socket] = {}
        self.datagrams: dict[int, _socket.socket] = {}
        self.clients: dict[int, Client] = {}

    def listen(self, protocol: str, port: int) -> None:
        """Take a port. Raises OSError."""
        handle = bound(protocol, port)
        handle.setblocking(False)
        if protocol == "UDP":
            self.datagrams[handle.fileno()] = handle
        else:
            handle.listen(1024)
            self.listeners[handle.fileno()] = handle
        self.poll.register(handle, select.EPOLLIN)

    def serve(self) -> None:
        """Answer for ever."""
        while True:
            for descriptor, _ in self.poll.poll():
                if descriptor in self.listeners:
                    self._accept(self.listeners[descriptor])
                elif descriptor in self.datagrams:
                    self._answer_datagram(self.datagrams[descriptor])
                elif descriptor in self.clients and not self.clients[descriptor].turn():
                    self._drop(descriptor)

    def _accept(self, listener: _socket.socket) -> None:
        try:
            descriptor, peer = listener._accept()  # type: ignore[attr-defined]
        except OSError:  # it went away before we came to it
            return
        handle = _socket.socket(fileno=descriptor)
        handle.setblocking(False)
        self.clients[handle.fileno()] = Client(self, handle, peer[:2])
        self.poll.register(handle, select.EPOLLIN)
        if len(self.clients) == CLIENTS:
            self._pause(True)

    def _drop(self, descriptor: int) -> None:
        if len(self.clients) == CLIENTS:
            self._pause(False)
        self.poll.unregister(descriptor)
        self.clients.pop(descriptor).handle.close()

    def _pause(self, paused: bool) -> None:
        for descriptor in self.listeners:
            self.poll.modify(descriptor, 0 if paused else select.EPOLLIN)

    def _answer_datagram(self, handle: _socket.socket) -> None:
        try:
            data, peer = handle.recvfrom(2048)
            if data.strip() == b"hostname":
                handle.sendto(self.pod.encode() + b"\n", peer)
                say(f"{address_text(peer)[1]} UDP hostname")
        except OSError:  # an ICMP error of an earlier answer is reported here; it is the asker's loss
            return

    def body(self, path: str, peer: str) -> tuple[int, str, str]:
        """(status, content type, body) of a path."""
        if path == "/":
            return 200, "text/html", PAGE
        if path == "/env":
            import json  # only who asks pays

            return 200, "application/json", json.dumps(dict(os.environ), indent=2) + "\n"
        plain = {"/hostname": self.pod, "/clientip": peer, "/healthz": "ok"}
        return (200, "text/plain", plain[path] + "\n") if path in plain else (404, "text/plain", "no such page\n")


class Client:
    """One connection: what it has sent that is not answered yet, and what it has not taken yet."""

    def __init__(self, server: StandIn, handle: _socket.socket, peer: tuple[str, int]) -> None:
        self.server, self.handle = server, handle
        self.host, self.peer = address_text(peer)
        self.received = b""
        self.unsent = b""
        self.last = False

    def turn(self) -> bool:
        """Send what waits, read what came, answer it; False when the connection is over."""
        try:
            if self.unsent:
                return self._flush()
            data = self.handle.recv(65536)
        except BlockingIOError:
            return True
        except OSError:
            return False
        if not data:
            return False
        self.received += data
        return self._answer()

    def _answer(self) -> bool:
        try:
            while not self.last and (request := read_request(self.received)) is not None:
                self.received = self.received[request.size :]
                self.last = not request.keep
                self._respond(request.method, request.path)
        except Rejected as error:
            self.last = True
            self._reply(error.status, "text/plain", f"{error}\n", True)
            say(f"{self.peer} {error.status}")
        return self._flush()

    def _respond(self, method: str, path: str) -> None:
        status, kind, body = self.server.body(path, self.peer)
        if method not in ("GET", "HEAD"):
            status, kind, body = 405, "text/plain", "GET or HEAD\n"
        self._reply(status, kind, body, method != "HEAD")
        say(f'{self.peer} "{method} {path}" {status}')

    def _reply(self, status: int, kind: str, body: str, with_body: bool) -> None:
        content = body.encode()
        lines = (
            f"HTTP/1.1 {status} {REASONS[status]}",
            f"Content-Type: {kind}",
            f"Content-Length: {len(content)}",
            f"Connection: {'close' if self.last else 'keep-alive'}",
            f"X-Fairway-Pod: {self.server.pod}",
            f"X-Fairway-Node: {self.server.node}",
            f"X-Fairway-Client: {self.host}",
        )
        self.unsent += "".join(line + "\r\n" for line in lines).encode() + b"\r\n" + (content if with_body else b"")

    def _flush(self) -> bool:
        try:
            while self.unsent:
                self.unsent = self.unsent[self.handle.send(self.unsent) :]
        except BlockingIOError:
            self.server.poll.modify(self.handle, select.EPOLLOUT)
            return True
        except OSError:
            return False
        if self.last:
            return False
        self.server.poll.modify(self.handle, select.EPOLLIN)
        return True


def say(line: str) -> None:
    """One line of log, out at once; control characters of hostile requests do not reach the log."""
    os.write(1, ("".join(c if c.isprintable() else "?" for c in line) + "\n").encode("utf-8", "replace"))


def main(argv: list[str]) -> int:
    """Listen and serve; see the module's text for the arguments."""
    _signal.signal(_signal.SIGALRM, lambda *_: os._exit(0))
    _signal.signal(_signal.SIGTERM, lambda *_: _signal.setitimer(_signal.ITIMER_REAL, LINGER))
    names = dict(zip(argv[1:5:2], argv[2:5:2], strict=True))
    server = StandIn(names["--pod"], names["--node"])
    say(f"stand-in server of pod {server.pod}: this image is not in the node's table of programs")
    for word in argv[5:]:
        protocol, _, port = word.rstrip("?").partition(":")
        try:
            server.listen(protocol, int(port))
            say(f"listening on {port}/{protocol}")
        except OSError as error:
            say(f"cannot listen on {port}/{protocol}: {error.strerror}")
            if not word.endswith("?"):
                return 1
    server.serve()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
