"""Starting programs from process 1: fork, exec, and the reason when exec failed."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import fcntl
import os
from collections.abc import Callable

TYPE_CHECKING = False  # typing costs each pod 4 ms and 1 MB
if TYPE_CHECKING:
    from typing import Any, TypeAlias

    Record: TypeAlias = dict[str, Any]
else:
    Record = dict


TIOCSCTTY = 0x540E  # asm-generic/ioctls.h


class Trouble(Exception):
    """A request that cannot be carried out; the text goes back to whoever asked."""


def _become(request: Record, streams: tuple[int, int, int], prepare: Callable[[], None]) -> None:
    """In the forked child: turn into the program asked for. Raises OSError or Trouble; else does not return."""
    os.setsid()
    for target, descriptor in enumerate(streams):
        os.dup2(descriptor, target)
    if request.get("tty"):
        fcntl.ioctl(0, TIOCSCTTY, 0)
    _signal.signal(_signal.SIGPIPE, _signal.SIG_DFL)  # Python ignores it, and ignored signals survive exec
    os.umask(0o022)
    prepare()
    argv, env, cwd = request["argv"], request["env"], request.get("cwd") or "/"
    try:
        os.makedirs(cwd, exist_ok=True)
        os.chdir(cwd)
    except OSError as error:
        raise Trouble(f"working directory {cwd}: {error.strerror}") from None
    _change_identity(request)
    _execute(argv, env)


def _execute(argv: list[str], env: dict[str, str]) -> None:
    """As execvpe, which would import modules where the container's user may not be able to read them."""
    name, path = argv[0], env.get("PATH", os.defpath)
    places = [name] if "/" in name else [f"{folder or '.'}/{name}" for folder in path.split(":")]
    refused: OSError | None = None
    for place in places:
        try:
            os.execve(place, argv, env)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except PermissionError as error:  # perhaps one further on is allowed, as execvp(3) does
            refused = refused or error
    if refused is not None:
        raise Trouble(f"{refused.filename or name}: {refused.strerror}")
    where = "no such file" if "/" in name else f"not found in PATH ({path})"
    raise Trouble(f"{name}: {where}; commands run as they stand on the host")


def _change_identity(request: Record) -> None:
    groups = request.get("groups") or []
    if groups or request.get("group") is not None or request.get("user") is not None:
        os.setgroups(groups)
    if request.get("group") is not None:
        os.setgid(request["group"])
    if request.get("user") is not None:
        os.setuid(request["user"])


def spawn(request: Record, streams: tuple[int, int, int], prepare: Callable[[], None]) -> int:
    """Start a program in a session of its own, in which `prepare` runs first; its process id. Raises Trouble when it
    could not be executed, which the child tells through a pipe that a successful exec closes."""
    listening, telling = os.pipe()
    process = os.fork()
    if process == 0:
        try:
            _become(request, streams, prepare)
        except Exception as error:
            os.write(telling, str(error).encode()[:4000])
        finally:
            os._exit(127)
    os.close(telling)
    with open(listening, "rb") as pipe:
        reason = pipe.read()
    if reason:
        os.waitpid(process, 0)
        raise Trouble(reason.decode(errors="replace"))
    return process


def signal_group(process: int, number: int) -> None:
    """Signal a program and what it started in its session."""
    try:
        os.killpg(process, number)
    except OSError:  # nobody of the group is left
        pass


def read_all(descriptor: int, consume: Callable[[bytes], object]) -> bool:
    """Hand over what a non-blocking pipe holds now (all of it, but never more than a busy writer can refill for ever);
    False when its last writer is gone."""
    for _ in range(16):
        try:
            data = os.read(descriptor, 65536)
        except BlockingIOError:
            return True
        except OSError:  # EIO: nobody has the terminal any more
            return False
        if not data:
            return False
        consume(data)
    return True
