"""A proxy at work in the node of `proxy_scene`, with a pretended API server, while things go wrong around it."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

from fairway.client.base import Client
from fairway.dataplane.base import Report
from fairway.dataplane.isolate import Isolating
from fairway.dataplane.nft_sync import NftSync
from fairway.dataplane.proxy import Observer, Pace, Proxy
from fairway.dataplane.sync import RuleSync
from fairway.desired.options import ProxyOptions
from fairway.kernel.base import Conntrack, Netfilter, Nftables, Notice
from fairway.kernel.linux.conntrack import LinuxConntrack
from fairway.kernel.linux.netfilter import Backend, LinuxNetfilter
from fairway.kernel.linux.nft_notices import NftNotices
from fairway.kernel.linux.nftables import LinuxNftables
from fairway.objects.kinds import ENDPOINT_SLICE, SERVICE
from tests.kernel.proxy_scene import PORT, Scene
from tests.unit.dataplane.fake_api import FakeApi
from tests.unit.desired.objects import endpoint, service_json, slice_json

OPTIONS = ProxyOptions(cluster_cidrs=("10.244.0.0/16", "fd00:10:244::/48"))
UNWATCHED = Pace(gather=0.02, check=3600.0, verify=3600.0, retry=0.05, longest_retry=0.4)
"""Nothing is found by looking now and then: what is found was heard."""


@dataclass
class Repairs(Observer):
    """Notes who was at the rules, and what it took."""

    made: list[tuple[Sequence[Notice], Report]] = field(default_factory=list)

    def repaired(self, by: Sequence[Notice], report: Report) -> None:
        self.made.append((by, report))

    @property
    def culprits(self) -> set[tuple[str, int]]:
        return {(notice.program, notice.process) for by, _ in self.made for notice in by}

    @property
    def lines(self) -> int:
        return sum(report.lines for _, report in self.made)


class Counting(Isolating):
    """Counts how often it was asked to look, and to compare everything."""

    looks = 0
    comparisons = 0

    def intact(self) -> bool:
        try:
            return super().intact()
        finally:
            self.looks += 1

    def mend(self) -> Report:
        self.comparisons += 1
        return super().mend()


class Stage:
    """`mode` is nftables, iptables or legacy. The kernel's handles may be others than those of the real kernel."""

    def __init__(
        self,
        world: Scene,
        mode: str,
        *,
        pace: Pace = UNWATCHED,
        nftables: Nftables | None = None,
        netfilter: Netfilter | None = None,
        conntrack: Conntrack | None = None,
    ) -> None:
        self.world = world
        self.mode = mode
        self.path = world.paths["node"]
        self.api = FakeApi()
        self.repairs = Repairs()
        self.nftables = nftables or LinuxNftables(self.path)
        self.netfilter = netfilter or LinuxNetfilter(self.path, Backend.LEGACY if mode == "legacy" else Backend.NFT)
        known = conntrack or LinuxConntrack(self.path)
        inner = NftSync(self.nftables, known) if mode == "nftables" else RuleSync(self.netfilter, known)
        self.rules = Counting(inner)
        self.proxy = Proxy(
            cast("Client", self.api),
            self.rules,
            world.node,
            OPTIONS,
            pace=pace,
            observers=[self.repairs],
            listen=lambda: NftNotices(self.path, self.nftables.identity() if mode == "nftables" else 0),
        )
        self._stop = asyncio.Event()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Stage]:
        """From the first apply and the look after it on; afterwards nothing stands."""
        task = asyncio.create_task(self.proxy.run(self._stop))
        try:
            await self.proxy.ready.wait()
            await until(lambda: self.rules.looks)
            yield self
        finally:
            self._stop.set()
            await task
            self.rules.clean()
            if isinstance(self.nftables, LinuxNftables):
                self.nftables.close()

    async def put(self, name: str, ip: str, *addresses: str, **spec: Any) -> None:
        """A Service and who serves it."""
        await self.api.put(SERVICE, service_json(name, ip, **spec))
        await self.serve(name, *addresses)

    async def serve(self, name: str, *addresses: str) -> None:
        """Let a Service have these endpoints."""
        await self.api.put(ENDPOINT_SLICE, slice_json(name, *(endpoint(a) for a in addresses), port=PORT))

    async def ask(self, ip: str, port: int = 80, who: str = "pod-7") -> str:
        """Who answers: an address, or what `Scene.ask` says."""
        return (await asyncio.to_thread(self.world.ask, who, ip, port)).split()[0]

    async def command(self, *words: str) -> int:
        """A program in the node's namespace, as somebody runs it by hand; its process number."""
        started = subprocess.Popen(["nsenter", f"--net={self.path}", *words], stdout=subprocess.DEVNULL)
        code = await asyncio.to_thread(started.wait)
        assert code == 0, words
        return started.pid

    def ruleset(self) -> list[str]:
        """All that stands, without counters and handles; chains and elements in a settled order."""
        words = ["iptables-legacy-save"] if self.mode == "legacy" else ["nft", "-s", "list", "ruleset"]
        done = subprocess.run(["nsenter", f"--net={self.path}", *words], capture_output=True, text=True, check=True)
        lines = [line.strip() for line in done.stdout.splitlines() if not line.startswith(("#", ":"))]
        return sorted(piece for line in lines for piece in line.strip(",{} ").split(", "))


async def until(holds: Callable[[], object] | Callable[[], Awaitable[object]]) -> None:
    """Wait for what others bring about; the test's own timeout bounds it."""
    while True:
        found = holds()
        if await found if isinstance(found, Awaitable) else found:
            return
        await asyncio.sleep(0.01)
