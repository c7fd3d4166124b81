"""The commands by name, and their flags."""

from __future__ import annotations

import _socket
import os
import sys
from collections.abc import Callable

from fairway.pods.agnhost import netcat, netexec
from fairway.pods.agnhost.serving import Answer, Page, serve_connections, serve_datagrams, serve_http, wait_for_end
from fairway.pods.inside import jsontext
from fairway.pods.standin import Request, say

Flags = dict[str, str]


def main(words: list[str]) -> int:
    """Run a command; its exit code."""
    name = words[0] if words else "pause"
    plain, flags = split(words[1:]) if name != "nc" else (words[1:], {})
    command = COMMANDS.get(name)
    if command is None:
        sys.stderr.write(f"agnhost: the stand-in has no command {name!r}; it has {', '.join(sorted(COMMANDS))}\n")
        return 1
    try:
        return command(plain, flags)
    except (OSError, ValueError) as error:
        sys.stderr.write(f"agnhost {name}: {error}\n")
        return 1


def split(words: list[str]) -> tuple[list[str], Flags]:
    """(plain words, flags): `--name=value`, `--name value`, or `--name` alone, which is "true"."""
    plain: list[str] = []
    flags: Flags = {}
    waiting = ""
    for word in words:
        if word.startswith("--"):
            waiting, equals, value = word[2:].partition("=")
            flags[waiting] = value if equals else "true"
            waiting = "" if equals or waiting in SWITCHES else waiting
        elif waiting:
            flags[waiting], waiting = word, ""
        else:
            plain.append(word)
    return plain, flags


def _netexec(_: list[str], flags: Flags) -> int:
    http, udp, sctp = (int(flags.get(f"{name}-port", port)) for name, port in PORTS.items())
    if http > 0:
        serve_http(http, netexec.page)
    if udp > 0:
        serve_datagrams(udp, netexec.datagram)
    if sctp > 0:
        serve_connections(sctp, _sctp, "SCTP")
    return wait_for_end(float(flags.get("delay-shutdown", "0")))


def _sctp(descriptor: int, peer: str) -> None:
    handle = _socket.socket(fileno=descriptor)
    while data := handle.recv(2048):
        handle.sendall((netexec.datagram(data.decode(errors="replace").strip(), peer) or "").encode())
    handle.close()


def _serve_hostname(_: list[str], flags: Flags) -> int:
    port, name = int(flags.get("port", "9376")), netexec.hostname()
    if flags.get("udp") == "true":
        serve_datagrams(port, lambda text, peer: name)
    if flags.get("tcp") == "true":
        serve_connections(port, lambda descriptor, peer: _say_and_close(descriptor, name))
    elif flags.get("http", "true") == "true":
        serve_http(port, lambda request, peer: Answer(name))
    return wait_for_end()


def _say_and_close(descriptor: int, text: str) -> None:
    handle = _socket.socket(fileno=descriptor)
    handle.sendall(text.encode())
    handle.close()


def _test_webserver(_: list[str], flags: Flags) -> int:
    serve_http(int(flags.get("port", "80")), _file)
    return wait_for_end()


def _file(request: Request, peer: str) -> Answer:
    path = netexec.unquoted(request.path)
    try:
        if os.path.isdir(path):  # noqa: PTH112
            return Answer("\n".join(sorted(os.listdir(path))) + "\n")  # noqa: PTH208
        with open(path, "rb") as file:  # noqa: PTH123
            return Answer(file.read())
    except OSError:
        return Answer("404 page not found\n", 404)


def _porter(_: list[str], flags: Flags) -> int:
    as_json = flags.get("json-response") == "true"
    for name, value in os.environ.items():
        for prefix, secured in (("SERVE_PORT_", False), ("SERVE_TLS_PORT_", True)):
            if name.startswith(prefix) and name.removeprefix(prefix).isdigit():
                wrap = _tls(flags) if secured else None
                serve_http(int(name.removeprefix(prefix)), _porter_page(value, as_json), wrap=wrap)
    return wait_for_end()


