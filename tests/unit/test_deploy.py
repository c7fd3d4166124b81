"""The manifests in `deploy/`: flags that exist, rights that are used, labels that meet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from fairway.assemble import naming
from fairway.cli import serve
from fairway.dns import server
from fairway.dns.zone import Zone

MANIFEST = Path(__file__).parents[2] / "deploy" / "dns.yaml"
OBJECTS: list[dict[str, Any]] = list(yaml.safe_load_all(MANIFEST.read_text()))
WORKLOADS = {each["metadata"]["name"]: each for each in OBJECTS if each["kind"] in ("Deployment", "DaemonSet")}


def find(kind: str) -> dict[str, Any]:
    (found,) = (each for each in OBJECTS if each["kind"] == kind)
    return found


@pytest.mark.parametrize("workload", WORKLOADS.values(), ids=WORKLOADS)
def test_the_command_takes_the_flags_and_listens_where_nobody_else_does(workload: dict[str, Any]) -> None:
    (container,) = workload["spec"]["template"]["spec"]["containers"]
    said = [word.replace("$(POD_IP)", "10.244.0.7") for word in container["args"]]
    with serve.dns.make_context("dns", said) as context:
        flags = naming.Flags(**{key: value for key, value in context.params.items() if key in FIELDS})
    listening = naming._listening(flags)
    for _, page in naming._pages(flags):
        assert naming._place("a page", page) not in listening
    assert {port for _, port in listening} == {53}
    probed = int(container["livenessProbe"]["httpGet"]["port"])
    assert naming._place("health-address", flags.health_address)[1] == probed


FIELDS = {"domain", "addresses", "node_local", "reverse", "metrics_address", "health_address"}


@pytest.mark.parametrize("workload", WORKLOADS.values(), ids=WORKLOADS)
def test_selectors_meet_their_pods(workload: dict[str, Any]) -> None:
    labels = workload["spec"]["template"]["metadata"]["labels"]
    assert workload["spec"]["selector"]["matchLabels"].items() <= labels.items()


def test_the_service_leads_to_the_deployment_alone_and_never_to_metrics() -> None:
    service = find("Service")["spec"]
    led_to = [
        name
        for name, each in WORKLOADS.items()
        if service["selector"].items() <= each["spec"]["template"]["metadata"]["labels"].items()
    ]
    assert led_to == ["fairway-dns"]
    assert {port["port"] for port in service["ports"]} == {53}


def test_the_role_allows_what_is_followed_and_no_more() -> None:
    allowed = {
        (group, resource)
        for rule in find("ClusterRole")["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }
    assert allowed == {(source.kind.group, source.kind.plural) for source in server._sources(Zone(), None)}
    assert all(rule["verbs"] == ["list", "watch"] for rule in find("ClusterRole")["rules"])
