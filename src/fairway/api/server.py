"""The API server as one object: configuration in, an application out. It opens nothing; `api.http` serves it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import msgspec

from fairway.api import audit, expiry, status
from fairway.api.answers import Answer, Stream, Tunnel, indented, json_answer
from fairway.api.app import App
from fairway.api.attendance import Attendance
from fairway.api.auth import authenticate, impersonate, known
from fairway.api.authority import Authority
from fairway.api.bootstrap import bootstrap, renew_root_ca
from fairway.api.handlers import Handlers, failed
from fairway.api.metadata import timestamp
from fairway.api.nodes import HttpNodeClient
from fairway.api.passing import Passer
from fairway.api.paths import Paths
from fairway.api.peers import Peer
from fairway.api.repairing import Repairer
from fairway.api.requests import Plain, Request, parse
from fairway.api.reviews import Reviews
from fairway.api.services import ServiceAllocator
from fairway.api.subresources import NodeClient
from fairway.api.tokens import ISSUER, Refused, Tokens, openid_configuration
from fairway.api.users import User
from fairway.api.watches import BOOKMARK_SECONDS
from fairway.api.writes import Chance
from fairway.objects.admit import TOLERATION_SECONDS
from fairway.packet import host_port
from fairway.store.base import Store, StoreError

AnyAnswer = TypeVar("AnyAnswer", Answer | Stream, Answer | Tunnel)

_audit_log = logging.getLogger("fairway.audit")

HISTORY_SECONDS = 300.0
"""How much history a compaction leaves: watches that were away for less resume."""
UIDS_AT_ONCE = 256
SWEEPS = 60
"""How often in an Event's life the old ones are looked for."""

REPAIR_SECONDS = 180.0
"""How often all Services are held against what they hold, as kube-apiserver does."""

PUBLISH_SECONDS = 10.0
LEASE_SECONDS = 15.0
LEAVE_SECONDS = 1.0
"""How often a server looks after `default/kubernetes`, and after how long of silence it is taken out of it, as of
kube-apiserver; and how long a server that stops tries to say so."""


@dataclass(frozen=True, slots=True)
class ApiConfig:
    """`service_cidrs`: the Service ranges, the first one's family is the default. `node_ports`: first and last.
    `issuer`: what service accounts' tokens say they are from (--service-account-issuer); `api_audiences`: whom they are
    for (--api-audiences).
    `advertise_*`: where pods and nodes reach the server. `tokens`: bearer tokens and whose they are.
    `toleration_seconds`: how long pods that do not say otherwise stay bound to a node that is lost or not ready
    (kube-apiserver's --default-unreachable-toleration-seconds). `event_seconds`: how long an Event is kept after it was
    last heard of. `root_ca`: the certificate, as PEM text, by which pods are to know the server; where a ConfigMap from
    before says otherwise it is put right before anybody is served (a controller makes new ones).
    `publish_seconds`: how often the server looks whether `default/kubernetes` still leads to it.
    `audit`: whether each write is told in a line of the log `fairway.audit`."""

    service_cidrs: tuple[str, ...]
    _: KW_ONLY
    node_ports: tuple[int, int] = (30000, 32767)
    advertise_address: str
    advertise_port: int
    tokens: Mapping[str, User] = field(default_factory=dict)
    issuer: str = ISSUER
    api_audiences: tuple[str, ...] = ()
    root_ca: str = ""
    bookmark_seconds: float = BOOKMARK_SECONDS
    history_seconds: float = HISTORY_SECONDS
    event_seconds: float = expiry.LIFE.total_seconds()
    publish_seconds: float = PUBLISH_SECONDS
    lease_seconds: float = LEASE_SECONDS
    repair_seconds: float = REPAIR_SECONDS
    toleration_seconds: int = TOLERATION_SECONDS
    audit: bool = False


