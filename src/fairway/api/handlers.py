"""Verb x store to answer or stream: the server without HTTP. Every error leaves as a `Status`."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from urllib.parse import urlencode

from fairway.api import incoming, status
from fairway.api.answers import Answer, Stream, Tunnel, json_answer
from fairway.api.applies import Applier
from fairway.api.audit import READING
from fairway.api.authority import Authority
from fairway.api.connects import Connector
from fairway.api.deletes import Deleter
from fairway.api.nodegate import NodeGate
from fairway.api.passing import Passer
from fairway.api.reads import Reader
from fairway.api.requests import DOORS, PARTS, Request
from fairway.api.reviews import Reviews
from fairway.api.services import ServiceAllocator
from fairway.api.subresources import NodeClient, Subresources
from fairway.api.tokens import Tokens
from fairway.api.users import LOOPBACK, User
from fairway.api.watches import BOOKMARK_SECONDS, Watching
from fairway.api.writes import Chance, Writer
from fairway.objects.admit import TOLERATION_SECONDS
from fairway.objects.kinds import RBAC, REVIEW_GROUPS
from fairway.store.base import Store

_log = logging.getLogger(__name__)


class Handlers:
    """Answers requests about objects."""

    def __init__(
        self,
        store: Store,
        services: ServiceAllocator,
        nodes: NodeClient,
        chance: Chance,
        authority: Authority,
        tokens: Tokens,
        reviews: Reviews,
        passer: Passer,
        bookmark_seconds: float = BOOKMARK_SECONDS,
        toleration_seconds: int = TOLERATION_SECONDS,
    ) -> None:
        self.store = store
        self.writer = Writer(store, services, chance, authority, toleration_seconds)
        self._authority = authority
        self._gate = NodeGate(store)
        self._applier = Applier(self.writer, chance.now)
        self._reviews = reviews
        self._passer = passer
        self._reader = Reader(store, chance.now)
        self._watching = Watching(store, chance.now, bookmark_seconds)
        self._deleter = Deleter(store, self.writer, chance.now)
        self._connector = Connector(store, nodes)
        self._subresources = Subresources(store, self.writer, self._deleter, nodes, chance, tokens)

    async def handle(self, request: Request, body: bytes = b"", user: User = LOOPBACK) -> Answer | Stream:
        """Answer a request; failures are answers too. Whoever gets a Stream closes it."""
        try:
            self._authority.authorize(user, request)
            if user.node:
                await self._gate.hold(user, request, body)
            if request.user is not user:
                request = replace(request, user=user)
            answer = await self._dispatch(request, body)
            if request.target.kind.group == RBAC and request.verb not in READING:
                await self._authority.refresh()
            return answer
        except Exception as error:
            return failed(error)

    async def connect(self, request: Request, query: str, headers: Mapping[str, str], user: User) -> Answer | Tunnel:
        """Answer a request that asks for an upgrade of its connection; whoever gets a Tunnel closes it."""
        try:
            self._authority.authorize(user, request)
            return await self._connector.open(request, query, headers)
        except Exception as error:
            return failed(error)

    async def _dispatch(self, request: Request, body: bytes) -> Answer | Stream:
        if request.target.kind.group in REVIEW_GROUPS:
            return await self._reviews.answer(request, body)
        if request.passing is not None:
            return await self._passer.answer(request, body)
        if request.target.subresource in DOORS:
            raise await self._connector.refuse(request, urlencode(request.query))
        if request.target.subresource and request.target.subresource not in PARTS:
            return await self._subresources.answer(request, body)
        match request.verb:
            case "get":
                return await self._reader.get(request)
            case "list":
                return await self._reader.list(request)
            case "watch":
                return await self._watching.watch(request)
            case "create":
                return await self.writer.create(request, body)
            case "update":
                return await self.writer.update(request, body)
            case "patch" if incoming.is_apply(request.content_type):
                return await self._applier.apply(request, body)
            case "patch":
                return await self.writer.patch(request, body)
            case "delete":
                return await self._deleter.delete(request, body)
            case "deletecollection":
                return await self._deleter.delete_collection(request, body)


def failed(error: Exception) -> Answer:
    """The answer an error becomes. What nobody foresaw is logged with its trace and told without."""
    failure = status.of(error)
    if failure is None:
        _log.error("a request failed unexpectedly", exc_info=error)
        failure = status.internal("the server failed on this request; its log says why")
    retry = (failure.details or {}).get("retryAfterSeconds")
    headers = (("retry-after", str(retry)),) if retry else ()
    return json_answer(failure.status(), failure.code, headers)
