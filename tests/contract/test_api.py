"""What clients may rely on when they ask the API server: told as talks with its handlers, without HTTP."""

from __future__ import annotations

import asyncio
import dataclasses
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairway.api.answers import Answer
from fairway.api.server import Api
from fairway.store.memory import MemoryStore
from tests.contract.session import CONFIG, Session, config_map, pod, service, told

MAPS = "/api/v1/namespaces/default/configmaps"
PODS = "/api/v1/namespaces/default/pods"
SERVICES = "/api/v1/namespaces/default/services"
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
JSON_PATCH = "application/json-patch+json"

OLD_DEPLOYMENT = {
    "kind": "Deployment",
    "apiVersion": "apps/v1beta1",
    "metadata": {"name": "httpd"},
    "spec": {
        "replicas": 3,
        "template": {
            "metadata": {"labels": {"run": "httpd"}},
            "spec": {"containers": [{"name": "httpd", "image": "httpd"}]},
        },
    },
}


# Bootstrap


def test_a_new_cluster_has_its_namespaces_its_range_and_the_way_to_the_api() -> None:
    async def story(me: Session) -> None:
        namespaces = await me.ok("GET", "/api/v1/namespaces")
        names = [item["metadata"]["name"] for item in namespaces["items"]]
        assert names == ["default", "kube-node-lease", "kube-public", "kube-system"]
        kubernetes = await me.ok("GET", f"{SERVICES}/kubernetes")
        assert kubernetes["spec"]["clusterIP"] == "10.96.0.1"
        assert kubernetes["spec"]["ports"] == [{"name": "https", "protocol": "TCP", "port": 443, "targetPort": 6443}]
        piece = await me.ok("GET", "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes")
        assert piece["endpoints"][0]["addresses"] == ["10.0.0.10"] and piece["ports"][0]["port"] == 6443
        cidr = await me.ok("GET", "/apis/networking.k8s.io/v1/servicecidrs/kubernetes")
        assert cidr["spec"]["cidrs"] == ["10.96.0.0/12"] and cidr["status"]["conditions"][0]["type"] == "Ready"

    told(story)


def test_a_second_start_changes_nothing_but_where_the_server_is() -> None:
    async def story() -> None:
        store = MemoryStore()
        first = Api(store, CONFIG)
        await first.start()
        await first.stop()
        before = (await store.range("/registry/")).entries
        again = Api(store, CONFIG)
        await again.start()
        await again.stop()
        assert (await store.range("/registry/")).entries == before
        moved = Api(store, dataclasses.replace(CONFIG, advertise_address="10.0.0.20"))
        await moved.start()
        endpoints = await Session(moved).ok("GET", "/api/v1/namespaces/default/endpoints/kubernetes")
        assert endpoints["subsets"][0]["addresses"] == [{"ip": "10.0.0.20"}]
        await moved.stop()

    asyncio.run(story())


# Objects


def test_an_object_lives_from_create_to_delete() -> None:
    async def story(me: Session) -> None:
        created = await me.ok("POST", MAPS, config_map("a"))
        meta = created["metadata"]
        assert meta["uid"] and meta["creationTimestamp"].endswith("Z") and meta["namespace"] == "default"
        assert await me.ok("GET", f"{MAPS}/a") == created
        changed = await me.ok("PUT", f"{MAPS}/a", {**created, "data": {"a": "c"}})
        assert int(changed["metadata"]["resourceVersion"]) > int(meta["resourceVersion"])
        assert changed["metadata"]["uid"] == meta["uid"]
        gone = await me.ok("DELETE", f"{MAPS}/a")
        assert (gone["kind"], gone["status"], gone["details"]["uid"]) == ("Status", "Success", meta["uid"])
        assert await me.refused("GET", f"{MAPS}/a") == (404, "NotFound", 'configmaps "a" not found')

    told(story)


