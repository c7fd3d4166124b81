"""Roles at work: what real kubectl shows to those who may and those who may not."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.contract.served import KUBECTL, Served, served
from tests.contract.session import Session, told
from tests.contract.test_kubectl import Shell, columns, shell

pytestmark = pytest.mark.skipif(KUBECTL is None, reason="kubectl is not installed")

PROXY, ROOT = "system:kube-proxy", "system:masters"

__all__ = ["shell"]  # the fixture


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("rbac")) as running:
        yield running


def test_a_role_gives_what_it_says_and_where(shell: Shell) -> None:
    shell.says("create role reader --verb=get,list --resource=pods,pods/log")
    assert shell.fails("get pods --as ann") == (
        'Error from server (Forbidden): pods is forbidden: User "ann" cannot list resource "pods" in API group "" '
        f'in the namespace "{shell.namespace}"\n'
    )
    shell.says("create rolebinding ann-reads --role=reader --user=ann")
    assert shell.says("auth can-i list pods --as ann") == "yes\n"
    assert shell.run("auth can-i delete pods --as ann").stdout == "no\n"
    assert shell.run("auth can-i list pods -n default --as ann").stdout == "no\n"
    shell.says("get pods --as ann")
    shell.says("delete rolebinding ann-reads")
    shell.fails("get pods --as ann")


def test_nobody_hands_out_what_he_does_not_hold(shell: Shell) -> None:
    shell.says("create rolebinding ann-admin --clusterrole=admin --user=ann")
    shell.says("create rolebinding bob-views --clusterrole=view --user=bob --as ann")
    complaint = shell.fails("create rolebinding bob-rules --clusterrole=cluster-admin --user=bob --as ann")
    assert 'user "ann" (groups=["system:authenticated"]) is attempting to grant RBAC permissions' in complaint
    assert '{APIGroups:["*"], Resources:["*"], Verbs:["*"]}' in complaint
    assert "not currently held" in shell.fails("create role nodes --verb=get --resource=nodes --as ann")
    shell.says("create role pods --verb=get --resource=pods --as ann")
    grown = json.dumps({"rules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}]})
    step = json.dumps([{"op": "replace", "path": "/rules/0/resources", "value": ["nodes"]}])
    for kind, patch in (("merge", grown), ("strategic", grown), ("json", step)):
        line = f"patch role pods --type {kind} --as ann -p {patch.replace(' ', '')}"
        assert "not currently held" in shell.fails(line)


def test_tables(shell: Shell) -> None:
    shell.says("create role reader --verb=get --resource=pods")
    shell.says("create rolebinding b --role=reader --user=ann --group=dev --serviceaccount=shop:robot")
    header, row = columns(shell.says("get rolebindings -o wide"))
    assert header == ["NAME", "ROLE", "AGE", "USERS", "GROUPS", "SERVICEACCOUNTS"]
    assert (row[0], row[1], *row[3:]) == ("b", "Role/reader", "ann", "dev", "shop/robot")
    header, row = columns(shell.says("get roles"))
    assert header == ["NAME", "CREATED AT"] and row[1].endswith("Z")


@pytest.mark.kubectl_since(28)
def test_a_token_made_by_kubectl_lets_in(shell: Shell) -> None:
    shell.says("create serviceaccount robot")
    token = shell.says("create token robot --duration 20m").strip()
    folder = shell.cluster.folder
    certificate = "{client-certificate: client.crt, client-key: client.key}"
    (folder / "robot").write_text((folder / "kubeconfig").read_text().replace(certificate, f"{{token: {token}}}"))
    who = shell.says(f"--kubeconfig {folder}/robot auth whoami -o json")
    assert json.loads(who)["status"]["userInfo"]["username"] == f"system:serviceaccount:{shell.namespace}:robot"
    complaint = shell.fails(f"--kubeconfig {folder}/robot get secrets")
    assert f'User "system:serviceaccount:{shell.namespace}:robot" cannot list resource "secrets"' in complaint


def test_a_nodes_agent_changes_its_own_node_and_no_other(shell: Shell) -> None:
    for name in ("node-a", "node-b"):
        shell.says("create -f -", json.dumps({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}}))
    me = "--as system:node:node-a --as-group system:nodes"
    shell.says(f"label node node-a mine=yes {me}")
    complaint = shell.fails(f"label node node-b mine=yes {me}")
    assert 'nodes "node-b" is forbidden: node "node-a" is not allowed to modify node "node-b"' in complaint
    shell.says("delete node node-a node-b")


def test_all_one_may_do(shell: Shell) -> None:
    shell.says("create rolebinding ann-views --clusterrole=view --user=ann")
    rows = columns(shell.says("auth can-i --list --as ann"))
    assert ["pods", "[]", "[]", "[get list watch]"] in rows
    assert not any(row[0] == "secrets" for row in rows)


@pytest.mark.parametrize(
    ("kind", "spec", "allowed"),
    [
        ("subjectaccessreviews", {"user": PROXY, "resourceAttributes": {"verb": "list", "resource": "services"}}, True),
        ("subjectaccessreviews", {"user": PROXY, "resourceAttributes": {"verb": "list", "resource": "secrets"}}, False),
        ("subjectaccessreviews", {"groups": [ROOT], "nonResourceAttributes": {"verb": "get", "path": "/x"}}, True),
        ("selfsubjectaccessreviews", {"resourceAttributes": {"verb": "delete", "resource": "nodes"}}, True),
    ],
)
def test_reviews(kind: str, spec: dict[str, object], allowed: bool) -> None:
    async def story(session: Session) -> None:
        answer = await session.ok("POST", f"/apis/authorization.k8s.io/v1/{kind}", {"spec": spec})
        assert answer["status"] == {"allowed": allowed} and answer["spec"] == spec

    told(story)


@pytest.mark.parametrize(
    ("url", "spec", "message"),
    [
        ("/apis/authorization.k8s.io/v1/subjectaccessreviews", {"user": "ann"}, "exactly one of nonResourceAttributes"),
        (
            "/apis/authorization.k8s.io/v1/subjectaccessreviews",
            {"resourceAttributes": {"verb": "get"}},
            "at least one of user or group must be specified",
        ),
        (
            "/apis/authorization.k8s.io/v1/namespaces/default/localsubjectaccessreviews",
            {"user": "ann", "resourceAttributes": {"verb": "get", "resource": "pods", "namespace": "shop"}},
            "must match the namespace",
        ),
    ],
)
def test_reviews_that_ask_nothing_sensible(url: str, spec: dict[str, object], message: str) -> None:
    async def story(session: Session) -> None:
        code, _, text = await session.refused("POST", url, {"spec": spec})
        assert code == 422 and message in text
        assert (await session.refused("GET", url))[0] == 405

    told(story)
