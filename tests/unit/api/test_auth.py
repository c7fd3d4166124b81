"""Who asks, and what they may."""

from __future__ import annotations

import pytest

from fairway.api.auth import ANONYMOUS, User, authenticate, authorize, from_certificate
from fairway.api.requests import parse
from fairway.api.status import Failure

TOKENS = {"secret": User("ann", ("dev",))}
CERTIFICATE = {"subject": ((("organizationName", "system:masters"),), (("commonName", "admin"),))}


def test_a_certificate_tells_name_and_groups() -> None:
    assert from_certificate(CERTIFICATE) == User("admin", ("system:masters", "system:authenticated"))
    assert from_certificate({"subject": ((("organizationName", "o"),),)}) is None


def test_a_known_token_is_its_user() -> None:
    assert authenticate("Bearer secret", None, TOKENS) == User("ann", ("dev", "system:authenticated"))


@pytest.mark.parametrize("header", ["Bearer wrong", "Bearer ", "Basic c2VjcmV0", "secret"])
def test_wrong_credentials_are_401_not_anonymous(header: str) -> None:
    with pytest.raises(Failure) as caught:
        authenticate(header, None, TOKENS)
    assert caught.value.code == 401


def test_without_credentials_one_is_anonymous_and_sees_health_and_version_only() -> None:
    assert authenticate("", None, TOKENS) == ANONYMOUS
    for path in ("/healthz", "/livez", "/readyz", "/version"):
        authorize(ANONYMOUS, parse("GET", path, "", {}))
    with pytest.raises(Failure, match='User "system:anonymous" cannot get path "/api"'):
        authorize(ANONYMOUS, parse("GET", "/api", "", {}))
    with pytest.raises(Failure) as caught:
        authorize(ANONYMOUS, parse("GET", "/api/v1/namespaces/default/pods", "", {}))
    assert caught.value.message == (
        'pods is forbidden: User "system:anonymous" cannot list resource "pods" in API group "" '
        'in the namespace "default"'
    )


def test_who_proved_an_identity_may() -> None:
    authorize(User("x", ("system:authenticated",)), parse("DELETE", "/api/v1/nodes/a", "", {}))


def test_a_path_that_only_begins_like_an_open_one_stays_closed() -> None:
    with pytest.raises(Failure):
        authorize(ANONYMOUS, parse("GET", "/versions-of-secrets", "", {}))
