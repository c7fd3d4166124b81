"""Who asks, and whether they may: bearer tokens and client certificates to users, users to a yes or a no.

`authorize` is the one door through which every request goes; finer rules find their place there.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from fairway.api import status
from fairway.api.requests import Plain, Request

AUTHENTICATED = "system:authenticated"
MASTERS = "system:masters"
OPEN_PATHS = ("version", "healthz", "livez", "readyz")


@dataclass(frozen=True, slots=True)
class User:
    """Somebody by name and groups."""

    name: str
    groups: tuple[str, ...] = ()


ANONYMOUS = User("system:anonymous", ("system:unauthenticated",))

Subject = Iterable[tuple[str, str]]


def authenticate(authorization: str, certificate: Mapping[str, Any] | None, tokens: Mapping[str, User]) -> User:
    """The user behind a request: the verified client certificate first (CN is the name, each O a group), then the
    bearer token. Wrong credentials raise 401; none at all is the anonymous user.

    `certificate` has the shape of `ssl.SSLSocket.getpeercert()`.
    """
    if certificate and (user := from_certificate(certificate)):
        return user
    if not authorization:
        return ANONYMOUS
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer":
        raise status.unauthorized()
    return _from_token(token.strip(), tokens)


def from_certificate(certificate: Mapping[str, Any]) -> User | None:
    """The subject's common name and organisations; None without a common name."""
    subject = [pair for rdn in certificate.get("subject", ()) for pair in rdn]
    names = [value for field, value in subject if field == "commonName"]
    if not names:
        return None
    groups = tuple(value for field, value in subject if field == "organizationName")
    return User(names[0], (*groups, AUTHENTICATED))


def authorize(user: User, request: Request | Plain) -> None:
    """Let the user do it or raise 403. Identities that were proved may do everything; others see version and health."""
    if MASTERS in user.groups or AUTHENTICATED in user.groups:
        return
    if isinstance(request, Plain):
        if request.verb in ("get", "head") and request.path.split("/")[1] in OPEN_PATHS:
            return
        why = f'User "{user.name}" cannot {request.verb} path "{request.path}"'
        raise status.Failure(403, "Forbidden", f"forbidden: {why}", {})
    target = request.target
    where = f' in the namespace "{target.namespace}"' if target.namespace else " at the cluster scope"
    resource = f"{target.kind.plural}/{target.subresource}" if target.subresource else target.kind.plural
    why = f'User "{user.name}" cannot {request.verb} resource "{resource}" in API group "{target.kind.group}"{where}'
    raise status.forbidden(target.kind, target.name, why)


def _from_token(token: str, tokens: Mapping[str, User]) -> User:
    # Every token is compared in full, so that time tells nothing about how much of one was right.
    found = [user for known, user in tokens.items() if hmac.compare_digest(known.encode(), token.encode())]
    if not found:
        raise status.unauthorized()
    user = found[0]
    return user if AUTHENTICATED in user.groups else User(user.name, (*user.groups, AUTHENTICATED))