def test_errors_are_worded_as_users_know_them() -> None:
    async def story(me: Session) -> None:
        await me.ok("POST", SERVICES, service())
        assert await me.refused("POST", SERVICES, service()) == (
            409,
            "AlreadyExists",
            'services "web" already exists',
        )
        assert await me.refused("DELETE", f"{DEPLOYMENTS}/x") == (
            404,
            "NotFound",
            'deployments.apps "x" not found',
        )
        stale = await me.ok("GET", f"{SERVICES}/web")
        await me.ok("PUT", f"{SERVICES}/web", {**stale, "spec": {**stale["spec"], "selector": {"app": "b"}}})
        code, reason, message = await me.refused("PUT", f"{SERVICES}/web", stale)
        assert (code, reason) == (409, "Conflict")
        assert message == (
            'Operation cannot be fulfilled on services "web": the object has been modified; '
            "please apply your changes to the latest version and try again"
        )
        code, reason, message = await me.refused("POST", SERVICES, service("Web"))
        assert (code, reason) == (422, "Invalid") and message.startswith('Service "Web" is invalid: metadata.name:')
        bad = service("b", ports=[{"port": 80, "name": "a"}, {"port": 70000, "name": "b"}])
        assert "spec.ports[1].port: Invalid value: 70000" in (await me.refused("POST", SERVICES, bad))[2]
        assert (await me.refused("POST", SERVICES, b"{"))[:2] == (400, "BadRequest")
        assert (await me.refused("POST", SERVICES, b"x", content_type="text/plain"))[:2] == (
            415,
            "UnsupportedMediaType",
        )
        assert (await me.refused("GET", SERVICES, accept="application/vnd.kubernetes.protobuf"))[0] == 406
        assert (await me.refused("POST", SERVICES, pod()))[0] == 400
        assert (await me.refused("GET", "/api/v1/cats"))[0] == 404

    told(story)


def test_of_two_updates_of_one_state_one_is_refused() -> None:
    async def story(me: Session) -> None:
        seen = await me.ok("POST", MAPS, config_map("a"))
        answers = await asyncio.gather(
            *(me.ask("PUT", f"{MAPS}/a", {**seen, "data": {"n": str(n)}}) for n in range(10))
        )
        assert sorted(code for code, _, _ in answers) == [200] + [409] * 9

    told(story)


def test_patches_that_name_no_version_all_land() -> None:
    async def story(me: Session) -> None:
        await me.ok("POST", MAPS, config_map("a"))
        await asyncio.gather(
            *(me.ok("PATCH", f"{MAPS}/a", {"data": {f"k{n}": "v"}}, content_type=MERGE) for n in range(20))
        )
        data = (await me.ok("GET", f"{MAPS}/a"))["data"]
        assert set(data) == {"a", *(f"k{n}" for n in range(20))}

    told(story)


def test_the_three_patches_change_what_they_name() -> None:
    async def story(me: Session) -> None:
        await me.ok("POST", SERVICES, service(ports=[{"name": "a", "port": 80}]))
        url = f"{SERVICES}/web"
        await me.ok("PATCH", url, {"spec": {"ports": [{"name": "b", "port": 81}]}}, content_type=STRATEGIC)
        assert {port["port"] for port in (await me.ok("GET", url))["spec"]["ports"]} == {80, 81}
        await me.ok("PATCH", url, {"spec": {"ports": [{"name": "c", "port": 82}]}}, content_type=MERGE)
        operation = {"op": "replace", "path": "/spec/ports/0/port", "value": 83}
        patched = await me.ok("PATCH", url, [operation], content_type=JSON_PATCH)
        assert [(port["name"], port["port"]) for port in patched["spec"]["ports"]] == [("c", 83)]
        absent = {"op": "remove", "path": "/spec/nothing"}
        assert (await me.refused("PATCH", url, [absent], content_type=JSON_PATCH))[0] == 422
        code, _, message = await me.refused("PATCH", url, {}, content_type="application/x-patch+json")
        assert code == 415 and "application/strategic-merge-patch+json" in message
        stale = {"metadata": {"resourceVersion": "1"}, "spec": {"selector": {"a": "b"}}}
        assert (await me.refused("PATCH", url, stale, content_type=MERGE))[0] == 409

    told(story)


