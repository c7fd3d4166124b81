"""When did the change happen that a write answers? The earliest new readiness or creation since the last look. Pure.

Written as annotation last-change-trigger-time, from which node proxies tell how long a change took to reach the
kernel (the network programming latency SLI).
"""

from __future__ import annotations

from collections.abc import Iterable

from fairway.client.base import Object
from fairway.client.informer import Key
from fairway.control import pods
from fairway.control.times import parse


class Triggers:
    """Remembers per Service what its pods and itself looked like at the last look."""

    def __init__(self) -> None:
        self._seen: dict[Key, dict[str, float]] = {}

    def look(self, key: Key, service: Object, members: Iterable[Object]) -> float | None:
        """The time (seconds since the epoch) of the earliest change since the last look; None when nothing that has
        a time has changed."""
        now = {pods.uid(pod): moment for pod in members if (moment := _moment(pod)) is not None}
        now[pods.uid(service)] = pods.created(service)
        before = self._seen.get(key, {})
        self._seen[key] = now
        return min((moment for who, moment in now.items() if before.get(who) != moment), default=None)

    def forget(self, key: Key) -> None:
        """The Service is gone."""
        self._seen.pop(key, None)


def _moment(pod: Object) -> float | None:
    """When the pod's readiness last changed."""
    ready = pods.condition(pod, "Ready")
    return parse(ready.get("lastTransitionTime")) if ready is not None else None
