"""Names and environments explained in a lab: what is told is what pods have and hear."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests import plan
from tests.lab.cluster import FAIRWAY, Lab, until

pytestmark = pytest.mark.lab

POD = """
apiVersion: v1
kind: Pod
metadata: {name: asker, labels: {app: asker}}
spec:
  containers:
  - name: main
    image: agnhost
    args: [pause]
    env: [{name: BEFORE_PORT, value: "5432"}]
"""


@pytest.fixture(scope="module", autouse=True)
def applied(lab: Lab) -> None:
    lab.kubectl("create", "namespace", "shop")
    lab.kubectl("-n", "shop", "create", "service", "clusterip", "api", "--tcp=80")
    for name in ("before", "redis", "redis-service"):
        lab.kubectl("create", "service", "clusterip", name, "--tcp=80")
    lab.kubectl("apply", "-f", "-", text=POD)
    until(lambda: lab.get("pod", "asker")["status"]["phase"] == "Running", "the pod runs")
    made = lab.get("pod", "asker")["metadata"]["creationTimestamp"]
    until(lambda: later(lab) > made, "a Service younger than the pod")


def later(lab: Lab) -> str:
    """Make the Service `late` anew; when it was made."""
    lab.kubectl("delete", "service", "late", "--ignore-not-found")
    lab.kubectl("create", "service", "clusterip", "late", "--tcp=80")
    return str(lab.get("service", "late")["metadata"]["creationTimestamp"])


def explain(lab: Lab, *words: str) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(
        lab.run(*FAIRWAY, "dns", "explain", "--lab", lab.name, "--output", "json", *words, allow=True)
    )
    return told


def test_a_walk_is_gone_from_inside_the_pod(lab: Lab) -> None:
    told = explain(lab, "api.shop", "--from", "asker")
    ip = lab.run("kubectl", "-n", "shop", "get", "service", "api", "-o", "jsonpath={.spec.clusterIP}")
    assert told["client"] == "pod default/asker"
    assert told["nameservers"] == [plan.DNS_IP]
    assert told["searches"][:3] == ["default.svc.cluster.local", "svc.cluster.local", "cluster.local"]
    assert (told["found"], told["roundTrips"], told["queries"]) == ("api.shop.svc.cluster.local.", 2, 4)
    assert told["steps"][1]["replies"][0]["records"] == [f"api.shop.svc.cluster.local. 5 IN A {ip}"]
    assert all(reply["seconds"] > 0 for step in told["steps"] for reply in step["replies"])
    assert told["steps"][1]["from"] == f"Service shop/api: ClusterIP {ip}"
    assert told["warnings"] == []


def test_without_a_pod_the_objects_answer(lab: Lab) -> None:
    told = explain(lab, "api", "--namespace", "shop")
    assert (told["client"], told["found"]) == ("any pod of namespace shop", "api.shop.svc.cluster.local.")
    assert "no server was asked" in told["notes"][0]


def test_a_pod_that_is_not_there_is_named(lab: Lab) -> None:
    said = lab.run(*FAIRWAY, "dns", "explain", "--lab", lab.name, "api", "--from", "nobody", allow=True)
    assert said == 'fairway: pod default/nobody: pods "nobody" not found\n'


def test_the_variables_told_are_those_that_the_process_has(lab: Lab) -> None:
    told = json.loads(lab.fairway("env", "asker", "--output", "json"))
    has = dict(line.partition("=")[::2] for line in lab.inside("asker", "env").splitlines())
    services = {each["service"]: each["told"] for each in told["services"]}
    assert services == {
        "default/before": True,
        "default/kubernetes": True,
        "default/late": False,
        "default/redis": True,
        "default/redis-service": True,
    }
    assert {name: has.get(name) for name in told["environment"]} == told["environment"]
    lost = {each["name"]: each["lostTo"] for each in told["variables"] if "lostTo" in each}
    assert lost == {"BEFORE_PORT": "the container's own env", "REDIS_SERVICE_PORT": "Service default/redis-service"}
    assert has["BEFORE_PORT"] == "5432"
    assert not [name for name in has if name.startswith("LATE_")]
