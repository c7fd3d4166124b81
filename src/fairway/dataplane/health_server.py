"""The listeners of healthCheckNodePorts (EDGE)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence

from fairway.dataplane.health import health_check
from fairway.desired.model import HealthCheck
from fairway.observe.answer import Answer
from fairway.observe.pages import Respond, listen


class HealthCheckPorts:
    """The healthCheckNodePorts of all Services. `problems` says which ports could not be opened, and why."""

    def __init__(self, proxy_healthy: Callable[[], bool]) -> None:
        self.problems: dict[int, str] = {}
        self._proxy_healthy = proxy_healthy
        self._checks: dict[int, HealthCheck] = {}
        self._servers: dict[int, asyncio.Server] = {}
        self._addresses: Sequence[str] | None = None

    async def update(self, checks: Iterable[HealthCheck], addresses: Sequence[str] | None = None) -> list[HealthCheck]:
        """Open, keep and close ports so that exactly these checks are answered, at these addresses (None: at all). The
        checks whose ports could not be opened are returned, if that is new."""
        self._checks = {check.port: check for check in checks}
        moved, self._addresses = addresses != self._addresses, addresses
        for port in [port for port in self._servers if moved or port not in self._checks]:
            await _close(self._servers.pop(port))
        return await self.open()

    async def open(self) -> list[HealthCheck]:
        """Try again to open what could not be opened."""
        before, self.problems = self.problems, {}
        for port in self._checks.keys() - self._servers.keys():
            try:
                self._servers[port] = await listen(self._responder(port), port, self._addresses)
            except OSError as error:
                self.problems[port] = f"health check node port {port}: {error.strerror or error}"
        return [self._checks[port] for port in self.problems.keys() - before.keys()]

    async def close(self) -> None:
        """Close all ports."""
        await self.update(())

    def _responder(self, port: int) -> Respond:
        def respond(_: str) -> Answer:
            check = self._checks.get(port)
            return health_check(check, self._proxy_healthy()) if check else Answer(404, b"no such Service\n")

        return respond


async def _close(server: asyncio.Server) -> None:
    server.close()
    await server.wait_closed()
