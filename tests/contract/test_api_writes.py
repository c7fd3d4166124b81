"""What clients may rely on when they write: applies, owners, field validation, preconditions, bounds; without HTTP."""

from __future__ import annotations

import dataclasses
import json
import random
from typing import Any

import pytest

from tests.contract.session import CONFIG, Session, config_map, pod, service, told

MAPS = "/api/v1/namespaces/default/configmaps"
PODS = "/api/v1/namespaces/default/pods"
SERVICES = "/api/v1/namespaces/default/services"
SECRETS = "/api/v1/namespaces/default/secrets"
DEPLOYMENTS = "/apis/apps/v1/namespaces/default/deployments"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/default/leases"
APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
JSON_PATCH = "application/json-patch+json"


def wanted(**data: str) -> dict[str, Any]:
    return {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "c"}, "data": data}


def deployment(**spec: Any) -> dict[str, Any]:
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "httpd"}]}}
    whole = {"selector": {"matchLabels": {"a": "b"}}, "template": template, **spec}
    return {"kind": "Deployment", "apiVersion": "apps/v1", "metadata": {"name": "web"}, "spec": whole}


async def owners(me: Session, url: str) -> dict[str, Any]:
    entries = (await me.ok("GET", url))["metadata"].get("managedFields", [])
    return {
        " ".join(filter(None, (entry["manager"], entry["operation"], entry.get("subresource")))): entry["fieldsV1"]
        for entry in entries
    }


def warned(answer: Any) -> list[str]:
    return [value for name, value in answer.headers if name == "warning"]


# Server-side apply


def test_an_apply_creates_and_says_so() -> None:
    async def story(me: Session) -> None:
        url = f"{MAPS}/c?fieldManager=me"
        code, created, _ = await me.ask("PATCH", url, wanted(a="1"), content_type=APPLY)
        assert code == 201 and created["data"] == {"a": "1"}
        code, same, _ = await me.ask(
            "PATCH", url, b"kind: ConfigMap\napiVersion: v1\ndata: {a: '1'}", content_type=APPLY
        )
        assert code == 200 and same == created
        assert await owners(me, f"{MAPS}/c") == {"me Apply": {"f:data": {"f:a": {}}}}

    told(story)


def test_an_apply_says_who_and_what_or_is_refused() -> None:
    async def story(me: Session) -> None:
        url = f"{MAPS}/c"
        refused = await me.refused("PATCH", url, wanted(), content_type=APPLY)
        assert refused == (
            422,
            "Invalid",
            'PatchOptions.meta.k8s.io "" is invalid: fieldManager: Required value: is required for apply patch',
        )
        code, _, message = await me.refused("PATCH", f"{url}?force=true", {}, content_type=MERGE)
        assert code == 422 and "force: Forbidden: may not be specified for non-apply patch" in message
        code, _, message = await me.refused("POST", f"{MAPS}?fieldManager={'x' * 129}", wanted())
        assert code == 422 and "fieldManager: Too long: may not be more than 128 bytes" in message
        code, _, message = await me.refused("POST", f"{MAPS}?fieldManager=a%00b", wanted())
        assert code == 422 and "should only contain printable characters" in message
        managed = wanted() | {"metadata": {"name": "c", "managedFields": [{"manager": "x"}]}}
        code, _, message = await me.refused("PATCH", f"{url}?fieldManager=me", managed, content_type=APPLY)
        assert code == 400 and message == "metadata.managedFields must be nil"
        for wrong in (b"a: b: c", b"[]", b"1", b"", b'{"kind":', b"kind: Pod"):
            assert (await me.refused("PATCH", f"{url}?fieldManager=me", wrong, content_type=APPLY))[0] == 400
        typed = await me.refused("PATCH", f"{url}?fieldManager=me", wanted() | {"data": {"a": 1}}, content_type=APPLY)
        assert (
            typed[0] == 400 and "failed to create typed patch object (default/c; v1, Kind=ConfigMap): .data" in typed[2]
        )

    told(story)


