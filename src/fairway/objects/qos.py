"""A pod's quality of service class, from what its containers request and may use at most."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any

from fairway.objects.errors import QuantityError
from fairway.objects.quantity import parse

_COUNTED = ("cpu", "memory")


def qos_class(spec: Mapping[str, Any]) -> str:
    """Guaranteed when every container limits cpu and memory and requests just that, BestEffort when none says
    anything, else Burstable. A quantity that cannot be read counts as none; validation refuses it."""
    resources = list(_resources(spec))
    if not any(_amount(one, part, name) for one in resources for part in ("limits", "requests") for name in _COUNTED):
        return "BestEffort"
    guaranteed = all(
        _amount(one, "limits", name) and _amount(one, "requests", name) == _amount(one, "limits", name)
        for one in resources
        for name in _COUNTED
    )
    return "Guaranteed" if guaranteed else "Burstable"


def _resources(spec: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for field in ("initContainers", "containers"):
        for container in spec.get(field) or []:
            yield container.get("resources") or {}


def _amount(resources: Mapping[str, Any], part: str, name: str) -> Fraction:
    try:
        return parse((resources.get(part) or {}).get(name, 0))
    except QuantityError:
        return Fraction(0)
