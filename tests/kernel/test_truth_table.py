"""Every cell of docs/truth-table.md on the real kernel: both dialects, both families, all protocols."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from fairway.dataplane.base import Programmer, Update
from fairway.dataplane.nft_sync import NftSync
from fairway.dataplane.sync import RuleSync
from fairway.desired.decide import decide
from fairway.kernel.linux.conntrack import LinuxConntrack
from fairway.kernel.linux.netfilter import Backend, LinuxNetfilter
from fairway.kernel.linux.nftables import LinuxNftables
from fairway.packet import Family, Protocol
from tests.golden.truth_table import NODE, SENDERS, packet, rows, state
from tests.kernel.wires import Wires, wires

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(not (shutil.which("iptables-restore") and shutil.which("nft")), reason="no iptables or no nft"),
]

TIMES = 8
"""Often enough that of two endpoints each is reached."""


@pytest.fixture(scope="module")
def world() -> Iterator[Wires]:
    with wires() as built:
        built.settle(NODE)
        yield built


@pytest.mark.parametrize("protocol", list(Protocol))
@pytest.mark.parametrize("family", list(Family))
@pytest.mark.parametrize("mode", ["nftables", "iptables"])
def test_the_kernel_agrees_with_every_cell(world: Wires, mode: str, family: Family, protocol: Protocol) -> None:
    kernel, conntrack = LinuxNftables(world.path), LinuxConntrack(world.path)
    dialect: Programmer = NftSync(kernel, conntrack)
    if mode == "iptables":
        dialect = RuleSync(LinuxNetfilter(world.path, Backend.NFT), conntrack)
    wrong, sent = [], 0
    for row in rows():
        if row.guard and mode == "iptables":
            continue
        desired = state(row, family, protocol)
        dialect.sync(Update.of(desired))
        packets = [packet(row, sender, family, protocol) for sender in SENDERS for _ in range(TIMES)]
        for one, fate in zip(packets, world.fates(packets), strict=True):
            if fate not in decide(desired, NODE, one):
                wrong.append((row, one, fate))
        sent += len(packets)
    dialect.clean()
    kernel.close()

    assert wrong == []
    assert sent > 1000
