"""Service accounts' tokens: whom they make of their bearer, for whom, until when, and what they die with."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fairway.api.tokens import Refused, Tokens
from fairway.store.memory import MemoryStore
from tests.contract.session import Session, pod, told

ROBOT = "/api/v1/namespaces/default/serviceaccounts/robot"
PODS = "/api/v1/namespaces/default/pods"
AUDIENCE = "https://kubernetes.default.svc.cluster.local"


async def robot(session: Session) -> None:
    await session.ok("POST", "/api/v1/namespaces/default/serviceaccounts", {"metadata": {"name": "robot"}})


async def token(session: Session, **spec: Any) -> str:
    return str((await session.ok("POST", f"{ROBOT}/token", {"spec": spec}))["status"]["token"])


async def review(session: Session, text: str, *audiences: str) -> dict[str, Any]:
    asked = {"spec": {"token": text, "audiences": list(audiences)}}
    answer = await session.ok("POST", "/apis/authentication.k8s.io/v1/tokenreviews", asked)
    found: dict[str, Any] = answer["status"]
    return found


def test_a_token_is_its_service_account() -> None:
    async def story(session: Session) -> None:
        await robot(session)
        answer = await session.ok("POST", f"{ROBOT}/token", {"spec": {"expirationSeconds": 1200}})
        assert answer["spec"] == {"audiences": [AUDIENCE], "expirationSeconds": 1200}
        found = await review(session, answer["status"]["token"])
        assert found["authenticated"] and found["audiences"] == [AUDIENCE]
        assert found["user"]["username"] == "system:serviceaccount:default:robot"
        assert found["user"]["groups"] == [
            "system:serviceaccounts",
            "system:serviceaccounts:default",
            "system:authenticated",
        ]

    told(story)


def test_a_bearer_is_let_in_as_its_service_account_and_gets_what_roles_give() -> None:
    async def story(session: Session) -> None:
        await robot(session)
        headers = {"authorization": f"Bearer {await token(session)}"}

        async def listed() -> tuple[int, bytes]:
            answer = await session.api.respond("GET", PODS, "", headers, b"")
            return answer.status, answer.bytes()  # type: ignore[union-attr]

        code, body = await listed()
        assert code == 403 and b'User \\"system:serviceaccount:default:robot\\" cannot list resource' in body
        await session.ok(
            "POST",
            "/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings",
            {
                "metadata": {"name": "robot-views"},
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
                "subjects": [{"kind": "ServiceAccount", "name": "robot", "namespace": "default"}],
            },
        )
        assert (await listed())[0] == 200
        await session.ok("DELETE", ROBOT)
        assert (await listed())[0] == 401

    told(story)


def test_audiences_are_held() -> None:
    async def story(session: Session) -> None:
        await robot(session)
        other = await token(session, audiences=["vault"])
        assert "error" in await review(session, other)
        assert (await review(session, other, "vault", "bank"))["audiences"] == ["vault"]
        assert (await session.api.respond("GET", PODS, "", {"authorization": f"Bearer {other}"}, b"")).status == 401
        # A token from a list names no audience: it is good for this server only.
        assert (await review(session, "token"))["user"]["username"] == "admin"
        assert "error" in await review(session, "token", "vault")

    told(story)


def test_a_token_goes_with_its_pod_and_is_not_a_namesakes() -> None:
    async def story(session: Session) -> None:
        await robot(session)
        mine = pod("web") | {"spec": pod()["spec"] | {"serviceAccountName": "robot"}}
        created = await session.ok("POST", PODS, mine)
        bound = await token(session, boundObjectRef={"kind": "Pod", "apiVersion": "v1", "name": "web"})
        user = (await review(session, bound))["user"]
        assert user["extra"]["authentication.kubernetes.io/pod-uid"] == [created["metadata"]["uid"]]
        await session.ok("DELETE", f"{PODS}/web?gracePeriodSeconds=0")
        assert "pod of this service account token has been removed" in (await review(session, bound))["error"]
        await session.ok("POST", PODS, mine)
        assert "removed" in (await review(session, bound))["error"]

    told(story)


@pytest.mark.parametrize(
    ("spec", "code", "text"),
    [
        ({"expirationSeconds": 599}, 422, "may not specify a duration less than 10 minutes"),
        ({"expirationSeconds": 1 << 33}, 422, "may not specify a duration larger than 2^32 seconds"),
        ({"boundObjectRef": {"kind": "Pod", "name": "ghost"}}, 404, 'pods "ghost" not found'),
        ({"boundObjectRef": {"kind": "Pod", "name": "web"}}, 400, "different serviceaccount name"),
        ({"boundObjectRef": {"kind": "Service", "name": "web"}}, 400, "to object of type Service"),
        ({"expirationSeconds": "soon"}, 400, "TokenRequest cannot be read"),
    ],
)
def test_requests_that_cannot_be(spec: dict[str, Any], code: int, text: str) -> None:
    async def story(session: Session) -> None:
        await robot(session)
        await session.ok("POST", PODS, pod("web"))
        found, _, message = await session.refused("POST", f"{ROBOT}/token", {"spec": spec})
        assert found == code and text in message

    told(story)


def test_the_pod_of_another_uid_is_a_conflict() -> None:
    async def story(session: Session) -> None:
        await robot(session)
        await session.ok("POST", PODS, pod("web"))
        spec = {"boundObjectRef": {"kind": "Pod", "name": "web", "uid": "other"}}
        code, reason, _ = await session.refused("POST", f"{ROBOT}/token", {"spec": spec})
        assert (code, reason) == (409, "Conflict")

    told(story)


def test_keys_are_told_to_those_who_check_themselves() -> None:
    async def story(session: Session) -> None:
        keys = (await session.ok("GET", "/openid/v1/jwks"))["keys"]
        assert [key["alg"] for key in keys] == ["ES256"]
        found = await session.ok("GET", "/.well-known/openid-configuration")
        assert found["issuer"] == AUDIENCE and found["jwks_uri"].endswith("/openid/v1/jwks")

    told(story)


BEGIN = datetime(2030, 1, 1, tzinfo=UTC)


def timed(story: Callable[[Session, Tokens, list[datetime]], Awaitable[None]]) -> None:
    """A story with a second reader of the same store, whose clock is the list's last time."""
    store = MemoryStore()

    async def tell(session: Session) -> None:
        clock = [datetime.now(UTC)]
        await story(session, Tokens(store, AUDIENCE, (AUDIENCE,), lambda: clock[-1], lambda: "id"), clock)

    told(tell, store=store)


