"""Two nodes, a client and an API server on one switch that forgets quickly and floods nothing, for announcers.

The switch is a bridge in a namespace of its own, where the API server runs, too. It forgets a MAC after a second and
sends frames to unknown ones nowhere, as switches with unknown-unicast blocking do. On the nodes the announced
addresses are on `lo`, so that the kernel refuses connections to them; it answers no ARP for those.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar

from fairway.announce import packets
from fairway.client.base import Client
from fairway.client.kubeconfig import connect, load
from fairway.kernel.base import Bridge, DeviceAddress, LinkState, Veth
from fairway.kernel.linux import netns
from fairway.kernel.linux.links import LinuxLinks
from fairway.objects.kinds import CONFIG_MAP, NODE, SERVICE

T = TypeVar("T")

NODES = {"node-a": 11, "node-b": 12}
V4, V6 = "10.0.0.200", "fd00:a::200"
API = "10.0.0.1"
AGEING = 1
EVERY = 0.05
STRANGER = bytes.fromhex("0200000000c1")
"""From whom the client's questions are: from none of the nodes."""
_SETTINGS = {"metadata": {"name": "fairway-loadbalancer", "namespace": "kube-system"}, "data": {"config": "{}"}}
_QUIET = {"net.ipv4.conf.all.arp_ignore": "1", "net.ipv4.conf.all.arp_announce": "2"}


