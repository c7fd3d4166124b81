"""The environment of a container: fieldRef, ConfigMaps, $(NAME)."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.pods import env
from fairway.pods.env import Place
from fairway.pods.errors import ConfigProblem
from fairway.pods.view import Container, Pod

PLACE = Place("node-a", ("10.0.0.11",), ("10.244.0.5", "fd00::5"), "web-1", {"cpu": "4", "memory": "2Gi"})


def pod(namespace: str = "default", created: str = "2026-01-02T00:00:00Z", **spec: Any) -> Pod:
    metadata = {
        "name": "web-1",
        "namespace": namespace,
        "uid": "u-1",
        "creationTimestamp": created,
        "labels": {"app": "web"},
        "annotations": {"example.com/note": "hi"},
    }
    return msgspec.convert({"metadata": metadata, "spec": spec}, Pod)


def container(**fields: Any) -> Container:
    return msgspec.convert({"name": "web", **fields}, Container)


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("$(HOST):$(PORT)", "db:5432"),
        ("$(MISSING) stays", "$(MISSING) stays"),
        ("$$(HOST)", "$(HOST)"),
        ("$$$(HOST)", "$db"),
        ("100$", "100$"),
        ("$(open", "$(open"),
        ("$HOST", "$HOST"),
        ("$()", "$()"),
    ],
)
def test_references_expand(text: str, result: str) -> None:
    assert env.expand(text, {"HOST": "db", "PORT": "5432"}) == result


@given(st.text())
def test_text_whose_dollars_are_doubled_survives(text: str) -> None:
    assert env.expand(text.replace("$", "$$"), {"A": "x"}) == text


@given(st.dictionaries(st.from_regex(r"[A-Z]{1,5}", fullmatch=True), st.text(), min_size=1))
def test_values_are_not_expanded_again(values: dict[str, str]) -> None:
    assert env.expand("".join(f"$({name})" for name in values), values) == "".join(values.values())


def test_the_process_gets_own_values_before_services() -> None:
    web = container(
        env=[
            {"name": "A", "value": "1"},
            {"name": "B", "value": "$(A) $(DB_SERVICE_HOST) $(C)"},
            {"name": "C", "value": "late"},
            {"name": "DB_SERVICE_PORT", "value": "mine"},
        ]
    )
    services = {"DB_SERVICE_HOST": "10.96.0.7", "DB_SERVICE_PORT": "80"}
    given_, known = env.environment(web, pod(), PLACE, services, {})
    assert (known["B"], known["DB_SERVICE_PORT"], known["DB_SERVICE_HOST"]) == ("1 10.96.0.7 $(C)", "mine", "10.96.0.7")
    assert (given_["HOSTNAME"], given_["PATH"]) == ("web-1", env.PATH)
    assert "PATH" not in known


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("metadata.name", "web-1"),
        ("metadata.namespace", "default"),
        ("metadata.uid", "u-1"),
        ("metadata.labels['app']", "web"),
        ("metadata.annotations['example.com/note']", "hi"),
        ("metadata.labels['none']", ""),
        ("spec.nodeName", "node-a"),
        ("status.podIP", "10.244.0.5"),
        ("status.podIPs", "10.244.0.5,fd00::5"),
        ("status.hostIP", "10.0.0.11"),
    ],
)
def test_fields_of_the_pod(path: str, value: str) -> None:
    web = container(env=[{"name": "X", "valueFrom": {"fieldRef": {"fieldPath": path}}}])
    assert env.environment(web, pod(), PLACE, {}, {})[1] == {"X": value}


def test_a_field_nobody_can_have_is_refused_by_name() -> None:
    web = container(env=[{"name": "X", "valueFrom": {"fieldRef": {"fieldPath": "spec.secrets"}}}])
    with pytest.raises(ConfigProblem, match=r"spec\.secrets"):
        env.environment(web, pod(), PLACE, {}, {})


def test_resources_in_the_wanted_unit() -> None:
    def of(resource: str, divisor: str = "1") -> str:
        source = {"resourceFieldRef": {"resource": resource, "divisor": divisor}}
        web = container(resources={"limits": {"cpu": "1500m"}}, env=[{"name": "X", "valueFrom": source}])
        return env.environment(web, pod(), PLACE, {}, {})[1]["X"]

    assert of("limits.cpu") == "2"
    assert of("limits.cpu", "1m") == "1500"
    assert of("limits.memory", "1Mi") == "2048"  # none set: the node's
    assert of("requests.cpu") == "0"
    with pytest.raises(ConfigProblem, match=r"limits\.NAME"):
        of("cpu")


def test_configmaps_and_secrets() -> None:
    web = container(
        envFrom=[{"prefix": "P_", "configMapRef": {"name": "all"}}, {"secretRef": {"name": "none", "optional": True}}],
        env=[{"name": "X", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}],
    )
    assert env.references(web) == {("ConfigMap", "all"), ("Secret", "none"), ("Secret", "s")}
    sources = {("ConfigMap", "all"): {"a": "1", "no good": "2"}, ("Secret", "none"): None, ("Secret", "s"): {"k": "v"}}
    assert env.environment(web, pod(), PLACE, {}, sources)[1] == {"P_a": "1", "X": "v"}


def test_a_missing_configmap_is_named() -> None:
    web = container(envFrom=[{"configMapRef": {"name": "all"}}])
    with pytest.raises(ConfigProblem, match='ConfigMap "default/all" not found'):
        env.environment(web, pod(), PLACE, {}, {("ConfigMap", "all"): None})
    key = container(env=[{"name": "X", "valueFrom": {"configMapKeyRef": {"name": "all", "key": "k"}}}])
    with pytest.raises(ConfigProblem, match='key "k" in ConfigMap "default/all" not found'):
        env.environment(key, pod(), PLACE, {}, {("ConfigMap", "all"): {}})
