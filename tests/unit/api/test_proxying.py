"""Where a proxied request goes, where it never goes, and what of it is passed."""

from __future__ import annotations

from typing import Any

import pytest

from fairway.api.proxying import (
    Goal,
    Name,
    check_address,
    parse_name,
    passed,
    pod_goal,
    relocated,
    returned,
    service_goals,
)
from fairway.api.requests import Request, parse
from fairway.api.status import Failure


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("web", Name("http", "web", "")),
        ("web:8080", Name("http", "web", "8080")),
        ("web:http", Name("http", "web", "http")),
        ("https:web:443", Name("https", "web", "443")),
        (":web:443", Name("http", "web", "443")),
        ("https:web:", Name("https", "web", "")),
    ],
)
def test_names(text: str, name: Name) -> None:
    assert parse_name(text) == name


@pytest.mark.parametrize("text", ["ftp:web:21", "a:b:c:d"])
def test_names_that_are_none(text: str) -> None:
    with pytest.raises(Failure, match="invalid request"):
        parse_name(text)


@pytest.mark.parametrize(
    ("method", "url", "verb", "path"),
    [
        ("GET", "pods/web/proxy", "get", ""),
        ("HEAD", "pods/web/proxy/", "get", "/"),
        ("POST", "services/https:web:tls/proxy/a%2Fb/c", "create", "/a%2Fb/c"),
        ("PUT", "pods/web/proxy/x", "update", "/x"),
        ("PATCH", "pods/web/proxy/x", "patch", "/x"),
        ("DELETE", "pods/web/proxy/x", "delete", "/x"),
        ("OPTIONS", "pods/web/proxy/x", "get", "/x"),
    ],
)
def test_the_door(method: str, url: str, verb: str, path: str) -> None:
    request = parse(method, f"/api/v1/namespaces/shop/{url}", "limit=x&a=1", {"accept": "image/png"})
    assert isinstance(request, Request) and request.passing
    assert (request.verb, request.target.namespace, request.target.subresource) == (verb, "shop", "proxy")
    assert (request.passing.method, request.passing.path, request.passing.query) == (method, path, "limit=x&a=1")


POD: dict[str, Any] = {
    "spec": {
        "containers": [{}, {"ports": [{"name": "web", "containerPort": 8080}, {"name": "b", "containerPort": 9}]}]
    },
    "status": {"podIP": "10.244.1.2"},
}


@pytest.mark.parametrize(("name", "port"), [("web", 8080), ("web:9", 9), ("web:b", 9), ("https:web:443", 443)])
def test_a_pod_is_asked_on_the_port_named_or_its_first(name: str, port: int) -> None:
    wanted = parse_name(name)
    assert pod_goal(POD, wanted) == Goal(wanted.scheme, "10.244.1.2", port)


def test_pods_that_cannot_be_asked() -> None:
    with pytest.raises(Failure, match="no port named 'x'"):
        pod_goal(POD, parse_name("web:x"))
    with pytest.raises(Failure, match="invalid port"):
        pod_goal(POD, parse_name("web:70000"))
    with pytest.raises(Failure, match="has none yet"):
        pod_goal(POD | {"status": {}}, parse_name("web"))


SERVICE = {"spec": {"ports": [{"name": "http", "port": 80}, {"name": "tls", "port": 443}]}}
SLICE = {
    "ports": [{"name": "http", "port": 8080}, {"name": "tls", "port": 8443}],
    "endpoints": [
        {"addresses": ["10.244.1.2"], "conditions": {"ready": True}},
        {"addresses": ["10.244.1.3"], "conditions": {"ready": False}},
        {"addresses": ["10.244.2.2"], "conditions": {}},
    ],
}


@pytest.mark.parametrize(("name", "port"), [("web:80", 8080), ("web:http", 8080), ("https:web:tls", 8443)])
def test_a_service_is_asked_at_its_ready_endpoints(name: str, port: int) -> None:
    wanted = parse_name(name)
    goals = service_goals(SERVICE, [SLICE], wanted)
    assert goals == [Goal(wanted.scheme, "10.244.1.2", port), Goal(wanted.scheme, "10.244.2.2", port)]


def test_services_that_cannot_be_asked() -> None:
    for name in ("web", "web:8080"):
        with pytest.raises(Failure, match="no service port"):
            service_goals(SERVICE, [SLICE], parse_name(name))
    with pytest.raises(Failure) as caught:
        service_goals(SERVICE, [], parse_name("web:http"))
    assert (caught.value.code, caught.value.message) == (503, 'no endpoints available for service "http:web:http"')


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "::1", "169.254.169.254", "fe80::1", "::ffff:127.0.0.1", "0.0.0.0", "224.0.0.1", "10.0.0.11", "x"],
)
def test_where_no_request_is_ever_handed_on(address: str) -> None:
    with pytest.raises(Failure, match="address not allowed"):
        check_address(address, {"10.0.0.11", "node-a"})


def test_a_pods_address_is_fine() -> None:
    check_address("10.244.1.2", {"10.0.0.11"})


def test_credentials_and_what_concerns_one_connection_are_not_passed() -> None:
    headers = {
        "authorization": "Bearer secret",
        "impersonate-user": "root",
        "host": "api",
        "connection": "keep-alive, X-Mine",
        "x-mine": "1",
        "content-length": "3",
        "transfer-encoding": "chunked",
        "accept": "image/png",
        "cookie": "a=b",
    }
    assert passed(headers) == {"accept": "image/png", "cookie": "a=b"}


GOAL = Goal("http", "10.244.1.2", 8080)
PREFIX = "/api/v1/namespaces/shop/pods/web/proxy"


@pytest.mark.parametrize(
    ("location", "seen"),
    [
        ("/login?x=1#top", f"{PREFIX}/login?x=1#top"),
        ("next", f"{PREFIX}/a/next"),
        ("http://10.244.1.2:8080/login", f"{PREFIX}/login"),
        ("https://elsewhere.example/x", "https://elsewhere.example/x"),
        ("http://10.244.1.2:9090/x", "http://10.244.1.2:9090/x"),
    ],
)
def test_redirects_within_the_pod_lead_through_the_proxy_again(location: str, seen: str) -> None:
    assert relocated(location, GOAL, "/a/b", PREFIX) == seen


def test_answers_come_back_as_they_are_but_for_the_connection() -> None:
    headers = [("Content-Type", "a/b"), ("Connection", "close"), ("Set-Cookie", "x"), ("Set-Cookie", "y")]
    assert returned(headers, GOAL, "/", PREFIX) == (("content-type", "a/b"), ("set-cookie", "x"), ("set-cookie", "y"))