class Api:
    """An API server on a store. `app` is what is served, `handlers` the same without HTTP. `nodes` asks node agents,
    and is closed with the server; without one, agents are asked over HTTPS and must have certificates this machine
    trusts."""

    def __init__(self, store: Store, config: ApiConfig, nodes: NodeClient | None = None) -> None:
        self._store = store
        self._config = config
        self._chance = Chance(_now, _Uids(), random.Random())
        self._nodes = nodes or HttpNodeClient()
        services = ServiceAllocator(
            store, config.service_cidrs, config.node_ports, self._chance.random, self._chance.now, self._chance.uid
        )
        self._authority = Authority(store)
        self._passer = Passer(store, self._chance.random)
        self._tokens = Tokens(
            store, config.issuer, config.api_audiences or (config.issuer,), self._chance.now, self._chance.uid
        )
        self.handlers = Handlers(
            store,
            services,
            self._nodes,
            self._chance,
            self._authority,
            self._tokens,
            Reviews(self._authority, self._whose),
            self._passer,
            config.bookmark_seconds,
            config.toleration_seconds,
        )
        self._repairer = Repairer(store, services, self.handlers.writer, self._chance)
        self._paths = Paths(f"{config.advertise_address}:{config.advertise_port}", lambda: self._ready)
        self.app = App(self.respond, self.connect)
        self._ready = False
        self._attendance: Attendance | None = None
        self._chores: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Create what every cluster has; from then on the server is ready."""
        config = self._config
        now = timestamp(self._chance.now())
        await bootstrap(self.handlers.writer, config.service_cidrs, config.advertise_address, now)
        await renew_root_ca(self.handlers.writer, config.root_ca)
        me = Peer(config.advertise_address, config.advertise_port)
        clock = asyncio.get_running_loop().time
        attendance = Attendance(
            self._store, self.handlers.writer, config.service_cidrs, me, config.lease_seconds, clock
        )
        await attendance.renew(config.publish_seconds)
        self._attendance = attendance
        await self._authority.start()
        chores = (
            self._compact(),
            self._expire(),
            self._stay_known(attendance),
            self._repairer.run(config.repair_seconds),
        )
        self._chores = [asyncio.create_task(chore) for chore in chores]
        self._ready = True

    async def stop(self) -> None:
        """End what the server does by itself. The store stays open: it is the caller's."""
        self._ready = False
        for chore in self._chores:
            chore.cancel()
        await asyncio.gather(*self._chores, return_exceptions=True)
        if self._attendance:
            with contextlib.suppress(status.Failure, StoreError, TimeoutError):
                async with asyncio.timeout(LEAVE_SECONDS):
                    await self._attendance.leave()
        await self._authority.stop()
        await self._nodes.close()

    async def respond(
        self,
        method: str,
        path: str,
        query: str,
        headers: Mapping[str, str],
        body: bytes,
        certificate: Mapping[str, object] | None = None,
    ) -> Answer | Stream:
        """Answer a request by its parts: `path` still percent-encoded, header names in lower case, `certificate` as
        `ssl.SSLSocket.getpeercert()` gives it."""
        try:
            by, user = await self._who(headers, certificate)
            request = parse(method, path, query, headers, user)
            if isinstance(request, Plain):
                self._authority.authorize(user, request)
                answer = await self._keys(request) or self._paths.answer(request)
                return indented(answer) if request.pretty else answer
        except Exception as error:
            return failed(error)
        return self._audited(by, user, request, await self.handlers.handle(request, body, user))

    async def connect(
        self,
        method: str,
        path: str,
        query: str,
        headers: Mapping[str, str],
        certificate: Mapping[str, object] | None = None,
    ) -> Answer | Tunnel:
        """Answer a request that asks for an upgrade of its connection, by its parts as in `respond`."""
        try:
            by, user = await self._who(headers, certificate)
            request = parse(method, path, query, headers, user)
            if isinstance(request, Plain):
                raise status.no_such_path()
        except Exception as error:
            return failed(error)
        return self._audited(by, user, request, await self.handlers.connect(request, query, headers, user))

    def _audited(self, by: User, user: User, request: Request, answer: AnyAnswer) -> AnyAnswer:
        """The answer, told to the audit log if it changed something (or was refused to)."""
        code = 101 if isinstance(answer, Tunnel) else answer.status
        if self._config.audit and (text := audit.line(by, user, request, code)):
            _audit_log.info("%s", text)
        return answer

    async def _who(self, headers: Mapping[str, str], certificate: Mapping[str, object] | None) -> tuple[User, User]:
        """Who asks, and who he asks to be taken for. Raises 401, 403."""
        credentials = headers.get("authorization", "")
        user = await authenticate(credentials, certificate, self._config.tokens, self._account)
        return user, impersonate(user, headers, self._authority.policy.allows)

    async def _account(self, token: str) -> User | None:
        try:
            return (await self._tokens.check(token)).user
        except Refused:
            return None

    async def _whose(self, token: str, audiences: Sequence[str]) -> tuple[User, Sequence[str]] | str:
        """Whose token it is, and for which of the audiences (the server's own if none are asked for)."""
        wanted = audiences or self._tokens.audiences
        if user := known(token, self._config.tokens):
            # Known tokens name no audience: they are good for this server, and for nobody else.
            good = [audience for audience in wanted if audience in self._tokens.audiences]
            return (user, good) if good else "the token is not for these audiences"
        try:
            found = await self._tokens.check(token, wanted)
        except Refused as error:
            return str(error)
        return found.user, found.audiences

    async def _keys(self, request: Plain) -> Answer | None:
        """What others need to check tokens themselves (OpenID Connect Discovery 1.0)."""
        if request.verb not in ("get", "head"):
            return None
        config = self._config
        match request.path.rstrip("/"):
            case "/openid/v1/jwks":
                found: object = {"keys": [(await self._tokens.key()).jwk()]}
                return Answer(200, msgspec.json.encode(found), "application/jwk-set+json")
            case "/.well-known/openid-configuration":
                where = host_port(config.advertise_address, config.advertise_port)
                return json_answer(openid_configuration(config.issuer, f"https://{where}/openid/v1/jwks"))
        return None

    async def _stay_known(self, attendance: Attendance) -> None:
        """See to it that the cluster finds this server and every other one that is there, whatever somebody deletes."""
        pause = self._config.publish_seconds
        while True:
            await asyncio.sleep(pause)
            with contextlib.suppress(status.Failure, StoreError):
                pause = await attendance.renew(self._config.publish_seconds)

    async def _compact(self) -> None:
        """Forget what is older than the history that is kept, again and again. Each of several servers on one store
        does it, and each forgets only what it saw itself long enough ago: who comes second finds it done."""
        revision = 0
        while True:
            with contextlib.suppress(StoreError):
                seen = await self._store.revision()
                if revision:
                    await self._store.compact(revision)
                revision = seen
            await asyncio.sleep(self._config.history_seconds)

    async def _expire(self) -> None:
        """Remove old Events, again and again."""
        while True:
            await asyncio.sleep(self._config.event_seconds / SWEEPS)
            with contextlib.suppress(StoreError):
                await expiry.sweep(self._store, self._chance.now, timedelta(seconds=self._config.event_seconds))


def _now() -> datetime:
    return datetime.now(UTC)


class _Uids:
    """Random UUIDs (RFC 9562, version 4). The kernel is asked for many at once: a call for each costs more than all
    else about it. One such stock per server, so that no fork shares it."""

    def __init__(self) -> None:
        self._stock: list[bytes] = []

    def __call__(self) -> str:
        if not self._stock:
            drawn = os.urandom(UIDS_AT_ONCE * 16)
            self._stock = [drawn[at : at + 16] for at in range(0, len(drawn), 16)]
        digits = self._stock.pop().hex()
        variant = "89ab"[int(digits[16], 16) & 3]
        return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"
