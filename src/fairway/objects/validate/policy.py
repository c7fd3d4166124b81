"""Disruption budgets: one bound, a number or a share, and pods that can be selected."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fairway.objects.errors import FieldError, SelectorError, invalid
from fairway.objects.selectors import from_label_selector
from fairway.objects.validate.workload import share

Object = dict[str, Any]


def validate_disruption_budget(budget: Object) -> Iterator[FieldError]:
    """At most one of the two bounds."""
    spec = budget.get("spec") or {}
    bounds = {name: spec[name] for name in ("minAvailable", "maxUnavailable") if spec.get(name) is not None}
    if len(bounds) == 2:
        yield invalid("spec", bounds, "minAvailable and maxUnavailable cannot be both set")
    for name, value in bounds.items():
        yield from share(value, f"spec.{name}", most=True)
    try:
        from_label_selector(spec.get("selector"))
    except SelectorError as error:
        yield invalid("spec.selector", spec.get("selector"), str(error))