def _porter_page(value: str, as_json: bool) -> Page:
    def page(request: Request, peer: str) -> Answer:
        if as_json:
            return Answer(jsontext.dumps({"Method": request.method, "Body": value}), Content_Type="application/json")
        return Answer(value)

    return page


def _tls(flags: Flags) -> Callable[[int], object]:
    """Secured by the certificate of the flags, else by one that `openssl` makes now. Raises OSError, ValueError."""
    import socket  # heavy, and rarely wanted
    import ssl
    import subprocess
    import tempfile

    certificate, key = flags.get("cert-file", ""), flags.get("key-file", "")
    if not certificate:
        folder = tempfile.mkdtemp()
        certificate, key = f"{folder}/tls.crt", f"{folder}/tls.key"
        subject = ["-subj", "/CN=localhost", "-days", "3650", "-nodes"]
        kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
        words = ["openssl", "req", "-x509", *kind, *subject, "-keyout", key, "-out", certificate]
        made = subprocess.run(words, capture_output=True, text=True)
        if made.returncode:
            raise ValueError(f"no certificate: {made.stderr}")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return lambda descriptor: context.wrap_socket(socket.socket(fileno=descriptor), server_side=True)


def _connect(plain: list[str], flags: Flags) -> int:
    if len(plain) != 1:
        raise ValueError("connect takes HOST:PORT")
    host, _, port = plain[0].rpartition(":")
    protocol, timeout = flags.get("protocol", "tcp").lower(), seconds(flags.get("timeout", "0"))
    try:
        handle = netexec.connected(protocol, host, int(port), timeout or 3600.0)
        if protocol == "udp":
            handle.sendall(flags.get("udp-data", "hostname").encode())
            handle.recv(2048)
        handle.close()
    except TimeoutError:
        return _failed("TIMEOUT")
    except ConnectionRefusedError:
        return _failed("REFUSED")
    except _socket.gaierror as error:
        return _failed(f"DNS: {error}")
    except OSError as error:
        return _failed(f"OTHER: {error}")
    return 0


def _failed(why: str) -> int:
    sys.stderr.write(why + "\n")
    return 1


def seconds(text: str) -> float:
    """A duration as Go writes it: 1s, 500ms, 1m30s; a bare number is seconds. Raises ValueError."""
    if text.endswith("ms"):
        return float(text.removesuffix("ms")) / 1000
    total, rest = 0.0, text
    for unit, factor in (("h", 3600.0), ("m", 60.0), ("s", 1.0)):
        number, found, behind = rest.partition(unit)
        if found:
            total, rest = total + float(number) * factor, behind
    return total + (float(rest) if rest else 0.0)


def _resolver(keyword: str) -> list[str]:
    found: list[str] = []
    with open("/etc/resolv.conf", encoding="utf-8") as file:  # noqa: PTH123
        for words in map(str.split, file):
            if words and words[0] == keyword:
                found = words[1:] if keyword == "search" else [*found, words[1]]
    return found


def _tell(text: str) -> int:
    sys.stdout.write(text)
    return 0


def _etc_hosts(_: list[str], flags: Flags) -> int:
    with open("/etc/hosts", encoding="utf-8") as file:  # noqa: PTH123
        return _tell(file.read())


def _pause(_: list[str], flags: Flags) -> int:
    say("Paused")
    return wait_for_end()


PORTS = {"http": "8080", "udp": "8081", "sctp": "-1"}
SWITCHES = frozenset({"json-response", "http", "tcp", "udp", "close"})

COMMANDS: dict[str, Callable[[list[str], Flags], int]] = {
    "netexec": _netexec,
    "serve-hostname": _serve_hostname,
    "test-webserver": _test_webserver,
    "porter": _porter,
    "connect": _connect,
    "dns-suffix": lambda plain, flags: _tell(",".join(_resolver("search"))),
    "dns-server-list": lambda plain, flags: _tell(",".join(_resolver("nameserver"))),
    "etc-hosts": _etc_hosts,
    "pause": _pause,
    "nc": lambda words, flags: netcat.run(words),
}
