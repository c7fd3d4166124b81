"""Whose each node port is, who serves it at localhost, and the sockets that hold it (on this machine's loopback)."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from fairway.dataplane.base import Report, Update
from fairway.dataplane.claimed_ports import ClaimedPorts
from fairway.dataplane.node_ports import NodePort, NodePorts, near
from fairway.desired.build import build
from fairway.desired.model import Desired, Endpoint, PortName
from fairway.packet import Family, Protocol
from tests.unit.desired.objects import OPTIONS, endpoint, endpoint_slice, node, service

TCP = NodePort(Protocol.TCP, 30080)


def state(*addresses: str, node_port: int = 30080, protocol: str = "TCP", **spec: Any) -> Desired:
    ports = [{"port": 80, "protocol": protocol, "nodePort": node_port}]
    piece = endpoint_slice("web", *(endpoint(a, on="node-b") for a in addresses), protocol=protocol)
    return build([service(type="NodePort", ports=ports, **spec)], [piece], node(), OPTIONS)


def served(ports: NodePorts, node_port: NodePort, family: Family = Family.IPV4) -> list[str]:
    return [str(each) for each in near(ports.of(node_port), family)]


def test_node_ports_come_move_and_go() -> None:
    ports = NodePorts()

    assert ports.take(Update.of(state("10.244.1.5"))) == {TCP}
    assert served(ports, TCP) == ["10.244.1.5:8080"]
    moved = NodePort(Protocol.TCP, 30081)
    assert ports.take(Update.of(state("10.244.1.5", node_port=30081))) == {TCP, moved}
    assert (served(ports, TCP), served(ports, moved)) == ([], ["10.244.1.5:8080"])
    assert ports.take(Update.of(build([], [], node(), OPTIONS))) == {moved}
    assert list(ports) == []


def test_the_node_itself_may_use_any_endpoint_under_policy_local() -> None:
    ports = NodePorts()
    ports.take(Update.of(state("10.244.1.5", externalTrafficPolicy="Local")))

    assert served(ports, TCP) == ["10.244.1.5:8080"]  # on another node


def test_a_service_of_one_family_is_served_at_both_loopback_addresses() -> None:
    ports = NodePorts()
    ports.take(Update.of(state("10.244.1.5")))

    assert served(ports, TCP, Family.IPV6) == ["10.244.1.5:8080"]


# With sockets.


@pytest.fixture
def number() -> Iterator[int]:
    """A port that is free on loopback, for TCP and UDP."""
    with socket.socket() as stream, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        stream.bind(("127.0.0.1", 0))
        found = stream.getsockname()[1]
        datagrams.bind(("127.0.0.1", found))
    yield found


async def running(work: Callable[[ClaimedPorts, list[str]], Awaitable[None]]) -> None:
    told: list[str] = []

    def clash(port: PortName, message: str) -> None:
        told.append(f"{port}: {message}")

    claimed = ClaimedPorts(clash, ("127.0.0.1",))
    task = asyncio.create_task(claimed.run())
    try:
        async with asyncio.timeout(10):
            await work(claimed, told)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def settle(claimed: ClaimedPorts, desired: Desired) -> None:
    await claimed.applied(Update.of(desired), Report(), 0.0)
    for _ in range(5):
        await asyncio.sleep(0)


def serving(protocol: str, number: int, port: int) -> Desired:
    """The node port with an endpoint on this machine, put in here since loopback addresses are never built."""
    desired = state("10.244.1.5", node_port=number, protocol=protocol)
    there = (Endpoint("127.0.0.2", port),)
    return Desired(tuple(replace(each, cluster=there, local=()) for each in desired.ports))


def local(desired: Desired) -> Desired:
    """The same on a node without addresses of its own: this machine has those of the test's plan not."""
    return Desired(desired.ports)


def test_a_connection_is_led_to_the_endpoint_with_both_its_ends(number: int) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"heard " + await reader.read())  # until the client has said all
        writer.close()

    async def work(claimed: ClaimedPorts, _: list[str]) -> None:
        server = await asyncio.start_server(answer, "127.0.0.2")
        port = server.sockets[0].getsockname()[1]
        await settle(claimed, serving("TCP", number, port))
        reader, writer = await asyncio.open_connection("127.0.0.1", number)
        writer.write(b"hello")
        writer.write_eof()
        assert await reader.read() == b"heard hello"
        writer.close()
        server.close()

    asyncio.run(running(work))


def test_a_datagram_finds_its_way_and_its_answer_back(number: int) -> None:
    async def work(claimed: ClaimedPorts, _: list[str]) -> None:
        loop = asyncio.get_running_loop()
        kind = (socket.AF_INET, socket.SOCK_DGRAM)
        with socket.socket(*kind) as far, socket.socket(*kind) as near_:
            far.setblocking(False)
            near_.setblocking(False)
            far.bind(("127.0.0.2", 0))
            await settle(claimed, serving("UDP", number, far.getsockname()[1]))
            near_.connect(("127.0.0.1", number))
            near_.send(b"ping")
            data, client = await loop.sock_recvfrom(far, 100)
            await loop.sock_sendto(far, data + b" pong", client)
            assert await loop.sock_recv(near_, 100) == b"ping pong"

    asyncio.run(running(work))


def test_without_endpoints_the_port_is_held_and_refuses(number: int) -> None:
    async def work(claimed: ClaimedPorts, _: list[str]) -> None:
        await settle(claimed, local(state(node_port=number)))
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", number)
        with socket.socket() as other, pytest.raises(OSError, match="in use"):
            other.bind(("127.0.0.1", number))
        await settle(claimed, build([], [], node(), OPTIONS))
        with socket.socket() as other:
            other.bind(("127.0.0.1", number))

    asyncio.run(running(work))


def test_another_program_that_listens_is_told_once(number: int) -> None:
    async def work(claimed: ClaimedPorts, told: list[str]) -> None:
        with socket.socket() as other:
            other.bind(("127.0.0.1", number))
            other.listen()
            for addresses in ((), ("10.244.1.5",), ()):
                await settle(claimed, local(state(*addresses, node_port=number)))
        (message,) = told
        assert message.startswith(f"default/web: node port {number}/TCP: another program listens at 127.0.0.1:{number}")

    asyncio.run(running(work))
