"""The crown property on the real kernel: what becomes of every packet of every golden, and of made-up clusters, is
what the oracle says, in both dialects."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fairway.dataplane.base import Programmer, Update
from fairway.dataplane.nft_sync import NftSync
from fairway.dataplane.sync import RuleSync
from fairway.desired.decide import decide
from fairway.desired.model import Desired
from fairway.kernel.linux.conntrack import LinuxConntrack
from fairway.kernel.linux.netfilter import Backend, LinuxNetfilter
from fairway.kernel.linux.nftables import LinuxNftables
from fairway.node import Node
from fairway.packet import Family, Outcome, Packet
from fairway.ruleset import nft
from tests.golden import cases, nodes
from tests.golden.generated import Cluster, clusters
from tests.golden.test_crown import guarding, packets
from tests.kernel.wires import Wires, wires

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(not (shutil.which("iptables-restore") and shutil.which("nft")), reason="no iptables or no nft"),
]

ANYCAST = "fd00:10:244:1::"
"""The first address of a network is the routers' anycast address (RFC 4291, 2.6.1): to the kernel no local one, though
flannel gives it to its device."""


@pytest.fixture(scope="module")
def world() -> Iterator[Wires]:
    with wires() as built:
        yield built


@pytest.fixture(params=["nftables", "iptables"])
def dialect(world: Wires, request: pytest.FixtureRequest) -> Iterator[Programmer]:
    """The node's proxy in one dialect; what it programmed is gone afterwards."""
    conntrack = LinuxConntrack(world.path)
    programmer: Programmer
    if request.param == "nftables":
        kernel = LinuxNftables(world.path)
        programmer = NftSync(kernel, conntrack)
        yield programmer
        programmer.clean()
        kernel.close()
    else:
        programmer = RuleSync(LinuxNetfilter(world.path, Backend.NFT), conntrack)
        yield programmer
        programmer.clean()


def wrong(world: Wires, dialect: Programmer, node: Node, desired: Desired, sent: Sequence[Packet]) -> list[object]:
    """The packets that fared otherwise than the oracle says they may, with what it says and what happened."""
    world.settle(node, route_localnet=desired.node(Family.IPV4).localhost_node_ports)
    dialect.sync(Update.of(desired))
    sent = [packet for packet in sent if ANYCAST not in (packet.source, packet.destination)]
    fates = dict(zip(sent, world.fates(sent), strict=True))
    world.forget_connections()
    fates |= again(world, {p: done for p, done in fates.items() if done not in decide(desired, node, p)})
    return [(p, dict(said), done) for p, done in fates.items() if done not in (said := decide(desired, node, p))]


def again(world: Wires, fates: dict[Packet, Outcome]) -> dict[Packet, Outcome]:
    """What becomes of the seemingly masqueraded among them without other connections in the way: where one that is
    masqueraded has been given the port that the node's own packet bears, the kernel gives that packet another port."""
    doubtful = [packet for packet, done in fates.items() if done.masqueraded]
    return dict(zip(doubtful, [world.fates([packet])[0] for packet in doubtful], strict=True))


@pytest.mark.parametrize("name", cases.NAMES)
def test_every_packet_of_a_golden_fares_as_the_oracle_says(world: Wires, dialect: Programmer, name: str) -> None:
    case = nodes.case(name.partition("-")[0])
    desired = guarding(case.desired) if isinstance(dialect, NftSync) else case.desired
    sent = [packet for family in Family for packet in packets(case.node, desired, family)]

    assert wrong(world, dialect, case.node, desired, sent) == []


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(clusters(guarded=True), st.integers())
def test_changes_from_cluster_to_cluster_leave_nothing_behind(
    world: Wires, dialect: Programmer, cluster: Cluster, seed: int
) -> None:
    """Each example is programmed over the one before, as a change."""
    desired = cluster.desired
    if not isinstance(dialect, NftSync):
        desired = replace(desired, settings=replace(desired.settings, guarded_cidrs=None))
    everything = [packet for family in Family for packet in packets(cluster.node, desired, family)]
    sent = random.Random(seed).sample(everything, min(300, len(everything)))

    assert wrong(world, dialect, cluster.node, desired, sent) == []
    if isinstance(dialect, NftSync):
        stranger = LinuxNftables(world.path)
        stranger.apply([nft.DeleteTable(nft.TableName("ip", "stranger"))])  # or nothing would be read
        stranger.close()
    assert dialect.unchanged()
