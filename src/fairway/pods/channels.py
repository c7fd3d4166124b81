"""What a far client and a program tell each other: channels by number, and how a program ended.

The numbers are those of Kubernetes' WebSocket sub-protocols (KEP-4006); `websocket` and `remote` carry them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

STDIN, STDOUT, STDERR, ERROR, RESIZE, CLOSE = 0, 1, 2, 3, 4, 255

SUCCESS: Mapping[str, Any] = {"metadata": {}, "status": "Success"}


class NoProtocol(Exception):
    """The client asks for no upgrade that is served here, or speaks none of the protocols inside of it."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a client asked for: the program (empty for attach) and which streams it wants to have."""

    command: tuple[str, ...] = ()
    stdin: bool = False
    stdout: bool = False
    stderr: bool = False
    tty: bool = False

    @classmethod
    def of(cls, query: Mapping[str, Sequence[str]]) -> Wanted:
        """From the query of a request, in which `command` repeats."""
        on = {name: query.get(name, ("",))[0] == "1" for name in ("input", "output", "error", "tty")}
        return cls(tuple(query.get("command", ())), on["input"], on["output"], on["error"], on["tty"])


def exit_status(code: int) -> Mapping[str, Any]:
    """How a program ended, as the error channel tells it."""
    if code == 0:
        return SUCCESS
    return {
        "metadata": {},
        "status": "Failure",
        "message": f"command terminated with non-zero exit code: exit status {code}",
        "reason": "NonZeroExitCode",
        "details": {"causes": [{"reason": "ExitCode", "message": str(code)}]},
    }


def failure_status(message: str) -> Mapping[str, Any]:
    """Why there was no program to end."""
    return {
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": "InternalError",
        "details": {"causes": [{"message": message}]},
        "code": 500,
    }


class Channels(Protocol):
    """The agent's side of one connection. Sending to a client that has left is not an error: receiving tells."""

    async def greet(self, wanted: Wanted) -> bool:
        """Wait until the client has made its streams; False when it does not."""

    async def send(self, channel: int, data: bytes) -> None:
        """Returns when the client takes more."""

    def received(self) -> AsyncIterator[tuple[int, bytes]]:
        """What the client sends with its channels, until it leaves. The end of its input is (CLOSE, b"\\0")."""

    async def departed(self) -> None:
        """Returns when the client has left, seen even while what it sent before is not received."""

    async def finish(self, status: Mapping[str, Any]) -> None:
        """Tell how it ended, and part."""

    async def end(self) -> None:
        """Let go of the connection. Called last, whatever happened."""
