"""Who a pod is: its service account's files, and what they let it do from inside."""

from __future__ import annotations

import json

import pytest

from tests.lab.cluster import Lab, until

pytestmark = pytest.mark.lab

FILES = "/var/run/secrets/kubernetes.io/serviceaccount"
ASK = (
    f'curl -s --cacert {FILES}/ca.crt -H "Authorization: Bearer $(cat {FILES}/token)" '
    "https://kubernetes.default.svc.cluster.local"
)


def manifest(name: str, **spec: object) -> str:
    container = {"name": "c", "image": "x", "command": ["sleep", "3600"]}
    wanted = {"containers": [container], "terminationGracePeriodSeconds": 0, **spec}
    return json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": wanted})


def running(lab: Lab, name: str) -> None:
    until(lambda: lab.kubectl("get", "pod", name, "-o", "jsonpath={.status.phase}") == "Running", f"pod {name} runs")


def shell(lab: Lab, target: str, line: str) -> str:
    return lab.inside(target, "sh", "-c", line).strip()


def test_a_pod_asks_the_api_as_its_service_account_and_gets_what_roles_give(lab: Lab) -> None:
    lab.kubectl("create", "serviceaccount", "robot")
    lab.kubectl("create", "rolebinding", "robot-views", "--clusterrole=view", "--serviceaccount=default:robot")
    lab.kubectl("apply", "-f", "-", text=manifest("asker", serviceAccountName="robot"))
    running(lab, "asker")
    assert shell(lab, "asker", f"cat {FILES}/namespace") == "default"
    pods = json.loads(shell(lab, "asker", f"{ASK}/api/v1/namespaces/default/pods"))
    assert "asker" in [item["metadata"]["name"] for item in pods["items"]]
    refused = json.loads(shell(lab, "asker", f"{ASK}/api/v1/namespaces/default/secrets"))
    assert 'User "system:serviceaccount:default:robot" cannot list resource "secrets"' in refused["message"]
    assert "Read-only file system" in shell(lab, "asker", f"touch {FILES}/mine 2>&1 || true")


def test_a_pod_that_wants_no_identity_has_none_and_the_host_never_has(lab: Lab) -> None:
    lab.kubectl("apply", "-f", "-", text=manifest("nobody", automountServiceAccountToken=False))
    running(lab, "nobody")
    assert shell(lab, "nobody", f"ls {FILES} 2>&1 || true").endswith("No such file or directory")
    assert "No such file" in shell(lab, "node-a", f"ls {FILES} 2>&1 || true")


def test_dns_works_as_its_own_service_account(lab: Lab) -> None:
    who = "system:serviceaccount:kube-system:fairway-dns"
    assert lab.kubectl("auth", "can-i", "watch", "endpointslices", "-A", "--as", who).strip() == "yes"
    assert "--kubeconfig" not in lab.kubectl("-n", "kube-system", "get", "deployment", "fairway-dns", "-o", "yaml")


def test_the_audit_log_tells_the_components_apart(lab: Lab) -> None:
    log = (lab.path / "log" / "api.log").read_text()
    manager = 'user="system:kube-controller-manager" as="system:'
    for who in (
        f'{manager}serviceaccount:kube-system:deployment-controller" verb=create resource=replicasets.apps',
        f'{manager}serviceaccount:kube-system:replicaset-controller" verb=create resource=pods',
        f'{manager}serviceaccount:kube-system:endpointslice-controller" verb=create resource=endpointslices',
        f'{manager}kube-scheduler" verb=create resource=pods/binding',
        'user="system:node:node-a" verb=create resource=nodes',
    ):
        assert who in log, who
    refused = [line for line in log.splitlines() if "code=403" in line and "as=" in line]
    assert refused == []
