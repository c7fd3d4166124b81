"""ReplicationControllers, ReplicaSets, Deployments."""

# ruff: noqa: E501  (a message stands on one line, as users read it)

from copy import deepcopy
from typing import Any

import pytest

from fairway.objects.kinds import DEPLOYMENT, REPLICA_SET, REPLICATION_CONTROLLER
from tests.unit.objects.people import created, faults, update_faults, updated

SELECTOR = {"matchLabels": {"app": "web"}}
TEMPLATE = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "a", "image": "x:1"}]}}
GOOD: dict[str, Any] = {"selector": SELECTOR, "template": TEMPLATE}


def rolling(**values: Any) -> dict[str, Any]:
    return {"strategy": {"type": "RollingUpdate", "rollingUpdate": values}}


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (GOOD, []),
        ({}, ["spec.selector: Required value", "spec.template: Required value"]),
        ({**GOOD, "replicas": -1}, ["spec.replicas: Invalid value: -1: must be greater than or equal to 0"]),
        (
            {**GOOD, "selector": {"matchLabels": {"app": "db"}}},
            ['spec.template.metadata.labels: Invalid value: {"app":"web"}: `selector` does not match template `labels`'],
        ),
        ({**GOOD, "selector": {}}, ["spec.selector: Invalid value: {}: empty selector is invalid: it would select every pod"]),
        (
            {**GOOD, "selector": {"matchExpressions": [{"key": "app", "operator": "In"}]}},
            ["spec.selector.matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'"],
        ),
        (
            {**GOOD, "selector": {"matchExpressions": [{"key": "app", "operator": "Near"}]}},
            ['spec.selector.matchExpressions[0].operator: Unsupported value: "Near": supported values: "DoesNotExist", '
             '"Exists", "In", "NotIn"'],
        ),
        ({**GOOD, "template": {"metadata": TEMPLATE["metadata"]}}, ["spec.template.spec: Required value"]),
        (
            {**GOOD, "template": {**TEMPLATE, "spec": {"containers": []}}},
            ["spec.template.spec.containers: Required value"],
        ),
        (
            {**GOOD, "template": {**TEMPLATE, "spec": {**TEMPLATE["spec"], "restartPolicy": "Never"}}},
            ['spec.template.spec.restartPolicy: Unsupported value: "Never": supported values: "Always"'],
        ),
        ({**GOOD, "strategy": {"type": "Blue"}}, ['spec.strategy.type: Unsupported value: "Blue": supported values: "Recreate", "RollingUpdate"']),
        (
            {**GOOD, "strategy": {"type": "Recreate", "rollingUpdate": {}}},
            ["spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'"],
        ),
        (
            {**GOOD, **rolling(maxSurge="5", maxUnavailable=-1)},
            ["spec.strategy.rollingUpdate.maxUnavailable: Invalid value: -1: must be greater than or equal to 0",
             "spec.strategy.rollingUpdate.maxSurge: Invalid value: \"5\": must be an integer or percentage (e.g. '5%')"],
        ),
        ({**GOOD, **rolling(maxSurge="200%", maxUnavailable="101%")},
         ['spec.strategy.rollingUpdate.maxUnavailable: Invalid value: "101%": must not be greater than 100%']),
        (
            {**GOOD, **rolling(maxSurge=0, maxUnavailable="0%")},
            ['spec.strategy.rollingUpdate.maxUnavailable: Invalid value: "0%": may not be 0 when `maxSurge` is 0'],
        ),
        ({**GOOD, **rolling(maxSurge=1, maxUnavailable=0)}, []),
        (
            {**GOOD, "progressDeadlineSeconds": 5, "minReadySeconds": 5},
            ["spec.progressDeadlineSeconds: Invalid value: 5: must be greater than minReadySeconds"],
        ),
    ],
)  # fmt: skip
def test_deployments(spec: dict[str, Any], expected: list[str]) -> None:
    assert faults(DEPLOYMENT, {"spec": spec}) == expected


def test_a_deployment_without_a_spec() -> None:
    assert faults(DEPLOYMENT, {}) == ["spec.selector: Required value", "spec.template: Required value"]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"template": TEMPLATE}, []),
        ({"selector": {"app": "web"}, "template": TEMPLATE}, []),
        ({}, ["spec.selector: Required value", "spec.template: Required value"]),
        (
            {"selector": {"app": "db"}, "template": TEMPLATE},
            [
                'spec.template.metadata.labels: Invalid value: {"app":"web"}: `selector` does not match template `labels`'
            ],
        ),
        ({"template": {"metadata": TEMPLATE["metadata"]}}, ["spec.template.spec: Required value"]),
    ],
)
def test_replication_controllers(spec: dict[str, Any], expected: list[str]) -> None:
    assert faults(REPLICATION_CONTROLLER, {"spec": spec}) == expected


def test_replica_sets() -> None:
    assert faults(REPLICA_SET, {"spec": GOOD}) == []
    assert faults(REPLICA_SET, {"spec": {"selector": SELECTOR}}) == ["spec.template: Required value"]


@pytest.mark.parametrize("kind", [DEPLOYMENT, REPLICA_SET], ids=str)
def test_a_selector_is_for_life(kind: Any) -> None:
    old = created(kind, {"spec": GOOD})
    other = {"matchLabels": {"app": "web"}, "matchExpressions": [{"key": "app", "operator": "Exists"}]}
    new = updated(kind, old, {"selector": other})
    assert update_faults(kind, old, new) == [
        'spec.selector: Invalid value: {"matchLabels":{"app":"web"},"matchExpressions":[{"key":"app","operator":"Exists"}]}: '
        "field is immutable"
    ]
    scaled = updated(kind, old, {"replicas": 5, "template": deepcopy(TEMPLATE)})
    assert update_faults(kind, old, scaled) == []