def test_a_conflict_is_a_status_that_kubectl_can_read() -> None:
    async def story(me: Session) -> None:
        await me.ok("POST", f"{MAPS}?fieldManager=maker", wanted(a="1", b="1"))
        code, told_, _ = await me.ask("PATCH", f"{MAPS}/c?fieldManager=me", wanted(a="2", b="1"), content_type=APPLY)
        assert code == 409 and told_["reason"] == "Conflict"
        assert told_["message"] == 'Apply failed with 1 conflict: conflict with "maker" using v1: .data.a'
        cause = {"reason": "FieldManagerConflict", "message": 'conflict with "maker" using v1', "field": ".data.a"}
        assert told_["details"]["causes"] == [cause]
        forced = f"{MAPS}/c?fieldManager=me&force=true"
        assert (await me.ok("PATCH", f"{forced}&dryRun=All", wanted(a="2"), content_type=APPLY))["data"]["a"] == "2"
        assert (await me.ok("GET", f"{MAPS}/c"))["data"]["a"] == "1"
        await me.ok("PATCH", forced, wanted(a="2"), content_type=APPLY)
        assert await owners(me, f"{MAPS}/c") == {
            "me Apply": {"f:data": {"f:a": {}}},
            "maker Update": {"f:data": {".": {}, "f:b": {}}},
        }

    told(story)


def test_an_apply_holds_the_state_it_names() -> None:
    async def story(me: Session) -> None:
        url = f"{MAPS}/c?fieldManager=me"
        strange = wanted() | {"metadata": {"name": "c", "uid": "strange"}}
        assert (await me.refused("PATCH", url, strange, content_type=APPLY))[0] == 409
        created = await me.ok("PATCH", url, wanted(a="1"), content_type=APPLY)
        stale = wanted(a="2") | {"metadata": {"name": "c", "resourceVersion": "1"}}
        assert "the object has been modified" in (await me.refused("PATCH", url, stale, content_type=APPLY))[2]
        version = created["metadata"]["resourceVersion"]
        fresh = wanted(a="2") | {"metadata": {"name": "c", "resourceVersion": version}}
        assert (await me.ok("PATCH", url, fresh, content_type=APPLY))["data"] == {"a": "2"}

    told(story)


def test_the_status_and_the_scale_are_applied_through_their_doors() -> None:
    async def story(me: Session) -> None:
        url = f"{DEPLOYMENTS}/web"
        status = {"replicas": 7}
        made = await me.ok("PATCH", f"{url}?fieldManager=me", deployment() | {"status": status}, content_type=APPLY)
        assert made["status"].get("replicas") is None
        whole = deployment(replicas=9) | {"status": status}
        told_ = await me.ok("PATCH", f"{url}/status?fieldManager=me", whole, content_type=APPLY)
        assert (told_["status"]["replicas"], told_["spec"]["replicas"]) == (7, 1)
        scale = {"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": {"name": "web"}, "spec": {"replicas": 3}}
        scaled = await me.ok("PATCH", f"{url}/scale?fieldManager=hpa", scale, content_type=APPLY)
        assert scaled["kind"] == "Scale" and scaled["spec"]["replicas"] == 3
        found = await owners(me, url)
        assert found["me Apply status"] == {"f:status": {"f:replicas": {}}}
        assert found["hpa Apply scale"] == {"f:spec": {"f:replicas": {}}}
        scale["spec"]["replicas"] = 4
        contested = await me.refused("PATCH", f"{url}/scale?fieldManager=other", scale, content_type=APPLY)
        assert contested[2].endswith('conflict with "hpa" with subresource "scale": .spec.replicas')
        assert (await me.refused("PATCH", f"{DEPLOYMENTS}/no/status?fieldManager=me", {}, content_type=APPLY))[0] == 404

    told(story)


def test_an_old_version_is_applied_in_its_own_words() -> None:
    async def story(me: Session) -> None:
        url = "/apis/extensions/v1beta1/namespaces/default/deployments/web?fieldManager=me"
        old = deployment(replicas=2) | {"apiVersion": "extensions/v1beta1"}
        del old["spec"]["selector"]
        code, created, _ = await me.ask("PATCH", url, old, content_type=APPLY)
        assert code == 201 and created["apiVersion"] == "extensions/v1beta1"
        assert (await me.ok("PATCH", url, old, content_type=APPLY))["metadata"] == created["metadata"]
        (entry,) = (await me.ok("GET", f"{DEPLOYMENTS}/web"))["metadata"]["managedFields"]
        assert entry["apiVersion"] == "extensions/v1beta1" and "f:selector" not in entry["fieldsV1"]["f:spec"]

    told(story)


