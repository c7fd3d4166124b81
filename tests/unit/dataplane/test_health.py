"""What health checks are told, and over which wire."""

from __future__ import annotations

import asyncio
import json
import socket
from datetime import UTC, datetime

import pytest

from fairway.dataplane.health import OVERDUE_SECONDS, ProxyHealth, health_check, healthz, livez
from fairway.dataplane.health_server import HealthCheckPorts
from fairway.desired.model import HealthCheck
from fairway.observe.answer import Answer
from fairway.observe.pages import listen
from tests.golden import cases

NOW = datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.mark.parametrize("name", [name for name in cases.NAMES if cases.load(name).health])
def test_the_answer_is_the_reference_s(name: str) -> None:
    case = cases.load(name)
    ((port, expected),) = case.health.items()
    (check,) = case.desired.health_checks

    answer = health_check(check, proxy_healthy=True)

    assert check.port == int(port)
    assert answer.body.decode() + str(answer.status) == expected


def test_a_proxy_in_trouble_fails_its_services_checks() -> None:
    assert health_check(HealthCheck("default", "web", 32000, 2), proxy_healthy=False).status == 503


@pytest.mark.parametrize(
    ("health", "live", "healthy"),
    [
        pytest.param(ProxyHealth(), 503, 503, id="nothing programmed yet"),
        pytest.param(ProxyHealth(updated=1.0), 200, 200, id="quiet"),
        pytest.param(ProxyHealth(updated=1.0, waiting_since=99.0), 200, 200, id="a change is under way"),
        pytest.param(ProxyHealth(updated=1.0, waiting_since=100 - OVERDUE_SECONDS), 503, 503, id="a change is overdue"),
        pytest.param(ProxyHealth(updated=1.0, node_eligible=False), 200, 503, id="the node is leaving"),
    ],
)
def test_the_proxy_s_own_health(health: ProxyHealth, live: int, healthy: int) -> None:
    assert livez(health, 100.0, NOW).status == live
    answer = healthz(health, 100.0, NOW)
    assert answer.status == healthy
    assert json.loads(answer.body)["nodeEligible"] is health.node_eligible
    assert json.loads(answer.body)["currentTime"] == "2025-01-02T03:04:05+00:00"


async def ask(port: int, request: bytes = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n") -> tuple[int, bytes]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    return int(head.split()[1]), body


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET /healthz?verbose HTTP/1.1\r\nHost: x\r\n\r\n", 200),
        (b"GET /else HTTP/1.0\r\n\r\n", 404),
        (b"POST /healthz HTTP/1.1\r\n\r\n", 405),
        (b"\xff\xff\r\n\r\n", 400),
        (b"GET /" + b"x" * 20000 + b" HTTP/1.1\r\n\r\n", 400),
    ],
)
def test_the_listener_answers_requests_and_refuses_the_rest(request_bytes: bytes, status: int) -> None:
    async def scenario() -> int:
        respond = {"/healthz": Answer(200, b"ok")}
        server = await listen(lambda path: respond.get(path, Answer(404, b"")), 0, ["127.0.0.1"])
        async with server:
            return (await ask(server.sockets[0].getsockname()[1], request_bytes))[0]

    assert asyncio.run(scenario()) == status


def test_ports_open_follow_and_close_with_their_services() -> None:
    async def scenario() -> None:
        port = free_port()
        ports = HealthCheckPorts(lambda: True)
        await ports.update([HealthCheck("default", "web", port, 1)], ["127.0.0.1"])
        assert (await ask(port))[0] == 200
        await ports.update([HealthCheck("default", "web", port, 0)], ["127.0.0.1"])
        assert (await ask(port))[0] == 503
        await ports.close()
        with pytest.raises(ConnectionRefusedError):
            await ask(port)

    asyncio.run(scenario())


def test_a_port_that_another_program_holds_is_reported_once_and_tried_again() -> None:
    async def scenario() -> None:
        ports = HealthCheckPorts(lambda: True)
        with socket.create_server(("127.0.0.1", 0)) as holder:
            checks = [HealthCheck("default", "web", holder.getsockname()[1], 1)]
            assert await ports.update(checks, ["127.0.0.1"]) == checks
            assert "address already in use" in ports.problems[checks[0].port]
            assert await ports.open() == []
        assert await ports.open() == []
        assert ports.problems == {}
        assert (await ask(checks[0].port))[0] == 200
        await ports.close()

    asyncio.run(scenario())


def test_ports_follow_the_addresses_of_node_ports() -> None:
    async def scenario() -> None:
        port = free_port()
        ports = HealthCheckPorts(lambda: True)
        await ports.update([HealthCheck("default", "web", port, 1)], ["127.0.0.2"])
        with pytest.raises(ConnectionRefusedError):
            await ask(port)
        await ports.update([HealthCheck("default", "web", port, 1)], ["127.0.0.1"])
        assert (await ask(port))[0] == 200
        await ports.close()

    asyncio.run(scenario())
