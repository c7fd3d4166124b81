"""The URL grammar, one line per sentence of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairway.api.accept import Wanted
from fairway.api.requests import Options, Plain, Request, Target, parse
from fairway.api.status import Failure
from fairway.objects.kinds import DEPLOYMENT, IP_ADDRESS, NAMESPACE, NODE, POD, SERVICE

PODS = "/api/v1/namespaces/default/pods"


def asked(method: str, url: str, **headers: str) -> Request:
    path, _, query = url.partition("?")
    request = parse(method, path, query, {name.replace("_", "-"): value for name, value in headers.items()})
    assert isinstance(request, Request)
    return request


@pytest.mark.parametrize(
    ("method", "url", "verb", "target"),
    [
        ("GET", PODS, "list", Target(POD, "v1", "default")),
        ("GET", "/api/v1/pods", "list", Target(POD, "v1")),
        ("GET", f"{PODS}/web", "get", Target(POD, "v1", "default", "web")),
        ("GET", f"{PODS}?watch=true", "watch", Target(POD, "v1", "default")),
        ("GET", f"{PODS}?watch=1", "watch", Target(POD, "v1", "default")),
        ("GET", f"{PODS}?watch=0", "list", Target(POD, "v1", "default")),
        ("GET", f"{PODS}/web?watch", "watch", Target(POD, "v1", "default", "web")),
        ("GET", "/api/v1/watch/namespaces/default/pods/web", "watch", Target(POD, "v1", "default", "web")),
        ("GET", "/api/v1/watch/pods?watch=0", "watch", Target(POD, "v1")),
        ("GET", "/apis/apps/v1/watch/namespaces/x/deployments", "watch", Target(DEPLOYMENT, "apps/v1", "x")),
        ("POST", PODS, "create", Target(POD, "v1", "default")),
        ("PUT", f"{PODS}/web", "update", Target(POD, "v1", "default", "web")),
        ("PATCH", f"{PODS}/web/status", "patch", Target(POD, "v1", "default", "web", "status")),
        ("DELETE", f"{PODS}/web", "delete", Target(POD, "v1", "default", "web")),
        ("DELETE", PODS, "deletecollection", Target(POD, "v1", "default")),
        ("POST", f"{PODS}/web/binding", "create", Target(POD, "v1", "default", "web", "binding")),
        ("GET", f"{PODS}/web/log", "get", Target(POD, "v1", "default", "web", "log")),
        ("GET", "/api/v1/nodes/a", "get", Target(NODE, "v1", "", "a")),
        ("GET", "/api/v1/namespaces", "list", Target(NAMESPACE, "v1")),
        ("GET", "/api/v1/namespaces/x", "get", Target(NAMESPACE, "v1", "", "x")),
        ("PUT", "/api/v1/namespaces/x/finalize", "update", Target(NAMESPACE, "v1", "", "x", "finalize")),
        ("PUT", "/api/v1/namespaces/x/status", "update", Target(NAMESPACE, "v1", "", "x", "status")),
        ("GET", "/apis/apps/v1/deployments", "list", Target(DEPLOYMENT, "apps/v1")),
        (
            "GET",
            "/apis/apps/v1beta1/namespaces/d/deployments/x/scale",
            "get",
            Target(DEPLOYMENT, "apps/v1beta1", "d", "x", "scale"),
        ),
        (
            "GET",
            "/apis/networking.k8s.io/v1/ipaddresses/fd00%3A%3A1",
            "get",
            Target(IP_ADDRESS, "networking.k8s.io/v1", "", "fd00::1"),
        ),
    ],
)
def test_urls_name_a_verb_and_a_target(method: str, url: str, verb: str, target: Target) -> None:
    request = asked(method, url)
    assert (request.verb, request.target) == (verb, target)


@pytest.mark.parametrize(
    ("method", "url", "code"),
    [
        ("GET", "/api/v1/cats", 404),
        ("GET", "/api/v2/pods", 404),
        ("GET", "/api/v1/pods/web", 404),  # a namespaced object without its namespace
        ("GET", "/api/v1/namespaces/x/nodes", 404),
        ("GET", f"{PODS}/web/scale", 404),
        ("GET", f"{PODS}/web/log/more", 404),
        ("GET", "/api/v1/namespaces//pods", 404),
        ("GET", "/api/v1/namespaces/x/finalize", 405),
        ("POST", "/api/v1/pods", 405),
        ("DELETE", "/api/v1/pods", 405),
        ("POST", f"{PODS}/web", 405),
        ("PUT", PODS, 405),
        ("DELETE", f"{PODS}/web/status", 405),
        ("BREW", PODS, 405),
        ("GET", f"{PODS}?limit=many", 400),
        ("GET", f"{PODS}?limit=-1", 400),
        ("GET", f"{PODS}?timeoutSeconds=1.5", 400),
        ("POST", f"{PODS}?dryRun=Some", 400),
        ("POST", f"{PODS}?fieldValidation=Maybe", 400),
        ("GET", f"{PODS}?includeObject=Half", 400),
    ],
)
def test_what_cannot_be_meant_is_refused(method: str, url: str, code: int) -> None:
    with pytest.raises(Failure) as caught:
        asked(method, url)
    assert caught.value.code == code


def test_options_are_read_from_the_query() -> None:
    query = (
        "labelSelector=a%3Db&fieldSelector=spec.nodeName%3Dn&limit=5&continue=t&resourceVersion=7"
        "&resourceVersionMatch=Exact&timeoutSeconds=30&allowWatchBookmarks=true&sendInitialEvents=false"
        "&dryRun=All&fieldManager=k&fieldValidation=Strict&pretty=true&includeObject=Object"
    )
    assert asked("GET", f"{PODS}?{query}").options == Options(
        label_selector="a=b",
        field_selector="spec.nodeName=n",
        limit=5,
        continue_token="t",
        resource_version="7",
        resource_version_match="Exact",
        timeout_seconds=30,
        allow_bookmarks=True,
        send_initial_events=False,
        dry_run=True,
        field_manager="k",
        field_validation="Strict",
        pretty=True,
        include_object="Object",
    )


@pytest.mark.parametrize(
    ("agent", "query", "pretty"),
    [
        ("curl/7.88.1", "", True),
        ("Mozilla/5.0 (X11)", "?limit=5", True),
        ("curl/7.88.1", "?pretty=false", False),
        ("kubectl/v1.32.4", "", False),
        ("kubectl/v1.32.4", "?pretty=true", True),
    ],
)
def test_people_get_their_answer_indented(agent: str, query: str, pretty: bool) -> None:
    assert asked("GET", PODS + query, user_agent=agent).options.pretty is pretty
    plain = parse("GET", "/version", query.removeprefix("?"), {"user-agent": agent})
    assert isinstance(plain, Plain) and plain.pretty is pretty


@pytest.mark.parametrize("path", ["/", "/version", "/healthz/ping", "/api", "/api/v1", "/apis/apps/v1", "/openapi/v2"])
def test_everything_else_is_a_plain_path(path: str) -> None:
    assert parse("GET", path, "", {}) == Plain("get", path if path != "/" else "/")


def test_the_table_kubectl_asks_for_is_wanted() -> None:
    table = "application/json;as=Table;v={};g=meta.k8s.io"
    header = f"{table.format('v1')},{table.format('v1beta1')},application/json"
    assert asked("GET", PODS, accept=header).wanted == Wanted("json", "Table")


@given(st.text(max_size=40), st.text(max_size=40), st.text(max_size=20))
def test_no_path_or_query_breaks_the_grammar(path: str, query: str, accept: str) -> None:
    try:
        parse("GET", "/api/v1/" + path, query, {"accept": accept})
    except Failure as failure:
        assert failure.code in (400, 404, 405, 406)


def test_services_live_at_their_names() -> None:
    assert asked("GET", "/api/v1/namespaces/a/services/b").target.kind is SERVICE
