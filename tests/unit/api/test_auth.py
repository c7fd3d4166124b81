"""Who asks, and in which words he is refused."""

from __future__ import annotations

import asyncio

import pytest

from fairway.api.auth import ANONYMOUS, User, authenticate, deed_of, from_certificate, impersonate, refusal
from fairway.api.rbac import Deed, Visit
from fairway.api.requests import parse
from fairway.api.status import Failure

TOKENS = {"secret": User("ann", ("dev",))}
CERTIFICATE = {"subject": ((("organizationName", "system:masters"),), (("commonName", "admin"),))}
ROBOT = User("system:serviceaccount:shop:robot")


async def account(token: str) -> User | None:
    return ROBOT if token == "signed" else None


def who(header: str, certificate: dict[str, object] | None = None) -> User:
    return asyncio.run(authenticate(header, certificate, TOKENS, account))


def test_a_certificate_tells_name_and_groups() -> None:
    admin = User("admin", ("system:masters", "system:authenticated"))
    assert from_certificate(CERTIFICATE) == admin
    assert from_certificate({"subject": ((("organizationName", "o"),),)}) is None
    assert who("Bearer secret", CERTIFICATE) == admin


def test_a_known_token_is_its_user_and_another_perhaps_a_service_account() -> None:
    assert who("Bearer secret") == User("ann", ("dev", "system:authenticated"))
    assert who("bearer signed") == ROBOT


@pytest.mark.parametrize("header", ["Bearer wrong", "Bearer ", "Basic c2VjcmV0", "secret"])
def test_wrong_credentials_are_401_not_anonymous(header: str) -> None:
    with pytest.raises(Failure) as caught:
        who(header)
    assert caught.value.code == 401


def test_without_credentials_one_is_anonymous() -> None:
    assert who("") == ANONYMOUS


PODS = "/api/v1/namespaces/shop/pods"


@pytest.mark.parametrize(
    ("method", "url", "deed"),
    [
        ("GET", PODS, Deed("list", "", "pods", "shop")),
        ("GET", f"{PODS}/web", Deed("get", "", "pods", "shop", "web")),
        ("GET", f"{PODS}/web/log", Deed("get", "", "pods/log", "shop", "web")),
        ("GET", f"{PODS}?watch=1&fieldSelector=metadata.name%3Dweb", Deed("watch", "", "pods", "shop", "web")),
        ("GET", f"{PODS}?fieldSelector=metadata.name%3Dweb%2Cspec.nodeName%3Da", Deed("list", "", "pods", "shop")),
        ("POST", PODS, Deed("create", "", "pods", "shop")),
        ("DELETE", PODS, Deed("deletecollection", "", "pods", "shop")),
        ("GET", "/api/v1/namespaces/shop", Deed("get", "", "namespaces", "shop", "shop")),
        ("GET", "/api/v1/namespaces", Deed("list", "", "namespaces")),
        (
            "PATCH",
            "/apis/apps/v1/namespaces/shop/deployments/web/scale",
            Deed("patch", "apps", "deployments/scale", "shop", "web"),
        ),
        ("GET", "/version", Visit("get", "/version")),
    ],
)
def test_what_a_request_asks_to_do(method: str, url: str, deed: Deed | Visit) -> None:
    path, _, query = url.partition("?")
    assert deed_of(parse(method, path, query, {})) == deed


@pytest.mark.parametrize(
    ("method", "path", "message"),
    [
        (
            "GET",
            PODS,
            'pods is forbidden: User "ann" cannot list resource "pods" in API group "" in the namespace "shop"',
        ),
        (
            "GET",
            "/api/v1/pods",
            'pods is forbidden: User "ann" cannot list resource "pods" in API group "" at the cluster scope',
        ),
        (
            "DELETE",
            "/apis/apps/v1/namespaces/shop/deployments/web",
            'deployments.apps "web" is forbidden: User "ann" cannot delete resource "deployments" in API group "apps" '
            'in the namespace "shop"',
        ),
        (
            "GET",
            f"{PODS}/web/log",
            'pods "web" is forbidden: User "ann" cannot get resource "pods/log" in API group "" '
            'in the namespace "shop"',
        ),
        ("GET", "/metrics", 'forbidden: User "ann" cannot get path "/metrics"'),
    ],
)
def test_refusals_are_worded_as_users_know_them(method: str, path: str, message: str) -> None:
    failure = refusal(User("ann"), parse(method, path, "", {}))
    assert (failure.code, failure.reason, failure.message) == (403, "Forbidden", message)


def test_impersonation_needs_leave_for_every_part() -> None:
    asked: list[Deed] = []

    def allows(user: User, deed: Deed) -> bool:
        asked.append(deed)
        return deed.name != "admins"

    headers = {"impersonate-user": "bob", "impersonate-group": "dev\nops, night", "impersonate-extra-scopes": "view"}
    ann = User("ann")
    assert impersonate(ann, {}, allows) == ann
    assert impersonate(ann, headers, allows) == User(
        "bob", ("dev", "ops, night", "system:authenticated"), "", (("scopes", ("view",)),)
    )
    assert [(deed.resource, deed.name) for deed in asked] == [
        ("users", "bob"),
        ("groups", "dev"),
        ("groups", "ops, night"),
        ("userextras/scopes", "view"),
    ]
    with pytest.raises(Failure, match='groups "admins" is forbidden: User "ann" cannot impersonate resource "groups"'):
        impersonate(ann, {"impersonate-user": "bob", "impersonate-group": "admins"}, allows)
    with pytest.raises(Failure, match="needs a user"):
        impersonate(ann, {"impersonate-group": "admins"}, allows)


def test_an_impersonated_service_account_has_its_own_groups() -> None:
    asked: list[Deed] = []
    found = impersonate(User("ann"), {"impersonate-user": ROBOT.name}, lambda user, deed: asked.append(deed) or True)
    assert found.groups == ("system:serviceaccounts", "system:serviceaccounts:shop", "system:authenticated")
    assert asked == [Deed("impersonate", "", "serviceaccounts", "shop", "robot")]
