"""A cluster as it is now: the objects that the page and its questions need, kept in step by watches."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias

from fairway.assemble.catalogue import SERVICE_NAME, Catalogue, Object
from fairway.client.base import Client
from fairway.client.follow import LONGEST_DELAY, follow
from fairway.client.informer import Cache, Change, Key, as_dict
from fairway.objects import kinds
from fairway.web import map as mapped
from fairway.web.events import Board

Row: TypeAlias = dict[str, Any]

FORGIVEN_SECONDS = LONGEST_DELAY + 2
"""For how long after the last failed request the server is said to be out of reach: it is tried more often."""

_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_KEPT_OF_PODS: Mapping[str, tuple[str, ...]] = {
    "spec": ("nodeName", "hostNetwork", "containers", "readinessGates", "restartPolicy", "hostname", "subdomain"),
    "status": ("podIP", "podIPs", "phase", "reason", "conditions", "containerStatuses"),
}
_KEPT_OF_CONTAINERS = ("name", "ports", "readinessProbe", "startupProbe")


class Lookout:
    """Follows Services, EndpointSlices, Pods and Nodes; `board` tells pages what becomes of them."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._services: Cache[Object] = Cache(_lean)
        self._slices: Cache[Object] = Cache(_lean)
        self._pods: Cache[Object] = Cache(_lean_pod)
        self._nodes: Cache[Object] = Cache(_lean)
        self._slices_of: dict[Key, set[Key]] = {}
        self._rows: dict[Key, Row] = {}  # of Services; the other rows are made in no time
        self._changed: dict[str, set[Key]] = {"services": set(), "pods": set(), "nodes": set()}
        self.changes = 0
        """How often something has changed."""
        self._trouble = ""
        self._told = ("", False)
        self._forgiving: asyncio.TimerHandle | None = None
        self.board = Board(self._whole, self._since)

    async def run(self) -> None:
        """Follow until cancelled."""
        following = (
            (kinds.SERVICE, self._services, partial(self._note, "services")),
            (kinds.ENDPOINT_SLICE, self._slices, self._note_slices),
            (kinds.POD, self._pods, partial(self._note, "pods")),
            (kinds.NODE, self._nodes, partial(self._note, "nodes")),
        )
        async with asyncio.TaskGroup() as group:
            for kind, cache, note in following:
                group.create_task(
                    follow(
                        self._client,
                        kind,
                        cache,
                        on_change=note,
                        on_synced=self.board.touched,
                        on_failure=self._failed,
                    )
                )

    @property
    def synced(self) -> bool:
        """Whether everything has been listed once."""
        return all(cache.synced for cache in (self._services, self._slices, self._pods, self._nodes))

    def catalogue(self) -> Catalogue:
        """The objects as they are now, for somebody in another thread."""
        return Catalogue(
            dict(self._services.items), dict(self._slices.items), dict(self._pods.items), dict(self._nodes.items)
        )

    def around(self, service: str) -> Catalogue | None:
        """A Service ("NAMESPACE/NAME") with what its endpoints are made of; None when there is none."""
        key = (service.partition("/")[0], service.partition("/")[2])
        found = self._services.items.get(key)
        if found is None:
            return None
        slices = {each: self._slices.items[each] for each in self._slices_of.get(key, ())}
        pods = {name: pod for name, pod in self._pods.items.items() if name[0] == key[0]}
        return Catalogue({key: found}, slices, pods, dict(self._nodes.items))

    # What happens.

    def _note(self, what: str, changes: Sequence[Change[Object]]) -> None:
        self.changes += 1
        self._changed[what].update(change.key for change in changes)
        if what == "services":
            self._forget(change.key for change in changes)
        self.board.touched()

    def _note_slices(self, changes: Sequence[Change[Object]]) -> None:
        self.changes += 1
        for change in changes:
            for service in {_service_of(change.old), _service_of(change.new)} - {None}:
                assert service is not None
                kept = self._slices_of.setdefault(service, set())
                (kept.add if _service_of(change.new) == service else kept.discard)(change.key)
                self._changed["services"].add(service)
                self._forget((service,))
        self.board.touched()

    def _forget(self, services: Iterable[Key]) -> None:
        for key in services:
            self._rows.pop(key, None)

    def _failed(self, error: Exception) -> None:
        self._trouble = str(error)
        if self._forgiving is not None:
            self._forgiving.cancel()
        self._forgiving = asyncio.get_running_loop().call_later(FORGIVEN_SECONDS, self._forgive)
        self.board.touched()

    def _forgive(self) -> None:
        self._trouble = ""
        self.board.touched()

    # What is told.

    def _whole(self) -> Row:
        """Everything there is."""
        return {
            "services": [self._service(key) for key in sorted(self._services.items)],
            "pods": [mapped.pod(found) for _, found in sorted(self._pods.items.items())],
            "nodes": [mapped.node(found) for _, found in sorted(self._nodes.items.items())],
            **self._state(),
        }

    def _since(self) -> Row | None:
        """What has changed since this was last asked."""
        state = self._state()
        if not any(self._changed.values()) and self._told == (state["trouble"], state["synced"]):
            return None
        self._told = (state["trouble"], state["synced"])
        services, pods, nodes = (self._changed[what] for what in ("services", "pods", "nodes"))
        told = {
            "services": [self._service(key) for key in sorted(services & self._services.items.keys())],
            "pods": [mapped.pod(self._pods.items[key]) for key in sorted(pods & self._pods.items.keys())],
            "nodes": [mapped.node(self._nodes.items[key]) for key in sorted(nodes & self._nodes.items.keys())],
            "gone": {
                "services": ["/".join(key) for key in sorted(services - self._services.items.keys())],
                "pods": ["/".join(key) for key in sorted(pods - self._pods.items.keys())],
                "nodes": [name for _, name in sorted(nodes - self._nodes.items.keys())],
            },
            **state,
        }
        self._changed = {what: set() for what in self._changed}
        return told

    def _state(self) -> Row:
        return {"synced": self.synced, "trouble": self._trouble}

    def _service(self, key: Key) -> Row:
        if key not in self._rows:
            slices = [self._slices.items[each] for each in sorted(self._slices_of.get(key, ()))]
            self._rows[key] = mapped.service(self._services.items[key], slices)
        return self._rows[key]


def _service_of(slice: Object | None) -> Key | None:
    """The Service that a slice belongs to."""
    metadata = slice["metadata"] if slice is not None else {}
    name = (metadata.get("labels") or {}).get(SERVICE_NAME)
    return (metadata.get("namespace") or "default", name) if name else None


def _lean(raw: bytes) -> Object:
    """An object without what only servers and kubectl look at."""
    found = as_dict(raw)
    found["metadata"].pop("managedFields", None)
    (found["metadata"].get("annotations") or {}).pop(_LAST_APPLIED, None)
    return found


def _lean_pod(raw: bytes) -> Object:
    found = dict(_lean(raw))
    for part, kept in _KEPT_OF_PODS.items():
        found[part] = {name: value for name, value in (found.get(part) or {}).items() if name in kept}
    found["spec"]["containers"] = [
        {name: value for name, value in each.items() if name in _KEPT_OF_CONTAINERS}
        for each in found["spec"].get("containers") or ()
    ]
    return found
