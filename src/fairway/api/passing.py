"""EDGE: hands requests on to pods and Services (`pods/proxy`, `services/proxy`) and streams their answers back."""

from __future__ import annotations

import random
import ssl
from typing import Any

from fairway.api import proxying, render, status
from fairway.api.answers import Answer, Stream
from fairway.api.keys import key_of, prefix_of
from fairway.api.proxying import Goal
from fairway.api.requests import Passing, Request
from fairway.http1 import Connection, authority, request_head
from fairway.objects.kinds import ENDPOINT_SLICE, NODE, POD, Kind
from fairway.store.base import Store

Object = dict[str, Any]

CONNECT_SECONDS = 5
SERVICE_NAME = "kubernetes.io/service-name"


class Passer:
    """Hands requests on; `chance` picks among endpoints. Certificates of pods are not checked: nobody vouches for
    them, and what a client sends there it sends to a pod it chose."""

    def __init__(self, store: Store, chance: random.Random) -> None:
        self._store = store
        self._chance = chance
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._tls.check_hostname = False
        self._tls.verify_mode = ssl.CERT_NONE

    async def answer(self, request: Request, body: bytes) -> Answer | Stream:
        """Raises 400, 404, 503."""
        passing, target = request.passing, request.target
        assert passing is not None, "the grammar gives every proxy request what it passes"
        prefix = f"/api/v1/namespaces/{target.namespace}/{target.kind.plural}/{target.name}/proxy"
        if not passing.path and passing.method in ("GET", "HEAD"):
            # Relative links of the page would lose their last step without the slash.
            query = f"?{passing.query}" if passing.query else ""
            return Answer(301, b"", "text/plain", (("location", f"{prefix}/{query}"),))
        goal = await self._goal(request)
        proxying.check_address(goal.address, await self._node_addresses())
        return await self._ask(goal, passing, body, prefix)

    async def _goal(self, request: Request) -> Goal:
        target, wanted = request.target, proxying.parse_name(request.target.name)
        entry = await self._store.get(key_of(target.kind, target.namespace, wanted.name))
        if entry is None:
            raise status.not_found(target.kind, wanted.name)
        obj = render.load(entry.value, entry.modified)
        if target.kind is POD:
            return proxying.pod_goal(obj, wanted)
        slices = await self._all(ENDPOINT_SLICE, target.namespace)
        own = [one for one in slices if (one["metadata"].get("labels") or {}).get(SERVICE_NAME) == wanted.name]
        return self._chance.choice(proxying.service_goals(obj, own, wanted))

    async def _node_addresses(self) -> set[str]:
        nodes = await self._all(NODE, "")
        return {one["address"] for node in nodes for one in (node.get("status") or {}).get("addresses") or []}

    async def _all(self, kind: Kind, namespace: str) -> list[Object]:
        page = await self._store.range(prefix_of(kind, namespace))
        return [render.load(entry.value, entry.modified) for entry in page.entries]

    async def _ask(self, goal: Goal, passing: Passing, body: bytes, prefix: str) -> Stream:
        """The answer as it comes: not unpacked, and no cookie of one client is told to another's pod."""
        path = passing.path or "/"
        target = path + (f"?{passing.query}" if passing.query else "")
        headers = [*proxying.passed(passing.headers).items(), ("Connection", "close")]
        host = authority(goal.address, goal.port, goal.scheme)
        tls = self._tls if goal.scheme == "https" else None
        connection: Connection | None = None
        try:
            connection = await Connection.open(goal.address, goal.port, tls, seconds=CONNECT_SECONDS)
            head = request_head(passing.method, target, host, headers, len(body))
            await connection.send(head, body, bodyless=passing.method == "HEAD")
            code = await connection.status()
            found = connection
            connection = None
        except (OSError, ValueError) as error:
            raise status.unavailable(f"error trying to reach service: {error}") from error
        finally:
            if connection:
                connection.close()
        return Stream(found.rest(), "", code, proxying.returned(found.headers, goal, path, prefix))