def test_what_a_secret_is_told_in_plain_words_is_owned_as_data() -> None:
    async def story(me: Session) -> None:
        secret = {"kind": "Secret", "apiVersion": "v1", "metadata": {"name": "s"}, "stringData": {"a": "b"}}
        url = f"{SECRETS}/s?fieldManager=me"
        created = await me.ok("PATCH", url, secret, content_type=APPLY)
        assert created["data"] == {"a": "Yg=="} and "stringData" not in created
        assert await me.ok("PATCH", url, secret, content_type=APPLY) == created
        await me.ok("PATCH", url, secret | {"stringData": {}}, content_type=APPLY)
        assert not (await me.ok("GET", f"{SECRETS}/s")).get("data")
        await me.ok("POST", f"{SECRETS}?fieldManager=me", secret | {"metadata": {"name": "t"}})
        assert (await owners(me, f"{SECRETS}/t"))["me Update"]["f:data"] == {".": {}, "f:a": {}}

    told(story)


# Owners through other writes


def test_every_write_is_somebodys() -> None:
    async def story(me: Session) -> None:
        url = f"{DEPLOYMENTS}/web"
        made = await me.ok("POST", f"{DEPLOYMENTS}?fieldManager=maker", deployment())
        made["metadata"]["labels"] = {"x": "y"}
        await me.ok("PUT", f"{url}?fieldManager=putter", made)
        await me.ok(
            "PATCH", f"{url}?fieldManager=patcher", {"metadata": {"annotations": {"x": "y"}}}, content_type=MERGE
        )
        await me.ok("PATCH", f"{url}/scale?fieldManager=scaler", {"spec": {"replicas": 5}}, content_type=MERGE)
        await me.ok("PATCH", f"{url}/status", {"status": {"replicas": 5}}, content_type=MERGE)
        found = await owners(me, url)
        assert found.pop("maker Update")["f:spec"].get("f:replicas") is None
        assert found == {
            "putter Update": {"f:metadata": {"f:labels": {".": {}, "f:x": {}}}},
            "patcher Update": {"f:metadata": {"f:annotations": {".": {}, "f:x": {}}}},
            "scaler Update scale": {"f:spec": {"f:replicas": {}}},
            "unknown Update status": {"f:status": {"f:replicas": {}}},
        }

    told(story)


def test_the_client_is_known_by_its_agent() -> None:
    async def story(me: Session) -> None:
        headers = {"authorization": "Bearer token", "user-agent": "kube-proxy/v1.36.0 (linux/amd64) kubernetes/abc"}
        await me.api.respond("POST", MAPS, "", headers, b'{"metadata":{"name":"c"},"data":{"a":"b"}}')
        assert list(await owners(me, f"{MAPS}/c")) == ["kube-proxy Update"]

    told(story)


def test_owners_may_be_handed_on_but_not_lost() -> None:
    async def story(me: Session) -> None:
        url = f"{MAPS}/c"
        made = await me.ok("POST", f"{MAPS}?fieldManager=maker", wanted(a="1"))
        entry = made["metadata"]["managedFields"][0]
        bare = {**made, "metadata": {"name": "c"}}
        kept = await me.ok("PUT", url, bare)
        assert kept["metadata"] == made["metadata"]
        given = [entry | {"operation": "Apply", "manager": "heir"}]
        handed = [{"op": "replace", "path": "/metadata/managedFields", "value": given}]
        await me.ok("PATCH", url, handed, content_type=JSON_PATCH)
        assert list(await owners(me, url)) == ["heir Apply"]
        await me.ok("PATCH", url, {"metadata": {"managedFields": [{"manager": "rubbish"}]}}, content_type=MERGE)
        assert list(await owners(me, url)) == ["heir Apply"]
        await me.ok("PATCH", url, {"metadata": {"managedFields": [{}]}}, content_type=MERGE)
        assert await owners(me, url) == {}

    told(story)


# Field validation


