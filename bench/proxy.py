"""How fast the node proxy is, and how that grows with the number of Services.

    python bench/proxy.py [--mode nftables|iptables] [SERVICES ...]     (as root; default both modes, 1000 10000 44000)
    python bench/proxy.py --storm 60 [--mode ...] [SERVICES ...]        a thousand changes a second for so long

One namespace is the node, in which a proxy process runs as it would on a node; another has every endpoint address, so
that connections really arrive. Services have five endpoints each. The API server is a stand-in (see `proxy_api`) that
serves prepared lists and writes a change to the watch at once: a change is measured from that write to the first
connection, made by a process of the node, that arrives at the new endpoint. Floors are measured in the same run: the
very same transactions, recorded beforehand, given to the kernel in an empty namespace without anything around them.

Prints one line per size: the cold start (process start to the last Service answering) with its processor time, one
change (median) with its processor time, a hundred changes at once, and memory. Everything is taken away at the end.
"""

from __future__ import annotations

import argparse
import ipaddress
import os
import select
import socket
import statistics
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent))

import proxy_api as api

from fairway.kernel.linux import netns
from fairway.packet import Family

API_PORT = 8001
SIZES = (1000, 10_000, 44_000)
CHANGES = {"nftables": 40, "iptables": 10}
BURST = 100
STORM = 1000
LONGEST = 300.0  # seconds for anything
TRY_SECONDS = 0.0002  # between a client's connections, so that it leaves the processor to those it waits for
_RESET = struct.pack("ii", 1, 0)  # close with a reset: no TIME_WAIT is left


def run(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True)


@contextmanager
def namespaces() -> Iterator[tuple[str, str]]:
    """The node's and the endpoints', joined by a veth pair. All of 10.128.0.0/9 is local to the endpoints' one, and so
    are the cluster IPs: a connection that no rule translates is refused there at once."""
    node, ends = f"fwb-{os.getpid()}-node", f"fwb-{os.getpid()}-ends"
    try:
        paths = netns.create(node), netns.create(ends)
        for name in (node, ends):
            run("ip", "-n", name, "link", "set", "lo", "up")
        run("ip", "-n", node, "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", ends)
        for name, address in ((node, "192.0.2.1/24"), (ends, "192.0.2.2/24")):
            run("ip", "-n", name, "address", "add", address, "dev", "eth0")
            run("ip", "-n", name, "link", "set", "eth0", "up")
        for network in ("10.96.0.0/11", "10.128.0.0/9"):
            run("ip", "-n", node, "route", "add", network, "via", "192.0.2.2")
            run("ip", "-n", ends, "route", "add", "local", network, "dev", "lo")
        yield paths
    finally:
        for name in (node, ends):
            netns.delete(name)


