"""Where pods go, and what users read when they cannot."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from fairway.client.base import Object
from fairway.control import owners, scheduler
from fairway.control.writes import Post, Tell, Update


def node(name: str, ready: str = "True", labels: dict[str, str] | None = None, **spec: Any) -> Object:
    return {
        "metadata": {"name": name, "labels": labels or {}},
        "spec": spec,
        "status": {"conditions": [{"type": "Ready", "status": ready}], "allocatable": {"pods": "3"}},
    }


def pod(owner: str = "", **spec: Any) -> Object:
    metadata: Object = {"name": "p", "namespace": "default", "uid": "u"}
    if owner:
        metadata["ownerReferences"] = [{"uid": owner, "controller": True}]
    return {"metadata": metadata, "spec": {"containers": [], **spec}, "status": {}}


def load(subject: Object, bound: Iterable[tuple[str, Object]]) -> scheduler.Load:
    """How full nodes are with these pods, which are pairs of (node name, pod)."""
    holder = owners.controller_of(subject)
    counted = scheduler.Load()
    for name, other in bound:
        counted.all[name] += 1
        counted.ports.setdefault(name, []).extend(scheduler.host_ports(other))
        if holder is not None and owners.is_controlled_by(other, holder["uid"]):
            counted.same[name] += 1
    return counted


def choose(subject: Object, *nodes: Object, bound: tuple[tuple[str, Object], ...] = ()) -> str | dict[str, int]:
    name, reasons = scheduler.choose(subject, nodes, load(subject, bound))
    return name or dict(reasons)


def test_fewest_of_the_same_owner_then_fewest_pods_then_the_name() -> None:
    nodes = [node("c"), node("b"), node("a")]
    mine, other = pod("x"), pod("y")
    assert choose(pod("x"), *nodes) == "a"
    assert choose(pod("x"), *nodes, bound=(("a", other),)) == "b"
    assert choose(pod("x"), *nodes, bound=(("a", other), ("b", mine), ("c", other), ("c", other))) == "a"


@pytest.mark.parametrize(
    ("spec", "labels", "fits"),
    [
        ({"nodeSelector": {"disk": "ssd"}}, {"disk": "ssd"}, True),
        ({"nodeSelector": {"disk": "ssd"}}, {"disk": "hdd"}, False),
        ({"nodeSelector": {"disk": "ssd"}}, {}, False),
    ],
)
def test_node_selector(spec: Object, labels: dict[str, str], fits: bool) -> None:
    found = choose(pod(**spec), node("a", labels=labels))
    assert found == ("a" if fits else {"node(s) didn't match Pod's node affinity/selector": 1})


@pytest.mark.parametrize(
    ("terms", "fits"),
    [
        ([{"matchExpressions": [{"key": "zone", "operator": "In", "values": ["east", "west"]}]}], True),
        ([{"matchExpressions": [{"key": "zone", "operator": "NotIn", "values": ["east"]}]}], False),
        ([{"matchExpressions": [{"key": "zone", "operator": "Exists"}, {"key": "x", "operator": "Exists"}]}], False),
        ([{"matchExpressions": [{"key": "x", "operator": "DoesNotExist"}]}], True),
        ([{"matchExpressions": [{"key": "cores", "operator": "Gt", "values": ["4"]}]}], True),
        ([{"matchExpressions": [{"key": "cores", "operator": "Lt", "values": ["4"]}]}], False),
        ([{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["a"]}]}], True),
        ([{"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["b"]}]}], False),
        ([{}, {"matchExpressions": [{"key": "zone", "operator": "Exists"}]}], True),
        ([{}], False),
    ],
)
def test_required_node_affinity(terms: list[Object], fits: bool) -> None:
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}
    found = choose(pod(affinity={"nodeAffinity": required}), node("a", labels={"zone": "east", "cores": "8"}))
    assert (found == "a") is fits


TAINT = {"key": "k", "value": "v", "effect": "NoSchedule"}


@pytest.mark.parametrize(
    ("toleration", "fits"),
    [
        ({"key": "k", "operator": "Equal", "value": "v", "effect": "NoSchedule"}, True),
        ({"key": "k", "value": "v"}, True),
        ({"key": "k", "operator": "Exists"}, True),
        ({"operator": "Exists"}, True),
        ({"key": "k", "value": "other"}, False),
        ({"key": "k", "value": "v", "effect": "NoExecute"}, False),
        ({"value": "v"}, False),
    ],
)
def test_taints_and_tolerations(toleration: Object, fits: bool) -> None:
    found = choose(pod(tolerations=[toleration]), node("a", taints=[TAINT]))
    assert found == ("a" if fits else {"node(s) had untolerated taint {k: v}": 1})
    assert choose(pod(), node("a", taints=[{**TAINT, "effect": "PreferNoSchedule"}])) == "a"


def test_the_message_counts_the_reasons() -> None:
    full = tuple(("full", pod()) for _ in range(3))
    nodes = [node("a", "False"), node("b", "Unknown"), node("c", unschedulable=True), node("full")]
    _, reasons = scheduler.choose(pod(), nodes, load(pod(), full))
    assert scheduler.explain(reasons, len(nodes)) == (
        "0/4 nodes are available: 1 Too many pods, 2 node(s) were not ready, 1 node(s) were unschedulable."
    )


def test_a_choice_is_bound_and_told() -> None:
    (write,) = scheduler.plan(pod(), "a", {}, 1, 0.0).writes
    assert isinstance(write, Post)
    assert (write.subresource, write.body["target"]["name"], write.body["metadata"]["uid"]) == ("binding", "a", "u")
    assert write.told is not None
    assert write.told.message == "Successfully assigned default/p to a"


def test_no_choice_is_a_condition_and_an_event_and_the_condition_is_written_once() -> None:
    tell, update = scheduler.plan(pod(), "", {}, 0, 0.0).writes
    assert isinstance(tell, Tell)
    assert isinstance(update, Update)
    assert (tell.told.reason, tell.told.message) == ("FailedScheduling", "no nodes available to schedule pods")
    assert update.obj["status"]["conditions"][0]["reason"] == "Unschedulable"
    assert [type(each) for each in scheduler.plan(update.obj, "", {}, 0, 9.0).writes] == [Tell]


@pytest.mark.parametrize(
    "spec", [{"nodeName": "a"}, {"schedulerName": "other"}, {"schedulingGates": [{"name": "wait"}]}]
)
def test_pods_that_are_not_ours_to_place(spec: Object) -> None:
    assert scheduler.is_ours(pod())
    assert not scheduler.is_ours(pod(**spec))


def wanting(*ports: Object, init: bool = False) -> Object:
    container = {"name": "c", "ports": list(ports)}
    if init:
        return pod(initContainers=[{**container, "restartPolicy": "Always"}])
    return pod(containers=[container])


@pytest.mark.parametrize(
    ("mine", "theirs", "fits"),
    [
        ({"hostPort": 80}, {"hostPort": 80}, False),
        ({"hostPort": 80}, {"hostPort": 81}, True),
        ({"hostPort": 80}, {"containerPort": 80}, True),
        ({"hostPort": 80, "protocol": "UDP"}, {"hostPort": 80}, True),
        ({"hostPort": 80, "protocol": "TCP"}, {"hostPort": 80}, False),
        ({"hostPort": 80, "hostIP": "127.0.0.1"}, {"hostPort": 80, "hostIP": "10.0.0.11"}, True),
        ({"hostPort": 80, "hostIP": "127.0.0.1"}, {"hostPort": 80, "hostIP": "127.0.0.1"}, False),
        ({"hostPort": 80, "hostIP": "127.0.0.1"}, {"hostPort": 80}, False),
        ({"hostPort": 80, "hostIP": "0.0.0.0"}, {"hostPort": 80, "hostIP": "10.0.0.11"}, False),
    ],
)
def test_a_host_port_is_given_once(mine: Object, theirs: Object, fits: bool) -> None:
    lacking = {"node(s) didn't have free ports for the requested pod ports": 1}
    for init in (False, True):
        found = choose(wanting(mine), node("a"), bound=(("a", wanting(theirs, init=init)),))
        assert found == ("a" if fits else lacking)
    assert choose(wanting(mine), node("a"), node("b"), bound=(("a", wanting(mine)),)) == "b"