@pytest.mark.parametrize(
    ("method", "body", "content_type"),
    [
        ("PUT", {"data": {"a": "b"}, "odd": 1}, "application/json"),
        ("PATCH", {"odd": 1}, MERGE),
        ("PATCH", {"odd": 1}, STRATEGIC),
        ("PATCH", [{"op": "add", "path": "/odd", "value": 1}], JSON_PATCH),
    ],
)
def test_unknown_fields_are_judged_in_every_write(method: str, body: Any, content_type: str) -> None:
    async def story(me: Session) -> None:
        await me.ok("POST", MAPS, wanted(a="b"))
        url = f"{MAPS}/c?fieldValidation="
        code, reason, message = await me.refused(method, f"{url}Strict", body, content_type=content_type)
        assert 'strict decoding error: unknown field "odd"' in message
        assert (code, reason) == ((400, "BadRequest") if method == "PUT" else (422, "Invalid"))
        _, _, answer = await me.ask(method, f"{url}Warn", body, content_type=content_type)
        assert warned(answer) == ['299 - "unknown field \\"odd\\""']
        _, kept, answer = await me.ask(method, f"{url}Ignore", body, content_type=content_type)
        assert warned(answer) == [] and "odd" not in kept
        assert (await me.refused(method, f"{url}Maybe", body, content_type=content_type))[0] == 400

    told(story)


@pytest.mark.parametrize(
    ("content_type", "query"), [(MERGE, ""), (STRATEGIC, ""), (APPLY, "&fieldManager=me&force=true")]
)
def test_fields_said_twice_in_a_patch_are_told(content_type: str, query: str) -> None:
    async def story(me: Session) -> None:
        await me.ok("POST", MAPS, wanted(a="b"))
        twice = b'{"data":{"a":"1","a":"2"}}'
        code, _, message = await me.refused(
            "PATCH", f"{MAPS}/c?fieldValidation=Strict{query}", twice, content_type=content_type
        )
        assert code == (400 if content_type == APPLY else 422) and 'duplicate field "data.a"' in message
        _, after, answer = await me.ask(
            "PATCH", f"{MAPS}/c?fieldValidation=Warn{query}", twice, content_type=content_type
        )
        assert warned(answer) == ['299 - "duplicate field \\"data.a\\""'] and after["data"] == {"a": "2"}

    told(story)


@pytest.mark.parametrize(
    ("content_type", "body", "code", "said"),
    [
        (MERGE, b"{", 400, "error decoding patch: "),
        (STRATEGIC, b"{", 400, "error decoding patch: "),
        (JSON_PATCH, b"[", 400, "error decoding patch: "),
        (JSON_PATCH, b'{"op":"add"}', 400, "error decoding patch: "),
        (MERGE, b"[]", 400, "error decoding patch: "),
        (JSON_PATCH, b'[{"op":"test","path":"/data/a","value":"c"}]', 422, "testing value /data/a failed"),
        (JSON_PATCH, b'[{"op":"remove","path":"/data/z"}]', 422, "/data/z does not exist"),
        (MERGE, b'{"data":{"a":1}}', 422, ' "" is invalid: patch: Invalid value: "{'),
        (STRATEGIC, b'{"data":{"a":1}}', 422, ' "" is invalid: patch: Invalid value: "{'),
        (STRATEGIC, b'{"data":{"$retainKeys":1}}', 400, "$retainKeys must be a list"),
        (JSON_PATCH, json.dumps([{"op": "test", "path": "", "value": 1}] * 10_001).encode(), 413, "got 10001"),
    ],
)
def test_which_faults_of_a_patch_are_whose(content_type: str, body: bytes, code: int, said: str) -> None:
    async def story(me: Session) -> None:
        await me.ok("POST", MAPS, wanted(a="b"))
        found, _, message = await me.refused("PATCH", f"{MAPS}/c", body, content_type=content_type)
        assert found == code and said in message

    told(story)


# Creation by update, names, deletion


