"""netexec: a server that tells who it is and whom it sees, and that asks others on request.

HTTP:  /hostname /clientip /header?key= /echo?msg=&code= /healthz /redirect?location=&code= /shell?cmd= /exit?code=
       /shutdown, / (the time), and /dial?host=&port=&request=&protocol=http|udp|sctp&tries=, which asks another netexec
UDP:   hostname, clientip, echo TEXT
"""

from __future__ import annotations

import _socket
import os
import time

from fairway.pods.agnhost.serving import PIECE, Answer
from fairway.pods.inside import jsontext
from fairway.pods.standin import Request

DIAL_SECONDS = 5.0
JSON = "application/json"


def hostname() -> str:
    return os.uname().nodename


def parameters(request: Request) -> dict[str, str]:
    """The request's query, and the form in its body; the first value of a name counts."""
    form = request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded")
    words = [*request.query.split("&"), *(request.body.decode("latin-1").split("&") if form else [])]
    pairs = [word.partition("=") for word in words if word]
    return {unquoted(name): unquoted(value) for name, _, value in reversed(pairs)}


def unquoted(text: str) -> str:
    """Percent-decoded (RFC 3986), a plus as a blank (HTML forms)."""
    head, *rest = text.replace("+", " ").split("%")
    decoded = head.encode()
    for piece in rest:
        if len(piece) >= 2 and all(digit in "0123456789abcdefABCDEF" for digit in piece[:2]):
            decoded += bytes.fromhex(piece[:2]) + piece[2:].encode()
        else:
            decoded += b"%" + piece.encode()
    return decoded.decode(errors="replace")


def page(request: Request, peer: str) -> Answer:
    """The answer to a request of `peer`."""
    asked = parameters(request)
    match request.path.lower():
        case "/":
            return Answer(f"NOW: {time.strftime('%Y-%m-%d %H:%M:%S +0000 UTC', time.gmtime())}")
        case "/hostname":
            return Answer(hostname())
        case "/clientip":
            return Answer(peer)
        case "/header":
            return Answer(request.headers.get(asked.get("key", "").lower(), ""))
        case "/echo":
            return Answer(asked.get("msg", ""), _number(asked.get("code", ""), 200))
        case "/healthz":
            return Answer()
        case "/redirect":
            return Answer("", _number(asked.get("code", ""), 302), Location=asked.get("location", "/"))
        case "/dial":
            return _dial(asked)
        case "/shell":
            return _shell(asked.get("cmd", asked.get("shellCommand", "")))
        case "/exit":
            os._exit(_number(asked.get("code", ""), 0))
        case "/shutdown":
            os._exit(0)
        case _:
            return Answer("404 page not found\n", 404)


def datagram(text: str, peer: str) -> str | None:
    """The answer to a datagram; None for none."""
    word, _, rest = text.partition(" ")
    return {"hostname": hostname(), "clientip": peer, "echo": rest}.get(word.lower())


def _number(text: str, default: int) -> int:
    return int(text) if text.isascii() and text.isdigit() else default


def _shell(command: str) -> Answer:
    with os.popen(f"exec 2>&1\n{command}") as output:
        said = output.read()
        code = output.close()
    result = {"output": said}
    if code is not None:
        result["error"] = f"exit status {os.waitstatus_to_exitcode(code)}"
    return Answer(jsontext.dumps(result), Content_Type=JSON)


def _dial(asked: dict[str, str]) -> Answer:
    """Ask another netexec, `tries` times; {"responses": [...]} and, for what failed, {"errors": [...]}."""
    missing = [name for name in ("host", "port", "request") if not asked.get(name)]
    if missing:
        return Answer(f"{missing[0]} of a dial is missing\n", 400)
    protocol = asked.get("protocol", "http").lower()
    if protocol not in ("http", "udp", "sctp"):
        return Answer(f"unsupported protocol {protocol}\n", 400)
    responses, errors = [], []
    for _ in range(_number(asked.get("tries", ""), 1)):
        try:
            responses.append(ask(protocol, asked["host"], int(asked["port"]), asked["request"]))
        except (OSError, ValueError) as error:
            errors.append(str(error))
    result = {"responses": responses, **({"errors": errors} if errors else {})}
    return Answer(jsontext.dumps(result), Content_Type=JSON)


def ask(protocol: str, host: str, port: int, request: str) -> str:
    """One question to another netexec. Raises OSError, ValueError."""
    handle = connected(protocol, host, port, DIAL_SECONDS)
    try:
        if protocol != "http":
            handle.sendall(request.encode())
            return handle.recv(PIECE).decode(errors="replace")
        where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        lines = f"GET /{request.lstrip('/')} HTTP/1.1\r\nHost: {where}\r\nConnection: close\r\n\r\n"
        handle.sendall(lines.encode())
        answer = b""
        while data := handle.recv(PIECE):
            answer += data
    finally:
        handle.close()
    return answer.partition(b"\r\n\r\n")[2].decode(errors="replace").strip()


def connected(protocol: str, host: str, port: int, timeout: float, source: str = "") -> _socket.socket:
    """A connection (for UDP, a socket that knows its peer) to the first address that has one. Raises OSError."""
    kind = _socket.SOCK_DGRAM if protocol == "udp" else _socket.SOCK_STREAM
    number = {"udp": 17, "sctp": 132}.get(protocol, 6)
    failure: OSError = OSError(f"{host} has no address")
    for family, _, _, _, address in _socket.getaddrinfo(host.strip("[]"), port, 0, _socket.SOCK_STREAM):
        handle = _socket.socket(family, kind, number)
        handle.settimeout(timeout)
        try:
            if source:
                handle.bind((source, 0))
            handle.connect(address)
            return handle
        except OSError as error:
            handle.close()
            failure = error
    raise failure