def test_unknown_fields_are_refused_warned_of_or_ignored_as_asked() -> None:
    async def story(me: Session) -> None:
        odd = service("odd", selektor={"a": "b"})
        code, _, message = await me.refused("POST", f"{SERVICES}?fieldValidation=Strict", odd)
        assert code == 400 and 'strict decoding error: unknown field "spec.selektor"' in message
        _, created, answer = await me.ask("POST", SERVICES, odd)
        assert answer.headers == (("warning", '299 - "unknown field \\"spec.selektor\\""'),)
        assert "selektor" not in created["spec"]
        odd["metadata"]["name"] = "odder"
        _, _, answer = await me.ask("POST", f"{SERVICES}?fieldValidation=Ignore", odd)
        assert answer.headers == ()
        twice = b'{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"a"},"data":{"x":"1","x":"2"}}'
        code, _, message = await me.refused("POST", f"{MAPS}?fieldValidation=Strict", twice)
        assert code == 400 and 'duplicate field "data.x"' in message

    told(story)


def test_a_dry_run_answers_as_if_and_changes_nothing() -> None:
    async def story(me: Session) -> None:
        await me.ok("POST", MAPS, config_map("kept"))
        before = (await me.ok("GET", "/api/v1/configmaps"))["metadata"]["resourceVersion"]
        dry = await me.ok("POST", f"{SERVICES}?dryRun=All", service(type="NodePort"))
        assert dry["spec"]["clusterIP"] and dry["spec"]["ports"][0]["nodePort"]
        await me.ok("PATCH", f"{MAPS}/kept?dryRun=All", {"data": {"x": "y"}}, content_type=MERGE)
        await me.ok("DELETE", f"{MAPS}/kept?dryRun=All")
        after = await me.ok("GET", "/api/v1/configmaps")
        assert after["metadata"]["resourceVersion"] == before and after["items"][0]["data"] == {"a": "b"}

    told(story)


def test_a_generated_name_begins_as_asked_and_is_free() -> None:
    async def story(me: Session) -> None:
        named = {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"generateName": "x-"}}
        names = {(await me.ok("POST", MAPS, named))["metadata"]["name"] for _ in range(20)}
        assert len(names) == 20 and all(len(name) == 7 and name.startswith("x-") for name in names)

    told(story)


def test_an_update_that_changes_nothing_writes_nothing() -> None:
    async def story(me: Session) -> None:
        created = await me.ok("POST", MAPS, config_map("a"))
        assert await me.ok("PUT", f"{MAPS}/a", created) == created

    told(story)


def test_old_versions_are_converted_on_their_way_in_and_out() -> None:
    async def story(me: Session) -> None:
        url = "/apis/apps/v1beta1/namespaces/default/deployments"
        _, created, answer = await me.ask("POST", url, OLD_DEPLOYMENT)
        assert created["apiVersion"] == "apps/v1beta1" and "deprecated" in answer.headers[0][1]
        current = await me.ok("GET", f"{DEPLOYMENTS}/httpd")
        assert current["apiVersion"] == "apps/v1"
        assert current["spec"]["selector"] == {"matchLabels": {"run": "httpd"}}
        assert (await me.ok("GET", url))["items"][0]["apiVersion"] == "apps/v1beta1"

    told(story)


# Lists


def test_a_list_in_pages_shows_one_moment() -> None:
    async def story(me: Session) -> None:
        for number in range(5):
            await me.ok("POST", MAPS, config_map(f"m{number}"))
        page = await me.ok("GET", f"{MAPS}?limit=2")
        assert page["metadata"]["remainingItemCount"] == 3
        await me.ok("DELETE", f"{MAPS}/m4")
        await me.ok("POST", MAPS, config_map("m9"))
        names = [item["metadata"]["name"] for item in page["items"]]
        while token := page["metadata"].get("continue"):
            page = await me.ok("GET", f"{MAPS}?limit=2&continue={token}")
            names += [item["metadata"]["name"] for item in page["items"]]
        assert names == ["m0", "m1", "m2", "m3", "m4"]
        assert (await me.refused("GET", f"{MAPS}?continue=nonsense"))[0] == 400

    told(story)


