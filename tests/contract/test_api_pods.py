"""The doors of a Pod that change a part of it: ephemeral containers and resources."""

from __future__ import annotations

from typing import Any

from tests.contract.session import Session, pod, told

PODS = "/api/v1/namespaces/default/pods"
STRATEGIC = "application/strategic-merge-patch+json"
DEBUGGER = {"name": "debug", "image": "busybox", "stdin": True, "targetContainerName": "c"}


def asking(cpu: str) -> dict[str, Any]:
    """A pod with a container that asks for so much."""
    made = pod()
    made["spec"]["containers"][0]["resources"] = {"requests": {"cpu": cpu}}
    return made


def test_ephemeral_containers_come_by_their_own_door_and_stay() -> None:
    async def story(me: Session) -> None:
        await me.ok("POST", PODS, pod())
        door = f"{PODS}/web/ephemeralcontainers"
        more = {
            "spec": {"ephemeralContainers": [DEBUGGER], "nodeName": "elsewhere"},
            "metadata": {"labels": {"a": "b"}},
        }
        made = await me.ok("PATCH", door, more, content_type=STRATEGIC)
        [found] = made["spec"]["ephemeralContainers"]
        assert found.items() >= DEBUGGER.items() and found["terminationMessagePolicy"] == "File"
        assert "nodeName" not in made["spec"] and "labels" not in made["metadata"]
        assert made["metadata"]["generation"] == 2 and await me.ok("GET", door) == made

        code, _, message = await me.refused("PUT", door, {**made, "spec": {**made["spec"], "ephemeralContainers": []}})
        assert code == 422 and 'existing ephemeral containers "debug" may not be removed' in message
        other = {"spec": {"ephemeralContainers": [{"name": "debug", "image": "other"}]}}
        code, _, message = await me.refused("PATCH", door, other, content_type=STRATEGIC)
        assert code == 422 and 'existing ephemeral containers "debug" may not be changed' in message
        twice = {"spec": {"ephemeralContainers": [{"name": "c", "image": "busybox"}]}}
        code, _, message = await me.refused("PATCH", door, twice, content_type=STRATEGIC)
        assert code == 422 and "Duplicate value" in message
        assert (await me.refused("PATCH", f"{PODS}/web", twice, content_type=STRATEGIC))[0] == 422
        assert (await me.refused("POST", door, made))[0] == 405

    told(story)


def test_a_pod_is_resized_within_its_class() -> None:
    async def story(me: Session) -> None:
        await me.ok("POST", PODS, asking("100m"))
        door = f"{PODS}/web/resize"
        larger = {"spec": {"containers": [{"name": "c", "image": "x", "resources": {"requests": {"cpu": "200m"}}}]}}
        made = await me.ok("PATCH", door, larger, content_type=STRATEGIC)
        [container] = made["spec"]["containers"]
        assert (container["resources"], container["image"]) == ({"requests": {"cpu": "200m"}}, "httpd")
        assert made["metadata"]["generation"] == 2
        back = {"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "100m"}}}]}}
        assert (await me.refused("PATCH", f"{PODS}/web", back, content_type=STRATEGIC))[0] == 422

        none = {**made, "spec": {**made["spec"], "containers": [{"name": "c", "image": "httpd"}]}}
        code, _, message = await me.refused("PUT", door, none)
        assert code == 422 and "Pod QOS Class may not change as a result of resizing" in message
        disk = {"spec": {"containers": [{"name": "c", "resources": {"requests": {"ephemeral-storage": "1Gi"}}}]}}
        code, _, message = await me.refused("PATCH", door, disk, content_type=STRATEGIC)
        assert code == 422 and "only cpu and memory resources are mutable" in message

    told(story)
