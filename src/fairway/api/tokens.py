"""Service accounts' tokens: signed for an audience and a time, perhaps bound to a pod, and believed while all of that
still stands (KEP-1205, "Bound Service Account Tokens").

The signing key is made at the first start and lies in the store beside the objects, so that every server on one store
signs with and believes the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import msgspec

from fairway.api import metadata, render, status
from fairway.api.answers import Answer, json_answer
from fairway.api.bodies import Bound, TokenRequest
from fairway.api.keys import SIGNING_KEY, key_of
from fairway.api.requests import Request
from fairway.api.users import User, account, account_groups
from fairway.objects.errors import invalid as invalid_field
from fairway.objects.kinds import NODE, POD, SECRET, SERVICE_ACCOUNT, Kind
from fairway.store.base import Check, Conflict, Put, Store

if TYPE_CHECKING:
    from fairway.api.jwt import SigningKey

Object = dict[str, Any]

ISSUER = "https://kubernetes.default.svc.cluster.local"
DEFAULT_SECONDS, SHORTEST, LONGEST = 3600, 600, 1 << 32
GONE_SECONDS = 60
"""How long a token outlives the beginning of its pod's end past the grace: the pod may still have to say good-bye."""
SKEW_SECONDS = 60
REMEMBERED = 1024
"""How many tokens' signatures are not checked again: with each of its requests a client sends the same one."""
_BINDABLE = {("v1", kind.name): kind for kind in (POD, SECRET, NODE)}
_EXTRA = "authentication.kubernetes.io"


class _Named(msgspec.Struct, frozen=True, omit_defaults=True):
    name: str
    uid: str = ""


class _About(msgspec.Struct, frozen=True, omit_defaults=True):
    """The claim `kubernetes.io`: whose token it is and what it is bound to."""

    namespace: str
    serviceaccount: _Named
    pod: _Named | None = None
    secret: _Named | None = None
    node: _Named | None = None


class _Claims(msgspec.Struct, frozen=True):
    iss: str
    sub: str
    aud: list[str]
    exp: int
    iat: int
    nbf: int
    jti: str
    about: _About = msgspec.field(name="kubernetes.io")


@dataclass(frozen=True, slots=True)
class Verified:
    """Whose token it was, and for which of the asked audiences it is good."""

    user: User
    audiences: tuple[str, ...]


class Refused(Exception):
    """A token that is not believed; the message says why."""


