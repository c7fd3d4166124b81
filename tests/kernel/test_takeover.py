"""Our proxy over kube-proxy's rules, in either mode, changed from one mode to the other, restarted, cleaned up: while
traffic flows, no connection fails, and in the end nothing is left."""

from __future__ import annotations

import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator

import pytest

from fairway.dataplane import predecessors
from fairway.dataplane.base import Programmer, Update
from fairway.dataplane.iptables import ACCOUNTS
from fairway.dataplane.nft_sync import NftSync
from fairway.dataplane.sync import RuleSync
from fairway.desired.decide import decide
from fairway.desired.model import claims
from fairway.kernel.linux.conntrack import LinuxConntrack
from fairway.kernel.linux.netfilter import Backend, LinuxNetfilter
from fairway.kernel.linux.nftables import LinuxNftables
from fairway.packet import Family, Packet
from fairway.ruleset.iptables import dump
from tests.golden import cases, nodes
from tests.kernel.wires import Wires, wires

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(not (shutil.which("iptables-restore") and shutil.which("nft")), reason="no iptables or no nft"),
]

GOLDENS = ["04", "12", "48"]
SENDERS = [("10.244.1.5", "cni0"), ("10.0.0.100", "eth0"), ("10.0.0.11", "")]


@pytest.fixture
def world() -> Iterator[Wires]:
    with wires() as built:
        yield built


class Machine:
    """The tools of one node, and the ways its Services may be programmed."""

    def __init__(self, world: Wires, case: cases.Case) -> None:
        self.case = case
        self.update = Update.of(case.desired)
        self.netfilter = LinuxNetfilter(world.path, Backend.NFT)
        self.nftables = LinuxNftables(world.path)
        self._conntrack = LinuxConntrack(world.path)
        self._path = world.path

    def run(self, *command: str, given: str = "") -> str:
        """A program in the node's namespace."""
        whole = ["nsenter", f"--net={self._path}", *command]
        return subprocess.run(whole, input=given, capture_output=True, text=True, check=True).stdout

    def reference_iptables(self) -> None:
        made = [self.netfilter.ensure_account(name) for name in ACCOUNTS]
        for family in Family:
            lines = dump(nodes.rules(self.case, family)).splitlines(keepends=True)
            self.netfilter.restore(family, "".join(line for line in lines if all(made) or "nfacct" not in line))

    def reference_nftables(self) -> None:
        self.run("nft", "-f", "-", given=cases.nft_text(self.case.name))

    def iptables(self) -> Programmer:
        made = RuleSync(self.netfilter, self._conntrack, self.nftables)
        made.sync(self.update)
        return made

    def tables(self) -> Programmer:
        made = NftSync(self.nftables, self._conntrack, self.netfilter)
        made.sync(self.update)
        return made

    def left(self) -> str:
        """What anybody programmed, but for the chains that iptables makes for itself."""
        saved = "".join(self.netfilter.save(family) for family in Family)
        rules = [line for line in saved.splitlines() if "KUBE" in line or line.startswith("-A")]
        tables = [t for t in self.run("nft", "list", "tables").splitlines() if "kube-proxy" in t or "fairway" in t]
        return "\n".join([*rules, *tables])

    def hand_over(self) -> None:
        """What `fairway proxy --hand-over` does."""
        assert not any(predecessors.lacking(self.nftables, self.netfilter, family) for family in Family)
        for family in Family:
            predecessors.leave(self.nftables, family)

    def clean(self) -> None:
        """What `fairway proxy --cleanup` does."""
        RuleSync(self.netfilter, self._conntrack).clean()
        NftSync(self.nftables, self._conntrack).clean()


def requests(case: cases.Case) -> list[Packet]:
    """From every sender to every address that is served to it."""
    destinations = {
        (claim.address or "10.0.0.11", claim.protocol, claim.port)
        for port in case.desired.of(Family.IPV4)
        for claim in claims(port)
    }
    sent = [Packet(s, a, p, n, in_interface=d) for s, d in SENDERS for a, p, n in sorted(destinations)]
    return [packet for packet in sent if all(outcome.endpoint for outcome in decide(case.desired, case.node, packet))]


def under_traffic(world: Wires, case: cases.Case, work: Callable[[], None]) -> list[object]:
    """Requests go on for as long as `work` does, and once more. Those that failed or went astray."""
    errors: list[BaseException] = []

    def guarded() -> None:
        try:
            work()
        except BaseException as error:
            errors.append(error)

    sent = requests(case)
    expected = [decide(case.desired, case.node, packet) for packet in sent]
    wrong: list[object] = []
    working = threading.Thread(target=guarded)
    working.start()
    going = True
    while going:
        going = working.is_alive()
        fates = world.fates(sent)
        wrong += [(p, e, f) for p, e, f in zip(sent, expected, fates, strict=True) if f not in e]
    working.join()
    return [*errors, *wrong]


@pytest.mark.parametrize("found", ["iptables", "nftables"])
@pytest.mark.parametrize("first", ["iptables", "nftables"])
@pytest.mark.parametrize("number", GOLDENS)
def test_nobody_notices_who_serves(world: Wires, number: str, found: str, first: str) -> None:
    case = nodes.case(number)
    world.settle(case.node, route_localnet=True)
    machine = Machine(world, case)
    {"iptables": machine.reference_iptables, "nftables": machine.reference_nftables}[found]()
    modes = [machine.iptables, machine.tables] if first == "iptables" else [machine.tables, machine.iptables]
    running: list[Programmer] = []

    def change_hands() -> None:
        for start in (modes[0], modes[0], modes[1], modes[1], modes[0]):
            running.append(start())

    assert under_traffic(world, case, change_hands) == []
    assert running[-1].unchanged()
    running[-1].clean()
    assert machine.left() == ""


@pytest.mark.parametrize(
    ("ours", "reference"), [("iptables", "iptables"), ("nftables", "iptables"), ("nftables", "nftables")]
)
def test_nobody_notices_who_goes(world: Wires, ours: str, reference: str) -> None:
    """The way back: our proxy has ended, kube-proxy lays its rules beside or over ours, which then go. (From iptables
    to nftables kube-proxy takes away the chains itself, which it knows for its own.)"""
    case = nodes.case("48")
    world.settle(case.node, route_localnet=True)
    machine = Machine(world, case)
    {"iptables": machine.iptables, "nftables": machine.tables}[ours]()
    alone = [predecessors.lacking(machine.nftables, machine.netfilter, family) for family in Family]
    assert alone == [ours == "nftables", False]  # the case has no IPv6

    def change_hands() -> None:
        {"iptables": machine.reference_iptables, "nftables": machine.reference_nftables}[reference]()
        machine.hand_over()

    assert under_traffic(world, case, change_hands) == []
    left = machine.left()
    assert "fairway" not in left
    assert ("table ip kube-proxy" in left) is (reference == "nftables")
    machine.clean()
    assert machine.left() == ""
