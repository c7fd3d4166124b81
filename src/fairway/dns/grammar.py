"""Which names the cluster's zone has: one table, read from the left like the names themselves.

Source: Kubernetes DNS-Based Service Discovery 1.1.0, section 2. `<x>` stands for any one label, `_<x>` for any label
that begins with an underscore, everything else for itself. The zone's own name is left off.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from fairway.dns.names import Name

Meaning = Literal[
    "apex",
    "version",
    "services",
    "namespace",
    "service",
    "protocol",
    "port",
    "endpoint",
    "pods",
    "pod namespace",
    "pod",
]

GRAMMAR: tuple[tuple[str, Meaning], ...] = (
    ("", "apex"),
    ("dns-version", "version"),
    ("svc", "services"),
    ("<ns>.svc", "namespace"),
    ("<service>.<ns>.svc", "service"),
    ("_<proto>.<service>.<ns>.svc", "protocol"),
    ("<hostname>.<service>.<ns>.svc", "endpoint"),
    ("_<port>._<proto>.<service>.<ns>.svc", "port"),
    ("pod", "pods"),
    ("<ns>.pod", "pod namespace"),
    ("<address>.<ns>.pod", "pod"),
)


def read(name: Name) -> tuple[Meaning, tuple[bytes, ...]] | None:
    """What a lower-case name below the zone means and its variable labels, outermost last; None when no rule of the
    grammar has this form."""
    for matches, meaning, variable in _BY_DEPTH.get(len(name), ()):
        if all(match(label) for match, label in zip(matches, name, strict=True)):
            return meaning, tuple(name[index] for index in variable)
    return None


def _matcher(pattern: str) -> Callable[[bytes], bool]:
    if pattern.startswith("_<"):
        return lambda label: label[:1] == b"_"
    if pattern.startswith("<"):
        return lambda label: True
    literal = pattern.encode()
    return lambda label: label == literal


_Rule = tuple[tuple[Callable[[bytes], bool], ...], Meaning, tuple[int, ...]]


def _compile() -> dict[int, list[_Rule]]:
    rules: dict[int, list[_Rule]] = {}
    for form, meaning in GRAMMAR:
        patterns = form.split(".") if form else []
        variable = tuple(index for index, pattern in enumerate(patterns) if "<" in pattern)
        rules.setdefault(len(patterns), []).append((tuple(map(_matcher, patterns)), meaning, variable))
    return rules


_BY_DEPTH = _compile()
