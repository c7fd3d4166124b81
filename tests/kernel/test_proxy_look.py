"""How iptables mode finds out whether its rules stand, and what a look costs where nothing has changed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest

from fairway.dataplane.base import Update
from fairway.dataplane.sync import RuleSync
from fairway.desired.build import build
from fairway.kernel.linux import netns
from fairway.kernel.linux.conntrack import LinuxConntrack
from fairway.kernel.linux.netfilter import Backend, LinuxNetfilter
from fairway.kernel.linux.nftables import LinuxNftables
from fairway.packet import Family
from tests.unit.desired.objects import OPTIONS, endpoint, endpoint_slice, node, service

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(not shutil.which("iptables-legacy-restore"), reason="this system has one iptables only"),
]
FLUSH = "*nat\n-F PREROUTING\nCOMMIT\n"


class Counting(LinuxNetfilter):
    """Counts the programs it runs."""

    runs = 0

    def restore(self, family: Family, text: str) -> None:
        self.runs += 1
        super().restore(family, text)


@pytest.fixture
def path() -> Iterator[str]:
    name = f"fwt-{os.getpid()}-look"
    try:
        yield netns.create(name)
    finally:
        netns.delete(name)


@pytest.mark.parametrize("backend", list(Backend))
def test_a_look(path: str, backend: Backend) -> None:
    netfilter, nftables = Counting(path, backend), LinuxNftables(path)
    sync = RuleSync(netfilter, LinuxConntrack(path), nftables)
    wanted = build([service()], [endpoint_slice("web", endpoint("10.244.0.5"))], node(), OPTIONS)
    sync.sync(Update.of(wanted))
    assert sync.intact()
    before = netfilter.runs

    assert sync.intact() and sync.intact()
    assert (netfilter.runs == before) is netfilter.in_nf_tables()  # legacy iptables tells nobody: it has to be asked
    if backend is not Backend.SYSTEM:
        assert netfilter.in_nf_tables() is (backend is Backend.NFT)

    LinuxNetfilter(path, backend).restore(Family.IPV4, FLUSH)
    assert not sync.intact() and not sync.intact()
    sync.forget()
    sync.sync(Update.of(wanted))
    assert sync.intact()
    nftables.close()
