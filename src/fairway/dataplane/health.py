"""What health checks are told, as values: the proxy's own state, and how many endpoints of a Service are here.

Formats are the ones load balancers know from kube-proxy 1.36 (tests/golden: `healthCheckNodePort`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from fairway.desired.model import HealthCheck
from fairway.observe.answer import Answer

OVERDUE_SECONDS = 60.0
"""A change that waits longer than this for being programmed makes the proxy unhealthy."""

WEIGHT_HEADER = "X-Load-Balancing-Endpoint-Weight"
"""Tells weighted load balancers how many endpoints stand behind this node."""


@dataclass(slots=True)
class ProxyHealth:
    """The proxy's own state. Times are seconds of one monotonic clock; None: never, or nothing waits."""

    updated: float | None = None
    waiting_since: float | None = None
    node_eligible: bool = True

    def live(self, now: float) -> bool:
        """Whether rules are programmed as they should: once at all, and without a change that waits for long."""
        waited = now - self.waiting_since if self.waiting_since is not None else 0.0
        return self.updated is not None and waited < OVERDUE_SECONDS


def healthz(health: ProxyHealth, now: float, wall: datetime) -> Answer:
    """`/healthz`: for load balancers of policy Cluster. Fails while the node is being removed, so that traffic leaves
    it in time. `wall` is the time of day now."""
    healthy = health.live(now) and health.node_eligible
    return _own(health, healthy, wall, {"nodeEligible": health.node_eligible})


def livez(health: ProxyHealth, now: float, wall: datetime) -> Answer:
    """`/livez`: for supervisors. A node on its way out is no reason to restart the proxy."""
    return _own(health, health.live(now), wall, {})


def health_check(check: HealthCheck, proxy_healthy: bool) -> Answer:
    """The healthCheckNodePort of one Service: 200 while this node has endpoints for it and the proxy works."""
    body = {
        "service": {"namespace": check.namespace, "name": check.service},
        "localEndpoints": check.local_endpoints,
        "serviceProxyHealthy": proxy_healthy,
    }
    return Answer(
        200 if check.local_endpoints and proxy_healthy else 503,
        json.dumps(body, indent="\t").encode(),
        {WEIGHT_HEADER: str(check.local_endpoints)},
    )


def _own(health: ProxyHealth, healthy: bool, wall: datetime, more: Mapping[str, object]) -> Answer:
    now = wall.isoformat()
    body = {"lastUpdated": now if healthy else "", "currentTime": now, **more}
    return Answer(200 if healthy else 503, json.dumps(body).encode())
