"""Roles that can grant something, bindings that name someone and something."""

from __future__ import annotations

from typing import Any

import pytest

from fairway.objects import admit
from fairway.objects.kinds import CLUSTER_ROLE, CLUSTER_ROLE_BINDING, RBAC, ROLE, ROLE_BINDING, Kind

READ = {"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}
PATH = {"verbs": ["get"], "nonResourceURLs": ["/metrics"]}
ANN = {"kind": "User", "name": "ann"}


def errors(kind: Kind, **fields: Any) -> list[str]:
    metadata = {"name": "system:x", **({"namespace": "shop"} if kind.namespaced else {})}
    obj = admit.default(kind, {"metadata": metadata, **fields})
    return [f"{error.path}: {error.reason}" for error in admit.validate_create(kind, obj)]


@pytest.mark.parametrize(
    ("kind", "rule", "found"),
    [
        (ROLE, READ, []),
        (CLUSTER_ROLE, READ, []),
        (CLUSTER_ROLE, PATH, []),
        (ROLE, PATH, ["rules[0].nonResourceURLs: Invalid"]),
        (CLUSTER_ROLE, READ | PATH, ["rules[0].nonResourceURLs: Invalid"]),
        (ROLE, READ | {"verbs": []}, ["rules[0].verbs: Required"]),
        (ROLE, READ | {"apiGroups": []}, ["rules[0].apiGroups: Required"]),
        (ROLE, READ | {"resources": []}, ["rules[0].resources: Required"]),
    ],
)
def test_rules(kind: Kind, rule: dict[str, Any], found: list[str]) -> None:
    assert errors(kind, rules=[rule]) == found


def test_an_aggregation_selects_something() -> None:
    assert errors(CLUSTER_ROLE, aggregationRule={}) == ["aggregationRule.clusterRoleSelectors: Required"]
    assert errors(CLUSTER_ROLE, aggregationRule={"clusterRoleSelectors": [{"matchLabels": {"a": "b"}}]}) == []


@pytest.mark.parametrize(
    ("kind", "ref", "subject", "found"),
    [
        (ROLE_BINDING, {"kind": "Role", "name": "r"}, ANN, []),
        (ROLE_BINDING, {"kind": "ClusterRole", "name": "system:r"}, ANN, []),
        (CLUSTER_ROLE_BINDING, {"kind": "Role", "name": "r"}, ANN, ["roleRef.kind: NotSupported"]),
        (ROLE_BINDING, {"kind": "Role", "name": "a/b"}, ANN, ["roleRef.name: Invalid"]),
        (ROLE_BINDING, {"kind": "Role", "name": "r", "apiGroup": "x"}, ANN, ["roleRef.apiGroup: NotSupported"]),
        (ROLE_BINDING, {"kind": "Role", "name": "r"}, {"kind": "Cat", "name": "x"}, ["subjects[0].kind: NotSupported"]),
        (
            ROLE_BINDING,
            {"kind": "Role", "name": "r"},
            {"kind": "ServiceAccount", "name": "robot"},
            ["subjects[0].namespace: Required"],
        ),
        (
            ROLE_BINDING,
            {"kind": "Role", "name": "r"},
            {"kind": "ServiceAccount", "name": "robot", "namespace": "shop", "apiGroup": RBAC},
            ["subjects[0].apiGroup: NotSupported"],
        ),
        (ROLE_BINDING, {"kind": "Role", "name": "r"}, ANN | {"apiGroup": "x"}, ["subjects[0].apiGroup: NotSupported"]),
    ],
)
def test_bindings(kind: Kind, ref: dict[str, str], subject: dict[str, str], found: list[str]) -> None:
    assert errors(kind, roleRef=ref, subjects=[subject]) == found


def test_what_a_binding_grants_stays() -> None:
    def bound(role: str) -> dict[str, Any]:
        ref = {"apiGroup": RBAC, "kind": "Role", "name": role}
        return {"metadata": {"name": "b", "namespace": "shop"}, "roleRef": ref}

    (error,) = admit.validate_update(ROLE_BINDING, bound("b"), bound("a"))
    assert (error.path, error.detail) == ("roleRef", "cannot change roleRef")
