"""What all commands share: errors in one line, options, the check for root."""

from __future__ import annotations

import os
import select
import sys
from typing import TYPE_CHECKING, Any, NoReturn

import click
from click.core import ParameterSource

if TYPE_CHECKING:
    from fairway.lab.state import StateDir

LAB_OPTION = click.option(
    "--lab", default="lab", envvar="FAIRWAY_LAB", show_default=True, metavar="NAME", help="Which lab ($FAIRWAY_LAB)."
)
OUTPUT_OPTION = click.option(
    "--output", "-o", type=click.Choice(["text", "json"]), default="text", show_default=True, help="Form of the answer."
)
EXIT_NOT_DELIVERED = 3
EXIT_NOT_FOUND = 3


class Cli(click.Group):
    """Turns the errors that say who is at fault into one line and exit code 1."""

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:
            if os.environ.get("FAIRWAY_DEBUG") or (isinstance(error, BrokenPipeError) and _nobody_reads()):
                raise  # click ends without a word when `head` has seen enough
            fail(_said(error))


def _said(error: Exception) -> str:
    """What an error says, and what it means where that is too little."""
    said = str(error) or type(error).__name__
    if said == "Unauthorized":  # all that API servers say to whom they do not know
        return f"{said}: the API server accepts neither a certificate nor a token of the kubeconfig's user"
    return said


def _nobody_reads() -> bool:
    """Whether the pipe that stdout is has lost its reader."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


def fail(message: str) -> NoReturn:
    """End with exit code 1 and one line that says why."""
    click.echo(click.style("fairway: ", fg="red", bold=True) + message, err=True)
    sys.exit(1)


def warn(message: str) -> None:
    """One line beside the answer."""
    click.echo(click.style("fairway: ", fg="yellow", bold=True) + message, err=True)


LAB_NEEDS_ROOT = "the lab makes network namespaces and loads rules into them, which needs root: run it as root (sudo)"
READING_NEEDS_ROOT = "rules and connections are shown to root alone, of a lab or of this machine: run it as root (sudo)"


def need_root(why: str = LAB_NEEDS_ROOT) -> None:
    """End unless run as root."""
    if os.geteuid() != 0:
        fail(why)


def lab_if_up(name: str, elsewhere: str = "") -> StateDir:
    """The folder of a lab for commands that look elsewhere when it is not up, which it must be when the command line
    names it. `elsewhere` is what the command line says of another place ("": nothing)."""
    from fairway.lab.state import StateDir

    state = StateDir.named(name)
    named = click.get_current_context().get_parameter_source("lab") is ParameterSource.COMMANDLINE
    if named and not elsewhere and not state.usable():
        if os.geteuid() != 0 and state.path.exists():
            fail(f"lab {name!r} belongs to another user: run it as root (sudo)")
        state.topology()
        fail(f"lab {name!r} is not up yet")
    return state
