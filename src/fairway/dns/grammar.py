"""Which names the cluster's zone has: one table, read from the left like the names themselves.

Source: Kubernetes DNS-Based Service Discovery 1.1.0, section 2. `<x>` stands for any one label, `_<x>` for any label
that begins with an underscore, everything else for itself. The zone's own name is left off.
"""

from __future__ import annotations

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
    for literals, underscored, meaning, variable in _BY_DEPTH.get(len(name), ()):
        for index, label in literals:
            if name[index] != label:
                break
        else:
            if all(name[index][:1] == b"_" for index in underscored):
                return meaning, tuple([name[index] for index in variable])
    return None


_Rule = tuple[tuple[tuple[int, bytes], ...], tuple[int, ...], Meaning, tuple[int, ...]]
"""Labels that stand for themselves, places of those that begin with an underscore, the meaning, variable places."""


def _compile() -> dict[int, list[_Rule]]:
    rules: dict[int, list[_Rule]] = {}
    for form, meaning in GRAMMAR:
        patterns = form.split(".") if form else []
        variable = tuple(index for index, pattern in enumerate(patterns) if "<" in pattern)
        literals = tuple((index, pattern.encode()) for index, pattern in enumerate(patterns) if "<" not in pattern)
        underscored = tuple(index for index, pattern in enumerate(patterns) if pattern.startswith("_<"))
        rules.setdefault(len(patterns), []).append((literals, underscored, meaning, variable))
    return rules


_BY_DEPTH = _compile()
