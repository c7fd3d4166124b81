"""What a write may touch."""

from copy import deepcopy
from typing import Any

import pytest

from fairway.objects import admit
from fairway.objects.kinds import DEPLOYMENT, ENDPOINT_SLICE, NAMESPACE, NODE, POD, SECRET, SERVICE, Kind
from tests.unit.objects.people import created

TEMPLATE = {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "a", "image": "x:1"}]}}
WEB = created(DEPLOYMENT, {"spec": {"selector": {"matchLabels": {"app": "web"}}, "template": TEMPLATE}})
CONTAINERS = {"containers": [{"name": "a", "image": "x"}]}


def test_a_writer_cannot_create_status_or_claim_a_generation() -> None:
    made = created(
        DEPLOYMENT,
        {
            "metadata": {"generation": 9, "deletionTimestamp": "2026-01-01T00:00:00Z", "deletionGracePeriodSeconds": 1},
            "spec": WEB["spec"],
            "status": {"replicas": 5},
        },
    )
    assert made["status"] == {}
    assert made["metadata"] == {"name": "x", "namespace": "default", "generation": 1}


def test_a_node_is_created_with_the_status_its_agent_gives() -> None:
    assert created(NODE, {"status": {"phase": "Running"}})["status"] == {"phase": "Running"}


def test_a_generation_counts_changes_of_the_spec_only() -> None:
    same = admit.prepare_update(DEPLOYMENT, deepcopy(WEB), WEB)
    assert same["metadata"]["generation"] == 1

    labelled = deepcopy(WEB)
    labelled["metadata"]["labels"] = {"a": "b"}
    assert admit.prepare_update(DEPLOYMENT, labelled, WEB)["metadata"]["generation"] == 1

    scaled = deepcopy(WEB)
    scaled["spec"]["replicas"] = 5
    scaled["metadata"]["generation"] = 77
    assert admit.prepare_update(DEPLOYMENT, scaled, WEB, "scale")["metadata"]["generation"] == 2

    annotated = deepcopy(WEB)
    annotated["metadata"]["annotations"] = {"a": "b"}
    assert admit.prepare_update(DEPLOYMENT, annotated, WEB)["metadata"]["generation"] == 2


def test_a_slices_generation_counts_changes_of_its_endpoints() -> None:
    old = created(ENDPOINT_SLICE, {"addressType": "IPv4", "endpoints": [{"addresses": ["10.244.0.2"]}]})
    new = deepcopy(old)
    new["endpoints"].append({"addresses": ["10.244.0.3"]})
    assert admit.prepare_update(ENDPOINT_SLICE, new, old)["metadata"]["generation"] == 2


def test_services_have_no_generation() -> None:
    assert "generation" not in created(SERVICE, {"spec": {"ports": [{"port": 80}]}})["metadata"]


def test_a_plain_update_keeps_the_status() -> None:
    old = {**deepcopy(WEB), "status": {"replicas": 3}}
    new = {**deepcopy(WEB), "status": {"replicas": 9}}
    assert admit.prepare_update(DEPLOYMENT, new, old)["status"] == {"replicas": 3}


def test_a_status_update_keeps_the_spec_and_the_generation() -> None:
    new = deepcopy(WEB)
    new["spec"]["replicas"] = 9
    new["metadata"] |= {"generation": 7, "annotations": {"a": "b"}, "resourceVersion": "5"}
    new["status"] = {"replicas": 9}
    made = admit.prepare_update(DEPLOYMENT, new, WEB, "status")
    assert made is new
    assert made["status"] == {"replicas": 9}
    assert made["spec"] == WEB["spec"]
    assert made["metadata"] == {**WEB["metadata"], "annotations": {"a": "b"}, "resourceVersion": "5"}


@pytest.mark.parametrize(
    ("kind", "taken"), [(SERVICE, ["annotations", "labels"]), (DEPLOYMENT, ["annotations"]), (POD, ["labels"])]
)
def test_what_else_a_status_update_may_say(kind: Kind, taken: list[str]) -> None:
    old = created(kind, {})
    said = {"labels": {"a": "b"}, "annotations": {"a": "b"}, "ownerReferences": [{"uid": "u"}]}
    new = {**deepcopy(old), "metadata": {**old["metadata"], **said}}
    made = admit.prepare_update(kind, new, old, "status")["metadata"]
    assert {name: made[name] for name in taken} == {name: said[name] for name in taken}
    assert ("labels" in made) is (kind is not DEPLOYMENT)
    assert ("ownerReferences" in made) is (kind is not POD)


def test_an_update_cannot_undo_a_deletion_and_need_not_repeat_the_identity() -> None:
    old = deepcopy(WEB)
    old["metadata"] |= {
        "uid": "u",
        "creationTimestamp": "2026-01-01T00:00:00Z",
        "deletionTimestamp": "2026-01-02T00:00:00Z",
    }
    new = {"metadata": {"labels": {"a": "b"}}, "spec": deepcopy(WEB["spec"])}
    assert admit.prepare_update(DEPLOYMENT, new, old)["metadata"] == {**old["metadata"], "labels": {"a": "b"}}


def test_a_namespace_is_held_until_it_is_emptied() -> None:
    made = created(NAMESPACE, {})
    assert (made["spec"], made["status"]) == ({"finalizers": ["kubernetes"]}, {"phase": "Active"})

    new = {**deepcopy(made), "spec": {"finalizers": []}}
    assert admit.prepare_update(NAMESPACE, deepcopy(new), made)["spec"] == {"finalizers": ["kubernetes"]}
    assert admit.prepare_update(NAMESPACE, deepcopy(new), made, "finalize")["spec"] == {"finalizers": []}


def test_a_secrets_plain_text_joins_its_data() -> None:
    made = created(SECRET, {"data": {"a": "YQ=="}, "stringData": {"b": "b", "a": "new"}})
    assert made["data"] == {"a": "bmV3", "b": "Yg=="}
    assert "stringData" not in made


@pytest.mark.parametrize(
    ("tolerations", "added"),
    [
        ([], 2),
        ([{"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute"}], 1),
        ([{"operator": "Exists"}], 0),
        ([{"operator": "Exists", "effect": "NoSchedule"}], 2),
    ],
)
def test_a_pod_bears_a_lost_node_for_five_minutes(tolerations: list[dict[str, Any]], added: int) -> None:
    made = created(POD, {"spec": {**CONTAINERS, "tolerations": tolerations}})["spec"]["tolerations"]
    assert made[: len(tolerations)] == tolerations
    assert [one["tolerationSeconds"] for one in made[len(tolerations) :]] == [300] * added


def test_the_clusters_patience_with_a_lost_node_is_a_setting() -> None:
    made = admit.prepare_create(POD, {"metadata": {}, "spec": {**CONTAINERS}}, toleration_seconds=0)
    assert [one["tolerationSeconds"] for one in made["spec"]["tolerations"]] == [0, 0]


def test_a_gated_pod_says_so() -> None:
    made = created(POD, {"spec": {**CONTAINERS, "schedulingGates": [{"name": "example.com/wait"}]}})
    assert made["status"]["conditions"][0]["reason"] == "SchedulingGated"


def test_a_pod_with_an_unreadable_quantity_reaches_validation() -> None:
    container = {"name": "a", "image": "x", "resources": {"requests": {"cpu": "many"}}}
    made = created(POD, {"spec": {"containers": [container]}})
    assert [error.path for error in admit.validate_create(POD, made)] == ["spec.containers[0].resources.requests[cpu]"]
