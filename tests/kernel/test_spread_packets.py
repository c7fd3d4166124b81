"""Who gets the connections: equal shares, affinity kept and expired, nobody lost while Services change under load."""

from __future__ import annotations

import itertools
import math
import shutil
import threading
import time
from collections import Counter
from collections.abc import Iterator

import pytest

from fairway.dataplane.base import Programmer, Update
from fairway.dataplane.nft_sync import NftSync
from fairway.dataplane.sync import RuleSync
from fairway.desired.model import Desired, Endpoint, NodeFacts, PodTraffic, PortName, ServicePort, Settings
from fairway.kernel.linux.conntrack import LinuxConntrack
from fairway.kernel.linux.netfilter import Backend, LinuxNetfilter
from fairway.kernel.linux.nftables import LinuxNftables
from fairway.packet import Family, Packet, Protocol, Verdict
from tests.golden import nodes
from tests.kernel.wires import Wires, wires

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(not (shutil.which("iptables-restore") and shutil.which("nft")), reason="no iptables or no nft"),
]

SERVICE, NODE_PORT = "10.96.0.20", 30080
NODE = nodes.case("04").node
CONNECTIONS = 4000
CHANGES = {"nftables": 1000, "iptables": 40}


@pytest.fixture(scope="module")
def world() -> Iterator[Wires]:
    with wires() as built:
        built.settle(NODE)
        yield built


@pytest.fixture(params=["nftables", "iptables"])
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def dialect(world: Wires, mode: str) -> Iterator[Programmer]:
    kernel, conntrack = LinuxNftables(world.path), LinuxConntrack(world.path)
    made: Programmer = NftSync(kernel, conntrack)
    if mode == "iptables":
        made = RuleSync(LinuxNetfilter(world.path, Backend.NFT), conntrack)
    yield made
    made.clean()
    kernel.close()


def state(endpoints: int, affinity: int = 0) -> Desired:
    """One Service with so many endpoints on another node."""
    served = tuple(Endpoint(f"10.244.2.{n + 1}", 8080) for n in range(endpoints))
    port = ServicePort(
        PortName("default", "web"),
        Family.IPV4,
        Protocol.TCP,
        SERVICE,
        80,
        node_port=NODE_PORT,
        affinity_seconds=affinity,
        cluster=served,
        reachable=True,
    )
    facts = NodeFacts(PodTraffic(source="10.244.0.0/16"), addresses=("10.0.0.11",))
    return Desired((port,), (), Settings({Family.IPV4: facts}))


def connect(world: Wires, times: int, source: str = "10.244.1.5", device: str = "cni0") -> list[str]:
    """New connections of one client; the endpoint each reached, or what else became of it."""
    packet = Packet(source, SERVICE, Protocol.TCP, 80, in_interface=device)
    return [f.endpoint if f.verdict is Verdict.ENDPOINT else f.verdict for f in world.fates([packet] * times)]


@pytest.mark.parametrize("endpoints", [1, 2, 3, 7, 40])
def test_every_endpoint_gets_its_share(world: Wires, dialect: Programmer, endpoints: int) -> None:
    dialect.sync(Update.of(state(endpoints)))

    sent = 60 * endpoints
    counts = Counter(connect(world, sent))

    assert len(counts) == endpoints
    chi_square = sum((n - sent / endpoints) ** 2 / (sent / endpoints) for n in counts.values())
    # Wilson and Hilferty's bound, passed once in ten million runs
    freedom = max(endpoints - 1, 1)
    assert chi_square < freedom * (1 - 2 / (9 * freedom) + 5.2 * math.sqrt(2 / (9 * freedom))) ** 3


def test_a_client_stays_until_its_time_is_over(world: Wires, dialect: Programmer) -> None:
    dialect.sync(Update.of(state(40, affinity=2)))
    clients = [f"10.244.1.{n}" for n in range(100, 110)]

    first = {client: set(connect(world, 10, client)) for client in clients}
    assert all(len(reached) == 1 for reached in first.values())
    assert len(set.union(*first.values())) > 1  # clients are spread
    time.sleep(2.2)
    assert {client: set(connect(world, 1, client)) for client in clients} != first


def test_a_client_goes_elsewhere_when_its_endpoint_is_gone(world: Wires, dialect: Programmer) -> None:
    dialect.sync(Update.of(state(7, affinity=600)))
    clients = [f"10.244.1.{n}" for n in range(100, 120)]
    before = {client: connect(world, 1, client)[0] for client in clients}

    dialect.sync(Update.of(state(4, affinity=600)))

    left = {f"10.244.2.{n + 1}:8080" for n in range(4)}
    after = {client: connect(world, 1, client)[0] for client in clients}
    assert set(after.values()) <= left
    assert {c: e for c, e in before.items() if e in left}.items() <= after.items()


def test_clients_are_remembered_by_the_kernel_over_a_restart_of_the_proxy(world: Wires, mode: str) -> None:
    def started() -> tuple[Programmer, LinuxNftables]:
        kernel, conntrack = LinuxNftables(world.path), LinuxConntrack(world.path)
        rules = RuleSync(LinuxNetfilter(world.path, Backend.NFT), conntrack)
        return (rules if mode == "iptables" else NftSync(kernel, conntrack)), kernel

    clients = [f"10.244.1.{n}" for n in range(100, 120)]
    for run in range(2):
        dialect, kernel = started()
        dialect.sync(Update.of(state(40, affinity=600)))
        reached = {client: connect(world, 1, client)[0] for client in clients}
        if run == 0:
            before = reached
        else:
            dialect.clean()
        kernel.close()

    assert reached == before


def test_no_connection_is_lost_while_a_service_grows_and_shrinks(world: Wires, dialect: Programmer, mode: str) -> None:
    """In nftables mode each change moves the Service from one map to another."""
    dialect.sync(Update.of(state(1)))
    failed: list[BaseException] = []
    done, enough = itertools.count(), threading.Event()

    def change() -> None:
        try:
            for n in done:
                dialect.sync(Update.of(state(1 + n % 5)))
                if n >= CHANGES[mode] and enough.is_set():
                    return
        except BaseException as error:
            failed.append(error)

    changing = threading.Thread(target=change)
    changing.start()
    reached: Counter[str] = Counter()
    while changing.is_alive():
        reached.update(connect(world, 200))
        if reached.total() >= CONNECTIONS:
            enough.set()
    changing.join()

    assert failed == []
    assert set(reached) <= {f"10.244.2.{n + 1}:8080" for n in range(5)}


def test_a_node_port_is_spread_too(world: Wires, dialect: Programmer) -> None:
    dialect.sync(Update.of(state(3)))
    packet = Packet("10.0.0.100", "10.0.0.11", Protocol.TCP, NODE_PORT, in_interface="eth0")

    fates = world.fates([packet] * 180)

    assert len({fate.endpoint for fate in fates}) == 3
    assert all(fate.masqueraded for fate in fates)
