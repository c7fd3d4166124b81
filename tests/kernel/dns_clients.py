"""Resolvers of several makers as programs: Debian's, and small ones built here of C."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

SOURCES = Path(__file__).parent / "clients"


@dataclass(frozen=True)
class Client:
    """A program that prints the addresses of a name: its command but for the name, or what it is compiled with."""

    command: tuple[str, ...] = ()
    compiler: tuple[str, ...] = ()
    libraries: tuple[str, ...] = ()

    def at(self, folder: Path) -> tuple[str, ...]:
        """The command, built in `folder` if it must be."""
        if not self.compiler:
            return self.command
        program = folder / "client"
        words = [*self.compiler, "-o", str(program), *self.libraries]
        built = subprocess.run(words, capture_output=True, text=True, check=False)
        assert built.returncode == 0, f"{built.stderr}(`setup.sh tests` installs what this needs)"
        return (str(program),)


_PYTHON = "import socket, sys; [print(each[4][0]) for each in socket.getaddrinfo(sys.argv[1], None)]"
_DNSPYTHON = """
import sys, dns.resolver
for type in ("A", "AAAA"):
    for each in dns.resolver.resolve(sys.argv[1], type, search=True, raise_on_no_answer=False, lifetime=10):
        print(each)
"""

CLIENTS = {
    "glibc": Client(("getent", "ahosts")),
    "glibc over TCP": Client(("env", "RES_OPTIONS=use-vc", "getent", "ahosts")),
    "musl": Client(compiler=("musl-gcc", "-static", str(SOURCES / "libc.c"))),
    "c-ares": Client(compiler=("gcc", str(SOURCES / "cares.c")), libraries=("-lcares",)),
    "python": Client((sys.executable, "-c", _PYTHON)),
    "dnspython": Client((sys.executable, "-c", _DNSPYTHON)),
    "dig": Client(("dig", "+search", "+short")),
    "dig over TCP": Client(("dig", "+search", "+short", "+tcp")),
}
"""Clients that walk the search list of /etc/resolv.conf."""
