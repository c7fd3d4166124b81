"""A whole cluster on a stage for tests: a real API on a memory store, all controllers, node agents played here."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from fairway.api.server import Api, ApiConfig
from fairway.api.users import AUTHENTICATED, User, account_groups, parse_account
from fairway.client.base import ApiError, Client, Object
from fairway.client.follow import follow
from fairway.client.informer import Cache, as_dict
from fairway.client.local import LocalClient
from fairway.control.manager import ControlConfig, run
from fairway.control.times import micro_stamp, stamp
from fairway.objects.kinds import LEASE, NODE, POD, Kind
from fairway.store.memory import MemoryStore

CONFIG = ControlConfig(node_grace_seconds=40.0, eviction_seconds=1000.0, root_ca="-- PEM --")


class Stage:
    """What a test drives: a client, agents that keep pods, and a wait that ends when the state is as wanted."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self._numbers = itertools.count(1)
        self._caches: dict[Kind, Cache[Object]] = {}
        self._changed = asyncio.Event()
        self._tasks: list[asyncio.Task[Any]] = []
        self.deaf: set[str] = set()
        """Nodes whose agent does not act any more."""

    def watch(self, *kinds: Kind) -> None:
        """Follow kinds, for `items`."""
        for kind in kinds:
            self._caches[kind] = Cache(as_dict)
            following = follow(self.client, kind, self._caches[kind], on_change=lambda _: self._changed.set())
            self._tasks.append(asyncio.create_task(following))

    def items(self, kind: Kind, namespace: str = "default") -> list[Object]:
        """The present objects of a kind in a namespace ("" for cluster-scoped ones), by name."""
        return [obj for (where, _), obj in sorted(self._caches[kind].items.items()) if where == namespace]

    async def until(self, wanted: Callable[[], Any], seconds: float = 15.0) -> Any:
        """Wait until `wanted` gives something true; look again at each change."""
        async with asyncio.timeout(seconds):
            while not (found := wanted()):
                self._changed.clear()
                await self._changed.wait()
            return found

    async def add_node(self, name: str, labels: dict[str, str] | None = None) -> None:
        """A node that reports itself ready, with an agent on it."""
        node = {"metadata": {"name": name, "labels": labels or {}}}
        created = await self.client.create(NODE, {"apiVersion": "v1", "kind": "Node", **node})
        ready = {"type": "Ready", "status": "True", "reason": "KubeletReady", "lastTransitionTime": stamp(time.time())}
        await self.client.update(NODE, {**created, "status": {"conditions": [ready]}}, subresource="status")
        lease = {"metadata": {"name": name, "namespace": "kube-node-lease"}, "spec": {"renewTime": micro_stamp(1.0)}}
        await self.client.create(LEASE, {"apiVersion": LEASE.api_version, "kind": "Lease", **lease})

    async def renew(self, name: str) -> None:
        """The node gives a sign of life."""
        spec = {"renewTime": micro_stamp(1.0 + next(self._numbers))}
        await self.client.patch(LEASE, name, {"spec": spec}, "kube-node-lease")

    def start_agents(self) -> None:
        """Play the agents of all nodes: pods bound to one become ready, pods told to go are let go."""
        cache: Cache[Object] = Cache(as_dict)
        work: asyncio.Queue[Object] = asyncio.Queue()

        def changed(changes: Any) -> None:
            for change in changes:
                if change.new is not None:
                    work.put_nowait(change.new)

        self._tasks.append(asyncio.create_task(follow(self.client, POD, cache, on_change=changed)))
        self._tasks.append(asyncio.create_task(self._act(work)))

    async def _act(self, work: asyncio.Queue[Object]) -> None:
        while True:
            pod = await work.get()
            node = pod["spec"].get("nodeName")
            if not node or node in self.deaf:
                continue
            metadata = pod["metadata"]
            try:
                if metadata.get("deletionTimestamp"):
                    await self.client.delete(POD, metadata["name"], metadata["namespace"], grace_seconds=0)
                elif pod.get("status", {}).get("phase") != "Running":
                    await self.client.update(POD, self.ready(pod), subresource="status")
            except ApiError as error:
                assert error.code in (404, 409), error

    def ready(self, pod: Object, status: str = "True") -> Object:
        """The pod, running, with an address."""
        address = pod.get("status", {}).get("podIP") or f"10.244.9.{next(self._numbers)}"
        now = stamp(time.time())
        conditions = [
            {"type": name, "status": status, "lastTransitionTime": now} for name in ("Ready", "ContainersReady")
        ]
        return {
            **pod,
            "status": {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}], "conditions": conditions},
        }

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@asynccontextmanager
async def staged(
    *watched: Kind,
    config: ControlConfig = CONFIG,
    clock: Callable[[], float] = time.time,
    nodes: int = 3,
    wrap: Callable[[Client], Client] = lambda client: client,
) -> AsyncIterator[Stage]:
    """A cluster with `nodes` ready nodes; `wrap` may put faults between the controllers and the API."""
    api = Api(MemoryStore(), ApiConfig(("10.96.0.0/12",), advertise_address="10.0.0.10", advertise_port=6443))
    await api.start()
    stop = asyncio.Event()
    client = LocalClient(api.handlers)
    stage = Stage(client)
    stage.watch(*watched)
    for number in range(nodes):
        await stage.add_node(f"node-{'abcdefgh'[number]}")
    stage.start_agents()

    def acting(user: str) -> Client:
        account = parse_account(user)
        groups = account_groups(account[0]) if account else (AUTHENTICATED,)
        return wrap(LocalClient(api.handlers, User(user, groups)))

    manager = asyncio.create_task(run(wrap(client), config, clock=clock, stop=stop, acting=acting))
    try:
        yield stage
    finally:
        stop.set()
        await asyncio.gather(manager, return_exceptions=False)
        await stage.close()
        await api.stop()


def play(scene: Callable[[], Awaitable[None]]) -> None:
    """Run an asynchronous test."""
    asyncio.run(scene())  # type: ignore[arg-type]


def workload(kind: Kind, name: str, replicas: int, image: str = "httpd", **spec: Any) -> Object:
    """A ReplicaSet, ReplicationController or Deployment of pods labelled app=name."""
    labels = {"app": name}
    return {
        "apiVersion": kind.api_version,
        "kind": kind.name,
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels} if kind.group else labels,
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "containers": [{"name": "web", "image": image, "ports": [{"name": "http", "containerPort": 80}]}]
                },
            },
            **spec,
        },
    }


def service(name: str, **spec: Any) -> Object:
    """A Service that selects app=name."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"selector": {"app": name}, "ports": [{"port": 8080, "targetPort": "http"}], **spec},
    }
