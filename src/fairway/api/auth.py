"""From credentials to users, from requests to what they ask to do, and the words of a refusal.

Who may do what is `rbac`'s to say; `authority` keeps the roles it goes by.
"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import unquote

from fairway.api import status
from fairway.api.rbac import Deed, Visit
from fairway.api.requests import Plain, Request
from fairway.api.users import (
    ANONYMOUS,
    AUTHENTICATED,
    UNAUTHENTICATED,
    User,
    account_groups,
    parse_account,
)
from fairway.objects.kinds import NAMESPACE

__all__ = [
    "ANONYMOUS",
    "AUTHENTICATED",
    "User",
    "authenticate",
    "deed_of",
    "from_certificate",
    "impersonate",
    "known",
    "refusal",
    "sentence",
]

Account = Callable[[str], Awaitable[User | None]]
"""The service account whose token it is, or None."""

_EXTRA = "impersonate-extra-"


async def authenticate(
    authorization: str, certificate: Mapping[str, Any] | None, tokens: Mapping[str, User], account: Account
) -> User:
    """The user behind a request: the verified client certificate first (CN is the name, each O a group), then the
    bearer token, a known one or a service account's. Wrong credentials raise 401; none at all is the anonymous user.

    `certificate` has the shape of `ssl.SSLSocket.getpeercert()`.
    """
    if certificate and (user := from_certificate(certificate)):
        return user
    if not authorization:
        return ANONYMOUS
    scheme, _, token = authorization.partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token:
        raise status.unauthorized()
    found = known(token, tokens) or await account(token)
    if found is None:
        raise status.unauthorized()
    return found


def from_certificate(certificate: Mapping[str, Any]) -> User | None:
    """The subject's common name and organisations; None without a common name."""
    return _of_subject(certificate.get("subject", ()))


@lru_cache(1024)
def _of_subject(names_in_order: tuple[tuple[tuple[str, str], ...], ...]) -> User | None:
    # A client's certificate comes with each of its requests.
    subject = [pair for rdn in names_in_order for pair in rdn]
    names = [value for field, value in subject if field == "commonName"]
    if not names:
        return None
    groups = tuple(value for field, value in subject if field == "organizationName")
    return User(names[0], (*groups, AUTHENTICATED))


def deed_of(request: Request | Plain) -> Deed | Visit:
    """What a request asks to do."""
    if isinstance(request, Plain):
        return Visit(request.verb, request.path)
    target = request.target
    resource = f"{target.kind.plural}/{target.subresource}" if target.subresource else target.kind.plural
    # A namespace is a thing of the cluster and of itself: a role inside it may give rights on it.
    namespace = target.name if target.kind is NAMESPACE else target.namespace
    name = target.name or _named(request.options.field_selector)
    return Deed(request.verb, target.kind.group, resource, namespace, name)


def refusal(user: User, request: Request | Plain) -> status.Failure:
    """403, worded as users of kubectl know it."""
    deed = deed_of(request)
    why = sentence(user, deed)
    if isinstance(request, Plain):
        return status.Failure(403, "Forbidden", f"forbidden: {why}", {})
    return status.forbidden(request.target.kind, request.target.name, why)


def sentence(user: User, deed: Deed | Visit) -> str:
    """`User "ann" cannot list resource "pods" in API group "" in the namespace "default"`."""
    if isinstance(deed, Visit):
        return f'User "{user.name}" cannot {deed.verb} path "{deed.path}"'
    where = f'in the namespace "{deed.namespace}"' if deed.namespace else "at the cluster scope"
    return f'User "{user.name}" cannot {deed.verb} resource "{deed.resource}" in API group "{deed.group}" {where}'


def impersonate(user: User, headers: Mapping[str, str], allows: Callable[[User, Deed], bool]) -> User:
    """The user that `user` wants to be taken for by the headers `Impersonate-*`, or `user` where there are none. A
    header that came several times has its values in lines. Raises 400, and 403 where `allows` does not say yes to
    every part of the new identity."""
    if not any(map(_impersonates, headers)):
        return user
    name = headers.get("impersonate-user", "")
    groups = tuple(filter(None, headers.get("impersonate-group", "").split("\n")))
    uid = headers.get("impersonate-uid", "")
    extra = tuple((unquote(key[len(_EXTRA) :]), tuple(v.split("\n"))) for key, v in headers.items() if _is_extra(key))
    if not name:
        if groups or uid or extra:
            raise status.bad_request("impersonating groups, a uid or extra needs a user to impersonate")
        return user
    for deed in _impersonations(name, groups, uid, extra):
        if not allows(user, deed):
            resource = f"{deed.resource}.{deed.group}" if deed.group else deed.resource
            message = f'{resource} "{deed.name}" is forbidden: {sentence(user, deed)}'
            raise status.Failure(403, "Forbidden", message, {"name": deed.name, "kind": deed.resource})
    return User(name, _groups(name, groups), uid, extra)


def _impersonates(header: str) -> bool:
    return header.startswith("impersonate-")


def _is_extra(header: str) -> bool:
    return header.startswith(_EXTRA)


def _impersonations(
    name: str, groups: tuple[str, ...], uid: str, extra: tuple[tuple[str, tuple[str, ...]], ...]
) -> Iterator[Deed]:
    account = parse_account(name)
    if account:
        yield Deed("impersonate", "", "serviceaccounts", *account)
    else:
        yield Deed("impersonate", "", "users", "", name)
    for group in groups:
        yield Deed("impersonate", "", "groups", "", group)
    if uid:
        yield Deed("impersonate", "authentication.k8s.io", "uids", "", uid)
    for key, values in extra:
        for value in values:
            yield Deed("impersonate", "authentication.k8s.io", f"userextras/{key}", "", value)


def _groups(name: str, groups: tuple[str, ...]) -> tuple[str, ...]:
    """Those asked for; a service account has its own where none are, and whoever is somebody is authenticated."""
    account = parse_account(name)
    if account and not groups:
        return account_groups(account[0])
    if name == ANONYMOUS.name:
        return groups if UNAUTHENTICATED in groups else (*groups, UNAUTHENTICATED)
    return groups if AUTHENTICATED in groups else (*groups, AUTHENTICATED)


def _named(field_selector: str) -> str:
    """The name that a field selector narrows a collection to: that is how reflectors ask for one object."""
    key, _, value = field_selector.partition("=")
    return value.lstrip("=") if key == "metadata.name" and "," not in value else ""


def known(token: str, tokens: Mapping[str, User]) -> User | None:
    """The user of a token from a list."""
    # Every token is compared in full, so that time tells nothing about how much of one was right.
    found = [user for known, user in tokens.items() if hmac.compare_digest(known.encode(), token.encode())]
    if not found:
        return None
    user = found[0]
    return user if AUTHENTICATED in user.groups else User(user.name, (*user.groups, AUTHENTICATED))
