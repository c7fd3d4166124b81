"""A small `nc`: `nc [-uzv] [-w SECONDS] [-s ADDRESS] HOST PORT`, for hosts that have none.

Standard input goes to the peer and what the peer says to standard output; -z only sees whether it listens.
"""

from __future__ import annotations

import _socket
import _thread
import os
import select
import sys

from fairway.pods.agnhost.netexec import connected

PIECE = 65536
VALUED = "wspq"  # letters that are followed by a value


def parse(words: list[str]) -> tuple[list[str], dict[str, str]]:
    """(plain words, options by letter, "" for one without value). Raises ValueError."""
    plain: list[str] = []
    options: dict[str, str] = {}
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if not word.startswith("-") or word == "-":
            plain.append(word)
            continue
        for position, letter in enumerate(word[1:], 2):
            options[letter] = ""
            if letter in VALUED:
                options[letter] = word[position:] or (rest.pop(0) if rest else "")
                break
    unknown = sorted(set(options) - set("uzvn46") - set(VALUED))
    if unknown:
        raise ValueError(f"this nc has no option -{unknown[0]}")
    return plain, options


def run(words: list[str]) -> int:
    """Connect and copy; the exit code."""
    plain, options = parse(words)
    if len(plain) != 2:
        raise ValueError("nc takes HOST PORT")
    host, port, protocol = plain[0], int(plain[1]), "udp" if "u" in options else "tcp"
    seconds = float(options.get("w") or 0)
    try:
        handle = connected(protocol, host, port, seconds or 3600.0, options.get("s", ""))
        if "z" in options and protocol == "udp":
            _knock(handle)
    except OSError as error:
        sys.stderr.write(f"nc: connect to {host} port {port} ({protocol}) failed: {error.strerror or error}\n")
        return 1
    if "v" in options:
        sys.stderr.write(f"Connection to {host} {port} port [{protocol}] succeeded!\n")
    if "z" not in options:
        _copy(handle, protocol, seconds)
    handle.close()
    return 0


def _knock(handle: _socket.socket) -> None:
    """Where nothing listens on a UDP port, a refusal comes back, if anything does. Raises OSError."""
    for _ in range(2):
        handle.send(b"X")
        select.select([handle.fileno()], [], [], 0.2)
    handle.settimeout(0.0)
    try:
        handle.recv(PIECE)
    except BlockingIOError:
        return


def _copy(handle: _socket.socket, protocol: str, seconds: float) -> None:
    """Both ways, until the peer has closed or nobody has said anything for `seconds`."""
    _thread.start_new_thread(_send, (handle, protocol))
    handle.settimeout(seconds or None)
    try:
        while data := handle.recv(PIECE):
            os.write(1, data)
    except OSError:  # the time is over, or the peer is gone
        return


def _send(handle: _socket.socket, protocol: str) -> None:
    try:
        while data := os.read(0, PIECE):
            handle.sendall(data)
        if protocol == "tcp":
            handle.shutdown(_socket.SHUT_WR)
    except OSError:  # the other direction will notice
        return
