"""Whatever is sent: a well-formed Status comes back for what is refused, never a 500, and nothing stays in memory."""

from __future__ import annotations

import asyncio
import gc
import json
import random
import tracemalloc
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote, urlencode

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fairway.api.answers import Answer, Stream
from fairway.api.server import Api
from fairway.store.memory import MemoryStore
from tests.contract.session import CONFIG, config_map, pod, service

SETTINGS = settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck))
NAMESPACE = "/api/v1/namespaces/default"
TARGETS = [f"{NAMESPACE}/services/web", f"{NAMESPACE}/pods/web", f"{NAMESPACE}/configmaps/web", "/api/v1/namespaces/x"]
PATCHES = ["application/json-patch+json", "application/merge-patch+json", "application/strategic-merge-patch+json"]
APPLY = "application/apply-patch+yaml"
TYPES = [
    *PATCHES,
    APPLY,
    "application/json",
    "application/yaml",
    "application/vnd.kubernetes.protobuf",
    "text/plain",
    "",
    ";",
]


def words(text: str) -> st.SearchStrategy[str]:
    """One of the words of a text."""
    return st.sampled_from(text.split())


WORDS = words(
    "api apis v1 apps default namespaces services pods configmaps web status scale log binding eviction finalize . .. "
    "%00 %2e%2e %ff deployments events discovery.k8s.io endpointslices exec proxy portforward token healthz openapi v3 "
    "version metrics readyz nodes serviceaccounts"
)
TEXT = st.text(max_size=20)
LEAVES = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), TEXT, WORDS)
FIELDS = words(
    "kind apiVersion metadata name namespace labels annotations finalizers ownerReferences spec ports port targetPort "
    "protocol selector type clusterIP clusterIPs ipFamilies externalIPs status containers image env data stringData op "
    "path value from $patch $retainKeys $deleteFromPrimitiveList/finalizers $setElementOrder/ports uid resourceVersion "
    "generateName creationTimestamp deletionTimestamp template replicas nodePort target involvedObject managedFields "
    "manager operation fieldsType fieldsV1 f:spec"
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.one_of(FIELDS, TEXT), inner, max_size=5)),
    max_leaves=20,
)
BODIES = st.one_of(VALUES, st.fixed_dictionaries({}, optional={"metadata": VALUES, "spec": VALUES, "kind": VALUES}))
KEYS = words(
    "labelSelector fieldSelector resourceVersion resourceVersionMatch limit continue timeoutSeconds watch dryRun "
    "pretty allowWatchBookmarks sendInitialEvents fieldManager fieldValidation force gracePeriodSeconds "
    "propagationPolicy includeObject container tailLines sinceSeconds follow"
)
SELECTORS = st.text("ab,=!() <>in.not/-'\"\\é0", max_size=30)
CHOICES = words("true 1 0 -1 All Exact NotOlderThan Strict Foreground")
QUERIES = st.dictionaries(KEYS, st.one_of(TEXT, SELECTORS, CHOICES), max_size=4)


async def answer(
    api: Api, method: str, path: str, query: str = "", body: bytes = b"", headers: dict[str, str] | None = None
) -> Answer | Stream:
    """One request as `admin`."""
    known = {"authorization": "Bearer token", "content-type": "application/json"}
    found = await api.respond(method, path, query, known | (headers or {}), body)
    if isinstance(found, Stream):
        await found.chunks.aclose()
    return found


def judge(found: Answer | Stream) -> None:
    """A success, or a `Status` that says what is wrong."""
    if isinstance(found, Stream):
        assert found.status == 200
        return
    assert found.status < 500 or found.status == 504, found.bytes()
    if found.status >= 400:
        status = json.loads(found.bytes())
        assert status["kind"] == "Status" and status["status"] == "Failure" and status["code"] == found.status, status
        assert status["reason"] and isinstance(status["message"], str) and status["message"], status


def asked(method: str, path: str, query: str = "", body: bytes = b"", headers: dict[str, str] | None = None) -> None:
    """One request to a server that has a few objects."""

    async def story() -> None:
        api = await _cluster()
        judge(await answer(api, method, path, query, body, headers))
        await api.stop()

    asyncio.run(story())


async def _cluster() -> Api:
    api = Api(MemoryStore(), CONFIG)
    await api.start()
    for plural, obj in (("services", service()), ("pods", pod()), ("configmaps", config_map("web"))):
        found = await answer(api, "POST", f"{NAMESPACE}/{plural}", body=json.dumps(obj).encode())
        assert found.status == 201
    return api


METHODS = st.sampled_from(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "X"])


@SETTINGS
@given(METHODS, st.lists(st.one_of(WORDS, TEXT.map(lambda text: quote(text, safe=""))), max_size=8), QUERIES)
def test_paths_and_queries(method: str, parts: list[str], query: dict[str, str]) -> None:
    asked(method, "/" + "/".join(parts), urlencode(query))