def test_pages_of_selected_objects_are_full_and_end() -> None:
    async def story(me: Session) -> None:
        for number in range(6):
            await me.ok("POST", MAPS, config_map(f"m{number}", odd=str(number % 2)))
        page = await me.ok("GET", f"{MAPS}?limit=2&labelSelector=odd=1")
        assert [item["metadata"]["name"] for item in page["items"]] == ["m1", "m3"]
        rest = await me.ok("GET", f"{MAPS}?limit=2&labelSelector=odd=1&continue={page['metadata']['continue']}")
        assert [item["metadata"]["name"] for item in rest["items"]] == ["m5"]
        assert "continue" not in rest["metadata"]

    told(story)


def test_a_page_whose_moment_was_forgotten_is_410() -> None:
    async def story(me: Session) -> None:
        for number in range(3):
            await me.ok("POST", MAPS, config_map(f"m{number}"))
        token = (await me.ok("GET", f"{MAPS}?limit=1"))["metadata"]["continue"]
        await me.ok("POST", MAPS, config_map("m9"))
        store = me.api.handlers.store
        await store.compact(await store.revision())
        code, reason, message = await me.refused("GET", f"{MAPS}?limit=1&continue={token}")
        assert (code, reason) == (410, "Expired") and "continue parameter is too old" in message

    told(story)


def test_resource_versions_mean_what_they_say() -> None:
    async def story(me: Session) -> None:
        first = await me.ok("POST", MAPS, config_map("a"))
        version = first["metadata"]["resourceVersion"]
        await me.ok("POST", MAPS, config_map("b"))
        exact = await me.ok("GET", f"{MAPS}?resourceVersion={version}&resourceVersionMatch=Exact")
        assert [item["metadata"]["name"] for item in exact["items"]] == ["a"]
        newer = await me.ok("GET", f"{MAPS}?resourceVersion={version}&resourceVersionMatch=NotOlderThan")
        assert len(newer["items"]) == len((await me.ok("GET", f"{MAPS}?resourceVersion=0"))["items"]) == 2
        code, reason, message = await me.refused("GET", f"{MAPS}?resourceVersion=999999")
        assert (code, reason) == (504, "Timeout") and "Too large resource version" in message
        assert (await me.refused("GET", f"{MAPS}?resourceVersion=x"))[0] == 400

    told(story)


def test_selectors_choose_and_unknown_fields_are_named() -> None:
    async def story(me: Session) -> None:
        await me.ok("POST", PODS, pod("a", labels={"app": "x", "tier": "1"}))
        await me.ok("POST", PODS, pod("b", labels={"app": "y"}))

        async def names(query: str) -> list[str]:
            return [item["metadata"]["name"] for item in (await me.ok("GET", f"{PODS}?{query}"))["items"]]

        assert await names("labelSelector=app in (x,z),tier") == ["a"]
        assert await names("labelSelector=!tier") == ["b"]
        assert await names("fieldSelector=metadata.name=b") == ["b"]
        assert await names("fieldSelector=metadata.name!=b,status.phase=Pending") == ["a"]
        code, _, message = await me.refused("GET", f"{PODS}?fieldSelector=spec.color=red")
        assert code == 400 and "spec.color" in message
        assert (await me.refused("GET", f"{PODS}?labelSelector=a in"))[0] == 400

    told(story)


