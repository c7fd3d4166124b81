"""Why a pod is no endpoint: one thing broken at a time, and the controller's own plan as the judge."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.client.base import Object
from fairway.control import endpointslices, whynot
from fairway.control.whynot import Case, Verdict
from fairway.control.writes import Create


def service(**spec: Any) -> Object:
    return {
        "metadata": {"name": "web", "namespace": "default", "uid": "s"},
        "spec": {
            "clusterIP": "10.96.0.20",
            "ipFamilies": ["IPv4"],
            "selector": {"app": "web"},
            "ports": [{"port": 80, "protocol": "TCP", "targetPort": "http"}],
            **spec,
        },
    }


def pod(*, labels: dict[str, str] | None = None, ip: str = "10.244.1.5", ready: bool = True, **more: Any) -> Object:
    """A pod that serves, but for what is given: `going`, `phase`, `statuses`, `namespace`, and fields of its spec."""
    metadata = {"name": "web-1", "namespace": more.pop("namespace", "default"), "uid": "p"}
    metadata["labels"] = {"app": "web"} if labels is None else labels
    if more.pop("going", False):
        metadata["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    phase, statuses = more.pop("phase", "Running"), more.pop("statuses", [])
    container = {"name": "main", "ports": [{"name": "http", "containerPort": 8080, "protocol": "TCP"}]}
    return {
        "metadata": metadata,
        "spec": {"nodeName": "node-a", "containers": [container], **more},
        "status": {
            "phase": phase,
            "podIPs": [{"ip": ip}] if ip else [],
            "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
            "containerStatuses": statuses,
        },
    }


def written(of: Object, *members: Object) -> list[Object]:
    """The slices that the controller writes for these pods, if the selector matches them."""
    selector = (of["spec"].get("selector") or {}).items()
    matched = [each for each in members if selector <= each["metadata"]["labels"].items()]
    writes = endpointslices.plan(of, matched, {}, [], random.Random(1).random).writes
    return [write.obj for write in writes if isinstance(write, Create)]


def ask(of: Object, member: Object, slices: list[Object] | None = None) -> Verdict:
    return whynot.why_not(Case(member, of, written(of, member) if slices is None else slices))


def codes(verdict: Verdict, blocks: bool = True) -> list[str]:
    return [reason.code for reason in verdict.reasons if reason.blocks is blocks]


def test_a_pod_that_serves_has_nothing_in_its_way() -> None:
    verdict = ask(service(), pod())

    assert (verdict.listed, verdict.serves, verdict.reasons) == (True, True, ())
    assert whynot.text(verdict) == "Pod default/web-1 is an endpoint of Service default/web."


PROBED = {
    "name": "main",
    "ports": [{"name": "http", "containerPort": 8080}],
    "readinessProbe": {"tcpSocket": {"port": 80}},
}
RUNS = [{"name": "main", "ready": False, "state": {"running": {}}}]


@pytest.mark.parametrize(
    ("spec", "changed", "code", "field"),
    [
        ({"type": "ExternalName", "externalName": "db.example.com"}, {}, "external-name", "spec.type"),
        ({"selector": None}, {}, "no-selector", "spec.selector"),
        ({}, {"labels": {"app": "wb"}}, "selector", "spec.selector.app"),
        ({}, {"labels": {}}, "selector", "spec.selector.app"),
        ({}, {"phase": "Succeeded"}, "finished", "status.phase"),
        ({}, {"ip": "", "nodeName": ""}, "unscheduled", "spec.nodeName"),
        ({}, {"ip": ""}, "no-address", "status.podIPs"),
        ({}, {"ip": "fd00::5"}, "family", "spec.ipFamilies"),
        ({}, {"going": True}, "terminating", "metadata.deletionTimestamp"),
        ({}, {"ready": False}, "not-ready", "status.conditions[Ready]"),
        (
            {},
            {"ready": False, "statuses": RUNS, "containers": [PROBED]},
            "readiness-probe",
            "status.containerStatuses[main].ready",
        ),
        ({}, {"ready": False, "readinessGates": [{"conditionType": "lb"}]}, "gate", "status.conditions[lb]"),
        ({"ports": [{"port": 80, "targetPort": "htpp"}]}, {}, "target-port", "spec.ports[80].targetPort"),
        (
            {"ports": [{"port": 80, "targetPort": "http", "protocol": "UDP"}]},
            {},
            "target-port",
            "spec.ports[80].targetPort",
        ),
    ],
)
def test_one_thing_is_wrong(spec: dict[str, Any], changed: dict[str, Any], code: str, field: str) -> None:
    verdict = ask(service(**spec), pod(**changed))

    assert codes(verdict) == [code]
    assert next(reason.field for reason in verdict.reasons if reason.blocks) == field
    assert not verdict.serves


def test_the_label_that_differs_is_named_with_both_values() -> None:
    verdict = ask(service(selector={"app": "web", "tier": "front"}), pod(labels={"app": "web", "tier": "back"}))

    assert [reason.message for reason in verdict.reasons] == [
        "the selector wants tier=front, and the pod has tier=back"
    ]
    assert verdict.reasons[0].remedy == "kubectl label pod -n default web-1 tier=front --overwrite"


def test_a_pod_of_another_namespace_is_told_so_even_when_its_labels_match() -> None:
    assert codes(ask(service(), pod(namespace="shop"), [])) == ["namespace"]


def test_what_ended_badly_is_quoted() -> None:
    waits = [
        {"name": "main", "ready": False, "state": {"waiting": {"reason": "ErrImagePull", "message": "no such image"}}}
    ]
    verdict = ask(service(), pod(ready=False, statuses=waits))

    assert verdict.reasons[0].message == "container main waits: ErrImagePull: no such image"


def test_a_service_that_publishes_pods_before_they_are_ready_has_them() -> None:
    verdict = ask(service(publishNotReadyAddresses=True), pod(ready=False))

    assert verdict.serves
    assert codes(verdict, blocks=False) == ["not-ready"]


def test_a_slice_that_is_missing_or_behind_is_the_controllers_matter() -> None:
    behind = written(service(), pod(ready=False))

    assert codes(ask(service(), pod(), [])) == ["slice-missing"]
    assert codes(ask(service(), pod(), behind)) == ["slice-stale"]


def test_a_slice_that_still_names_a_pod_is_said_to_be_behind() -> None:
    verdict = ask(service(), pod(labels={}), written(service(), pod()))

    assert verdict.serves
    assert codes(verdict) == ["selector"]
    assert "its EndpointSlice is behind" in whynot.text(verdict)


def test_an_endpoint_written_by_hand_is_found_by_its_address() -> None:
    by_hand = {
        "metadata": {"name": "web-x", "namespace": "default", "labels": {"kubernetes.io/service-name": "web"}},
        "endpoints": [{"addresses": ["10.244.1.5"]}],
    }

    assert ask(service(selector=None), pod(), [by_hand]).serves


def test_the_pods_node_is_to_blame_when_it_is_lost() -> None:
    node = {"metadata": {"name": "node-a"}, "status": {"conditions": [{"type": "Ready", "status": "Unknown"}]}}
    verdict = whynot.why_not(Case(pod(ready=False), service(), [], node))

    assert codes(verdict) == ["node"]


def test_a_port_that_nobody_declares_is_worth_a_word_and_no_more() -> None:
    verdict = ask(service(ports=[{"port": 80, "targetPort": 8081}]), pod())

    assert verdict.serves
    assert codes(verdict, blocks=False) == ["undeclared-port"]


@given(
    st.fixed_dictionaries(
        {
            "labels": st.sampled_from([{"app": "web"}, {"app": "x"}, {}]),
            "ip": st.sampled_from(["10.244.1.5", "fd00::5", ""]),
            "ready": st.booleans(),
            "going": st.booleans(),
            "phase": st.sampled_from(["Pending", "Running", "Succeeded", "Failed"]),
        }
    ),
    st.booleans(),
)
def test_what_is_said_is_what_the_controller_does(changed: dict[str, Any], publish: bool) -> None:
    """A reason that blocks is given exactly when the controller does not list the pod as ready."""
    verdict = ask(service(publishNotReadyAddresses=publish), pod(**changed))

    assert verdict.serves is not bool(codes(verdict))
    assert not {"slice-missing", "slice-stale"}.intersection(codes(verdict))
