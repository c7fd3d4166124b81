"""Old group versions."""

from copy import deepcopy

import pytest

from fairway.objects.convert import ROLLBACK, from_storage, to_storage
from fairway.objects.kinds import DEPLOYMENT, KINDS, REPLICA_SET, SERVICE, Kind
from tests.unit.objects.people import created

OLD = {
    "kind": "Deployment",
    "apiVersion": "extensions/v1beta1",
    "metadata": {"name": "web"},
    "spec": {
        "template": {"metadata": {"labels": {"run": "httpd"}}, "spec": {"containers": [{"name": "a", "image": "x"}]}}
    },
}


@pytest.mark.parametrize(
    ("version", "history", "deadline", "unavailable", "surge"),
    [
        ("apps/v1beta1", 2, 600, "25%", "25%"),
        ("extensions/v1beta1", 2147483647, 2147483647, 1, 1),
    ],
)
def test_an_old_deployment_gets_its_old_defaults(
    version: str, history: int, deadline: int, unavailable: int | str, surge: int | str
) -> None:
    made = created(DEPLOYMENT, OLD, version)
    assert made["apiVersion"] == "apps/v1"
    assert made["spec"]["selector"] == {"matchLabels": {"run": "httpd"}}
    assert made["metadata"]["labels"] == {"run": "httpd"}
    assert made["spec"]["revisionHistoryLimit"] == history
    assert made["spec"]["progressDeadlineSeconds"] == deadline
    assert made["spec"]["strategy"] == {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxUnavailable": unavailable, "maxSurge": surge},
    }


def test_what_an_old_manifest_says_itself_stays() -> None:
    spec = {
        **OLD["spec"],  # type: ignore[dict-item]
        "selector": {"matchLabels": {"run": "other"}},
        "strategy": {"type": "Recreate"},
        "revisionHistoryLimit": 5,
    }
    made = to_storage(DEPLOYMENT, {**OLD, "metadata": {"labels": {"a": "b"}}, "spec": spec}, "extensions/v1beta1")
    assert made["spec"]["selector"] == {"matchLabels": {"run": "other"}}
    assert made["spec"]["strategy"] == {"type": "Recreate"}
    assert made["spec"]["revisionHistoryLimit"] == 5
    assert made["metadata"]["labels"] == {"a": "b"}


def test_apps_v1beta2_needs_its_selector_as_today() -> None:
    assert "selector" not in to_storage(DEPLOYMENT, OLD, "apps/v1beta2")["spec"]


def test_an_old_replica_set_takes_its_selector_from_the_template() -> None:
    made = to_storage(REPLICA_SET, {**OLD, "kind": "ReplicaSet"}, "extensions/v1beta1")
    assert made["spec"]["selector"] == {"matchLabels": {"run": "httpd"}}


def test_the_input_is_left_alone() -> None:
    before = deepcopy(OLD)
    to_storage(DEPLOYMENT, OLD, "extensions/v1beta1")
    assert before == OLD


def test_rollback_survives_the_round_trip() -> None:
    old = {**OLD, "spec": {**OLD["spec"], "rollbackTo": {"revision": 3}}}  # type: ignore[dict-item]
    stored = to_storage(DEPLOYMENT, old, "extensions/v1beta1")
    assert stored["metadata"]["annotations"] == {ROLLBACK: "3"}
    assert "rollbackTo" not in stored["spec"]
    shown = from_storage(DEPLOYMENT, stored, "extensions/v1beta1")
    assert shown["spec"]["rollbackTo"] == {"revision": 3}
    assert "annotations" not in shown["metadata"]
    assert from_storage(DEPLOYMENT, stored, "apps/v1beta2")["metadata"]["annotations"] == {ROLLBACK: "3"}


@pytest.mark.parametrize(
    "spec", [None, [], "x", {"template": []}, {"template": {"metadata": {"labels": []}}}, {"strategy": 5}]
)
def test_broken_objects_pass_through_for_the_codec_to_refuse(spec: object) -> None:
    assert to_storage(DEPLOYMENT, {"metadata": "x", "spec": spec}, "extensions/v1beta1")["apiVersion"] == "apps/v1"


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_the_version_is_the_only_difference_between_versions_in_use(kind: Kind) -> None:
    obj = {"kind": kind.name, "apiVersion": kind.api_version, "metadata": {"name": "x"}}
    for version in kind.old:
        assert from_storage(kind, obj, version) == {**obj, "apiVersion": version}
        assert to_storage(kind, {**obj, "apiVersion": version}, version) == obj
    assert to_storage(SERVICE, {"spec": {}}, "v1") == {"spec": {}, "kind": "Service", "apiVersion": "v1"}
