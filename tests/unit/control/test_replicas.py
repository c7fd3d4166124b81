"""ReplicaSets and ReplicationControllers: who is made, who goes, what is said."""

from __future__ import annotations

import random
from typing import Any

import pytest

from fairway.client.base import Object
from fairway.control import replicas
from fairway.control.times import stamp
from fairway.control.writes import Create, Delete, Update
from fairway.objects.kinds import REPLICA_SET, REPLICATION_CONTROLLER, Kind

NOW = 1_000_000.0
CHANCE = random.Random(1).random
KINDS = [REPLICA_SET, REPLICATION_CONTROLLER]


def owner(kind: Kind = REPLICA_SET, count: int = 3, **metadata: Any) -> Object:
    labels = {"app": "web"}
    return {
        "apiVersion": kind.api_version,
        "kind": kind.name,
        "metadata": {"name": "web", "namespace": "default", "uid": "o", "generation": 4, **metadata},
        "spec": {
            "replicas": count,
            "selector": {"matchLabels": labels} if kind is REPLICA_SET else labels,
            "template": {"metadata": {"labels": labels, "annotations": {"a": "b"}}, "spec": {"containers": []}},
        },
    }


def pod(name: str, node: str = "n1", ready: bool | float = True, owned: str = "o", **changes: Any) -> Object:
    since = stamp(NOW - 100 if isinstance(ready, bool) else ready)
    metadata = {"name": name, "namespace": "default", "uid": name, "labels": {"app": "web"}}
    metadata |= {"creationTimestamp": stamp(NOW - 200)} | changes.pop("metadata", {})
    if owned:
        metadata["ownerReferences"] = [{"uid": owned, "kind": "ReplicaSet", "name": "web", "controller": True}]
    return {
        "metadata": metadata,
        "spec": {"nodeName": node},
        "status": {
            "phase": "Running",
            "conditions": [{"type": "Ready", "status": "True" if ready else "False", "lastTransitionTime": since}],
            **changes,
        },
    }


def deleted(pods: list[Object], count: int, neighbours: list[Object] | None = None) -> list[str]:
    writes = replicas.plan(REPLICA_SET, owner(count=count), pods, NOW, CHANCE, neighbours or []).writes
    return [write.name for write in writes if isinstance(write, Delete)]


@pytest.mark.parametrize("kind", KINDS)
def test_missing_pods_are_made_from_the_template(kind: Kind) -> None:
    writes = replicas.plan(kind, owner(kind), [pod("a")], NOW, CHANCE).writes
    assert [type(write) for write in writes] == [Create, Create]
    first = writes[0]
    assert isinstance(first, Create)
    metadata = first.obj["metadata"]
    assert metadata["name"].startswith("web-")
    assert metadata["generateName"] == "web-"
    assert (metadata["labels"], metadata["annotations"]) == ({"app": "web"}, {"a": "b"})
    assert metadata["ownerReferences"][0] == {
        "apiVersion": kind.api_version,
        "kind": kind.name,
        "name": "web",
        "uid": "o",
        "controller": True,
        "blockOwnerDeletion": True,
    }
    assert first.told is not None
    assert first.told.message == f"Created pod: {metadata['name']}"


def test_finished_and_going_pods_do_not_count() -> None:
    going = pod("b", metadata={"deletionTimestamp": stamp(NOW)})
    writes = replicas.plan(REPLICA_SET, owner(count=1), [pod("a", phase="Failed"), going], NOW, CHANCE).writes
    assert [type(write) for write in writes] == [Create]


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        (pod("a"), pod("b", node="")),
        (pod("a"), pod("b", phase="Pending")),
        (pod("a"), pod("b", ready=False)),
        (pod("a", metadata={"annotations": {"controller.kubernetes.io/pod-deletion-cost": "5"}}), pod("b")),
        (pod("a", ready=NOW - 500), pod("b", ready=NOW - 5)),
        (pod("a"), pod("b", containerStatuses=[{"restartCount": 3}])),
        (pod("a"), pod("b", metadata={"creationTimestamp": stamp(NOW - 1)})),
    ],
    ids=["unscheduled", "pending", "not ready", "cheap", "ready for less long", "restarted", "younger"],
)
def test_who_is_missed_least_goes_first(better: Object, worse: Object) -> None:
    assert deleted([better, worse], 1) == ["b"]
    assert deleted([worse, better], 1) == ["b"]


def test_pods_doubled_up_on_a_node_go_before_lone_ones() -> None:
    assert deleted([pod("a", "n1"), pod("b", "n2"), pod("c", "n1")], 2) == ["a"]
    assert deleted([pod("a", "n1"), pod("b", "n2")], 1, [pod("other", "n2", owned="sibling")]) == ["b"]


def test_strangers_that_match_are_adopted_and_own_ones_that_do_not_are_released() -> None:
    strays = [pod("orphan", owned=""), pod("another's", owned="x"), pod("lost", metadata={"labels": {"app": "db"}})]
    writes = replicas.plan(REPLICA_SET, owner(count=1), strays, NOW, CHANCE).writes
    adopted, released = writes
    assert isinstance(adopted, Update)
    assert isinstance(released, Update)
    assert adopted.obj["metadata"]["ownerReferences"][0]["uid"] == "o"
    assert adopted.living is not None
    assert (released.obj["metadata"]["name"], "ownerReferences" in released.obj["metadata"]) == ("lost", False)


def test_an_owner_that_goes_neither_makes_nor_adopts() -> None:
    gone = owner(deletionTimestamp=stamp(NOW))
    assert replicas.plan(REPLICA_SET, gone, [pod("orphan", owned="")], NOW, CHANCE).writes == []


def test_a_thousand_are_made_in_bursts() -> None:
    assert len(replicas.plan(REPLICA_SET, owner(count=1000), [], NOW, CHANCE).writes) == replicas.BURST


def test_status_counts_and_waits_for_those_not_ready_long_enough() -> None:
    patient = owner()
    patient["spec"]["minReadySeconds"] = 30
    mine = [pod("a", ready=NOW - 31), pod("b", ready=NOW - 10), pod("c", ready=False), pod("d", phase="Failed")]
    status, again = replicas.status(REPLICA_SET, patient, mine, NOW, None)
    assert status == {
        "replicas": 3,
        "fullyLabeledReplicas": 3,
        "readyReplicas": 2,
        "availableReplicas": 1,
        "observedGeneration": 4,
    }
    assert again == 20
    said = {**patient, "status": status}
    assert replicas.status_update(REPLICA_SET, said, mine, NOW, None).writes == []


def test_a_failure_is_a_condition_until_it_goes_well() -> None:
    status, _ = replicas.status(REPLICA_SET, owner(), [], NOW, ("FailedCreate", "quota"))
    (condition,) = status["conditions"]
    assert (condition["type"], condition["reason"], condition["message"]) == ("ReplicaFailure", "FailedCreate", "quota")
    later, _ = replicas.status(REPLICA_SET, {**owner(), "status": status}, [], NOW + 9, ("FailedCreate", "quota"))
    assert later == status
    well, _ = replicas.status(REPLICA_SET, {**owner(), "status": status}, [], NOW, None)
    assert "conditions" not in well
