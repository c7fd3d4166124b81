"""EDGE: hands requests on to pods and Services (`pods/proxy`, `services/proxy`) and streams their answers back."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from fairway.api import proxying, render, status
from fairway.api.answers import Answer, Stream
from fairway.api.keys import key_of, prefix_of
from fairway.api.nodes import chunks
from fairway.api.proxying import Goal
from fairway.api.requests import Passing, Request
from fairway.objects.kinds import ENDPOINT_SLICE, NODE, POD, Kind
from fairway.store.base import Store

if TYPE_CHECKING:
    import aiohttp

Object = dict[str, Any]

CONNECT_SECONDS = 5
SERVICE_NAME = "kubernetes.io/service-name"


class Passer:
    """Hands requests on; `chance` picks among endpoints. Certificates of pods are not checked: nobody vouches for
    them, and what a client sends there it sends to a pod it chose."""

    def __init__(self, store: Store, chance: random.Random) -> None:
        self._store = store
        self._chance = chance
        self._session: aiohttp.ClientSession | None = None

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

    async def close(self) -> None:
        """Let go of connections."""
        if self._session:
            await self._session.close()
            self._session = None

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
        import aiohttp
        from yarl import URL

        path = passing.path or "/"
        url = f"{goal.origin}{path}" + (f"?{passing.query}" if passing.query else "")
        try:
            response = await self._open().request(
                passing.method,
                URL(url, encoded=True),
                data=body or None,
                headers=proxying.passed(passing.headers),
                allow_redirects=False,
                ssl=False,
                skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
            )
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise status.unavailable(f"error trying to reach service: {error}") from error
        headers = proxying.returned(list(response.headers.items()), goal, path, prefix)
        return Stream(chunks(response), "", response.status, headers)

    def _open(self) -> aiohttp.ClientSession:
        import aiohttp

        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS)
            # An answer is passed as it came: not unpacked, and no cookie of one client is told to another's pod.
            self._session = aiohttp.ClientSession(
                timeout=timeout, auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar()
            )
        return self._session
