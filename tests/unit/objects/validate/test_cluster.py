"""Nodes, events, configuration, ranges."""

# ruff: noqa: E501  (a message stands on one line, as users read it)

from copy import deepcopy
from typing import Any

import pytest

from fairway.objects.kinds import (
    CONFIG_MAP,
    EVENT,
    IP_ADDRESS,
    LEASE,
    NAMESPACE,
    NODE,
    SECRET,
    SERVICE_ACCOUNT,
    SERVICE_CIDR,
    Kind,
)
from tests.unit.objects.people import created, faults, update_faults

TAINT = {"key": "a", "effect": "NoSchedule"}
PARENT = {"spec": {"parentRef": {"resource": "services", "name": "a", "namespace": "default"}}}
BIG = "x" * (1024 * 1024 + 1)


@pytest.mark.parametrize(
    ("kind", "obj", "expected"),
    [
        (NAMESPACE, {}, []),
        (NODE, {"spec": {"podCIDR": "10.244.0.0/24", "podCIDRs": ["10.244.0.0/24", "fd00::/64"], "taints": [TAINT]}}, []),
        (NODE, {"spec": {"taints": [TAINT, {**TAINT, "value": "x"}]}}, ['spec.taints[1]: Duplicate value: {"key":"a","effect":"NoSchedule","value":"x"}']),
        (NODE, {"spec": {"taints": [{"key": "a", "effect": "Never"}]}}, ['spec.taints[0].effect: Unsupported value: "Never": supported values: "NoExecute", "NoSchedule", "PreferNoSchedule"']),
        (NODE, {"spec": {"podCIDRs": ["10.244.0.0/24", "10.244.1.0/24"]}}, ['spec.podCIDRs: Invalid value: ["10.244.0.0/24","10.244.1.0/24"]: may specify no more than one range for each IP family']),
        (NODE, {"spec": {"podCIDR": "10.244.1.0/24", "podCIDRs": ["10.244.0.0/24"]}}, ['spec.podCIDRs[0]: Invalid value: "10.244.0.0/24": must be the same as `podCIDR`']),
        (NODE, {"spec": {"podCIDRs": ["10.244.0.7/24"]}}, ['spec.podCIDRs[0]: Invalid value: "10.244.0.7/24": must not have bits set beyond the prefix length; did you mean 10.244.0.0/24?']),
        (EVENT, {"involvedObject": {"namespace": "default"}}, []),
        (EVENT, {"involvedObject": {"kind": "Node"}}, []),
        (EVENT, {"involvedObject": {"namespace": "other"}}, ['involvedObject.namespace: Invalid value: "other": does not match event.namespace']),
        (EVENT, {"metadata": {"namespace": "shop"}, "involvedObject": {"kind": "Node"}}, ['involvedObject.namespace: Invalid value: "": does not match event.namespace']),
        (EVENT, {}, ["involvedObject: Required value"]),
        (CONFIG_MAP, {"data": {"a.txt": "x"}, "binaryData": {"b": "aGk="}}, []),
        (CONFIG_MAP, {"data": {"a": "x"}, "binaryData": {"a": "aGk="}}, ['data[a]: Invalid value: "a": duplicate of key present in binaryData']),
        (CONFIG_MAP, {"data": {"..": "x"}}, ["data[..]: Invalid value: \"..\": must not be '.' nor start with '..'"]),
        (CONFIG_MAP, {"data": {"a": BIG}}, ["[]: Too long: may not be more than 1048576 bytes"]),
        (SECRET, {"data": {"a": "aGk="}}, []),
        (SECRET, {"type": "kubernetes.io/tls", "data": {"tls.crt": ""}}, ["data[tls.key]: Required value"]),
        (SECRET, {"type": "kubernetes.io/basic-auth"}, ["data[username]: Required value"]),
        (SECRET, {"type": "kubernetes.io/service-account-token"}, ["metadata.annotations[kubernetes.io/service-account.name]: Required value"]),
        (LEASE, {"spec": {"leaseDurationSeconds": 0}}, ["spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0"]),
        (LEASE, {"spec": {"holderIdentity": "", "leaseDurationSeconds": 40}}, []),
        (SERVICE_ACCOUNT, {}, []),
        (SERVICE_CIDR, {"spec": {"cidrs": ["10.96.0.0/12", "fd00::/108"]}}, []),
        (SERVICE_CIDR, {"spec": {"cidrs": []}}, ["spec.cidrs: Required value: at least one CIDR required"]),
        (SERVICE_CIDR, {"spec": {"cidrs": ["10.96.0.0"]}}, ['spec.cidrs[0]: Invalid value: "10.96.0.0": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)']),
        (SERVICE_CIDR, {"spec": {"cidrs": ["10.96.0.0/12", "10.0.0.0/16"]}}, ['spec.cidrs: Invalid value: ["10.96.0.0/12","10.0.0.0/16"]: may specify no more than one range for each IP family']),
        (IP_ADDRESS, {"metadata": {"name": "10.96.0.5"}, **PARENT}, []),
        (IP_ADDRESS, {"metadata": {"name": "10.96.0.5"}}, ["spec: Required value"]),
        (IP_ADDRESS, {"metadata": {"name": "10.96.0.5"}, "spec": {"parentRef": {}}}, ["spec.parentRef.name: Required value", "spec.parentRef.resource: Required value"]),
    ],
)  # fmt: skip
def test_rules(kind: Kind, obj: dict[str, Any], expected: list[str]) -> None:
    assert faults(kind, obj) == expected