def test_a_token_ends_with_its_time_and_servers_on_one_store_believe_each_other() -> None:
    async def story(session: Session, tokens: Tokens, clock: list[datetime]) -> None:
        await robot(session)
        text = await token(session, expirationSeconds=600)
        assert (await tokens.check(text)).user.name == "system:serviceaccount:default:robot"
        clock.append(clock[0] + timedelta(seconds=590))
        await tokens.check(text)
        clock.append(clock[0] + timedelta(seconds=601))
        with pytest.raises(Refused, match="expired"):
            await tokens.check(text)
        clock.append(clock[0] - timedelta(seconds=90))
        with pytest.raises(Refused, match="not valid yet"):
            await tokens.check(text)

    timed(story)


def test_another_issuers_token_is_not_believed_even_by_the_same_key() -> None:
    async def story(session: Session, tokens: Tokens, clock: list[datetime]) -> None:
        await robot(session)
        text = await token(session, audiences=[AUDIENCE])
        tokens.issuer = "https://elsewhere"
        with pytest.raises(Refused, match="another issuer"):
            await tokens.check(text)

    timed(story)


def test_two_servers_that_start_together_agree_on_one_key() -> None:
    async def agree() -> None:
        store = MemoryStore()
        both = [Tokens(store, AUDIENCE, (), lambda: BEGIN, lambda: "id") for _ in range(2)]
        one, two = await asyncio.gather(*(tokens.key() for tokens in both))
        assert one.id == two.id

    asyncio.run(agree())