def test_lists_come_as_tables_and_as_metadata_when_asked() -> None:
    async def story(me: Session) -> None:
        await me.ok("POST", SERVICES, service(type="NodePort", ports=[{"port": 8080, "nodePort": 30000}]))
        table = await me.ok("GET", SERVICES, accept="application/json;as=Table;v=v1;g=meta.k8s.io,application/json")
        names = [column["name"] for column in table["columnDefinitions"]]
        row = dict(zip(names, table["rows"][1]["cells"], strict=True))
        assert table["kind"] == "Table" and (row["Name"], row["Port(s)"]) == ("web", "8080:30000/TCP")
        accept = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"
        metadata = await me.ok("GET", SERVICES, accept=accept)
        assert metadata["kind"] == "PartialObjectMetadataList" and "spec" not in metadata["items"][0]
        _, _, answer = await me.ask("GET", "/version?pretty=true")
        assert answer.bytes().startswith(b'{\n  "major": "1"')
        _, _, answer = await me.ask("GET", f"{SERVICES}/web?pretty=true")
        assert isinstance(answer, Answer) and b'\n  "kind": "Service"' in answer.bytes()

    told(story)


# Deletion


def test_a_pod_on_a_node_ends_when_its_node_says_so_and_others_at_once() -> None:
    async def story(me: Session) -> None:
        await me.ok("POST", PODS, pod("free"))
        await me.ok("DELETE", f"{PODS}/free")
        assert (await me.refused("GET", f"{PODS}/free"))[0] == 404
        await me.ok("POST", PODS, pod("bound"))
        binding = {"kind": "Binding", "apiVersion": "v1", "target": {"kind": "Node", "name": "node-a"}}
        await me.ok("POST", f"{PODS}/bound/binding", {**binding, "metadata": {"name": "bound"}})
        code, _, message = await me.refused("POST", f"{PODS}/bound/binding", binding)
        assert code == 409 and 'pod bound is already assigned to node "node-a"' in message
        ending = await me.ok("DELETE", f"{PODS}/bound")
        assert ending["metadata"]["deletionGracePeriodSeconds"] == 30
        shorter = await me.ok("DELETE", f"{PODS}/bound", {"kind": "DeleteOptions", "gracePeriodSeconds": 5})
        assert shorter["metadata"]["deletionGracePeriodSeconds"] == 5
        longer = await me.ok("DELETE", f"{PODS}/bound?gracePeriodSeconds=60")
        assert longer["metadata"]["deletionGracePeriodSeconds"] == 5
        await me.ok("DELETE", f"{PODS}/bound?gracePeriodSeconds=0")
        assert (await me.refused("GET", f"{PODS}/bound"))[0] == 404

    told(story)


def test_preconditions_of_a_delete_hold() -> None:
    async def story(me: Session) -> None:
        created = await me.ok("POST", MAPS, config_map("a"))
        wrong = {"kind": "DeleteOptions", "preconditions": {"uid": "other"}}
        code, _, message = await me.refused("DELETE", f"{MAPS}/a", wrong)
        assert code == 409 and "Precondition failed: UID in precondition: other" in message
        right = {"kind": "DeleteOptions", "preconditions": {"uid": created["metadata"]["uid"]}}
        await me.ok("DELETE", f"{MAPS}/a", right)

    told(story)


def test_finalizers_hold_an_object_until_the_last_is_gone() -> None:
    async def story(me: Session) -> None:
        held = config_map("held")
        held["metadata"]["finalizers"] = ["example.com/a"]
        await me.ok("POST", MAPS, held)
        await me.ok("DELETE", f"{MAPS}/held")
        assert (await me.ok("GET", f"{MAPS}/held"))["metadata"]["deletionTimestamp"]
        async with me.watch(f"{MAPS}?resourceVersion={(await me.ok('GET', MAPS))['metadata']['resourceVersion']}") as w:
            await me.ok("PATCH", f"{MAPS}/held", {"metadata": {"finalizers": None}}, content_type=MERGE)
            assert await w.names(1) == [("DELETED", "held")]
        assert (await me.refused("GET", f"{MAPS}/held"))[0] == 404

    told(story)


@pytest.mark.parametrize(
    ("policy", "finalizers"), [("Foreground", ["foregroundDeletion"]), ("Orphan", ["orphan"]), ("Background", None)]
)
def test_propagation_leaves_its_order_to_the_collector(policy: str, finalizers: list[str] | None) -> None:
    async def story(me: Session) -> None:
        await me.ok("POST", MAPS, config_map("a"))
        await me.ok("DELETE", f"{MAPS}/a", {"kind": "DeleteOptions", "propagationPolicy": policy})
        if finalizers is None:
            assert (await me.refused("GET", f"{MAPS}/a"))[0] == 404
        else:
            assert (await me.ok("GET", f"{MAPS}/a"))["metadata"]["finalizers"] == finalizers

    told(story)


