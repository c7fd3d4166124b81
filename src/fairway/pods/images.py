"""Which program runs for an image: a small table, since Fairway runs host programs and pulls nothing."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from fairway.pods.view import Container

STAND_IN = Path(__file__).with_name("standin.py")
AGNHOST = (sys.executable, "-I", "-S", str(Path(__file__).parent / "agnhost" / "__main__.py"))
DEFAULT_PORT = 80  # what a web server's image without declared ports most likely listens on

DEFAULT_PROGRAMS: Mapping[str, tuple[str, ...]] = {
    "pause": ("sleep", "infinity"),
    "busybox": ("sh",),
    "alpine": ("sh",),
    "debian": ("bash",),
    "ubuntu": ("bash",),
    "bash": ("bash",),
    "python": ("python3",),
}
SHELLS = frozenset({"sh", "bash", "python3"})  # run as an image's CMD: `args` replace them instead of following


@dataclass(frozen=True, slots=True)
class Launch:
    """How a container starts: its argument list, whether that is the stand-in server, and what programs of its image
    it finds at which paths (their argument lists)."""

    argv: tuple[str, ...]
    stand_in: bool = False
    tools: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def plain_name(image: str) -> str:
    """An image's name without tag, digest, docker.io and library: `docker.io/library/nginx:1.25` is `nginx`."""
    name = image.partition("@")[0]
    head, slash, tail = name.rpartition("/")
    name = head + slash + tail.partition(":")[0]
    for prefix in ("docker.io/", "index.docker.io/", "library/"):
        name = name.removeprefix(prefix)
    return name


@dataclass(frozen=True, slots=True)
class ImageTable:
    """Image patterns (shell wildcards, matched against the plain name and its last part) and their programs. Entries
    of `programs` come before the defaults; the first match counts."""

    programs: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def program(self, image: str) -> tuple[str, ...] | None:
        """The program of an image, None when the table has none."""
        name = plain_name(image)
        for table in (self.programs, DEFAULT_PROGRAMS):
            for pattern, program in table.items():
                if fnmatchcase(name, pattern) or fnmatchcase(name.rpartition("/")[2], pattern):
                    return tuple(program)
        return None

    def launch(self, container: Container, pod_name: str, node_name: str) -> Launch:
        """How `container` starts: its own `command`, else the table's program with its `args`, else the stand-in on
        its ports. A command's and args' $(NAME) are not replaced here."""
        tools = image_tools(container.image)
        if container.command:
            return Launch((*container.command, *container.args), tools=tools)
        if tools and self.program(container.image) is None:
            return Launch((*AGNHOST, *container.args), tools=tools)
        program = self.program(container.image)
        if program is None:
            return Launch(stand_in(container, pod_name, node_name), stand_in=True)
        if container.args and len(program) == 1 and program[0] in SHELLS:
            return Launch(container.args)
        return Launch((*program, *container.args))


def image_tools(image: str) -> Mapping[str, tuple[str, ...]]:
    """The programs that an image is known to bring and that Fairway has a stand-in for; of `nc`, only where the host
    has none."""
    if plain_name(image).rpartition("/")[2] != "agnhost":
        return {}
    return {"/agnhost": AGNHOST} | ({} if shutil.which("nc") else {"/usr/bin/nc": (*AGNHOST, "nc")})


def stand_in(container: Container, pod_name: str, node_name: str) -> tuple[str, ...]:
    """The stand-in server on every declared port; without any, on the web's port if that is free."""
    ports = [f"{port.protocol}:{port.container_port}" for port in container.ports] or [f"TCP:{DEFAULT_PORT}?"]
    return (sys.executable, "-I", "-S", str(STAND_IN), "--pod", pod_name, "--node", node_name, *ports)