class Tokens:
    """Issues and checks tokens. `audiences` are the API server's own names."""

    def __init__(
        self, store: Store, issuer: str, audiences: Sequence[str], now: Callable[[], datetime], uid: Callable[[], str]
    ) -> None:
        self.issuer = issuer
        self.audiences = tuple(audiences) or (issuer,)
        self._store = store
        self._now = now
        self._uid = uid
        self._key: SigningKey | None = None
        self._signed: dict[str, _Claims] = {}

    async def request(self, request: Request, body: TokenRequest) -> Answer:
        """`serviceaccounts/token`. Raises 400, 403, 404, 409, 422."""
        target = request.target
        seconds = DEFAULT_SECONDS if body.spec.expirationSeconds is None else body.spec.expirationSeconds
        _check_duration(request, seconds)
        owner = await self._load(SERVICE_ACCOUNT, target.namespace, target.name)
        if owner is None:
            raise status.not_found(SERVICE_ACCOUNT, target.name)
        audiences = body.spec.audiences or list(self.audiences)
        about = _About(
            target.namespace, _identity(owner), **await self._bound(request, body.spec.boundObjectRef, owner)
        )
        now = self._now()
        expires = now + timedelta(seconds=seconds)
        token = await self._sign(about, audiences, now, expires)
        answer = {
            "kind": "TokenRequest",
            "apiVersion": "authentication.k8s.io/v1",
            "metadata": {
                "name": target.name,
                "namespace": target.namespace,
                "creationTimestamp": metadata.timestamp(now),
            },
            "spec": msgspec.to_builtins(body.spec) | {"audiences": audiences, "expirationSeconds": seconds},
            "status": {"token": token, "expirationTimestamp": metadata.timestamp(expires)},
        }
        return json_answer(answer, 201)

    async def _sign(self, about: _About, audiences: list[str], now: datetime, expires: datetime) -> str:
        issued = int(now.timestamp())
        subject = account(about.namespace, about.serviceaccount.name)
        claims = _Claims(self.issuer, subject, audiences, int(expires.timestamp()), issued, issued, self._uid(), about)
        return (await self.key()).sign(msgspec.to_builtins(claims))

    async def check(self, token: str, audiences: Sequence[str] = ()) -> Verified:
        """The service account whose token it is, for one of `audiences` (the server's own by default). Raises Refused:
        wrong signature, issuer, audience or time, or something it was bound to is not there any more."""
        from fairway.api.jwt import BadToken

        try:
            claims = self._signed.get(token) or self._remembered(token, await self.key())
        except (BadToken, msgspec.ValidationError) as error:
            raise Refused(f"invalid bearer token: {error}") from error
        wanted = tuple(audiences) or self.audiences
        good = tuple(audience for audience in wanted if audience in claims.aud)
        now = self._now().timestamp()
        about = claims.about
        if claims.iss != self.issuer or claims.sub != account(about.namespace, about.serviceaccount.name):
            raise Refused("invalid bearer token: another issuer's")
        if not good:
            raise Refused(f"token audiences {claims.aud} is invalid for the target audiences {list(wanted)}")
        if now >= claims.exp or now + SKEW_SECONDS < claims.nbf:
            raise Refused("service account token has expired" if now >= claims.exp else "token is not valid yet")
        await self._still_there(about)
        return Verified(_user(claims), good)

    def _remembered(self, token: str, key: SigningKey) -> _Claims:
        """The claims of a token with the right signature, which does not become wrong: the key is the cluster's for
        good. All else about a token is looked at each time."""
        claims = msgspec.convert(key.verified(token), _Claims)
        if len(self._signed) >= REMEMBERED:
            self._signed.clear()
        self._signed[token] = claims
        return claims

    async def key(self) -> SigningKey:
        """The cluster's signing key; made if there is none yet, by whichever server comes first."""
        from fairway.api.jwt import SigningKey

        while self._key is None:
            entry = await self._store.get(SIGNING_KEY)
            if entry is not None:
                self._key = SigningKey.load(entry.value)
                break
            try:
                await self._store.commit([Check(SIGNING_KEY, 0)], [Put(SIGNING_KEY, SigningKey.generate().pem())])
            except Conflict:
                continue
        return self._key

    async def _still_there(self, about: _About) -> None:
        owned: list[tuple[Kind, _Named | None]] = [
            (SERVICE_ACCOUNT, about.serviceaccount),
            (POD, about.pod),
            (SECRET, about.secret),
            # A pod's token tells the node, and goes by the pod; only a token without a pod is bound to the node itself.
            (NODE, None if about.pod else about.node),
        ]
        for kind, named in owned:
            if named is not None:
                obj = await self._load(kind, about.namespace, named.name)
                if obj is None or obj["metadata"]["uid"] != named.uid or self._ended(obj):
                    raise Refused(f"the {kind.singular} of this service account token has been removed")

    def _ended(self, obj: Object) -> bool:
        """Whether it should have been gone for a while: `deletionTimestamp` is when its grace is over."""
        when = obj["metadata"].get("deletionTimestamp")
        return bool(when) and self._now() > metadata.parse_timestamp(when) + timedelta(seconds=GONE_SECONDS)

    async def _bound(self, request: Request, ref: Bound | None, owner: Object) -> Mapping[str, _Named]:
        """What the token shall be bound to. A node's agent gets tokens for the pods of its node only."""
        if ref is None:
            if request.user.node:
                raise _not_yours(request, "it is not bound to a pod")
            return {}
        kind = _BINDABLE.get((ref.apiVersion or "v1", ref.kind))
        if kind is None:
            raise status.bad_request(f"cannot bind token for serviceaccount to object of type {ref.kind}")
        obj = await self._load(kind, request.target.namespace, ref.name)
        if obj is None:
            raise status.not_found(kind, ref.name)
        if ref.uid and ref.uid != obj["metadata"]["uid"]:
            why = f"the UID in the bound object reference ({ref.uid}) does not match the UID in record"
            raise status.conflict(kind, ref.name, f"{why} ({obj['metadata']['uid']})")
        bound = {kind.singular: _identity(obj)}
        if kind is POD:
            if obj["spec"].get("serviceAccountName") != owner["metadata"]["name"]:
                whose = f'serviceaccount "{owner["metadata"]["name"]}"'
                raise status.bad_request(
                    f"cannot bind token for {whose} to pod running with different serviceaccount name."
                )
            bound |= await self._node_of(obj)
        if request.user.node and (kind is not POD or obj["spec"].get("nodeName") != request.user.node):
            raise _not_yours(request, f"it is not bound to a pod of node {request.user.node}")
        return bound

    async def _node_of(self, pod: Object) -> Mapping[str, _Named]:
        name = pod["spec"].get("nodeName", "")
        node = await self._load(NODE, "", name) if name else None
        return {"node": _identity(node)} if node else {}

    async def _load(self, kind: Kind, namespace: str, name: str) -> Object | None:
        entry = await self._store.get(key_of(kind, namespace, name))
        return render.load(entry.value, entry.modified) if entry else None


def openid_configuration(issuer: str, jwks_uri: str) -> Object:
    """Where the keys are, for those who check tokens themselves (OpenID Connect Discovery 1.0)."""
    return {
        "issuer": issuer,
        "jwks_uri": jwks_uri,
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
    }


def _identity(obj: Object) -> _Named:
    return _Named(obj["metadata"]["name"], obj["metadata"]["uid"])


def _user(claims: _Claims) -> User:
    about = claims.about
    extra: list[tuple[str, tuple[str, ...]]] = [(f"{_EXTRA}/credential-id", (f"JTI={claims.jti}",))]
    for what, named in (("node", about.node), ("pod", about.pod)):
        if named is not None:
            extra += [(f"{_EXTRA}/{what}-name", (named.name,)), (f"{_EXTRA}/{what}-uid", (named.uid,))]
    return User(claims.sub, account_groups(about.namespace), about.serviceaccount.uid, tuple(extra))


def _check_duration(request: Request, seconds: int) -> None:
    detail = ""
    if seconds < SHORTEST:
        detail = "may not specify a duration less than 10 minutes"
    elif seconds > LONGEST:
        detail = "may not specify a duration larger than 2^32 seconds"
    if detail:
        kind = Kind("authentication.k8s.io", "v1", "TokenRequest", "tokenrequests", "tokenrequest")
        raise status.invalid(kind, request.target.name, [invalid_field("spec.expirationSeconds", seconds, detail)])


def _not_yours(request: Request, why: str) -> status.Failure:
    return status.forbidden(SERVICE_ACCOUNT, request.target.name, f"node requested token, but {why}")
