"""Documents that are executed: the commands of a page, run in one shell as a reader types them, and what they print
compared with what the page says.

A page's ```console blocks hold commands behind `$ ` (continued behind `> `), each followed by all that it prints on
both streams. Every command is to succeed; where failure is the point, the command says so itself (`|| echo ...`).

Two things are let pass. `...` stands for what differs from run to run or was cut: within a line for any text, alone on
a line for any lines. And addresses of pods, with the names of chains made of them (KUBE-SEP-...), stand for those of
the lab at hand: one for one and the same throughout the page, in its commands as well.

A command that only looks is asked again while it says something else, since a change takes a moment to reach every
node. One that changes something runs once.
"""

from __future__ import annotations

import os
import re
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

PATIENCE = 90.0
"""Seconds that a command may take, and for which one that only looks is asked again."""

_CHANGES = re.compile(r"\bkubectl (?!get|wait|rollout status|logs|explain)|\bfairway (up|down|kill-node|start-node)\b")
_GIVEN = re.compile(r"\b10\.244\.(\d+)\.(?![01]\b)\d+\b|\bKUBE-SEP-[A-Z2-7]{16}\b")
"""What a lab gives: addresses of pods (a node's range and its .0 and .1 are as the page says), and chains of them."""
_END = "\x1e"  # the record separator: no program of a page prints it


@dataclass(frozen=True, slots=True)
class Step:
    """A command of a page, the line it stands on (from 1), and the lines it is to print."""

    line: int
    command: str
    output: tuple[str, ...]


def changes(command: str) -> bool:
    """Whether a command does what must not be done twice."""
    return _CHANGES.search(command) is not None


class Given:
    """Which of the lab's addresses and chains stand for those of a page."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}

    def here(self, text: str) -> str:
        """The page's text with the names that are known here."""
        return _GIVEN.sub(lambda found: self._known.get(found[0], found[0]), text)

    def fits(self, lines: tuple[str, ...], said: str) -> bool:
        """Whether `said` is what the page says; if so, the names in it are known from now on."""
        places: dict[str, str] = {}
        pattern = "".join(
            "(?:.*\n)*?"
            if line == "..."
            else r"[^\n]*".join(self._expected(part, places) for part in line.split("...")) + "\n"
            for line in lines
        )
        found = re.fullmatch(pattern, said)
        learnt = {name: found[place] for name, place in places.items()} if found else {}
        together = self._known | learnt
        if found is None or len(set(together.values())) < len(together):
            return False
        self._known = together
        return True

    def _expected(self, text: str, places: dict[str, str]) -> str:
        """A pattern for a part of a line; `places` are the groups that names not known yet have."""
        pattern, end = "", 0
        for found in _GIVEN.finditer(text):
            pattern += re.escape(text[end : found.start()]) + self._name(found, places)
            end = found.end()
        return pattern + re.escape(text[end:])

    def _name(self, found: re.Match[str], places: dict[str, str]) -> str:
        name = found[0]
        if name in self._known:
            return re.escape(self._known[name])
        if name in places:
            return f"(?P={places[name]})"
        places[name] = f"given{len(places)}"
        shape = rf"10\.244\.{found[1]}\.\d+" if found[1] else r"KUBE-SEP-[A-Z2-7]{16}"
        return f"(?P<{places[name]}>{shape})"


def blocks(page: str, language: str) -> Iterator[tuple[int, list[str]]]:
    """The fenced blocks of one language: the line that each begins on (from 1), and its lines."""
    lines = page.splitlines()
    for begin in [number for number, line in enumerate(lines) if line == f"```{language}"]:
        yield begin + 2, lines[begin + 1 : lines.index("```", begin)]


def steps(page: str) -> list[Step]:
    """The commands of a page in their order. Raises ValueError for a block that does not begin with one."""
    found: list[Step] = []
    for first, lines in blocks(page, "console"):
        if not lines or not lines[0].startswith("$ "):
            raise ValueError(f"line {first}: a console block begins with `$ ` and a command")
        for number, line in enumerate(lines, first):
            if line.startswith("$ "):
                found.append(Step(number, line[2:], ()))
                continue
            last = found.pop()
            if line.startswith("> ") and not last.output:
                found.append(Step(last.line, f"{last.command}\n{line[2:]}", ()))
            else:
                found.append(Step(last.line, last.command, (*last.output, line)))
    return found


class Shell:
    """One bash, in which commands run one after another as at a prompt. Ends with all that it began."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._bash = subprocess.Popen(
            ["bash", "--norc"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=folder,
            env=dict(environment),
            start_new_session=True,
        )

    def __enter__(self) -> Shell:
        return self

    def __exit__(self, *_: object) -> None:
        with self._bash:
            os.killpg(self._bash.pid, signal.SIGKILL)

    def run(self, command: str, seconds: float = PATIENCE) -> tuple[int, str]:
        """The exit code, and what was printed on both streams. Raises TimeoutError with what was printed so far."""
        assert self._bash.stdin and self._bash.stdout
        # With nothing to read, so that no program of it eats the commands that follow.
        self._bash.stdin.write(f"{{ {command}\n}} </dev/null; printf '{_END}%s{_END}' $?\n".encode())
        self._bash.stdin.flush()
        said, deadline = b"", time.monotonic() + seconds
        with selectors.DefaultSelector() as ready:
            ready.register(self._bash.stdout, selectors.EVENT_READ)
            while said.count(_END.encode()) < 2:
                if not ready.select(max(0.0, deadline - time.monotonic())):
                    raise TimeoutError(f"$ {command}\nnot done after {seconds:g} s; so far it said:\n{said.decode()}")
                piece = os.read(self._bash.stdout.fileno(), 65536)
                assert piece, f"$ {command}\nended the shell; it said:\n{said.decode()}"
                said += piece
        text, code, _ = said.decode().split(_END)
        return int(code), text


def ask(shell: Shell, command: str, *, again: bool, fits: Callable[[int, str], bool]) -> tuple[int, str]:
    """The exit code and output of a command: the first that fit, or the last when it has been asked for long enough."""
    deadline = time.monotonic() + PATIENCE
    while True:
        code, said = shell.run(command)
        if fits(code, said) or not again or time.monotonic() > deadline:
            return code, said
        time.sleep(0.1)


def follow(shell: Shell, page: Path) -> None:
    """Do what a page says, and see that everything is as it says."""
    given = Given()
    for step in steps(page.read_text()):

        def fits(code: int, said: str, step: Step = step) -> bool:
            whole = said if not said or said.endswith("\n") else f"{said}\n"
            return code == 0 and given.fits(step.output, whole)

        code, said = ask(shell, given.here(step.command), again=not changes(step.command), fits=fits)
        wanted = "".join(f"{given.here(line)}\n" for line in step.output)
        where = f"{page.name}, line {step.line}: exit code {code}\n$ {step.command}"
        assert fits(code, said), f"{where}\nThe page says:\n{wanted}It said:\n{said}"
