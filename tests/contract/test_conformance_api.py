"""The API's part of the public SIG-Network conformance specs, step by step: what each creates, watches, patches and
deletes, by the verbs and in the order of its client.

The specs' own programs are written in Go; the steps here are those their text and their requests show.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from tests.contract.session import Object, Session, service, told

MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
DEFAULT = "/api/v1/namespaces/default"
SERVICES, ENDPOINTS = f"{DEFAULT}/services", f"{DEFAULT}/endpoints"
EVENTS = "/apis/events.k8s.io/v1/namespaces/default/events"
LABEL = {"special-label": "conformance"}
SELECTED = "labelSelector=special-label%3Dconformance"


@dataclass(frozen=True)
class Api:
    """A resource whose API operations a spec walks through; `make` gives the n-th object."""

    group_version: str
    plural: str
    kind: str
    make: Callable[[int], Object]
    namespaced: bool = True
    status: tuple[Object, Object] | None = None

    @property
    def path(self) -> str:
        namespace = "namespaces/default/" if self.namespaced else ""
        return f"/apis/{self.group_version}/{namespace}{self.plural}"

    @property
    def everywhere(self) -> str:
        return f"/apis/{self.group_version}/{self.plural}"

    def obj(self, number: int) -> Object:
        made = self.make(number)
        metadata = {"labels": LABEL, **made.pop("metadata", {"generateName": "e2e-example-"})}
        return {"kind": self.kind, "apiVersion": self.group_version, "metadata": metadata, **made}


def slice_(number: int) -> Object:
    endpoint = {"addresses": [f"1.2.3.{number}"], "conditions": {"ready": True}}
    return {"addressType": "IPv4", "ports": [{"name": "example", "port": 80}], "endpoints": [endpoint]}


def ingress(number: int) -> Object:
    backend = {"service": {"name": "default-backend", "port": {"number": 80}}}
    return {"spec": {"defaultBackend": backend, "rules": [{"host": f"host{number}.example.com"}]}}


def ingress_class(number: int) -> Object:
    return {"metadata": {"name": f"ingressclass{number}"}, "spec": {"controller": "example.com/controller"}}


def cidr(number: int) -> Object:
    return {"metadata": {"name": f"test-svc-cidr-{number}"}, "spec": {"cidrs": [f"192.168.{number}.0/24"]}}


def address(number: int) -> Object:
    parent = {"group": "", "resource": "services", "namespace": "default", "name": "foo"}
    return {"metadata": {"name": f"192.168.9.{number}"}, "spec": {"parentRef": parent}}


def balancer(ip: str) -> Object:
    return {"loadBalancer": {"ingress": [{"ip": ip}]}}


def condition(message: str) -> Object:
    said = {"status": "False", "reason": "e2e", "message": message, "lastTransitionTime": "2026-01-01T00:00:00Z"}
    return {"conditions": [{"type": "Ready", **said}]}


APIS = [
    Api("discovery.k8s.io/v1", "endpointslices", "EndpointSlice", slice_),
    Api(
        "networking.k8s.io/v1",
        "ingresses",
        "Ingress",
        ingress,
        status=(balancer("169.1.1.1"), balancer("169.1.1.2")),
    ),
    Api("networking.k8s.io/v1", "ingressclasses", "IngressClass", ingress_class, namespaced=False),
    Api(
        "networking.k8s.io/v1",
        "servicecidrs",
        "ServiceCIDR",
        cidr,
        namespaced=False,
        status=(condition("patched"), condition("updated")),
    ),
    Api("networking.k8s.io/v1", "ipaddresses", "IPAddress", address, namespaced=False),
]


@pytest.mark.parametrize("api", APIS, ids=lambda api: api.plural)
def test_should_support_creating_api_operations(api: Api) -> None:
    async def story(me: Session) -> None:
        await discovered(me, api)
        created = [await me.ok("POST", api.path, api.obj(number)) for number in (1, 2, 3)]
        first = created[0]
        url = f"{api.path}/{first['metadata']['name']}"
        assert await me.ok("GET", url) == first
        for path in (api.path, api.everywhere):
            listed = await me.ok("GET", f"{path}?{SELECTED}")
            assert {item["metadata"]["uid"] for item in listed["items"]} == {c["metadata"]["uid"] for c in created}
        async with me.watch(f"{api.path}?{SELECTED}&resourceVersion={listed['metadata']['resourceVersion']}") as watch:
            body = {"metadata": {"annotations": {"patched": "true"}}}
            patched = await me.ok("PATCH", url, body, content_type=MERGE)
            assert patched["metadata"]["annotations"]["patched"] == "true"
            again = {**patched, "metadata": {**patched["metadata"], "annotations": {"patched": "true", "updated": "1"}}}
            assert (await me.ok("PUT", url, again))["metadata"]["annotations"]["updated"] == "1"
            for key in ("patched", "updated"):
                kind, seen = await watch.next()
                assert (kind, key in seen["metadata"]["annotations"]) == ("MODIFIED", True)
            if api.status:
                await status_walk(me, url, *api.status)
                assert [(await watch.next())[0] for _ in range(2)] == ["MODIFIED", "MODIFIED"]
            await me.ok("DELETE", url)
            assert (await watch.next())[0] == "DELETED"
        code, reason, _ = await me.refused("GET", url)
        assert (code, reason) == (404, "NotFound")
        assert len((await me.ok("GET", f"{api.path}?{SELECTED}"))["items"]) == 2
        await me.ok("DELETE", f"{api.path}?{SELECTED}")
        assert (await me.ok("GET", f"{api.path}?{SELECTED}"))["items"] == []

    told(story)


async def discovered(me: Session, api: Api) -> None:
    """The group, its version and the resource, as a client finds its way to them."""
    group, _, version = api.group_version.partition("/")
    groups = (await me.ok("GET", "/apis"))["groups"]
    [found] = [each for each in groups if each["name"] == group]
    assert {"groupVersion": api.group_version, "version": version} in found["versions"]
    assert api.group_version in [each["groupVersion"] for each in (await me.ok("GET", f"/apis/{group}"))["versions"]]
    resources = (await me.ok("GET", f"/apis/{api.group_version}"))["resources"]
    names = [each["name"] for each in resources]
    assert api.plural in names and (f"{api.plural}/status" in names) is bool(api.status)


async def status_walk(me: Session, url: str, first: Object, second: Object) -> None:
    """Patch and update through /status; the patch takes an annotation along."""
    door = f"{url}/status"
    body = {"metadata": {"annotations": {"patchedstatus": "true"}}, "status": first}
    patched = await me.ok("PATCH", door, body, content_type=MERGE)
    assert patched["status"] == first and patched["metadata"]["annotations"]["patchedstatus"] == "true"
    updated = await me.ok("PUT", door, {**patched, "status": second})
    assert updated["status"] == second and await me.ok("GET", door) == updated


def test_should_complete_a_service_status_lifecycle() -> None:
    async def story(me: Session) -> None:
        body = service("test-service", type="LoadBalancer", ports=[{"name": "http", "protocol": "TCP", "port": 80}])
        body["metadata"]["labels"] = {"test-service-static": "true"}
        since = (await me.ok("GET", "/api/v1/services?labelSelector=test-service-static=true"))["metadata"]
        path = f"{SERVICES}?labelSelector=test-service-static=true&resourceVersion={since['resourceVersion']}"
        url = f"{SERVICES}/test-service"
        async with me.watch(path) as watch:
            await me.ok("POST", SERVICES, body)
            assert await watch.names(1) == [("ADDED", "test-service")]
            assert (await me.ok("GET", f"{url}/status"))["status"] == {"loadBalancer": {}}

            patch = {"metadata": {"annotations": {"patchedstatus": "true"}}, "status": balancer("203.0.113.1")}
            await me.ok("PATCH", f"{url}/status", patch, content_type=MERGE)
            kind, seen = await watch.next()
            assert (kind, seen["metadata"]["annotations"]) == ("MODIFIED", {"patchedstatus": "true"})
            assert seen["status"]["loadBalancer"]["ingress"][0]["ip"] == "203.0.113.1"

            said = {"type": "StatusUpdate", "status": "True", "reason": "E2E", "message": "Set from e2e test"}
            said["lastTransitionTime"] = "2026-01-01T00:00:00Z"
            status = {**seen["status"], "conditions": [said]}
            await me.ok("PUT", f"{url}/status", {**seen, "status": status})
            kind, seen = await watch.next()
            assert (kind, seen["status"]["conditions"]) == ("MODIFIED", [said])

            patch = {"metadata": {"labels": {"test-service": "patched"}}}
            await me.ok("PATCH", url, patch, content_type=STRATEGIC)
            kind, seen = await watch.next()
            assert (kind, seen["metadata"]["labels"]["test-service"]) == ("MODIFIED", "patched")
            assert seen["status"]["conditions"] == [said]
            await me.ok("DELETE", url)
            assert await watch.names(1) == [("DELETED", "test-service")]

    told(story)


def test_should_delete_a_collection_of_services() -> None:
    async def story(me: Session) -> None:
        for name, label in (("e2e-svc-a", "a"), ("e2e-svc-b", "b"), ("e2e-svc-c", "b")):
            body = service(name)
            body["metadata"]["labels"] = {"e2e": label}
            await me.ok("POST", SERVICES, body)
        before = len((await me.ok("GET", SERVICES))["items"])
        held = {item["metadata"]["name"] for item in await addresses(me)}
        await me.ok("DELETE", f"{SERVICES}?labelSelector=e2e%3Db")
        left = [item["metadata"]["name"] for item in (await me.ok("GET", SERVICES))["items"]]
        assert "e2e-svc-a" in left and len(left) == before - 2
        assert len(held) - len(await addresses(me)) == 2

    told(story)


async def addresses(me: Session) -> list[Object]:
    return list((await me.ok("GET", "/apis/networking.k8s.io/v1/ipaddresses"))["items"])


def test_should_find_a_service_from_listing_all_namespaces() -> None:
    async def story(me: Session) -> None:
        listed = (await me.ok("GET", "/api/v1/services"))["items"]
        assert [(item["metadata"]["namespace"], item["metadata"]["name"]) for item in listed] == [
            ("default", "kubernetes")
        ]

    told(story)


def test_should_provide_secure_master_service() -> None:
    async def story(me: Session) -> None:
        found = await me.ok("GET", f"{SERVICES}/kubernetes")
        [port] = found["spec"]["ports"]
        assert (port["name"], port["port"], port["protocol"]) == ("https", 443, "TCP")
        endpoints = await me.ok("GET", f"{ENDPOINTS}/kubernetes")
        assert endpoints["subsets"][0]["addresses"]
        listed = await me.ok(
            "GET",
            "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices?labelSelector=kubernetes.io/service-name=kubernetes",
        )
        [address] = [each["addresses"] for item in listed["items"] for each in item["endpoints"]]
        assert [{"ip": ip} for ip in address] == endpoints["subsets"][0]["addresses"]

    told(story)


def test_should_test_the_lifecycle_of_an_endpoint() -> None:
    async def story(me: Session) -> None:
        name, selector = "testservice", "labelSelector=test-endpoint-static=true"
        ports = [{"name": "http", "port": 80, "protocol": "TCP"}]
        subsets = [{"addresses": [{"ip": "10.0.0.24"}], "ports": ports}]
        since = (await me.ok("GET", f"/api/v1/endpoints?{selector}"))["metadata"]["resourceVersion"]
        body = {"metadata": {"name": name, "labels": {"test-endpoint-static": "true"}}, "subsets": subsets}
        async with me.watch(f"{ENDPOINTS}?{selector}&resourceVersion={since}") as watch:
            created = await me.ok("POST", ENDPOINTS, body)
            assert await watch.names(1) == [("ADDED", name)]
            everywhere = (await me.ok("GET", f"/api/v1/endpoints?{selector}"))["items"]
            assert [item["metadata"]["name"] for item in everywhere] == [name]

            labels = {**created["metadata"]["labels"], "test-service": "updated"}
            await me.ok(
                "PUT", f"{ENDPOINTS}/{name}", {**created, "metadata": {**created["metadata"], "labels": labels}}
            )
            kind, seen = await watch.next()
            assert (kind, seen["metadata"]["labels"]["test-service"]) == ("MODIFIED", "updated")

            other = [{"addresses": [{"ip": "10.0.0.25"}], "ports": [{"name": "http-test", "port": 8080}]}]
            patch = {"metadata": {"labels": {"test-service": "patched"}}, "subsets": other}
            await me.ok("PATCH", f"{ENDPOINTS}/{name}", patch, content_type=STRATEGIC)
            kind, seen = await watch.next()
            assert (kind, seen["metadata"]["labels"]["test-service"]) == ("MODIFIED", "patched")
            [subset] = seen["subsets"]
            assert (subset["addresses"], subset["ports"][0]["port"]) == ([{"ip": "10.0.0.25"}], 8080)

            await me.ok("DELETE", f"{ENDPOINTS}?{selector}")
            assert await watch.names(1) == [("DELETED", name)]
        assert (await me.refused("GET", f"{ENDPOINTS}/{name}"))[0] == 404

    told(story)


def test_should_manage_the_lifecycle_of_an_event() -> None:
    async def story(me: Session) -> None:
        body = {
            "metadata": {"generateName": "event-", "labels": {"testevent-constant": "true"}},
            "eventTime": "2026-01-01T00:00:00.000000Z",
            "action": "Do",
            "reason": "Test",
            "type": "Normal",
            "note": "This is event",
            "reportingController": "test-controller",
            "reportingInstance": "test-node",
            "regarding": {"namespace": "default"},
        }
        created = [await me.ok("POST", EVENTS, body) for _ in range(3)]
        selector = "labelSelector=testevent-constant=true"
        listed = (await me.ok("GET", f"/apis/events.k8s.io/v1/events?{selector}"))["items"]
        assert len(listed) == 3 and len((await me.ok("GET", f"/api/v1/events?{selector}"))["items"]) == 3
        url = f"{EVENTS}/{created[0]['metadata']['name']}"
        series = {"count": 2, "lastObservedTime": "2026-01-01T00:00:01.000000Z"}
        patched = await me.ok("PATCH", url, {"series": series}, content_type=STRATEGIC)
        assert patched["series"]["count"] == 2
        updated = await me.ok("PUT", url, {**patched, "series": {**series, "count": 100}})
        assert updated["series"]["count"] == 100 and await me.ok("GET", url) == updated
        await me.ok("DELETE", url)
        await me.ok("DELETE", f"{EVENTS}?{selector}")
        assert (await me.ok("GET", f"{EVENTS}?{selector}"))["items"] == []

    told(story)


def test_should_locate_the_group_version_and_a_resource_within_each_api_group() -> None:
    async def story(me: Session) -> None:
        assert "v1" in (await me.ok("GET", "/api"))["versions"]
        for group in (await me.ok("GET", "/apis"))["groups"]:
            assert group["preferredVersion"] in group["versions"]
            assert (await me.ok("GET", f"/apis/{group['name']}"))["preferredVersion"] == group["preferredVersion"]
            for version in group["versions"]:
                listed = await me.ok("GET", f"/apis/{version['groupVersion']}")
                assert listed["groupVersion"] == version["groupVersion"] and listed["resources"]

    told(story)


def test_should_be_able_to_change_the_type_of_a_service() -> None:
    async def story(me: Session) -> None:
        await me.ok("POST", SERVICES, service("s", type="ExternalName", externalName="foo.example.com", ports=None))
        url = f"{SERVICES}/s"
        for to, kept, gone in (
            ({"type": "ClusterIP", "externalName": None, "ports": [{"port": 80}]}, ("clusterIP",), ("externalName",)),
            ({"type": "NodePort"}, ("clusterIP",), ()),
            (
                {"type": "ExternalName", "externalName": "foo.example.com", "clusterIP": None, "clusterIPs": None},
                ("externalName",),
                ("clusterIP", "clusterIPs"),
            ),
            ({"type": "NodePort", "externalName": None, "ports": [{"port": 80}]}, ("clusterIP",), ("externalName",)),
        ):
            found = await me.ok("GET", url)
            spec = {name: value for name, value in {**found["spec"], **to}.items() if value is not None}
            changed = (await me.ok("PUT", url, {**found, "spec": spec}))["spec"]
            assert all(changed.get(name) for name in kept) and not any(name in changed for name in gone)
            numbers: list[Any] = [port.get("nodePort") for port in changed.get("ports") or []]
            assert all(numbers) is (to["type"] == "NodePort") or not numbers

    told(story)
