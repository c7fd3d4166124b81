"""What a node proxy does when the world around it fails: rules that others flush, transactions that the kernel refuses,
an API server that is away, changes without end."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Coroutine, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from fairway.dataplane.nft import pack_address
from fairway.dataplane.proxy import Pace
from fairway.kernel.base import DeviceAddress, DeviceRoute, Flow, KernelError, LinkState
from fairway.kernel.linux.conntrack import LinuxConntrack
from fairway.kernel.linux.links import LinuxLinks
from fairway.kernel.linux.netfilter import Backend, LinuxNetfilter
from fairway.kernel.linux.nftables import LinuxNftables
from fairway.objects.kinds import ENDPOINT_SLICE, NODE
from fairway.packet import Family
from fairway.ruleset import nft
from tests.kernel.proxy_scene import NODE_ADDRESS, PODS, REFUSED, SILENT, Scene, scene
from tests.kernel.proxy_stage import Stage, until
from tests.unit.desired.objects import endpoint, slice_json

NUMBERS_ARE_THE_KERNELS = Path("/proc/self/ns/pid").stat().st_ino == 0xEFFFFFFC
"""Whether processes are numbered here as the kernel numbers them in its notices (PROC_PID_INIT_INO): in a container
they are not."""

pytestmark = [
    pytest.mark.kernel,
    pytest.mark.skipif(not (shutil.which("iptables-restore") and shutil.which("nft")), reason="no iptables or no nft"),
]

FIVE, SIX, SEVEN = (four for four, _ in PODS.values())
WEB, SHOP, BOOKS = "10.96.0.20", "10.96.0.21", "10.96.0.22"
NODE_PORT = 30080
SECONDS = 5  # of the storm; bench/proxy.py has the minute


@pytest.fixture(scope="module")
def world() -> Iterator[Scene]:
    with scene() as built:
        yield built


def play(scenario: Coroutine[Any, Any, None], seconds: float = 60) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(seconds):
            await scenario

    asyncio.run(bounded())


async def stock(stage: Stage) -> None:
    """A Service with a node port, one with affinity, and one without endpoints."""
    ports = [{"port": 80, "protocol": "TCP", "nodePort": NODE_PORT}]
    await stage.put("web", WEB, FIVE, type="NodePort", ports=ports)
    await stage.put("shop", SHOP, FIVE, SIX, sessionAffinity="ClientIP")
    await stage.put("books", BOOKS)


ATTACKS = [
    ("nftables", "nft flush ruleset"),
    ("nftables", "nft delete table ip fairway"),
    ("nftables", "nft flush chain ip fairway services"),
    ("nftables", "nft flush map ip fairway endpoints-1"),
    ("nftables", "nft delete element ip fairway cluster-ips { 10.96.0.20 . tcp . 80 }"),
    ("nftables", "nft add element ip fairway cluster-ips { 10.96.0.99 . tcp . 80 }"),
    ("iptables", "nft flush ruleset"),
    ("iptables", "iptables -t nat -F"),
    ("iptables", "iptables -t nat -F KUBE-SERVICES"),
    ("iptables", "iptables -t nat -D KUBE-SERVICES 1"),
    ("iptables", "iptables -F FORWARD"),
    ("iptables", "ip6tables -t nat -F"),
]


@pytest.mark.parametrize(("mode", "attack"), ATTACKS, ids=lambda word: word)
def test_what_somebody_removes_by_hand_is_heard_and_written_again(world: Scene, mode: str, attack: str) -> None:
    async def scenario() -> None:
        stage = Stage(world, mode)
        await stock(stage)
        async with stage.running():
            before = stage.ruleset()
            process = await stage.command(*attack.split())

            await until(lambda: stage.repairs.made)

            assert stage.ruleset() == before
            ((program, number),) = stage.repairs.culprits
            assert program == attack.split()[0]
            assert number == process or not NUMBERS_ARE_THE_KERNELS
            assert await stage.ask(WEB) == FIVE
            assert await stage.ask(NODE_ADDRESS, NODE_PORT, who="outside") == FIVE
            assert await stage.ask(BOOKS) == REFUSED
            assert stage.proxy.status.applied == 1  # nothing was laid anew

    play(scenario())


@pytest.mark.parametrize(
    ("mode", "attack", "lines"),
    [
        ("nftables", "nft delete element ip fairway cluster-ips { 10.96.0.20 . tcp . 80 }", 1),
        ("nftables", "nft flush chain ip fairway services", 12),
        ("iptables", "iptables -t nat -D KUBE-SERVICES 1", 4),  # the rule, the table's name, COMMIT, and the rule's kin
    ],
    ids=lambda word: str(word),
)
def test_a_repair_is_as_small_as_the_damage(world: Scene, mode: str, attack: str, lines: int) -> None:
    async def scenario() -> None:
        stage = Stage(world, mode)
        await stock(stage)
        for n in range(30):
            await stage.put(f"many-{n}", f"10.96.1.{n}", FIVE, SIX)
        async with stage.running():
            await stage.command(*attack.split())
            await until(lambda: stage.repairs.made)
            assert 0 < stage.repairs.lines <= lines

    play(scenario())


def test_others_may_use_the_tables_that_all_share(world: Scene) -> None:
    """A look that changes nothing is all that it takes; and our own programs disturb nobody."""

    async def scenario() -> None:
        stage = Stage(world, "iptables")
        await stock(stage)
        async with stage.running():
            await stage.command("iptables", "-t", "nat", "-A", "PREROUTING", "-j", "ACCEPT")
            await stage.command("iptables", "-t", "nat", "-N", "THEIRS")
            for name in ("web", "shop"):
                await stage.serve(name, SEVEN)
            await until(lambda: is_answer(stage, WEB, SEVEN))
            before = stage.nftables.generation()
            await stage.command("iptables", "-t", "nat", "-X", "THEIRS")
            await until(lambda: stage.nftables.generation() > before)
            await asyncio.sleep(0.3)  # time enough for a hasty repair
            assert stage.repairs.made == [] and stage.rules.comparisons == 0
            assert stage.nftables.generation() == before + 1
            await stage.command("iptables", "-t", "nat", "-D", "PREROUTING", "-j", "ACCEPT")

    play(scenario())


def test_who_comes_back_again_and_again_does_not_wear_the_node_out(world: Scene) -> None:
    async def scenario() -> None:
        stage = Stage(world, "nftables")
        await stock(stage)
        async with stage.running():
            delays = []
            for _ in range(5):
                begun = asyncio.get_running_loop().time()
                made = len(stage.repairs.made)
                await stage.command("nft", "flush", "ruleset")
                await until(lambda made=made: len(stage.repairs.made) > made)
                delays.append(asyncio.get_running_loop().time() - begun)
            assert delays[4] > 8 * stage.proxy._pace.retry > 0  # 0, 1, 2, 4, 8 times the first delay

    play(scenario())


async def is_answer(stage: Stage, ip: str, wanted: str, port: int = 80, who: str = "pod-7") -> bool:
    return await stage.ask(ip, port, who) == wanted


class Traffic:
    """Connections one after the other, from a pod to a Service; whatever does not answer is kept."""

    def __init__(self, stage: Stage, ip: str) -> None:
        self.made = 0
        self.failed: list[str] = []
        self._stage = stage
        self._ip = ip

    async def __aenter__(self) -> Traffic:
        self._task = asyncio.create_task(self._go())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _go(self) -> None:
        while True:
            answer = await self._stage.ask(self._ip)
            if answer in (REFUSED, SILENT):
                self.failed.append(answer)
            self.made += 1


@pytest.mark.parametrize("mode", ["nftables", "iptables"])
def test_while_the_server_is_away_traffic_goes_on_and_changes_arrive_after(world: Scene, mode: str) -> None:
    async def scenario() -> None:
        stage = Stage(world, mode)
        await stock(stage)
        async with stage.running(), Traffic(stage, WEB) as traffic:
            before = stage.ruleset()
            await stage.api.set_reachable(False)
            await stage.serve("web", SIX)
            await stage.put("new", "10.96.0.30", SEVEN)
            made = traffic.made
            await until(lambda: traffic.made > made + 200)
            assert stage.ruleset() == before

            await stage.api.set_reachable(True)
            await until(lambda: is_answer(stage, WEB, SIX))
            await until(lambda: is_answer(stage, "10.96.0.30", SEVEN))
            assert traffic.failed == []
            assert stage.proxy.status.error == ""

    play(scenario())


class Refusing(LinuxNftables):
    """Has the kernel itself refuse what leads to `bad`: each such element is asked for once more with other data."""

    bad = ""

    def apply(self, changes: Sequence[nft.Change]) -> None:
        spoilt = list(changes)
        for change in changes if self.bad else ():
            if isinstance(change, nft.AddSet | nft.AddElements):
                kept = change.set
                added = change.elements if isinstance(change, nft.AddElements) else [*kept.elements.items()]
                for key, element in added:
                    if isinstance(element.data, bytes) and element.data.startswith(pack_address(self.bad)):
                        other = element._replace(data=element.data[:4] + bytes(reversed(element.data[4:])))
                        spoilt.append(nft.AddElements(change.table, kept, [(key, other)]))
        super().apply(spoilt)


class RefusingRules(LinuxNetfilter):
    """The same for iptables: such rules are asked for with a port that is none."""

    bad = ""

    def restore(self, family: Family, text: str) -> None:
        if self.bad:
            text = text.replace(f"--to-destination {self.bad}:8080", f"--to-destination {self.bad}:99999")
        super().restore(family, text)


@pytest.mark.parametrize("mode", ["nftables", "iptables"])
def test_one_service_that_the_kernel_refuses_keeps_nobody_from_being_served(world: Scene, mode: str) -> None:
    async def scenario() -> None:
        node = world.paths["node"]
        tables, rules = Refusing(node), RefusingRules(node, Backend.NFT)
        stage = Stage(world, mode, nftables=tables, netfilter=rules)
        await stock(stage)
        tables.bad = rules.bad = SIX
        await stage.serve("shop", SEVEN)
        await stage.put("bad", "10.96.0.40", SIX)
        async with stage.running():
            assert await stage.ask(WEB) == FIVE
            assert "default/bad" in stage.proxy.status.error

            await stage.serve("web", SEVEN, SIX)  # from one that is served to one that cannot be
            await until(lambda: "default/web" in stage.proxy.status.error)
            assert await stage.ask(WEB) == FIVE
            await stage.put("books", BOOKS, FIVE)
            await until(lambda: is_answer(stage, BOOKS, FIVE))

            tables.bad = rules.bad = ""
            await until(lambda: is_answer(stage, "10.96.0.40", SIX))  # tried again without a change
            await until(lambda: stage.proxy.status.error == "")
            assert await stage.ask(WEB) in (SEVEN, SIX)
            assert stage.rules.unchanged()

    play(scenario())


@pytest.mark.parametrize("mode", ["nftables", "iptables"])
def test_a_refusal_says_which_line_it_was(world: Scene, mode: str) -> None:
    node = world.paths["node"]
    tables, rules = Refusing(node), RefusingRules(node, Backend.NFT)

    async def scenario() -> None:
        stage = Stage(world, mode, nftables=tables, netfilter=rules)
        tables.bad = rules.bad = SIX
        await stage.put("bad", "10.96.0.40", SIX)
        async with stage.running():
            said = stage.proxy.status.error
            assert said.startswith("default/bad: rules refused: ")
            assert "10.96.0.40 . tcp . 80" in said if mode == "nftables" else f"{SIX}:99999" in said
            assert "(line " in said

    play(scenario())


@pytest.mark.parametrize("mode", ["nftables", "iptables"])
def test_thousands_of_changes_end_in_the_last_state(world: Scene, mode: str) -> None:
    """A thousand changes in a second, for some seconds. Whatever is told before an apply begins is in it."""

    async def scenario() -> None:
        stage = Stage(world, mode)
        for n in range(100):
            await stage.put(f"many-{n}", f"10.96.1.{n}", FIVE)
        await stock(stage)
        async with stage.running(), Traffic(stage, SHOP) as traffic:
            told = 0
            for second in range(SECONDS):
                begun = asyncio.get_running_loop().time()
                for n in range(1000):
                    await stage.serve(f"many-{n % 100}", (FIVE, SIX, SEVEN)[(n // 100 + second) % 3])
                    told += 1
                    if n % 50 == 49:
                        due = begun + (n + 1) / 1000
                        await asyncio.sleep(max(due - asyncio.get_running_loop().time(), 0))
            await stage.put("last", "10.96.0.50", SEVEN)
            applied = stage.proxy.status.applied
            await until(lambda: is_answer(stage, "10.96.0.50", SEVEN))
            assert stage.proxy.status.applied <= applied + 2  # the one under way, and the one with all the rest
            await until(lambda: is_answer(stage, "10.96.1.99", (FIVE, SIX, SEVEN)[(9 + SECONDS - 1) % 3]))
            assert told // stage.proxy.status.applied > 5
            assert traffic.failed == []
            assert stage.rules.unchanged()

    play(scenario(), 90)


LOOKING = Pace(gather=0.02, check=0.1, verify=3600.0, retry=0.05, longest_retry=0.4)


@pytest.mark.parametrize("mode", ["nftables", "iptables", "legacy"])
def test_an_address_of_the_node_comes_and_goes(world: Scene, mode: str) -> None:
    async def scenario() -> None:
        stage = Stage(world, mode, pace=LOOKING)
        await stock(stage)
        links, route = LinuxLinks(world.paths["node"]), LinuxLinks(world.paths["outside"])
        more = LinkState(addresses=(DeviceAddress("eth0", "10.0.7.1/24"),))
        there = LinkState(routes=(DeviceRoute("10.0.7.0/24", "eth0", via=NODE_ADDRESS),))
        await asyncio.to_thread(route.apply, there)
        async with stage.running():
            assert await stage.ask("10.0.7.1", NODE_PORT, who="outside") != FIVE
            await asyncio.to_thread(links.apply, more)
            await until(lambda: is_answer(stage, "10.0.7.1", FIVE, NODE_PORT, "outside"))
            await asyncio.to_thread(links.apply, LinkState(), more)
            await until(lambda: not any("10.0.7.1" in line for line in stage.ruleset()))
            assert await stage.ask(NODE_ADDRESS, NODE_PORT, who="outside") == FIVE
        await asyncio.to_thread(route.apply, LinkState(), there)

    play(scenario())


@pytest.mark.parametrize("mode", ["nftables", "iptables"])
def test_the_node_gets_and_loses_its_zone(world: Scene, mode: str) -> None:
    async def scenario() -> None:
        stage = Stage(world, mode)
        await stage.put("web", WEB, trafficDistribution="PreferClose")
        hinted = [endpoint(FIVE, zones=["here"]), endpoint(SIX, zones=["there"])]
        await stage.api.put(ENDPOINT_SLICE, slice_json("web", *hinted))
        await stage.api.put(NODE, b'{"metadata":{"name":"node-a"}}')
        async with stage.running():
            await until(lambda: is_answer(stage, WEB, SIX))
            here = b'{"metadata":{"name":"node-a","labels":{"topology.kubernetes.io/zone":"here"}}}'
            await stage.api.put(NODE, here)
            await until(lambda: stage.proxy.status.applied == 2)
            assert {await stage.ask(WEB) for _ in range(20)} == {FIVE}
            await stage.api.put(NODE, b'{"metadata":{"name":"node-a"}}')
            await until(lambda: stage.proxy.status.applied == 3)
            assert {await stage.ask(WEB) for _ in range(40)} == {FIVE, SIX}

    play(scenario())


class WithoutIPv6(LinuxNftables):
    def apply(self, changes: Sequence[nft.Change]) -> None:
        if any(change.table.family == "ip6" for change in changes):
            raise KernelError("cannot make the table fairway: Address family not supported by protocol (EAFNOSUPPORT)")
        super().apply(changes)


class RulesWithoutIPv6(LinuxNetfilter):
    def save(self, family: Family, table: str = "") -> str:
        if family is Family.IPV6:
            raise KernelError("cannot read IPv6 rules: can't initialize ip6tables table `filter'")
        return super().save(family, table)


class WithoutConnections(LinuxConntrack):
    def flows(self, family: Family, protocol: int = 0) -> Sequence[Flow]:
        raise KernelError(f"cannot list {family} connections: Invalid argument (EINVAL)")


@pytest.mark.parametrize("mode", ["nftables", "iptables"])
def test_a_kernel_that_lacks_something_serves_what_it_can(
    world: Scene, mode: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        node = world.paths["node"]
        lacking = (WithoutIPv6(node), RulesWithoutIPv6(node, Backend.NFT), WithoutConnections(node))
        stage = Stage(world, mode, nftables=lacking[0], netfilter=lacking[1], conntrack=lacking[2])
        await stock(stage)
        await stage.put("names", "10.96.0.10", FIVE, ports=[{"port": 80}, {"port": 53, "protocol": "UDP", "name": "u"}])
        async with stage.running():
            assert await stage.ask(WEB) == FIVE
            await stage.serve("web", SIX)
            await until(lambda: is_answer(stage, WEB, SIX))
            assert stage.proxy.status.error == ""
            assert list(stage.rules.unavailable) == [Family.IPV6]
        said = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
        assert any(line.startswith("IPv6 Services are not served: cannot ") for line in said)
        assert sum("nf_conntrack_netlink" in line for line in said) == 1

    play(scenario())
