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
    for underscored, meaning, variable in _RULES.get((len(name), name[-1:]), ()):
        for index in underscored:
            if name[index][:1] != b"_":
                break
        else:
            return meaning, name[variable]
    return None


_Rule = tuple[tuple[int, ...], Meaning, slice]
"""Places of labels that begin with an underscore, the meaning, where the variable labels are."""


def _compile() -> dict[tuple[int, Name], list[_Rule]]:
    """The rules by what a look can tell: the number of labels, and the last one, which always stands for itself."""
    rules: dict[tuple[int, Name], list[_Rule]] = {}
    for form, meaning in GRAMMAR:
        patterns = form.split(".") if form else []
        variable = [index for index, pattern in enumerate(patterns) if "<" in pattern]
        assert variable == [*range(len(variable))] and len(patterns) - len(variable) <= 1
        underscored = tuple(index for index, pattern in enumerate(patterns) if pattern.startswith("_<"))
        last = tuple(pattern.encode() for pattern in patterns[-1:])
        rules.setdefault((len(patterns), last), []).append((underscored, meaning, slice(len(variable))))
    return rules


_RULES = _compile()