def test_a_collection_is_deleted_as_selected() -> None:
    async def story(me: Session) -> None:
        for number in range(4):
            await me.ok("POST", MAPS, config_map(f"m{number}", odd=str(number % 2)))
        await me.ok("DELETE", f"{MAPS}?labelSelector=odd=1")
        left = [item["metadata"]["name"] for item in (await me.ok("GET", MAPS))["items"]]
        assert left == ["m0", "m2"]

    told(story)


# Namespaces


def test_a_namespace_must_exist_and_must_not_be_ending() -> None:
    async def story(me: Session) -> None:
        url = "/api/v1/namespaces/team/configmaps"
        assert await me.refused("POST", url, config_map("a")) == (404, "NotFound", 'namespaces "team" not found')
        namespace = {"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": "team"}}
        created = await me.ok("POST", "/api/v1/namespaces", namespace)
        assert (created["status"]["phase"], created["spec"]["finalizers"]) == ("Active", ["kubernetes"])
        ending = await me.ok("DELETE", "/api/v1/namespaces/team")
        assert ending["status"]["phase"] == "Terminating"
        code, _, message = await me.refused("POST", url, config_map("a"))
        assert code == 403 and message == (
            'configmaps "a" is forbidden: unable to create new content in namespace team because it is being terminated'
        )
        await me.ok("PUT", "/api/v1/namespaces/team/finalize", {**ending, "spec": {"finalizers": []}})
        assert (await me.refused("GET", "/api/v1/namespaces/team"))[0] == 404
        code, reason, _ = await me.refused("DELETE", "/api/v1/namespaces")
        assert (code, reason) == (405, "MethodNotAllowed")
        code, _, message = await me.refused("DELETE", "/api/v1/namespaces/kube-system")
        assert code == 403 and "may not be deleted" in message

    told(story)


# Subresources


def test_status_and_the_rest_are_written_apart() -> None:
    async def story(me: Session) -> None:
        created = await me.ok("POST", PODS, pod())
        await me.ok(
            "PUT", f"{PODS}/web/status", {**created, "status": {"phase": "Running"}, "spec": {"containers": []}}
        )
        seen = await me.ok("GET", f"{PODS}/web")
        assert seen["status"]["phase"] == "Running" and seen["spec"]["containers"]
        labelled = {**seen, "metadata": {**seen["metadata"], "labels": {"a": "b"}}, "status": {"phase": "Failed"}}
        assert (await me.ok("PUT", f"{PODS}/web", labelled))["status"]["phase"] == "Running"

    told(story)


def test_a_workload_is_scaled_through_its_door() -> None:
    async def story(me: Session) -> None:
        await me.ok("POST", "/apis/apps/v1beta1/namespaces/default/deployments", OLD_DEPLOYMENT)
        url = f"{DEPLOYMENTS}/httpd/scale"
        scale = await me.ok("GET", url)
        assert (scale["kind"], scale["spec"], scale["status"]["selector"]) == ("Scale", {"replicas": 3}, "run=httpd")
        await me.ok("PUT", url, {**scale, "spec": {"replicas": 5}})
        assert (await me.refused("PUT", url, {**scale, "spec": {"replicas": 6}}))[0] == 409
        await me.ok("PATCH", url, {"spec": {"replicas": 7}}, content_type=MERGE)
        deployment = await me.ok("GET", f"{DEPLOYMENTS}/httpd")
        assert (deployment["spec"]["replicas"], deployment["metadata"]["generation"]) == (7, 3)
        assert (await me.refused("PATCH", url, {"spec": {"replicas": -1}}, content_type=MERGE))[0] == 422

    told(story)


