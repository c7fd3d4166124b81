"""Where a pod may go: node and pod affinity, tolerations, spread."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fairway.objects.errors import FieldError, duplicate, forbidden, invalid, required

Object = dict[str, Any]

REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"


def validate_affinity(affinity: Object, path: str) -> Iterator[FieldError]:
    """All three kinds of affinity."""
    node = affinity.get("nodeAffinity") or {}
    for index, term in enumerate((node.get(REQUIRED) or {}).get("nodeSelectorTerms") or []):
        yield from _term(term, f"{path}.nodeAffinity.{REQUIRED}.nodeSelectorTerms[{index}]")
    for index, weighted in enumerate(node.get(PREFERRED) or []):
        yield from _term(weighted.get("preference") or {}, f"{path}.nodeAffinity.{PREFERRED}[{index}].preference")


def validate_tolerations(tolerations: list[Object], path: str) -> Iterator[FieldError]:
    """Each toleration's key, operator, value and duration fit each other."""
    for index, toleration in enumerate(tolerations):
        inner = f"{path}[{index}]"
        operator = toleration.get("operator") or "Equal"
        if not toleration.get("key") and operator != "Exists":
            yield invalid(f"{inner}.operator", operator, "operator must be Exists when `key` is empty")
        if operator == "Exists" and toleration.get("value"):
            yield invalid(f"{inner}.value", toleration["value"], "value must be empty when `operator` is 'Exists'")
        if toleration.get("tolerationSeconds") is not None and toleration.get("effect") != "NoExecute":
            detail = "effect must be 'NoExecute' when `tolerationSeconds` is set"
            yield invalid(f"{inner}.effect", toleration.get("effect") or "", detail)


def validate_spread(constraints: list[Object], path: str) -> Iterator[FieldError]:
    """Spread constraints are unique by topology and strictness."""
    seen: set[tuple[Any, Any]] = set()
    for index, constraint in enumerate(constraints):
        key = (constraint.get("topologyKey"), constraint.get("whenUnsatisfiable"))
        if key in seen:
            yield duplicate(f"{path}[{index}]", "{" + f"{key[0]}, {key[1]}" + "}")
        seen.add(key)
        if constraint.get("minDomains") is not None and key[1] != "DoNotSchedule":
            detail = "can only use minDomains if whenUnsatisfiable=DoNotSchedule"
            yield invalid(f"{path}[{index}].minDomains", constraint["minDomains"], detail)


def _term(term: Object, path: str) -> Iterator[FieldError]:
    for field in ("matchExpressions", "matchFields"):
        for index, requirement in enumerate(term.get(field) or []):
            yield from _requirement(requirement, f"{path}.{field}[{index}]")


def _requirement(requirement: Object, path: str) -> Iterator[FieldError]:
    operator, values = requirement.get("operator"), requirement.get("values") or []
    if operator in ("In", "NotIn") and not values:
        yield required(f"{path}.values", "must be specified when `operator` is 'In' or 'NotIn'")
    if operator in ("Exists", "DoesNotExist") and values:
        yield forbidden(f"{path}.values", "may not be specified when `operator` is 'Exists' or 'DoesNotExist'")
    if operator in ("Gt", "Lt") and len(values) != 1:
        yield required(f"{path}.values", "must be specified single value when `operator` is 'Lt' or 'Gt'")
