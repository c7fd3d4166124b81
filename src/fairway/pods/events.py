"""EDGE. Events about pods, as `kubectl describe` shows them; one that repeats is counted instead of written again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Literal

from fairway.client.base import ApiError, Client, Unreachable
from fairway.objects.kinds import EVENT
from fairway.pods.view import Pod, timestamp_of

COMPONENT = "fairway-agent"
REMEMBERED = 500  # different events whose repetition is noticed
WAITING = 1000  # events not yet written; older ones are dropped when the API is away for long

EventType = Literal["Normal", "Warning"]
_Key = tuple[str, str, str, str]

_log = logging.getLogger(__name__)


class Recorder:
    """Takes events at once (`say`) and writes them in the background (`run`)."""

    def __init__(self, client: Client, node_name: str, clock: Callable[[], float]) -> None:
        self._client = client
        self._node_name = node_name
        self._clock = clock
        self._waiting: asyncio.Queue[tuple[_Key, dict[str, Any]]] = asyncio.Queue(WAITING)
        self._written: dict[_Key, tuple[str, int]] = {}
        self._number = 0

    def say(self, pod: Pod, kind: EventType, reason: str, message: str, container: str = "") -> None:
        """Note that `reason` happened to a pod (or one of its containers)."""
        involved = {
            "kind": "Pod",
            "apiVersion": "v1",
            "namespace": pod.metadata.namespace,
            "name": pod.metadata.name,
            "uid": pod.uid,
        }
        if container:
            involved["fieldPath"] = f"spec.containers{{{container}}}"
        now = self._clock()
        self._number += 1
        event = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {
                "name": f"{pod.metadata.name}.{int(now * 1000):x}{self._number & 0xFFFF:04x}",
                "namespace": pod.metadata.namespace,
            },
            "involvedObject": involved,
            "type": kind,
            "reason": reason,
            "message": message,
            "source": {"component": COMPONENT, "host": self._node_name},
            "reportingComponent": COMPONENT,
            "reportingInstance": self._node_name,
            "firstTimestamp": timestamp_of(now),
            "lastTimestamp": timestamp_of(now),
            "count": 1,
        }
        if self._waiting.full():
            self._waiting.get_nowait()
        self._waiting.put_nowait(((pod.uid, container, reason, message), event))

    async def run(self) -> None:
        """Write events until cancelled. One that the API refuses is lost: events are a courtesy."""
        while True:
            key, event = await self._waiting.get()
            try:
                await self._write(key, event)
            except (ApiError, Unreachable) as error:
                _log.warning("event %s of %s: %s", event["reason"], event["metadata"]["name"], error)

    async def _write(self, key: _Key, event: dict[str, Any]) -> None:
        name, count = self._written.pop(key, ("", 0))
        namespace = event["metadata"]["namespace"]
        if name:
            patch = {"count": count + 1, "lastTimestamp": event["lastTimestamp"]}
            try:
                await self._client.patch(EVENT, name, patch, namespace)
            except ApiError as error:
                if error.code != 404:  # it has expired meanwhile
                    raise
                name = ""
        if not name:
            await self._client.create(EVENT, event, namespace)
            name, count = event["metadata"]["name"], 0
        self._written[key] = (name, count + 1)
        if len(self._written) > REMEMBERED:
            del self._written[next(iter(self._written))]