def test_an_update_creates_what_may_be_created_so() -> None:
    async def story(me: Session) -> None:
        lease = {"kind": "Lease", "apiVersion": "coordination.k8s.io/v1", "metadata": {"name": "l"}, "spec": {}}
        code, _, _ = await me.ask("PUT", f"{LEASES}/l?dryRun=All", lease)
        assert code == 201 and (await me.refused("GET", f"{LEASES}/l"))[0] == 404
        code, created, _ = await me.ask("PUT", f"{LEASES}/l?fieldManager=elector", lease)
        assert code == 201 and created["metadata"]["uid"]
        code, _, _ = await me.ask("PUT", f"{LEASES}/l", lease)
        assert code == 200
        code, made, _ = await me.ask("PUT", f"{SERVICES}/web", service())
        assert code == 201 and made["spec"]["clusterIP"]
        assert (await me.refused("PUT", f"{MAPS}/c", wanted()))[0] == 404
        assert (await me.refused("PUT", f"{SERVICES}/web2/status", service("web2")))[0] == 404
        stale = lease | {"metadata": {"name": "m", "resourceVersion": "5"}}
        assert (await me.refused("PUT", f"{LEASES}/m", stale))[0] == 404
        strange = lease | {"metadata": {"name": "m", "uid": "strange"}}
        assert (await me.refused("PUT", f"{LEASES}/m", strange))[0] == 409

    told(story)


class Same(random.Random):
    """No luck at all."""

    def choices(self, population: Any, *args: Any, **more: Any) -> list[Any]:
        return [population[0]] * more["k"]


def test_generated_names_that_are_all_taken_may_be_asked_for_again() -> None:
    async def story(me: Session) -> None:
        writer = me.api.handlers.writer
        writer._chance = dataclasses.replace(writer._chance, random=Same())
        named = {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"generateName": "x-"}}
        assert (await me.ok("POST", MAPS, named))["metadata"]["name"] == "x-bbbbb"
        code, said, answer = await me.ask("POST", MAPS, named)
        assert (code, said["reason"], said["details"]["retryAfterSeconds"]) == (409, "AlreadyExists", 1)
        assert "was not able to generate a unique name" in said["message"] and ("retry-after", "1") in answer.headers

    told(story)


def test_a_delete_holds_the_version_it_names() -> None:
    async def story(me: Session) -> None:
        made = await me.ok("POST", MAPS, wanted(a="1"))
        await me.ok("PATCH", f"{MAPS}/c", {"data": {"a": "2"}}, content_type=MERGE)
        seen = {"preconditions": {"resourceVersion": made["metadata"]["resourceVersion"]}}
        code, reason, message = await me.refused("DELETE", f"{MAPS}/c", seen)
        assert (code, reason) == (409, "Conflict") and "Precondition failed: ResourceVersion" in message
        now = (await me.ok("GET", f"{MAPS}/c"))["metadata"]["resourceVersion"]
        await me.ok("DELETE", f"{MAPS}/c", {"preconditions": {"resourceVersion": now}, "dryRun": ["All"]})
        await me.ok("DELETE", f"{MAPS}/c", {"preconditions": {"resourceVersion": now}})

    told(story)


def test_a_collection_goes_as_its_policy_says_or_stays_in_a_dry_run() -> None:
    async def story(me: Session) -> None:
        for name in "ab":
            await me.ok("POST", MAPS, config_map(name, app=name))
        dry = await me.ok("DELETE", f"{MAPS}?dryRun=All")
        assert [item["metadata"]["name"] for item in dry["items"]] == ["a", "b"]
        foreground = {"kind": "DeleteOptions", "propagationPolicy": "Foreground"}
        await me.ok("DELETE", f"{MAPS}?labelSelector=app+in+(a)", foreground)
        items = (await me.ok("GET", MAPS))["items"]
        assert [item["metadata"].get("finalizers") for item in items] == [["foregroundDeletion"], None]
        await me.ok("DELETE", f"{MAPS}?fieldSelector=metadata.name=b", {"propagationPolicy": "Background"})
        assert [item["metadata"]["name"] for item in (await me.ok("GET", MAPS))["items"]] == ["a"]
        assert (await me.refused("DELETE", MAPS, {"propagationPolicy": "Sideways"}))[0] == 400
        assert (await me.refused("DELETE", f"{MAPS}?labelSelector=,"))[0] == 400

    told(story)