class Segment:
    """The built scene. `kill`, `stop` and `go_on` are for announcers, by node."""

    def __init__(self, prefix: str, directory: Path, undo: ExitStack) -> None:
        self.paths = {name: netns.path(f"{prefix}-{name}") for name in ("switch", "client", *NODES)}
        self.logs = directory
        self.macs: dict[str, bytes] = {}
        self._undo = undo
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._kubeconfig = ""

    def build(self, prefix: str) -> None:
        for name in self.paths:
            netns.create(f"{prefix}-{name}")
            self._undo.callback(netns.delete, f"{prefix}-{name}")
        switch = LinuxLinks(self.paths["switch"])
        addresses = (DeviceAddress("br0", f"{API}/24"), DeviceAddress("br0", "fd00:a::1/64"))
        switch.apply(LinkState((Bridge("br0"),), addresses=addresses))
        for name, last in {"client": 100, **NODES}.items():
            own = (f"10.0.0.{last}/24", f"fd00:a::{last}/64")
            settings = {} if name == "client" else _QUIET
            switch.add_veth(
                Veth(name, "eth0", self.paths[name], master="br0", peer_addresses=own, peer_sysctls=settings)
            )
            self.ip("switch", "link", "set", name, "type", "bridge_slave", "flood", "off")
        self.ip("switch", "link", "set", "br0", "type", "bridge", "ageing_time", str(100 * AGEING))
        for name in NODES:
            for address in (f"{V4}/32", f"{V6}/128"):
                self.ip(name, "address", "add", address, "dev", "lo")
            text = self.ip(name, "-o", "link", "show", "eth0")
            self.macs[name] = bytes.fromhex(re.findall(r"link/ether ([0-9a-f:]+)", text)[0].replace(":", ""))

    def ip(self, where: str, *words: str) -> str:
        command = ["nsenter", f"--net={self.paths[where]}", "ip", *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    # - processes

    def serve(self) -> None:
        """Start the API server, and tell it of nodes and of a Service with both addresses."""
        words = ["api", "--store", "memory", "--listen", f"{API}:6443", "--cert-dir", str(self.logs)]
        said = self.logs / "api.log"
        self._start("api", "switch", words)
        wait(lambda: "kubeconfig " in said.read_text(), "the API server serves")
        self._kubeconfig = said.read_text().partition("kubeconfig ")[2].split()[0]
        self.ask(_fill)

    def announce(self, node: str) -> None:
        """Start a node's announcer."""
        words = ["announce", "--kubeconfig", self._kubeconfig, "--node-name", node, "--metrics-address", ""]
        self._start(node, node, words)

    def signal(self, name: str, number: int) -> None:
        """To an announcer, by its node, or to the server (`api`). One that ends is waited for."""
        self._processes[name].send_signal(number)
        if number in (signal.SIGKILL, signal.SIGTERM):
            self._processes.pop(name).wait(30)

    def ask(self, deed: Callable[[Client], Coroutine[Any, Any, T]]) -> T:
        """Do something with the API server, from the client's machine."""
        found: list[T] = []

        async def act() -> None:
            client = connect(load(self._kubeconfig))
            try:
                found.append(await deed(client))
            finally:
                await client.close()

        def work() -> None:
            netns.join(self.paths["switch"])
            asyncio.run(act())

        thread = threading.Thread(target=work)
        thread.start()
        thread.join(60)
        return found[0]

    def _start(self, name: str, where: str, words: Sequence[str]) -> None:
        command = ["nsenter", f"--net={self.paths[where]}", sys.executable, "-m", "fairway", *words]
        with (self.logs / f"{name}.log").open("ab") as log:
            started = subprocess.Popen(command, stdout=log, stderr=log)
        self._processes[name] = started
        self._undo.callback(_end, started)

    # - what the client finds

    def answering(self, address: str) -> set[str]:
        """Who says that it has the address, when asked."""
        return set(self.told(address, 0.2))

    def told(self, address: str, seconds: float) -> list[str]:
        """Who says that it has the address, in the order in which that is heard, while the client asks again and
        again."""
        number = ipaddress.ip_address(address)
        question = packets.probe(number, STRANGER)
        found: list[str] = []
        with netns.open_socket_in(self.paths["client"], _tap) as tap:
            end = time.monotonic() + seconds
            while (now := time.monotonic()) < end:
                tap.send(question)
                while (left := now + EVERY - time.monotonic()) > 0:
                    tap.settimeout(left)
                    try:
                        said = packets.read(tap.recv(2048))
                    except TimeoutError:
                        break
                    if isinstance(said, packets.Tells) and said.address == number:
                        found += [name for name, mac in self.macs.items() if mac == said.mac]
        return found

    def reaches(self, address: str) -> bool:
        """Whether a connection from the client comes to a node, which refuses it."""
        kind = socket.AF_INET6 if ":" in address else socket.AF_INET
        with netns.open_socket_in(self.paths["client"], lambda: socket.socket(kind, socket.SOCK_STREAM)) as asker:
            asker.settimeout(0.2)
            try:
                asker.connect((address, 80))
            except ConnectionRefusedError:
                return True
            except OSError:
                return False
        return False

    def believed(self, address: str) -> str:
        """The node to whose MAC the client sends; "" for none."""
        text = self.ip("client", "neighbour", "show", address)
        found = re.findall(r"lladdr ([0-9a-f:]+)", text)
        return next((name for name, mac in self.macs.items() if found and mac.hex(":") == found[0]), "")


@contextmanager
def segment(directory: Path) -> Iterator[Segment]:
    """Build it with everything running; end and remove all of it."""
    prefix = f"fwt-{os.getpid()}-an"
    with ExitStack() as undo:
        made = Segment(prefix, directory, undo)
        made.build(prefix)
        made.serve()
        for node in NODES:
            made.announce(node)
        yield made


def wait(holds: Callable[[], object], what: str, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.02)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


def _tap() -> socket.socket:
    tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    tap.bind(("eth0", 3))
    return tap


async def _fill(client: Client) -> None:
    await client.create(CONFIG_MAP, _SETTINGS, "kube-system")
    for name in NODES:
        made = await client.create(NODE, {"metadata": {"name": name}})
        made["status"] = {"conditions": [{"type": "Ready", "status": "True"}]}
        await client.update(NODE, made, subresource="status")
    spec = {"type": "LoadBalancer", "ports": [{"port": 80}], "selector": {"app": "web"}}
    made = await client.create(SERVICE, {"metadata": {"name": "web"}, "spec": spec}, "default")
    said = {"type": "fairway.io/LoadBalancer", "status": "True", "reason": "Assigned", "message": ""}
    points = [{"ip": address, "ipMode": "VIP"} for address in (V4, V6)]
    conditions = [{**said, "lastTransitionTime": "2026-01-01T00:00:00Z"}]
    made["status"] = {"loadBalancer": {"ingress": points}, "conditions": conditions}
    await client.update(SERVICE, made, subresource="status")
