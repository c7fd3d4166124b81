"""What the doctor finds, as values, as text and as JSON."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any


class Severity(enum.StrEnum):
    """How bad it is: traffic is lost or goes wrong; it may, or surprises; or somebody should know."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding. `code` is for programs, `object` ("Service default/web") and `field` are where to look, `evidence`
    are lines as they stand there, `command` shows them. `node` is "" for what concerns the whole cluster."""

    severity: Severity
    code: str
    message: str
    object: str = ""
    field: str = ""
    node: str = ""
    evidence: tuple[str, ...] = ()
    command: str = ""


_ORDER = list(Severity)


def ordered(findings: Iterable[Finding]) -> list[Finding]:
    """The worst first, then by node and object; each once."""
    distinct = dict.fromkeys(findings)
    return sorted(distinct, key=lambda each: (_ORDER.index(each.severity), each.node, each.object, each.code))


def clean(findings: Iterable[Finding]) -> bool:
    """Whether there is nothing but notes."""
    return all(each.severity is Severity.NOTE for each in findings)


def text(findings: Sequence[Finding], looked_at: str, say: Callable[[str], str] = str) -> str:
    """The findings for people; `looked_at` says what was examined, `say` in which language."""
    lines = []
    for each in findings:
        where = f" [{each.node}]" if each.node else ""
        lines.append(f"{say(each.severity.upper())}{where} {say(each.message)}")
        lines += [f"    {each.object}{': ' if each.field else ''}{each.field}"] if each.object else []
        lines += [f"    | {line}" for line in each.evidence]
        lines += [f"    {say(f'see: {each.command}')}"] if each.command else []
        lines.append("")
    counts = {severity: sum(each.severity is severity for each in findings) for severity in Severity}
    said = ", ".join(
        say(f"{count} {severity}{'' if count == 1 else 's'}") for severity, count in counts.items() if count
    )
    lines.append(say(f"{looked_at}: {said or 'nothing found'}."))
    return "\n".join(lines)


def as_json(findings: Sequence[Finding], nodes: Sequence[str]) -> dict[str, Any]:
    """The findings for programs."""
    return {"nodes": list(nodes), "clean": clean(findings), "findings": [asdict(each) for each in findings]}
