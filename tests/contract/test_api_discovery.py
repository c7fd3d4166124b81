"""What the server says it has: in the old form, in the aggregated one, and in OpenAPI; always the same."""

from __future__ import annotations

from typing import Any

import pytest

from fairway.api.answers import Answer
from tests.contract.session import Session, told

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v={};as=APIGroupDiscoveryList"

Found = dict[str, set[tuple[str, str, bool, tuple[str, ...]]]]
"""Resources (with subresources) by group/version: path, kind, whether namespaced, verbs."""


async def plainly(me: Session) -> Found:
    """By the old documents, one after the other."""
    versions = list((await me.ok("GET", "/api"))["versions"])
    groups = (await me.ok("GET", "/apis"))["groups"]
    for group in groups:
        assert await me.ok("GET", f"/apis/{group['name']}") == {"kind": "APIGroup", "apiVersion": "v1", **group}
        assert group["preferredVersion"] == group["versions"][0]
        versions += [version["groupVersion"] for version in group["versions"]]
    found: Found = {}
    for version in versions:
        listed = await me.ok("GET", f"/apis/{version}" if "/" in version else f"/api/{version}")
        assert (listed["kind"], listed["groupVersion"]) == ("APIResourceList", version)
        found[version] = {
            (each["name"], each["kind"], each["namespaced"], tuple(each["verbs"])) for each in listed["resources"]
        }
    return found


async def together(me: Session, version: str) -> Found:
    """By the two aggregated documents."""
    found: Found = {}
    for path in ("/api", "/apis"):
        code, listed, answer = await me.ask("GET", path, accept=AGGREGATED.format(version) + ",application/json")
        assert code == 200 and isinstance(answer, Answer) and answer.content_type == AGGREGATED.format(version)
        assert listed["apiVersion"] == f"apidiscovery.k8s.io/{version}"
        for group in listed["items"]:
            for each in group["versions"]:
                name = group["metadata"].get("name", "")
                group_version = f"{name}/{each['version']}" if name else each["version"]
                found[group_version] = {line for resource in each["resources"] for line in lines(resource)}
    return found


def lines(resource: dict[str, Any]) -> list[tuple[str, str, bool, tuple[str, ...]]]:
    namespaced = resource["scope"] == "Namespaced"
    # A kind that is no object has only subresources worth telling.
    own = [(resource["resource"], resource["responseKind"]["kind"], namespaced, tuple(resource["verbs"]))]
    return own + [
        (f"{resource['resource']}/{sub['subresource']}", sub["responseKind"]["kind"], namespaced, tuple(sub["verbs"]))
        for sub in resource.get("subresources", [])
    ]


@pytest.mark.parametrize("version", ["v2", "v2beta1"])
def test_the_forms_of_discovery_tell_the_same(version: str) -> None:
    async def story(me: Session) -> None:
        found = await plainly(me)
        assert found == await together(me, version)
        assert ("pods/exec", "PodExecOptions", True, ("create", "get")) in found["v1"]
        assert {"networking.k8s.io/v1", "events.k8s.io/v1", "apps/v1", "extensions/v1beta1"} <= found.keys()

    told(story)


def test_every_group_has_an_openapi_document_under_its_hash() -> None:
    async def story(me: Session) -> None:
        versions = await plainly(me)
        paths = (await me.ok("GET", "/openapi/v3"))["paths"]
        for version, resources in versions.items():
            name = f"apis/{version}" if "/" in version else f"api/{version}"
            url = paths[name]["serverRelativeURL"]
            assert url.startswith(f"/openapi/v3/{name}?hash=")
            document = await me.ok("GET", url)
            plurals = {path.rsplit("/", 2)[1] for path in document["paths"]}
            kept = {name for name, _, _, verbs in resources if "/" not in name and "patch" in verbs}
            assert kept <= plurals, version

    told(story)


def test_an_event_is_described_in_the_words_of_each_group() -> None:
    async def story(me: Session) -> None:
        core = await me.ok("GET", "/openapi/v3/api/v1")
        events = await me.ok("GET", "/openapi/v3/apis/events.k8s.io/v1")
        assert "message" in core["components"]["schemas"]["io.k8s.api.core.v1.Event"]["properties"]
        newer = events["components"]["schemas"]["io.k8s.api.events.v1.Event"]
        assert "note" in newer["properties"] and "message" not in newer["properties"]
        kind = {"group": "events.k8s.io", "version": "v1", "kind": "Event"}
        assert newer["x-kubernetes-group-version-kind"] == [kind]

    told(story)


@pytest.mark.parametrize("path", ["/api", "/apis", "/api/v1", "/apis/apps", "/apis/apps/v1", "/api/v1/pods"])
def test_protobuf_alone_cannot_be_had(path: str) -> None:
    async def story(me: Session) -> None:
        assert (await me.refused("GET", path, accept="application/vnd.kubernetes.protobuf"))[:2] == (
            406,
            "NotAcceptable",
        )
        for other in (", */*", ",application/json"):
            code, _, answer = await me.ask("GET", path, accept="application/vnd.kubernetes.protobuf" + other)
            assert code == 200 and isinstance(answer, Answer) and answer.content_type == "application/json"

    told(story)


@pytest.mark.parametrize(
    "path", ["/apis/cats", "/apis/cats/v1", "/apis/apps/v9", "/api/v2", "/openapi/v3/apis/cats/v1"]
)
def test_what_is_not_there_is_404(path: str) -> None:
    async def story(me: Session) -> None:
        assert (await me.refused("GET", path))[0] == 404

    told(story)