def test_dry_runs_go_through_every_door() -> None:
    async def story(me: Session) -> None:
        await me.ok("POST", DEPLOYMENTS, deployment())
        await me.ok("POST", PODS, pod("p"))
        before = await me.ok("GET", PODS)
        binding = {"kind": "Binding", "apiVersion": "v1", "target": {"name": "node"}}
        await me.ok("POST", f"{PODS}/p/binding?dryRun=All", binding)
        await me.ok("POST", f"{PODS}/p/eviction?dryRun=All", {"kind": "Eviction", "apiVersion": "policy/v1"})
        await me.ok("PATCH", f"{PODS}/p/status?dryRun=All", {"status": {"phase": "Running"}}, content_type=MERGE)
        scale = {"kind": "Scale", "spec": {"replicas": 4}}
        assert (await me.ok("PUT", f"{DEPLOYMENTS}/web/scale?dryRun=All", scale))["spec"]["replicas"] == 4
        assert (await me.ok("GET", f"{DEPLOYMENTS}/web/scale"))["spec"]["replicas"] == 1
        applied = await me.ok("PATCH", f"{MAPS}/c?fieldManager=me&dryRun=All", wanted(a="1"), content_type=APPLY)
        assert applied["data"] == {"a": "1"} and (await me.refused("GET", f"{MAPS}/c"))[0] == 404
        assert (await me.ok("GET", PODS))["items"] == before["items"]

    told(story)


# Bounds


def test_no_object_grows_beyond_what_a_store_takes() -> None:
    async def story(me: Session) -> None:
        large = pod("large")
        large["spec"]["containers"][0]["args"] = ["x" * 1_600_000]
        code, reason, message = await me.refused("POST", PODS, large)
        assert (code, reason) == (413, "RequestEntityTooLarge") and "limit is 1572864" in message
        large["spec"]["containers"][0]["args"] = ["x" * 1_000_000]
        await me.ok("POST", PODS, large)
        status = {"status": {"message": "x" * 600_000}}
        assert (await me.refused("PATCH", f"{PODS}/large/status", status, content_type=MERGE))[0] == 413

    told(story)


@pytest.mark.parametrize("content_type", ["application/json", "application/yaml", APPLY, MERGE, STRATEGIC])
def test_no_body_is_read_deeper_than_it_may_be(content_type: str) -> None:
    async def story(me: Session) -> None:
        deep = b'{"data":' + b'{"a":' * 5000 + b"1" + b"}" * 5001
        method, url = ("POST", MAPS) if "patch" not in content_type else ("PATCH", f"{MAPS}/c?fieldManager=me")
        await me.ok("POST", MAPS, wanted(a="1"))
        code, _, message = await me.refused(method, url, deep, content_type=content_type)
        assert code == 400 and "nested deeper than" in message

    told(story)


# Rights


def test_creating_by_another_name_needs_the_right_to_create() -> None:
    async def story(me: Session) -> None:
        rules = [{"apiGroups": ["", "coordination.k8s.io"], "resources": ["*"], "verbs": ["get", "patch", "update"]}]
        meta = {"name": "changer"}
        group = "rbac.authorization.k8s.io"
        await me.ok("POST", f"/apis/{group}/v1/clusterroles", {"metadata": meta, "rules": rules})
        subjects = [{"kind": "User", "name": "eve", "apiGroup": group}]
        ref = {"kind": "ClusterRole", "name": "changer", "apiGroup": group}
        binding = {"metadata": meta, "subjects": subjects, "roleRef": ref}
        await me.ok("POST", f"/apis/{group}/v1/clusterrolebindings", binding)
        eve = Session(me.api, "eve")
        lease = {"kind": "Lease", "apiVersion": "coordination.k8s.io/v1", "metadata": {"name": "l"}, "spec": {}}
        for method, url, body, media in (
            ("PUT", f"{LEASES}/l", lease, "application/json"),
            ("PATCH", f"{MAPS}/c?fieldManager=me", wanted(), APPLY),
        ):
            code, _, message = await eve.refused(method, url, body, content_type=media)
            assert code == 403 and 'cannot create resource "' in message
            await me.ok(method, url, body, content_type=media)
            await eve.ok(method, url, body, content_type=media)

    tokens = {
        "token": CONFIG.tokens["token"],
        "eve": dataclasses.replace(CONFIG.tokens["token"], name="eve", groups=()),
    }
    told(story, config=dataclasses.replace(CONFIG, tokens=tokens))
