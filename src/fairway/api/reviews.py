"""Questions put by creating them: who am I, whose token is this, may he do that. Nothing of them is stored."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec

from fairway.api import incoming, status
from fairway.api.answers import Answer, json_answer
from fairway.api.authority import Authority
from fairway.api.bodies import AccessReview, NonResourceAttributes, ResourceAttributes, RulesReview, TokenReview, read
from fairway.api.rbac import Deed, Rule, Visit
from fairway.api.requests import Request
from fairway.api.users import User
from fairway.objects.errors import FieldError, invalid, required

Object = dict[str, Any]

Known = Callable[[str, Sequence[str]], Awaitable[tuple[User, Sequence[str]] | str]]
"""Whose token it is and for which of these audiences, or why it is nobody's."""


class Reviews:
    """Answers them."""

    def __init__(self, authority: Authority, known: Known) -> None:
        self._authority = authority
        self._known = known

    async def answer(self, request: Request, body: bytes) -> Answer:
        """201 with the question and its answer in `status`. Raises 400, 422."""
        kind = request.target.kind
        asked = incoming.decode(body, request.content_type)[0] if body else {}
        incoming.require_type(request.target, asked)
        match kind.name:
            case "SelfSubjectReview":
                found: Object = {"userInfo": _user_info(request.user)}
            case "TokenReview":
                found = await self._token(read(asked, TokenReview))
            case "SelfSubjectRulesReview":
                found = self._rules(request.user, read(asked, RulesReview))
            case _:
                found = self._access(request, read(asked, AccessReview))
        spec = {"spec": asked["spec"]} if "spec" in asked else {}
        about = {"kind": kind.name, "apiVersion": kind.api_version, "metadata": {"creationTimestamp": None}}
        return json_answer({**about, **spec, "status": found}, 201)

    async def _token(self, review: TokenReview) -> Object:
        answer = await self._known(review.spec.token, review.spec.audiences or ())
        if isinstance(answer, str):
            return {"user": {}, "error": answer}
        user, audiences = answer
        return {"authenticated": True, "user": _user_info(user), "audiences": list(audiences)}

    def _access(self, request: Request, review: AccessReview) -> Object:
        kind, spec = request.target.kind, review.spec
        errors = list(_one_of(spec.resourceAttributes, spec.nonResourceAttributes))
        user = request.user
        if not kind.name.startswith("Self"):
            user = User(spec.user, tuple(spec.groups or ()), spec.uid)
            if not spec.user and not spec.groups:
                errors.append(required("spec.user", "at least one of user or group must be specified"))
        if kind.namespaced and (spec.resourceAttributes or ResourceAttributes()).namespace != request.target.namespace:
            detail = "must match the namespace of the request"
            errors.append(invalid("spec.resourceAttributes.namespace", request.target.namespace, detail))
        if errors:
            raise status.invalid(kind, "", errors)
        allowed = self._authority.policy.allows(user, _deed(spec.resourceAttributes, spec.nonResourceAttributes))
        return {"allowed": allowed}

    def _rules(self, user: User, review: RulesReview) -> Object:
        if not review.spec.namespace:
            raise status.bad_request("no namespace on request")
        rules = list(dict.fromkeys(self._authority.policy.rules_of(user, review.spec.namespace)))
        return {
            "resourceRules": [_shown(rule) for rule in rules if not rule.non_resource_urls],
            "nonResourceRules": [_shown(rule) for rule in rules if rule.non_resource_urls],
            "incomplete": False,
        }


def _deed(resource: ResourceAttributes | None, path: NonResourceAttributes | None) -> Deed | Visit:
    if resource is None:
        path = path or NonResourceAttributes()
        return Visit(path.verb, path.path)
    whole = f"{resource.resource}/{resource.subresource}" if resource.subresource else resource.resource
    return Deed(resource.verb, resource.group, whole, resource.namespace, resource.name)


def _one_of(resource: object, path: object) -> Sequence[FieldError]:
    if (resource is None) != (path is None):
        return ()
    detail = "exactly one of nonResourceAttributes or resourceAttributes must be specified"
    return (invalid("spec.resourceAttributes", None, detail),)


def _user_info(user: User) -> Object:
    info: Object = {"username": user.name, "groups": list(user.groups)}
    if user.uid:
        info["uid"] = user.uid
    if user.extra:
        info["extra"] = {key: list(values) for key, values in user.extra}
    return info


def _shown(rule: Rule) -> Object:
    shown: Object = msgspec.to_builtins(rule)
    return shown
