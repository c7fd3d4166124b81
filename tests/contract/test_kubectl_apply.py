"""Server-side apply with real kubectl: who owns what, what contests, what goes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.contract.served import KUBECTL, Served, served
from tests.contract.test_kubectl import Shell

# Older ones do not show managed fields on demand, patch subresources or resize.
pytestmark = [
    pytest.mark.skipif(KUBECTL is None, reason="kubectl is not installed"),
    pytest.mark.kubectl_since(31),
]

MAP = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: c\ndata:\n"
DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: web
        image: httpd
        ports: [{containerPort: 80}]
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("api")) as running:
        yield running


@pytest.fixture
def shell(cluster: Served, request: pytest.FixtureRequest) -> Shell:
    name = re.sub(r"[^a-z0-9]+", "-", request.node.name.removeprefix("test_"))[:50].strip("-")
    me = Shell(cluster, name)
    me.says(f"create namespace {name}")
    return me


def owners(shell: Shell, what: str) -> dict[str, Any]:
    """Fields by `manager operation[ subresource]`, as `--show-managed-fields` tells them."""
    shown = json.loads(shell.says(f"get {what} -o json --show-managed-fields"))
    entries = shown["metadata"].get("managedFields", [])
    assert all(entry["fieldsType"] == "FieldsV1" and entry["time"] for entry in entries)
    return {
        " ".join(filter(None, (entry["manager"], entry["operation"], entry.get("subresource")))): entry["fieldsV1"]
        for entry in entries
    }


def test_an_apply_makes_changes_and_takes_back(shell: Shell) -> None:
    assert shell.says("apply --server-side -f -", MAP + "  a: '1'\n  b: '2'\n") == "configmap/c serverside-applied\n"
    version = shell.says("get configmap c -o jsonpath={.metadata.resourceVersion}")
    shell.says("apply --server-side -f -", MAP + "  a: '1'\n  b: '2'\n")
    assert shell.says("get configmap c -o jsonpath={.metadata.resourceVersion}") == version
    assert owners(shell, "configmap c") == {"kubectl Apply": {"f:data": {"f:a": {}, "f:b": {}}}}
    shell.says("apply --server-side -f -", MAP + "  a: '3'\n")
    assert shell.says("get configmap c -o jsonpath={.data}") == '{"a":"3"}'


def test_managed_fields_look_as_users_know_them(shell: Shell) -> None:
    shell.says("create deployment web --image=httpd --replicas=1")
    assert owners(shell, "deployment web") == {
        "kubectl-create Update": {
            "f:metadata": {"f:labels": {".": {}, "f:app": {}}},
            "f:spec": {
                "f:progressDeadlineSeconds": {},
                "f:replicas": {},
                "f:revisionHistoryLimit": {},
                "f:selector": {},
                "f:strategy": {"f:rollingUpdate": {".": {}, "f:maxSurge": {}, "f:maxUnavailable": {}}, "f:type": {}},
                "f:template": {
                    "f:metadata": {"f:labels": {".": {}, "f:app": {}}},
                    "f:spec": {
                        "f:containers": {
                            'k:{"name":"httpd"}': {
                                ".": {},
                                "f:image": {},
                                "f:imagePullPolicy": {},
                                "f:name": {},
                                "f:resources": {},
                                "f:terminationMessagePath": {},
                                "f:terminationMessagePolicy": {},
                            }
                        },
                        "f:dnsPolicy": {},
                        "f:restartPolicy": {},
                        "f:schedulerName": {},
                        "f:securityContext": {},
                        "f:terminationGracePeriodSeconds": {},
                    },
                },
            },
        }
    }
    shell.says("create service nodeport door --tcp=80:8080")
    (fields,) = owners(shell, "service door").values()
    assert fields["f:spec"]["f:ports"] == {
        ".": {},
        'k:{"port":80,"protocol":"TCP"}': {
            ".": {},
            "f:name": {},
            "f:port": {},
            "f:protocol": {},
            "f:targetPort": {},
        },
    }
    # What the server gave is nobody's.
    assert "f:clusterIP" not in fields["f:spec"] and "managedFields" not in shell.says("get service door -o yaml")


def test_a_conflict_names_the_fields_and_their_owner_and_force_takes_them(shell: Shell) -> None:
    shell.says("apply --server-side -f -", DEPLOYMENT)
    shell.says("scale deployment web --replicas=5")
    assert owners(shell, "deployment web")["kubectl Update scale"] == {"f:spec": {"f:replicas": {}}}
    message = shell.fails("apply --server-side -f -", DEPLOYMENT)
    assert 'conflict with "kubectl" with subresource "scale" using apps/v1: .spec.replicas' in message
    assert "Apply failed with 1 conflict" in message
    assert shell.says("get deployment web -o jsonpath={.spec.replicas}") == "5"
    shell.says("apply --server-side --force-conflicts -f -", DEPLOYMENT)
    assert shell.says("get deployment web -o jsonpath={.spec.replicas}") == "2"
    assert list(owners(shell, "deployment web")) == ["kubectl Apply"]


def test_several_conflicts_are_listed_under_their_managers(shell: Shell) -> None:
    shell.says("apply --server-side --field-manager=one -f -", MAP + "  a: '1'\n  b: '1'\n")
    shell.says("apply --server-side --field-manager=two -f -", MAP + "  c: '2'\n")
    message = shell.fails("apply --server-side --field-manager=three -f -", MAP + "  a: x\n  b: x\n  c: x\n")
    assert 'Apply failed with 3 conflicts: conflicts with "one":\n- .data.a\n- .data.b' in message
    assert 'conflicts with "two":\n- .data.c' in message


def test_what_two_share_goes_when_the_last_lets_go(shell: Shell) -> None:
    for manager in ("one", "two"):
        shell.says(f"apply --server-side --field-manager={manager} -f -", MAP + "  a: same\n")
    shell.says("apply --server-side --field-manager=one -f -", MAP + "  b: mine\n")
    assert shell.says("get configmap c -o jsonpath={.data}") == '{"a":"same","b":"mine"}'
    shell.says("apply --server-side --field-manager=two -f -", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\n")
    assert shell.says("get configmap c -o jsonpath={.data}") == '{"b":"mine"}'
    assert list(owners(shell, "configmap c")) == ["one Apply"]


def test_the_way_from_client_side_apply_and_back(shell: Shell) -> None:
    shell.says("apply -f -", MAP + "  a: '1'\n  b: '2'\n")
    assert list(owners(shell, "configmap c")) == ["kubectl-client-side-apply Update"]
    shell.says("apply --server-side -f -", MAP + "  a: '9'\n")
    assert shell.says("get configmap c -o jsonpath={.data}") == '{"a":"9"}'
    assert [name for name in owners(shell, "configmap c") if "client-side" in name] == []
    assert shell.says("apply -f -", MAP + "  a: '9'\n  z: '1'\n").startswith("configmap/c configured")
    assert shell.says("get configmap c -o jsonpath={.data}") == '{"a":"9","z":"1"}'


def test_a_status_has_managers_of_its_own(shell: Shell) -> None:
    shell.says("apply --server-side -f -", DEPLOYMENT)
    status = '{"kind":"Deployment","apiVersion":"apps/v1","metadata":{"name":"web"},"status":{"replicas":2}}'
    shell.says("apply --server-side --subresource=status --field-manager=controller -f -", status)
    assert owners(shell, "deployment web")["controller Apply status"] == {"f:status": {"f:replicas": {}}}
    assert shell.says("get deployment web -o jsonpath={.status.replicas}") == "2"
    shell.says("apply --server-side -f -", DEPLOYMENT)
    assert shell.says("get deployment web -o jsonpath={.status.replicas}") == "2"


def test_ports_are_items_by_number_and_protocol(shell: Shell) -> None:
    service = "apiVersion: v1\nkind: Service\nmetadata: {name: dns}\nspec:\n  selector: {a: b}\n  ports:\n"
    udp, tcp = "  - {name: u, port: 53, protocol: UDP}\n", "  - {name: t, port: 53, protocol: TCP}\n"
    shell.says("apply --server-side -f -", service + udp + tcp)
    shell.says("apply --server-side -f -", service + tcp)
    assert shell.says("get service dns -o jsonpath={.spec.ports[*].name}") == "t"
    twice = shell.fails("apply --server-side -f -", service + tcp + tcp.replace("name: t", "name: v"))
    assert '.spec.ports: duplicate entries for key [port=53,protocol="TCP"]' in twice


def test_a_dry_run_and_a_diff_keep_nothing(shell: Shell) -> None:
    assert shell.says("apply --server-side --dry-run=server -f -", MAP + "  a: '1'\n") == (
        "configmap/c serverside-applied (server dry run)\n"
    )
    assert shell.says("get configmaps -o name") == ""
    shell.says("apply --server-side -f -", MAP + "  a: '1'\n")
    shown = shell.run("diff --server-side -f -", MAP + "  a: '2'\n")
    assert shown.returncode == 1 and '+  a: "2"' in shown.stdout


def test_unknown_fields_are_told_by_their_path(shell: Shell) -> None:
    message = shell.fails("apply --server-side -f -", MAP + "  a: '1'\nspec: {}\n")
    assert "failed to create typed patch object" in message and ".spec: field not declared in schema" in message


def test_a_pod_is_given_a_debugging_container_and_other_resources(shell: Shell) -> None:
    shell.says("run p --image=httpd")
    shell.says("debug p --image=busybox --container=look")
    assert shell.says("get pod p -o jsonpath={.spec.ephemeralContainers[*].name}") == "look"
    spec = {"containers": [{"name": "p", "resources": {"requests": {"example.com/x": "1"}}}]}
    patch = json.dumps({"spec": spec}, separators=(",", ":"))
    assert "only cpu and memory" in shell.fails(f"patch pod p --subresource=resize -p {patch}")
