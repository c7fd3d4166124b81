"""Ingresses and their classes."""

# ruff: noqa: E501  (a message stands on one line, as users read it)

from copy import deepcopy
from typing import Any

import pytest

from fairway.objects.kinds import INGRESS, INGRESS_CLASS
from tests.unit.objects.people import created, faults, update_faults

BACKEND: dict[str, Any] = {"service": {"name": "web", "port": {"number": 80}}}


def path(**changes: Any) -> dict[str, Any]:
    return {"path": "/a", "pathType": "Prefix", "backend": BACKEND, **changes}


def rule(*paths: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"spec": {"rules": [{"http": {"paths": list(paths)}, **more}]}}


AT = "spec.rules[0].http.paths[0]"


@pytest.mark.parametrize(
    ("obj", "expected"),
    [
        (rule(path()), []),
        (rule(path(), host="*.example.com"), []),
        (rule(path(path="", pathType="ImplementationSpecific")), []),
        ({"spec": {"defaultBackend": {"resource": {"kind": "Bucket", "name": "b"}}}}, []),
        ({"spec": {}}, ["spec: Invalid value: []: either `defaultBackend` or `rules` must be specified"]),
        (rule(path(), host="10.0.0.1"), ['spec.rules[0].host: Invalid value: "10.0.0.1": must be a DNS name, not an IP address']),
        (rule(path(), host="a.*.b"), ['spec.rules[0].host: Invalid value: "a.*.b": a wildcard DNS-1123 subdomain must start with \'*.\', followed by a valid DNS subdomain']),
        (rule(path(path="a")), [f'{AT}.path: Invalid value: "a": must be an absolute path']),
        (rule(path(path="/a//b")), [f"{AT}.path: Invalid value: \"/a//b\": must not contain '//'"]),
        (rule(path(path="/a/..")), [f"{AT}.path: Invalid value: \"/a/..\": cannot end with '/..'"]),
        (rule(path(path="/a//b", pathType="ImplementationSpecific")), []),
        (rule(path(pathType=None)), [f"{AT}.pathType: Required value"]),
        (rule(path(pathType="Regex")), [f'{AT}.pathType: Unsupported value: "Regex": supported values: "Exact", "ImplementationSpecific", "Prefix"']),
        (rule(path(backend={})), [f"{AT}.backend: Required value: resource or service backend is required"]),
        (rule(path(backend={**BACKEND, "resource": {"kind": "B", "name": "b"}})), [f'{AT}.backend: Invalid value: "": cannot set both resource and service backends']),
        (rule(path(backend={"service": {"name": "web"}})), [f"{AT}.backend.service.port: Required value: port name or number is required"]),
        (rule(path(backend={"service": {"name": "web", "port": {"number": 1, "name": "a"}}})), [f'{AT}.backend.service.port: Invalid value: "a": cannot set both port name & port number']),
        (rule(path(backend={"service": {"name": "web", "port": {"number": 70000}}})), [f"{AT}.backend.service.port.number: Invalid value: 70000: must be between 1 and 65535, inclusive"]),
        ({"metadata": {"annotations": {"kubernetes.io/ingress.class": "a"}}, "spec": {"ingressClassName": "b", "defaultBackend": BACKEND}}, ['metadata.annotations[kubernetes.io/ingress.class]: Invalid value: "a": can not be set when the class field is also set']),
    ],
)  # fmt: skip
def test_ingresses(obj: dict[str, Any], expected: list[str]) -> None:
    assert faults(INGRESS, obj) == expected


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"controller": "example.com/ingress"}, []),
        ({}, ["spec.controller: Required value"]),
        ({"controller": "nobody"}, ['spec.controller: Invalid value: "nobody": must be a domain-prefixed path (such as "acme.io/foo")']),
        ({"controller": "a.b/c", "parameters": {"kind": "K", "name": "n", "scope": "Namespace"}}, ["spec.parameters.namespace: Required value: `parameters.scope` is set to 'Namespace'"]),
        ({"controller": "a.b/c", "parameters": {"kind": "K", "name": "n", "namespace": "x"}}, ["spec.parameters.namespace: Forbidden: `parameters.scope` is set to 'Cluster'"]),
    ],
)  # fmt: skip
def test_classes(spec: dict[str, Any], expected: list[str]) -> None:
    assert faults(INGRESS_CLASS, {"spec": spec}) == expected


def test_a_class_keeps_its_controller() -> None:
    old = created(INGRESS_CLASS, {"spec": {"controller": "a.b/c"}})
    new = deepcopy(old)
    new["spec"]["controller"] = "a.b/d"
    assert update_faults(INGRESS_CLASS, old, new) == ['spec.controller: Invalid value: "a.b/d": field is immutable']


def test_generations_count_and_status_waits_for_its_own_door() -> None:
    made = created(INGRESS, {**rule(path()), "status": {"loadBalancer": {"ingress": [{"ip": "1.2.3.4"}]}}})
    assert made["metadata"]["generation"] == 1 and "status" not in made