def test_an_eviction_ends_a_pod() -> None:
    async def story(me: Session) -> None:
        await me.ok("POST", PODS, pod())
        eviction = {"kind": "Eviction", "apiVersion": "policy/v1", "metadata": {"name": "web"}}
        assert (await me.ok("POST", f"{PODS}/web/eviction", eviction))["status"] == "Success"
        assert (await me.refused("GET", f"{PODS}/web"))[0] == 404

    told(story)


def test_a_log_needs_a_node_and_one_container() -> None:
    async def story(me: Session) -> None:
        await me.ok("POST", PODS, pod())
        assert (await me.refused("GET", f"{PODS}/web/log"))[2] == "pod web does not have a host assigned"
        two = pod("two")
        two["spec"]["containers"].append({"name": "d", "image": "x"})
        await me.ok("POST", PODS, two)
        message = (await me.refused("GET", f"{PODS}/two/log"))[2]
        assert message == "a container name must be specified for pod two, choose one of: [c d]"
        assert (await me.refused("GET", f"{PODS}/two/log?container=z"))[0] == 400

    told(story)


# Discovery


def test_discovery_tells_every_version_and_both_shapes() -> None:
    async def story(me: Session) -> None:
        groups = {group["name"]: group for group in (await me.ok("GET", "/apis"))["groups"]}
        assert [v["version"] for v in groups["apps"]["versions"]] == ["v1", "v1beta2", "v1beta1"]
        resources = (await me.ok("GET", "/apis/apps/v1beta1"))["resources"]
        assert {r["name"] for r in resources} == {"deployments", "deployments/status", "deployments/scale"}
        accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"
        found = await me.ok("GET", "/apis", accept=accept)
        assert found["kind"] == "APIGroupDiscoveryList" and found["apiVersion"] == "apidiscovery.k8s.io/v2"
        # In a second group, short names would be ambiguous to kubectl.
        extensions = next(item for item in found["items"] if item["metadata"]["name"] == "extensions")
        assert all("shortNames" not in resource for resource in extensions["versions"][0]["resources"])
        assert (await me.ok("GET", "/version"))["gitVersion"].startswith("v1.36.0+fairway")
        _, _, answer = await me.ask("GET", "/version")
        assert isinstance(answer, Answer)

    told(story)


# Whatever is sent


BODIES = st.one_of(
    st.binary(max_size=60),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["kind", "apiVersion", "metadata", "spec", "name", "ports", "op", "path", "value", "x"]
                ),
                inner,
                max_size=4,
            )
        ),
        max_leaves=12,
    ).map(lambda value: json.dumps(value).encode()),
)
CONTENT_TYPES = st.sampled_from(
    [
        "application/json",
        "application/yaml",
        "application/vnd.kubernetes.protobuf",
        MERGE,
        STRATEGIC,
        JSON_PATCH,
        "text/plain",
    ]
)
METHODS = st.sampled_from(["POST", "PUT", "PATCH", "DELETE"])
URLS = st.sampled_from(
    [
        SERVICES,
        f"{SERVICES}/kubernetes",
        f"{SERVICES}/kubernetes/status",
        PODS,
        f"{PODS}/p/binding",
        DEPLOYMENTS,
        f"{DEPLOYMENTS}/d/scale",
        "/api/v1/namespaces/default/finalize",
    ]
)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(METHODS, URLS, CONTENT_TYPES, BODIES), max_size=4))
def test_whatever_is_sent_the_answer_is_well_formed_and_no_500(talk: list[tuple[str, str, str, bytes]]) -> None:
    async def story(me: Session) -> None:
        await me.ok("POST", PODS, pod("p"))
        deployment = {**OLD_DEPLOYMENT, "metadata": {"name": "d"}}
        await me.ok("POST", "/apis/apps/v1beta1/namespaces/default/deployments", deployment)
        for method, url, content_type, body in talk:
            code, value, _ = await me.ask(method, url, body, content_type=content_type)
            assert code < 500, (method, url, content_type, body, value)
            assert code < 400 or value["kind"] == "Status"

    told(story)