@pytest.mark.parametrize(
    ("kind", "obj", "change", "expected"),
    [
        (CONFIG_MAP, {"data": {"a": "1"}}, {"data": {"a": "2"}}, []),
        (CONFIG_MAP, {"data": {"a": "1"}, "immutable": True}, {"data": {"a": "2"}}, ["data: Forbidden: field is immutable when `immutable` is set"]),
        (CONFIG_MAP, {"immutable": True}, {"immutable": False}, ["immutable: Forbidden: field is immutable when `immutable` is set"]),
        (SECRET, {"type": "a"}, {"type": "b"}, ['type: Invalid value: "b": field is immutable']),
        (SECRET, {"immutable": True, "data": {}}, {"data": {"a": "aGk="}}, ["data: Forbidden: field is immutable when `immutable` is set"]),
        (NODE, {"spec": {}}, {"spec": {"podCIDR": "10.244.0.0/24"}}, []),
        (NODE, {"spec": {"podCIDR": "10.244.0.0/24"}}, {"spec": {"podCIDR": "10.244.1.0/24"}}, ["spec.podCIDR: Forbidden: node updates may not change it once it is set"]),
        (SERVICE_CIDR, {"spec": {"cidrs": ["10.96.0.0/12"]}}, {"spec": {"cidrs": ["10.96.0.0/12", "fd00::/108"]}}, []),
        (SERVICE_CIDR, {"spec": {"cidrs": ["10.96.0.0/12"]}}, {"spec": {"cidrs": ["10.0.0.0/16"]}}, ['spec.cidrs: Invalid value: ["10.0.0.0/16"]: field is immutable']),
        (
            IP_ADDRESS, {"metadata": {"name": "10.96.0.5"}, **PARENT}, {"spec": {"parentRef": {"resource": "services", "name": "b"}}},
            ['spec: Invalid value: {"parentRef":{"resource":"services","name":"b"}}: field is immutable'],
        ),
    ],
)  # fmt: skip
def test_what_updates_may_change(kind: Kind, obj: dict[str, Any], change: dict[str, Any], expected: list[str]) -> None:
    old = created(kind, obj)
    assert update_faults(kind, old, {**deepcopy(old), **change}) == expected
