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
PORTALS = '-m comment --comment "kubernetes service portals" -j KUBE-SERVICES'
DOUBLED = f"*nat\n-I OUTPUT {PORTALS}\n-I OUTPUT -j KUBE-SERVICES\n-A PREROUTING {PORTALS}\nCOMMIT\n"


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


def jumps(netfilter: LinuxNetfilter) -> list[str]:
    saved = netfilter.save(Family.IPV4, "nat").splitlines()
    return [line for line in saved if line.startswith(("-A PREROUTING", "-A OUTPUT"))]


def test_a_jump_that_another_has_put_there_again_goes(path: str) -> None:
    """The second does no harm, as what the first led to is translated by then. So a look lets it be; a comparison of
    everything takes it away, and so does the next proxy that takes over."""
    netfilter, nftables = LinuxNetfilter(path, Backend.NFT), LinuxNftables(path)
    sync = RuleSync(netfilter, LinuxConntrack(path), nftables)
    update = Update.of(build([service()], [endpoint_slice("web", endpoint("10.244.0.5"))], node(), OPTIONS))
    sync.sync(update)
    single = jumps(netfilter)
    assert single == [f"-A PREROUTING {PORTALS}", f"-A OUTPUT {PORTALS}"]

    netfilter.restore(Family.IPV4, DOUBLED)
    assert len(jumps(netfilter)) == 5

    assert sync.intact() and not sync.unchanged()
    assert sync.mend().transactions == 1
    assert sync.unchanged() and jumps(netfilter) == single

    netfilter.restore(Family.IPV4, DOUBLED)
    RuleSync(netfilter, LinuxConntrack(path), nftables).sync(update)
    assert jumps(netfilter) == single
    nftables.close()
