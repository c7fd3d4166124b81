"""What is to be announced, and by which nodes, followed as the cluster changes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from fairway.announce.election import Wish
from fairway.assemble.announceable import announced, by_service, is_local, settings_of, wishes
from fairway.client.base import ApiError, Client, Object, Unreachable
from fairway.client.follow import follow
from fairway.client.informer import Cache, Change, as_dict
from fairway.control import pods
from fairway.control.loadbalancer_claims import NAMESPACE
from fairway.control.loadbalancer_pools import Settings
from fairway.control.loops.loadbalancer import FIELD, SETTINGS
from fairway.objects.kinds import CONFIG_MAP, ENDPOINT_SLICE, NODE, SERVICE, Kind

BALANCERS = "spec.type=LoadBalancer"


class Wished:
    """The wishes of a cluster, which change as a whole once all is `known`, and by what `settings` they are: the last
    that could be read, so that a slip in them holds up nothing."""

    def __init__(self, client: Client, node: str) -> None:
        self.wishes: dict[str, Wish] = {}
        self.settings: Settings | None = None
        self.known = False
        self.services: Cache[Object] = Cache(as_dict)
        self.nodes: Cache[Object] = Cache(as_dict)
        self._client = client
        self._node = node
        self._config: Cache[Object] = Cache(as_dict)
        self._slices: Cache[Object] = Cache(as_dict)
        self._tell: Callable[[], None] = lambda: None
        self._local = asyncio.Event()

    def listen(self, tell: Callable[[], None]) -> None:
        """Call `tell` when there are other wishes or settings."""
        self._tell = tell

    @property
    def node(self) -> Object | None:
        """The Node this is all for."""
        return self.nodes.items.get(("", self._node))

    def node_uid(self) -> str:
        """Its uid; "" while there is none."""
        return pods.uid(self.node) if self.node is not None else ""

    async def follow(self) -> None:
        """Follow all until cancelled."""
        selector = BALANCERS if await self._selects() else ""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep(SERVICE, self.services, fields=selector))
            group.create_task(self._keep(NODE, self.nodes, bears=_bearing))
            one = f"metadata.name={SETTINGS}"
            group.create_task(self._keep(CONFIG_MAP, self._config, namespace=NAMESPACE, fields=one))
            await self._local.wait()
            group.create_task(self._keep(ENDPOINT_SLICE, self._slices))

    async def _selects(self) -> bool:
        """Whether the server can leave out all other Services."""
        try:
            await self._client.list(SERVICE, field_selector=BALANCERS, limit=1)
        except ApiError as error:
            return error.code != 400
        except Unreachable:
            pass  # those who follow have the patience
        return True

    async def _keep(
        self,
        kind: Kind,
        cache: Cache[Object],
        *,
        namespace: str = "",
        fields: str = "",
        bears: Callable[[Object], object] = lambda obj: obj,
    ) -> None:
        def changed(changes: Sequence[Change[Object]]) -> None:
            if any((each.old and bears(each.old)) != (each.new and bears(each.new)) for each in changes):
                self._work_out()

        await follow(
            self._client,
            kind,
            cache,
            namespace=namespace,
            field_selector=fields,
            on_change=changed,
            on_synced=self._work_out,
        )

    def _work_out(self) -> None:
        if not (self.services.synced and self.nodes.synced and self._config.synced):
            return
        config = self._config.items.get((NAMESPACE, SETTINGS))
        readable = settings_of((config.get("data") or {}).get(FIELD, "") if config is not None else None)
        settings = readable or self.settings
        found: dict[str, Wish] = {}
        if settings is not None:
            mine = [each for each in self.services.items.values() if announced(each, settings)]
            if any(map(is_local, mine)) and not self._slices.synced:
                self._local.set()
                return
            slices = by_service(self._slices.items.values())
            found = wishes(mine, list(self.nodes.items.values()), slices, settings)
        before = (self.wishes, self.settings, self.known)
        self.wishes, self.settings, self.known = found, settings, True
        if before != (found, settings, True):
            self._tell()


def _bearing(node: Object) -> object:
    """What of a node can change a wish: none of its heartbeats."""
    return pods.is_ready(node), pods.labels(node), (node.get("spec") or {}).get("unschedulable"), pods.uid(node)