class Scene:
    """A proxy process on its node, and a client beside it."""

    def __init__(self, mode: str, count: int, node: str, ends: str) -> None:
        self.mode, self.count, self.node = mode, count, node
        netns.join(node)  # this thread is the client
        self.api = api.StandIn(count, socket.create_server(("127.0.0.1", API_PORT)))
        self._arrivals = netns.open_socket_in(ends, lambda: socket.create_server(("", api.PORT), backlog=1024))
        self._revision = 1
        self._places = [0] * count
        self.process: subprocess.Popen[bytes]

    def start(self) -> float:
        """Seconds from the start of the process to the last Service answering."""
        begun = time.perf_counter()
        command = [sys.executable, __file__, "--serve", self.mode]
        self.process = subprocess.Popen(["nsenter", f"--net={self.node}", *command])
        while self.reach(self.count - 1) is None:
            assert self.process.poll() is None, "the proxy ended"
            assert time.perf_counter() - begun < LONGEST, "the proxy takes too long"
            time.sleep(0.005)
        taken = time.perf_counter() - begun
        for number in range(0, self.count, max(1, self.count // 500)):
            assert self.reach(number) in {api.endpoint(number, place) for place in range(api.ENDPOINTS)}, number
        return taken

    def reach(self, number: int) -> str | None:
        """Which endpoint a new connection to a Service arrives at; None when it is refused."""
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as client:
            client.setblocking(False)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            client.connect_ex((api.cluster_ip(number), 80))
            if not select.select([], [client], [], 0.2)[1] or client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                return None
            arrived, _ = self._arrivals.accept()
            with arrived:
                return str(arrived.getsockname()[0])

    def change(self, numbers: Sequence[int]) -> float:
        """Replace one endpoint of each of these Services in one write; seconds until all new ones were reached."""
        objects, waiting = [], {}
        for number in numbers:
            self._revision += 1
            place = self._places[number] = {0: 5, 5: 6, 6: 7, 7: 0}[self._places[number]]
            objects.append(api.endpoint_slice(number, self._revision, place))
            waiting[number] = api.endpoint(number, place)
        begun = time.perf_counter()
        self.api.tell(objects)
        while waiting:
            assert time.perf_counter() - begun < LONGEST, f"{len(waiting)} changes were not seen"
            time.sleep(TRY_SECONDS)
            for number in tuple(waiting):
                if self.reach(number) == waiting[number]:
                    del waiting[number]
        return time.perf_counter() - begun

    def storm(self, seconds: int) -> int:
        """A thousand changes a second, one after the other through all Services; how many were told in time."""
        begun, told = time.perf_counter(), 0
        while told < seconds * STORM and time.perf_counter() - begun < seconds:
            objects = []
            for number in range(told, told + STORM // 50):
                number %= self.count
                self._revision += 1
                place = self._places[number] = {0: 5, 5: 6, 6: 7, 7: 0}[self._places[number]]
                objects.append(api.endpoint_slice(number, self._revision, place))
            self.api.tell(objects)
            told += len(objects)
            time.sleep(max(begun + told / STORM - time.perf_counter(), 0))
        return told

    def processor(self) -> float:
        """Seconds of processor time that the proxy and the programs it ran have used."""
        pid = self._proxy()
        own = int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9
        threads = [int(p.read_text().split()[0]) / 1e9 for p in Path(f"/proc/{pid}/task").glob("*/schedstat")]
        children = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[13:15]
        return max(own, sum(threads)) + sum(map(int, children)) / os.sysconf("SC_CLK_TCK")

    def memory(self) -> tuple[int, int]:
        """MB resident now, and at most since the start."""
        lines = Path(f"/proc/{self._proxy()}/status").read_text().splitlines()
        sizes = {line.partition(":")[0]: line.split()[1] for line in lines if line.startswith("Vm")}
        return int(sizes["VmRSS"]) // 1024, int(sizes["VmHWM"]) // 1024

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(30)
        self.api.close()
        self._arrivals.close()

    def _proxy(self) -> int:
        return self.process.pid  # nsenter becomes what it starts


def serve(mode: str) -> None:
    """The proxy process: `fairway proxy` with all that stands around the rules, but for the kernel settings."""
    from fairway.assemble import proxying
    from fairway.assemble.proxyconfig import KubeProxyConfiguration
    from fairway.client.http import HttpClient

    config = KubeProxyConfiguration(mode=mode, cluster_cidr="10.244.0.0/16", hostname_override=api.NODE)
    plan = replace(proxying.plan(config), settings={})
    proxying.proxy(plan, lambda: HttpClient(f"http://127.0.0.1:{API_PORT}"))


def programmer(mode: str, kernel: Any = None, namespace: str | None = None) -> Any:
    """The mode's programmer, on the kernel or on something that stands for it."""
    from fairway.kernel.linux.conntrack import LinuxConntrack

    if mode == "iptables":
        from fairway.dataplane.sync import RuleSync
        from fairway.kernel.linux.netfilter import LinuxNetfilter

        return RuleSync(kernel or LinuxNetfilter(namespace), LinuxConntrack(namespace))
    from fairway.dataplane.nft_sync import NftSync
    from fairway.kernel.linux.nftables import LinuxNftables

    return NftSync(kernel or LinuxNftables(namespace), LinuxConntrack(namespace))


class Recorder:
    """Stands for an empty kernel of either kind and keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []

    def save(self, family: Family, table: str = "") -> str:
        return ""

    def restore(self, family: Family, text: str) -> None:
        self.told.append((family, text))

    def ensure_account(self, name: str) -> bool:
        return False

    def apply(self, changes: Any) -> None:
        self.told.append((changes,))

    def read(self, table: Any) -> None:
        return None

    def elements(self, table: Any, kept: Any) -> Sequence[Any]:
        return ()

    def chains(self, table: Any) -> None:
        return None

    def sets(self, table: Any) -> Sequence[str]:
        return ()

    def in_nf_tables(self) -> bool:
        return False

    def generation(self) -> int:
        return 0

    def identity(self) -> int:
        return 0


def floors(mode: str, count: int, ends: str) -> tuple[float, float]:
    """Seconds that the kernel (and its tool) alone takes for everything, and for one change; in a namespace without
    rules."""
    from fairway.client.informer import Change
    from fairway.dataplane.tracker import Tracker
    from fairway.desired import view
    from fairway.desired.options import ProxyOptions
    from fairway.node import Interface, Node

    recorder = Recorder()
    sync = programmer(mode, recorder, ends)
    tracker = Tracker(ProxyOptions(cluster_cidrs=("10.244.0.0/16",)))
    node = Node(api.NODE, (Interface("eth0", (ipaddress.ip_interface("192.0.2.1/24"),)),))

    def told(tell: Callable[[Any], None], decode: Callable[[bytes], Any], objects: list[dict[str, Any]]) -> None:
        import msgspec

        views = [decode(msgspec.json.encode(obj)) for obj in objects]
        tell([Change("added", (v.metadata.namespace, v.metadata.name), None, v) for v in views])

    told(tracker.services_changed, view.service, [api.service(n) for n in range(count)])
    told(tracker.slices_changed, view.endpoint_slice, [api.endpoint_slice(n) for n in range(count)])
    sync.sync(tracker.update(node))
    everything = len(recorder.told)
    for number in range(5):
        told(tracker.slices_changed, view.endpoint_slice, [api.endpoint_slice(number, 2, 5)])
        sync.sync(tracker.update(node))
    kernel = programmer(mode, None, ends)
    act = kernel._netfilter.restore if mode == "iptables" else kernel._nftables.apply
    times = []
    for arguments in recorder.told:
        begun = time.perf_counter()
        act(*arguments)
        times.append(time.perf_counter() - begun)
    return sum(times[:everything]), sum(times[everything:]) / 5


def measure(mode: str, count: int) -> None:
    with namespaces() as (_, ends):
        floor, one = floors(mode, count, ends)
    with namespaces() as (node, ends):
        scene = Scene(mode, count, node, ends)
        cold = scene.start()
        try:
            time.sleep(1)
            loading = scene.processor()
            resident, most = scene.memory()
            changes, spent = [], scene.processor()
            for n in range(CHANGES[mode]):
                time.sleep(0.15)  # a change after quiet time
                changes.append(scene.change([(n * 7919) % count]))
            spent = (scene.processor() - spent) / len(changes)
            time.sleep(0.15)
            burst = scene.change([(n * 31) % count for n in range(BURST)])
        finally:
            scene.stop()
    change = statistics.median(changes)
    figures = (cold, floor, cold / floor, loading, change, one, change / one, spent, burst, resident, most)
    show(
        mode,
        str(count),
        *(f"{figure * column.scale:.{column.digits}f}" for figure, column in zip(figures, COLUMNS, strict=True)),
    )


def storm(mode: str, count: int, seconds: int) -> None:
    """How far behind a storm of changes leaves the proxy: until two hundred Services are as they were told last."""
    with namespaces() as (node, ends):
        scene = Scene(mode, count, node, ends)
        scene.start()
        try:
            time.sleep(1)
            spent = scene.processor()
            told, done = scene.storm(seconds), time.perf_counter()
            for number in range(0, count, max(1, count // 200)):
                while scene.reach(number) != api.endpoint(number, scene._places[number]):
                    assert time.perf_counter() - done < LONGEST, f"Service {number} is not as it was told last"
            lag = time.perf_counter() - done
            spent = scene.processor() - spent
            print(
                f"{mode}, {count} Services: {told} changes in {seconds} s, all seen {lag * 1e3:.0f} ms later; "
                f"{spent / seconds:.0%} of a processor, {scene.memory()[0]} MB"
            )
        finally:
            scene.stop()


class Column(NamedTuple):
    """One figure of a line."""

    title: str
    unit: str
    scale: float = 1
    digits: int = 2


COLUMNS = (
    Column("cold", "s"),
    Column("floor", "s"),
    Column("ratio", "", digits=1),
    Column("CPU", "s"),
    Column("change", "ms", 1e3, 1),
    Column("floor", "ms", 1e3, 1),
    Column("ratio", "", digits=1),
    Column("CPU", "ms", 1e3, 1),
    Column("burst", "ms", 1e3, 1),
    Column("RSS", "MB", digits=0),
    Column("peak", "MB", digits=0),
)


def show(*words: str) -> None:
    print(f"{words[0]:<9}", *(f"{word:>8}" for word in words[1:]), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mode", choices=("nftables", "iptables"))
    parser.add_argument("--serve", choices=("nftables", "iptables"), help=argparse.SUPPRESS)
    parser.add_argument("--storm", type=int, metavar="SECONDS", help="a thousand changes a second")
    parser.add_argument("services", nargs="*", type=int)
    asked = parser.parse_args()
    if asked.serve:
        serve(asked.serve)
        return
    modes = [asked.mode] if asked.mode else ["nftables", "iptables"]
    if asked.storm:
        for mode in modes:
            for count in asked.services or SIZES[:2]:
                storm(mode, count, asked.storm)
        return
    show("mode", "Services", *(column.title for column in COLUMNS))
    show("", "", *(column.unit for column in COLUMNS))
    for mode in modes:
        for count in asked.services or SIZES:
            measure(mode, count)


if __name__ == "__main__":
    main()
