"""FRR's daemons by their shell, as a program: what bgpd runs, and telling it more."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

from fairway.kernel.base import KernelError

_SECONDS = 30


class Vtysh:
    """The daemons that `command` reaches: `vtysh`, or with words before or behind it (a container, a path space)."""

    def __init__(self, command: Sequence[str] = ("vtysh",)) -> None:
        self._command = tuple(command)

    def running(self) -> str:
        """What bgpd is configured to do. Raises KernelError when it does not answer."""
        return self._run("-c", "show running-config bgpd")

    def tell(self, text: str) -> None:
        """Say lines of configuration. Raises KernelError with what was refused; the lines before it stand."""
        self._run("-f", "/dev/stdin", text=text)

    def _run(self, *words: str, text: str = "") -> str:
        command = [*self._command, *words]
        try:
            done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=_SECONDS, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise KernelError(f"{command[0]}: {error}") from error
        if done.returncode:
            said = " ".join((done.stderr or done.stdout).split()) or f"exit code {done.returncode}"
            raise KernelError(f"{command[0]}: {said}")
        return done.stdout
