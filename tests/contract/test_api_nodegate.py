"""An agent acts for its own node: what it may read and write of what lies around."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from fairway.api.users import NODES, User
from tests.contract.session import CONFIG, Session, pod, told

DEFAULT = "/api/v1/namespaces/default"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/{}/leases"
STRATEGIC = "application/strategic-merge-patch+json"
TOKENS = {"agent": User("system:node:node-a", (NODES,))}
GUARDED = dataclasses.replace(CONFIG, tokens={**CONFIG.tokens, **TOKENS})

REFERRING: dict[str, Any] = {
    "volumes": [
        {"name": "v1", "secret": {"secretName": "by-volume"}},
        {"name": "v2", "configMap": {"name": "by-volume"}},
        {"name": "v3", "projected": {"sources": [{"secret": {"name": "by-projection"}}]}},
    ],
    "imagePullSecrets": [{"name": "by-pull"}],
    "containers": [
        {
            "name": "c",
            "image": "httpd",
            "env": [
                {"name": "A", "valueFrom": {"secretKeyRef": {"name": "by-variable", "key": "k"}}},
                {"name": "B", "valueFrom": {"configMapKeyRef": {"name": "by-variable", "key": "k"}}},
            ],
            "envFrom": [{"secretRef": {"name": "by-all"}}, {"configMapRef": {"name": "by-all"}}],
        }
    ],
}


async def furnished(me: Session) -> Session:
    """Two nodes with a pod each, and things that only the first one's pod refers to. Returns the first one's agent."""
    for name in ("node-a", "node-b"):
        await me.ok("POST", "/api/v1/nodes", {"kind": "Node", "apiVersion": "v1", "metadata": {"name": name}})
    mine, other = pod("mine"), pod("other")
    mine["spec"] = {**REFERRING, "nodeName": "node-a"}
    other["spec"]["nodeName"] = "node-b"
    await me.ok("POST", f"{DEFAULT}/serviceaccounts", {"metadata": {"name": "default"}})
    await me.ok("POST", f"{DEFAULT}/serviceaccounts", {"metadata": {"name": "robot"}})
    for each in (mine, other):
        await me.ok("POST", f"{DEFAULT}/pods", each)
    for name in ("by-volume", "by-projection", "by-pull", "by-variable", "by-all", "nobodys"):
        for kind in ("secrets", "configmaps"):
            await me.ok("POST", f"{DEFAULT}/{kind}", {"metadata": {"name": name}})
    return Session(me.api, "agent")


def test_an_agent_reads_what_its_pods_refer_to() -> None:
    async def story(me: Session) -> None:
        agent = await furnished(me)
        for name in ("by-volume", "by-projection", "by-pull", "by-variable", "by-all"):
            await agent.ok("GET", f"{DEFAULT}/secrets/{name}")
        for name in ("by-volume", "by-variable", "by-all", "kube-root-ca.crt"):
            code, _, _ = await agent.ask("GET", f"{DEFAULT}/configmaps/{name}")
            assert code == (404 if name == "kube-root-ca.crt" else 200)
        await agent.ok("GET", f"{DEFAULT}/secrets?fieldSelector=metadata.name=by-volume")
        for url in ("secrets/nobodys", "configmaps/nobodys", "configmaps/by-pull", "secrets", "secrets/none"):
            code, _, message = await agent.refused("GET", f"{DEFAULT}/{url}")
            assert code == 403 and "no relationship found between node 'node-a' and this object" in message, url
        assert (await agent.refused("GET", "/api/v1/secrets"))[0] == 403

        await me.ok("DELETE", f"{DEFAULT}/pods/mine?gracePeriodSeconds=0")
        assert (await agent.refused("GET", f"{DEFAULT}/secrets/by-volume"))[0] == 403

    told(story, config=GUARDED)


def test_an_agent_sees_its_own_pods_only() -> None:
    async def story(me: Session) -> None:
        agent = await furnished(me)
        listed = await agent.ok("GET", "/api/v1/pods?fieldSelector=spec.nodeName=node-a")
        assert [item["metadata"]["name"] for item in listed["items"]] == ["mine"]
        for query in ("", "?fieldSelector=spec.nodeName=node-b", "?fieldSelector=spec.nodeName!=node-a", "?watch=1"):
            code, _, message = await agent.refused("GET", f"/api/v1/pods{query}")
            assert code == 403 and "can only list/watch pods with spec.nodeName field selector" in message
        await agent.ok("GET", f"{DEFAULT}/pods/mine")
        assert (await agent.refused("GET", f"{DEFAULT}/pods/other"))[0] == 403
        assert (await agent.refused("GET", f"{DEFAULT}/pods/none"))[0] == 404

    told(story, config=GUARDED)


def test_an_agent_reports_and_ends_its_own_pods_only() -> None:
    async def story(me: Session) -> None:
        agent = await furnished(me)
        status = {"status": {"phase": "Running"}}
        await agent.ok("PATCH", f"{DEFAULT}/pods/mine/status", status, content_type=STRATEGIC)
        for method, door, body in (
            ("PATCH", "/status", status),
            ("DELETE", "", None),
            ("POST", "/eviction", {"kind": "Eviction", "metadata": {"name": "other"}}),
        ):
            content_type = STRATEGIC if method == "PATCH" else "application/json"
            code, _, message = await agent.refused(
                method, f"{DEFAULT}/pods/other{door}", body, content_type=content_type
            )
            assert code == 403 and "pods with spec.nodeName set to itself" in message
        await agent.ok("DELETE", f"{DEFAULT}/pods/mine?gracePeriodSeconds=0")

    told(story, config=GUARDED)


MARK = {"kubernetes.io/config.mirror": "x"}


@pytest.mark.parametrize(
    ("annotations", "node", "code"), [({}, "node-a", 403), (MARK, "node-b", 403), (MARK, "node-a", 201)]
)
def test_an_agent_makes_mirrors_of_what_its_node_runs(annotations: dict[str, str], node: str, code: int) -> None:
    async def story(me: Session) -> None:
        agent = await furnished(me)
        wanted = pod("static", annotations=annotations, uid="claimed")
        wanted["spec"]["nodeName"] = node
        assert (await agent.ask("POST", f"{DEFAULT}/pods", wanted))[0] == code

    told(story, config=GUARDED)


def test_an_agent_writes_about_its_own_node_only() -> None:
    async def story(me: Session) -> None:
        await me.ok("POST", "/api/v1/nodes", {"metadata": {"name": "node-b"}})
        agent = Session(me.api, "agent")
        assert (await agent.refused("POST", "/api/v1/nodes", {"metadata": {"name": "node-c"}}))[0] == 403
        assert (await agent.refused("POST", "/api/v1/nodes", {"metadata": {"generateName": "node-"}}))[0] == 403
        await agent.ok("POST", "/api/v1/nodes", {"metadata": {"name": "node-a"}})
        for door in ("", "/status"):
            await agent.ok("PATCH", f"/api/v1/nodes/node-a{door}", {}, content_type=STRATEGIC)
            url = f"/api/v1/nodes/node-b{door}"
            code, _, message = await agent.refused("PATCH", url, {}, content_type=STRATEGIC)
            assert code == 403 and 'node "node-a" is not allowed to modify node "node-b"' in message
        leases = LEASES.format("kube-node-lease")
        await agent.ok("POST", leases, {"metadata": {"name": "node-a"}})
        await agent.ok("PATCH", f"{leases}/node-a", {"spec": {"holderIdentity": "a"}}, content_type=STRATEGIC)
        assert (await agent.refused("POST", leases, {"metadata": {"name": "node-b"}}))[0] == 403
        code, _, message = await agent.refused("POST", LEASES.format("default"), {"metadata": {"name": "node-a"}})
        assert code == 403 and 'can only access leases in the "kube-node-lease" system namespace' in message

    told(story, config=GUARDED)


NODE_A = "/api/v1/nodes/node-a"


@pytest.mark.parametrize(
    "label",
    ["node-restriction.kubernetes.io/pci", "node-role.kubernetes.io/control-plane", "kubernetes.io/x", "k8s.io/x"],
)
def test_an_agent_does_not_label_its_node_as_somebody_elses_choice(label: str) -> None:
    async def story(me: Session) -> None:
        agent = Session(me.api, "agent")
        labels = {"metadata": {"name": "node-a", "labels": {label: "x"}}}
        code, _, message = await agent.refused("POST", "/api/v1/nodes", labels)
        assert code == 403 and f"not allowed to set the following labels: {label}" in message
        await me.ok("POST", "/api/v1/nodes", labels)
        for value in ("y", None):
            patch = {"metadata": {"labels": {label: value}}}
            for door in ("", "/status"):
                code, _, message = await agent.refused("PATCH", NODE_A + door, patch, content_type=STRATEGIC)
                assert code == 403 and f"not allowed to modify labels: {label}" in message
        own = {"kubernetes.io/hostname": "a", "topology.kubernetes.io/zone": "z", "node.kubernetes.io/x": "y", "x": "y"}
        await agent.ok("PATCH", NODE_A, {"metadata": {"labels": {**own, label: "x"}}}, content_type=STRATEGIC)
        there = await agent.ok("GET", NODE_A)
        del there["metadata"]["labels"][label]
        assert (await agent.refused("PUT", NODE_A, there))[0] == 403

    told(story, config=GUARDED)


def test_an_agent_taints_its_node_at_the_beginning_only() -> None:
    async def story(me: Session) -> None:
        agent = Session(me.api, "agent")
        taints = [{"key": "mine", "effect": "NoSchedule"}]
        await agent.ok("POST", "/api/v1/nodes", {"metadata": {"name": "node-a"}, "spec": {"taints": taints}})
        for wanted in ([], [*taints, {"key": "other", "effect": "NoExecute"}]):
            patch = {"spec": {"taints": wanted}}
            code, _, message = await agent.refused("PATCH", NODE_A, patch, content_type="application/merge-patch+json")
            assert code == 403 and message.endswith('node "node-a" is not allowed to modify taints')
        await agent.ok("PATCH", NODE_A, {"spec": {"taints": taints}}, content_type="application/merge-patch+json")
        await me.ok("PATCH", NODE_A, {"spec": {"taints": []}}, content_type="application/merge-patch+json")

    told(story, config=GUARDED)


def test_an_agent_gets_tokens_for_its_own_pods_only() -> None:
    async def story(me: Session) -> None:
        agent = await furnished(me)

        def asked(name: str) -> dict[str, Any]:
            return {"spec": {"boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": name}}}

        tokens = f"{DEFAULT}/serviceaccounts/default/token"
        assert (await agent.ok("POST", tokens, asked("mine")))["status"]["token"]
        for url, body, said in (
            (tokens, {}, "not bound to a pod"),
            (tokens, asked("other"), "bound to a pod scheduled on a different node"),
            (tokens, asked("none"), "bound to a pod scheduled on a different node"),
            (f"{DEFAULT}/serviceaccounts/robot/token", asked("mine"), "with a different service account"),
        ):
            code, _, message = await agent.refused("POST", url, body)
            assert code == 403 and said in message

    told(story, config=GUARDED)
