"""What every `Conntrack` promises: the one in memory and the real kernel's."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import pytest

from fairway.kernel.base import Conntrack, Flow
from fairway.kernel.fake.conntrack import FakeConntrack
from fairway.kernel.linux import netns
from fairway.kernel.linux.conntrack import LinuxConntrack
from fairway.packet import Family

UDP, TCP = 17, 6
LOOPBACK = {Family.IPV4: "127.0.0.1", Family.IPV6: "::1"}


@dataclass
class Machine:
    """A table of connections, and a way to have one: a datagram to port 53 of the loopback address."""

    table: Conntrack
    ask: Callable[[Family, int], None]


@pytest.fixture(params=["fake", pytest.param("linux", marks=pytest.mark.kernel)])
def machine(request: pytest.FixtureRequest) -> Iterator[Machine]:
    if request.param == "fake":
        table = FakeConntrack()
        numbers = iter(range(1, 1000))

        def pretend(family: Family, port: int) -> None:
            ip = LOOPBACK[family]
            table.add(Flow(family, UDP, ip, port, ip, 53, ip, 53, ip, port, identity=next(numbers)))

        yield Machine(table, pretend)
        return
    name = f"fwt-{os.getpid()}-flows"
    path = netns.create(name)
    try:
        _track(path)
        yield Machine(LinuxConntrack(path), lambda family, port: _ask(path, family, port))
    finally:
        netns.delete(name)


def _track(path: str) -> None:
    """The kernel tracks connections in a namespace once a rule there asks for their state."""
    for program in ("iptables", "ip6tables"):
        if not shutil.which(program):
            pytest.skip(f"{program} is not installed")
        with netns.entered(path):
            rule = [program, "-A", "OUTPUT", "-m", "conntrack", "--ctstate", "NEW", "-j", "ACCEPT"]
            subprocess.run(rule, check=True, capture_output=True)


def _ask(path: str, family: Family, port: int) -> None:
    kind = socket.AF_INET if family is Family.IPV4 else socket.AF_INET6
    with netns.open_socket_in(path, lambda: socket.socket(kind, socket.SOCK_DGRAM)) as client:
        client.bind((LOOPBACK[family], port))
        client.sendto(b"?", (LOOPBACK[family], 53))


def test_nothing_was_said_yet(machine: Machine) -> None:
    assert machine.table.flows(Family.IPV4) == []


@pytest.mark.parametrize("family", list(Family))
def test_a_flow_is_listed_with_both_directions(machine: Machine, family: Family) -> None:
    machine.ask(family, 4001)
    ip = LOOPBACK[family]
    assert machine.table.flows(family, UDP) == [Flow(family, UDP, ip, 4001, ip, 53, ip, 53, ip, 4001)]


def test_flows_are_listed_by_family_and_protocol(machine: Machine) -> None:
    machine.ask(Family.IPV4, 4001)
    assert [f.source_port for f in machine.table.flows(Family.IPV4)] == [4001]
    assert machine.table.flows(Family.IPV4, TCP) == []
    assert [f for f in machine.table.flows(Family.IPV6) if f.protocol == UDP] == []


@pytest.mark.parametrize("family", list(Family))
def test_deleting_takes_the_named_flow_and_no_other(machine: Machine, family: Family) -> None:
    for port in (4001, 4002, 4003):
        machine.ask(family, port)
    stale = [flow for flow in machine.table.flows(family, UDP) if flow.source_port == 4002]

    assert machine.table.delete(stale) == 1
    assert sorted(flow.source_port for flow in machine.table.flows(family, UDP)) == [4001, 4003]


def test_what_is_gone_is_skipped(machine: Machine) -> None:
    machine.ask(Family.IPV4, 4001)
    machine.ask(Family.IPV4, 4002)
    flows = machine.table.flows(Family.IPV4, UDP)
    assert machine.table.delete(flows[:1]) == 1
    assert machine.table.delete(flows) == 1
    assert machine.table.delete(flows) == 0
    assert machine.table.delete([]) == 0


def test_a_flow_of_another_identity_is_spared(machine: Machine) -> None:
    """Between listing and deleting, a new flow may have taken the tuple: the kernel numbers it differently."""
    machine.ask(Family.IPV4, 4001)
    (flow,) = machine.table.flows(Family.IPV4, UDP)

    assert machine.table.delete([replace(flow, identity=flow.identity ^ 0x55)]) == 0
    assert machine.table.flows(Family.IPV4, UDP) == [flow]


def test_without_an_identity_the_tuple_alone_decides(machine: Machine) -> None:
    machine.ask(Family.IPV4, 4001)
    (flow,) = machine.table.flows(Family.IPV4, UDP)
    assert machine.table.delete([replace(flow, identity=0)]) == 1


def test_memory_tells_what_was_deleted() -> None:
    flow = Flow(Family.IPV4, UDP, "10.0.0.1", 4001, "10.96.0.10", 53, "10.244.1.3", 53, "10.0.0.1", 4001)
    table = FakeConntrack([flow])
    table.delete([flow, flow])
    assert table.deleted == [flow]