@SETTINGS
@given(st.sampled_from(TARGETS), QUERIES)
def test_selectors_and_options(path: str, query: dict[str, str]) -> None:
    asked("GET", path.rpartition("/")[0], urlencode(query))


@SETTINGS
@given(st.sampled_from(["POST", "PUT", "DELETE"]), st.sampled_from(TARGETS), BODIES, st.sampled_from(TYPES))
def test_bodies_that_are_json(method: str, path: str, value: Any, content_type: str) -> None:
    where = path.rpartition("/")[0] if method == "POST" else path
    asked(method, where, body=json.dumps(value).encode(), headers={"content-type": content_type})


@SETTINGS
@given(
    st.sampled_from(["POST", "PUT", "PATCH", "DELETE"]),
    st.sampled_from(TARGETS),
    st.one_of(st.binary(max_size=80), st.text('{}[]":,-0e.&*!|>#%@ab \n\t\\u', max_size=60).map(str.encode)),
    st.sampled_from(TYPES),
)
def test_bodies_that_are_rubbish(method: str, path: str, body: bytes, content_type: str) -> None:
    asked(method, path, body=body, headers={"content-type": content_type})


@SETTINGS
@given(st.data())
def test_objects_with_a_wrong_part(data: st.DataObject) -> None:
    plural, obj = data.draw(st.sampled_from([("services", service("s")), ("pods", pod("p"))]))
    obj = json.loads(json.dumps(obj))
    place = obj
    for key in data.draw(st.sampled_from([("spec",), ("metadata",), ("spec", "ports", 0), ("spec", "containers", 0)])):
        place = place.get(key, place) if isinstance(place, dict) else place[key]
    if isinstance(place, dict):
        place[data.draw(FIELDS)] = data.draw(VALUES)
    asked("POST", f"{NAMESPACE}/{plural}", body=json.dumps(obj).encode())


OPERATIONS = st.fixed_dictionaries(
    {"op": st.sampled_from(["add", "remove", "replace", "move", "copy", "test", "jump"])},
    optional={
        "path": st.one_of(TEXT, st.just(""), words("/ /spec /spec/ports/0 /spec/ports/- /metadata/name /metadata")),
        "from": st.sampled_from(["", "/spec", "/spec/ports/0", "/data", "~"]),
        "value": VALUES,
    },
)


@SETTINGS
@given(st.sampled_from(TARGETS), st.sampled_from(PATCHES), st.one_of(VALUES, st.lists(OPERATIONS, max_size=3)))
def test_patches(path: str, content_type: str, change: Any) -> None:
    asked("PATCH", path, body=json.dumps(change).encode(), headers={"content-type": content_type})


@SETTINGS
@given(st.sampled_from(TARGETS), st.booleans(), VALUES)
def test_applies(path: str, force: bool, config: Any) -> None:
    query = f"fieldManager=me&force={str(force).lower()}"
    asked("PATCH", path, query, body=json.dumps(config).encode(), headers={"content-type": APPLY})


@SETTINGS
@given(
    st.sampled_from(["accept", "content-type", "authorization", "impersonate-user", "upgrade", "kubectl-command"]),
    st.one_of(TEXT, st.text("aj*/;=,q.0onpis+ml", max_size=40)),
)
def test_headers(name: str, value: str) -> None:
    asked("GET", TARGETS[0], headers={name: value})


def test_refusals_leave_nothing_behind() -> None:
    chance = random.Random(4)

    def requests() -> Iterable[tuple[str, str, str, bytes, dict[str, str]]]:
        for number in range(400):
            name = "".join(chance.choices("abcdefgh", k=30))
            wrong = {"metadata": {"name": name.upper()}, "spec": {name: 1, "ports": [{"port": -number}]}}
            yield "POST", f"{NAMESPACE}/services", "", json.dumps(wrong).encode(), {}
            yield "GET", f"/api/v1/namespaces/{name}/pods/{name}" + "y" * 600, "", b"", {}
            yield "GET", f"{NAMESPACE}/pods", f"labelSelector={name}!!&continue={name}", b"", {}
            yield "PATCH", TARGETS[0], "", b'{"a":' * 50, {"content-type": PATCHES[number % 3]}
            yield "GET", TARGETS[0], "", b"", {"accept": "text/" + name + "z" * 600}

    async def story() -> None:
        api = await _cluster()
        sizes: list[int] = []
        for _ in range(4):
            for request in requests():
                judge(await answer(api, *request))
            gc.collect()
            sizes.append(tracemalloc.get_traced_memory()[0])
        await api.stop()
        # 2,000 requests a round; what is remembered on purpose is full or small by the second.
        assert sizes[3] - sizes[1] < 100_000, sizes

    tracemalloc.start()
    try:
        asyncio.run(story())
    finally:
        tracemalloc.stop()
