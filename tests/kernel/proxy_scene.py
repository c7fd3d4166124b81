"""One node with three pods, and a machine outside, for tests that send packets through the proxy's rules.

outside: eth0 10.0.0.100 --- node: eth0 10.0.0.11, cni0 10.244.0.1 --- pods: 10.244.0.5, .6, .7 (and fd00 ones)

Every pod serves TCP and UDP on port 8080 and answers with its own address and the caller's: `10.244.0.5 10.0.0.100`.
The machine outside serves the same on 10.0.0.100, as a host-network endpoint elsewhere would.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from fairway.dataplane.proxy import sysctls
from fairway.desired.options import ProxyOptions
from fairway.kernel.base import Bridge, DeviceAddress, DeviceRoute, LinkState, Veth
from fairway.kernel.linux import netns
from fairway.kernel.linux.links import LinuxLinks
from fairway.node import Node

PORT = 8080
PATIENCE = 0.5
PODS = {
    "pod-5": ("10.244.0.5", "fd00:10:244::5"),
    "pod-6": ("10.244.0.6", "fd00:10:244::6"),
    "pod-7": ("10.244.0.7", "fd00:10:244::7"),
}
NODE_ADDRESS, OUTSIDE = "10.0.0.11", "10.0.0.100"

REFUSED, SILENT = "refused", "silent"


@dataclass(frozen=True)
class Scene:
    """The namespaces by name: `node`, `outside`, and the pods."""

    paths: dict[str, str]

    def node(self, name: str = "node-a") -> Node:
        """The node as the proxy sees it."""
        links = LinuxLinks(self.paths["node"])
        return Node(name, tuple(links.interfaces()), tuple(links.routes()))

    def ask(self, who: str, address: str, port: int) -> str:
        """Connect and read the answer: `POD CALLER`, or REFUSED, or SILENT."""
        kind = socket.AF_INET6 if ":" in address else socket.AF_INET
        with netns.open_socket_in(self.paths[who], lambda: socket.socket(kind, socket.SOCK_STREAM)) as client:
            client.settimeout(PATIENCE)
            try:
                client.connect((address, port))
                return client.recv(200).decode()
            except ConnectionRefusedError:
                return REFUSED
            except TimeoutError:
                return SILENT

    def spread(self, who: str, address: str, port: int, times: int) -> dict[str, int]:
        """How many of so many connections each answer got."""
        counts: dict[str, int] = {}
        for _ in range(times):
            answer = self.ask(who, address, port)
            counts[answer] = counts.get(answer, 0) + 1
        return counts

    def datagrams(self, who: str) -> socket.socket:
        """A UDP socket in a namespace."""
        opened = netns.open_socket_in(self.paths[who], lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        opened.settimeout(PATIENCE)
        return opened


@contextmanager
def scene() -> Iterator[Scene]:
    """Build it, serve in it, and remove all of it."""
    prefix = f"fwt-{os.getpid()}-px"
    names = ("node", "outside", *PODS)
    with ExitStack() as undo:
        paths = {}
        for name in names:
            paths[name] = netns.create(f"{prefix}-{name}")
            undo.callback(netns.delete, f"{prefix}-{name}")
        _connect(paths)
        for pod, addresses in PODS.items():
            for address in addresses:
                _serve(undo, paths[pod], address)
        _serve(undo, paths["outside"], OUTSIDE)
        yield Scene(paths)


def _connect(paths: dict[str, str]) -> None:
    node = LinuxLinks(paths["node"])
    node.add_veth(
        Veth(
            "eth0",
            "eth0",
            paths["outside"],
            mtu=1500,
            peer_addresses=(f"{OUTSIDE}/24", "fd00:a::100/64"),
            peer_gateways=(NODE_ADDRESS, "fd00:a::11"),
        )
    )
    node.apply(
        LinkState(
            bridges=(Bridge("cni0", 1500),),
            addresses=(
                DeviceAddress("eth0", f"{NODE_ADDRESS}/24"),
                DeviceAddress("eth0", "fd00:a::11/64"),
                DeviceAddress("cni0", "10.244.0.1/24"),
                DeviceAddress("cni0", "fd00:10:244::1/64"),
            ),
            routes=(
                DeviceRoute("0.0.0.0/0", "eth0", via=OUTSIDE),
                DeviceRoute("::/0", "eth0", via="fd00:a::100"),
            ),
            sysctls={
                "net.ipv4.ip_forward": "1",
                "net.ipv6.conf.all.forwarding": "1",
                # the kernel answers a peer once a second otherwise, and tests ask more often
                "net.ipv4.icmp_ratelimit": "0",
                # what the option for node ports on loopback asks for
                **sysctls(ProxyOptions(localhost_nodeports=True)),
                "net.bridge.bridge-nf-call-iptables": "1",
                "net.bridge.bridge-nf-call-ip6tables": "1",
            },
        )
    )
    for pod, (four, six) in PODS.items():
        node.add_veth(
            Veth(
                f"v{pod}",
                "eth0",
                paths[pod],
                master="cni0",
                hairpin=True,
                mtu=1500,
                peer_addresses=(f"{four}/24", f"{six}/64"),
                peer_gateways=("10.244.0.1", "fd00:10:244::1"),
            )
        )


def _serve(undo: ExitStack, path: str, address: str) -> None:
    kind = socket.AF_INET6 if ":" in address else socket.AF_INET
    stream = netns.open_socket_in(path, lambda: socket.socket(kind, socket.SOCK_STREAM))
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    datagram = netns.open_socket_in(path, lambda: socket.socket(kind, socket.SOCK_DGRAM))
    for opened in (stream, datagram):
        opened.bind((address, PORT))
    stream.listen(128)
    for answer, opened in ((_answer_stream, stream), (_answer_datagrams, datagram)):
        thread = threading.Thread(target=answer, args=(opened, address), daemon=True)
        thread.start()
        undo.callback(thread.join)
        undo.callback(_end, opened)


def _end(opened: socket.socket) -> None:
    """Wake the thread that waits in `opened`: a shut down socket returns from accept and recvfrom."""
    try:
        opened.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # a datagram socket says that it is not connected, and wakes all the same
    opened.close()


def _answer_stream(server: socket.socket, address: str) -> None:
    while True:
        try:
            connection, caller = server.accept()
        except OSError:
            return
        with connection:
            connection.sendall(f"{address} {caller[0]}".encode())


def _answer_datagrams(server: socket.socket, address: str) -> None:
    while True:
        try:
            _, caller = server.recvfrom(100)
            if not caller:
                return
            server.sendto(f"{address} {caller[0]}".encode(), caller)
        except OSError:
            return
