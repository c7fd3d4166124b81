"""How the tables of roles write a rule: one line of words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Line = tuple[str, str, str] | tuple[str, str, str, Sequence[str]]
"""Verbs, API group, resources, and the only names they are good for, if there are such; or verbs, "/", paths. Words are
separated by spaces."""


def rule(line: Line) -> dict[str, Any]:
    """rbac.authorization.k8s.io/v1 `PolicyRule`."""
    verbs, group, things, *names = line
    if group == "/":
        return {"verbs": verbs.split(), "nonResourceURLs": things.split()}
    made: dict[str, Any] = {"verbs": verbs.split(), "apiGroups": [group], "resources": things.split()}
    return made | ({"resourceNames": sorted(names[0])} if names else {})
