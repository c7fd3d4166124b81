"""ReplicationControllers, ReplicaSets, Deployments: a selector that fits the template, counts that make sense."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from fairway.objects.errors import FieldError, SelectorError, forbidden, invalid, not_supported, required
from fairway.objects.selectors import from_label_selector, from_map
from fairway.objects.validate.meta import IMMUTABLE, validate_template_metadata
from fairway.objects.validate.pod import validate_pod_spec

Object = dict[str, Any]

_PERCENT = re.compile(r"\d+%")


def validate_replication_controller(controller: Object) -> Iterator[FieldError]:
    """A ReplicationController: its selector is a plain map of labels."""
    spec = controller.get("spec") or {}
    if not spec.get("selector"):
        yield required("spec.selector")
    template = spec.get("template")
    if template is None:
        yield required("spec.template")
        return
    labels = (template.get("metadata") or {}).get("labels") or {}
    if spec.get("selector") and not from_map(spec["selector"]).matches(labels):
        yield invalid("spec.template.metadata.labels", labels, "`selector` does not match template `labels`")
    yield from _template(template)


def validate_replica_set(replica_set: Object) -> Iterator[FieldError]:
    """A ReplicaSet."""
    spec = replica_set.get("spec") or {}
    if spec.get("template") is None:
        yield required("spec.template")
    yield from _selected(spec)


def validate_deployment(deployment: Object) -> Iterator[FieldError]:
    """A Deployment."""
    spec = deployment.get("spec") or {}
    yield from _selected(spec)
    yield from _strategy(spec.get("strategy") or {})
    progress, ready = spec.get("progressDeadlineSeconds"), spec.get("minReadySeconds") or 0
    if progress is not None and progress <= ready:
        yield invalid("spec.progressDeadlineSeconds", progress, "must be greater than minReadySeconds")


def validate_selector_update(new: Object, old: Object) -> Iterator[FieldError]:
    """ReplicaSets and Deployments keep their selector for life."""
    after, before = ((obj.get("spec") or {}).get("selector") for obj in (new, old))
    if after != before:
        yield invalid("spec.selector", after, IMMUTABLE)


def validate_label_selector(selector: Object, path: str) -> Iterator[FieldError]:
    """Expressions have values exactly when their operator needs them."""
    for index, expression in enumerate(selector.get("matchExpressions") or []):
        operator, values = expression.get("operator"), expression.get("values")
        where = f"{path}.matchExpressions[{index}].values"
        if operator in ("In", "NotIn") and not values:
            yield required(where, "must be specified when `operator` is 'In' or 'NotIn'")
        if operator in ("Exists", "DoesNotExist") and values:
            yield forbidden(where, "may not be specified when `operator` is 'Exists' or 'DoesNotExist'")


def _selected(spec: Object) -> Iterator[FieldError]:
    selector, template = spec.get("selector"), spec.get("template")
    if selector is not None:
        yield from validate_label_selector(selector, "spec.selector")
        if not selector.get("matchLabels") and not selector.get("matchExpressions"):
            yield invalid("spec.selector", selector, "empty selector is invalid: it would select every pod")
        elif template is not None:
            yield from _fits(selector, (template.get("metadata") or {}).get("labels") or {})
    if template is not None:
        yield from _template(template)


def _fits(selector: Object, labels: Object) -> Iterator[FieldError]:
    try:
        if not from_label_selector(selector).matches(labels):
            yield invalid("spec.template.metadata.labels", labels, "`selector` does not match template `labels`")
    except SelectorError:
        return  # the expression at fault has an error of its own


def _template(template: Object) -> Iterator[FieldError]:
    yield from validate_template_metadata(template.get("metadata") or {}, "spec.template.metadata")
    spec = template.get("spec")
    if spec is None:
        yield required("spec.template.spec")
        return
    if spec.get("restartPolicy") not in (None, "Always"):
        yield not_supported("spec.template.spec.restartPolicy", spec["restartPolicy"], ["Always"])
    if spec.get("activeDeadlineSeconds") is not None:
        yield forbidden("spec.template.spec.activeDeadlineSeconds", "activeDeadlineSeconds is not supported here")
    yield from validate_pod_spec(spec, "spec.template.spec")


def _strategy(strategy: Object) -> Iterator[FieldError]:
    rolling = strategy.get("rollingUpdate")
    if strategy.get("type") == "Recreate" and rolling is not None:
        yield forbidden("spec.strategy.rollingUpdate", "may not be specified when strategy `type` is 'Recreate'")
    if strategy.get("type") != "RollingUpdate" or rolling is None:
        return
    for name in ("maxUnavailable", "maxSurge"):
        yield from share(rolling.get(name), f"spec.strategy.rollingUpdate.{name}", most=name == "maxUnavailable")
    if all(_is_zero(rolling.get(name)) for name in ("maxUnavailable", "maxSurge")):
        detail = "may not be 0 when `maxSurge` is 0"
        yield invalid("spec.strategy.rollingUpdate.maxUnavailable", rolling.get("maxUnavailable"), detail)


def share(value: Any, path: str, *, most: bool) -> Iterator[FieldError]:
    """A number of pods or a percentage of them; `most` is for those that cannot be more than all."""
    if isinstance(value, str):
        if not _PERCENT.fullmatch(value):
            yield invalid(path, value, "must be an integer or percentage (e.g. '5%')")
        elif most and int(value[:-1]) > 100:
            yield invalid(path, value, "must not be greater than 100%")
    elif isinstance(value, int) and value < 0:
        yield invalid(path, value, "must be greater than or equal to 0")


def _is_zero(value: Any) -> bool:
    return value == 0 or (isinstance(value, str) and value.rstrip("%").lstrip("0") == "" and value != "")
