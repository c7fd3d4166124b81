"""From topology to namespaces and back: makes what the record names, removes what the record names.

A lab's network is a bridge in a namespace of its own (the segment), and one namespace for each node, for the control
plane and for the outside client, each with an `eth0` on the segment; where it is asked for, a router among them whose
`eth1` leads to a client `far`. The host's own namespace is not touched.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import socket
import time
from collections.abc import Iterable, Iterator

from fairway.kernel.base import Bridge, DeviceAddress, DeviceRoute, LinkState, Veth
from fairway.kernel.linux import netns
from fairway.kernel.linux.links import LinuxLinks
from fairway.lab.state import Process, StateDir
from fairway.lab.topology import Topology
from fairway.pods.records import sandbox_pids

API_PORT = 6443
BACKLOG = 512
SEGMENT_BRIDGE = "br0"
SEGMENT_MTU = 1500
POD_END = 3.0  # seconds a killed pod may take to vanish

MEMBER_SYSCTLS = {
    "net.ipv6.conf.all.disable_ipv6": "0",
    "net.ipv4.conf.all.rp_filter": "0",
    "net.ipv4.conf.default.rp_filter": "0",
}
# The segment's gateway leads nowhere else: it forwards, so that what has no way gets an ICMP error instead of silence.
ROUTER_SYSCTLS = {
    "net.ipv4.ip_forward": "1",
    "net.ipv4.conf.all.send_redirects": "0",
    "net.ipv6.conf.all.forwarding": "1",
}


def build_network(topology: Topology) -> None:
    """Make the lab's namespaces and its segment. The record must have been written before."""
    for name in topology.namespaces():
        netns.create(name)
    segment = LinuxLinks(netns.path(topology.namespace("segment")))
    gateways = _on(SEGMENT_BRIDGE, topology.gateways, topology.segments)
    segment.apply(LinkState((Bridge(SEGMENT_BRIDGE, mtu=SEGMENT_MTU),), addresses=gateways, sysctls=ROUTER_SYSCTLS))
    for member, addresses in topology.on_segment().items():
        segment.add_veth(
            Veth(
                name=member,
                peer_name="eth0",
                peer_namespace=netns.path(topology.namespace(member)),
                master=SEGMENT_BRIDGE,
                mtu=SEGMENT_MTU,
                peer_addresses=tuple(each.address for each in _on("eth0", addresses, topology.segments)),
                peer_gateways=topology.gateways,
                peer_sysctls=MEMBER_SYSCTLS,
            )
        )
    if topology.behind:
        _build_behind(topology)


def _build_behind(topology: Topology) -> None:
    """A wire between the router and the client beyond it, and everybody's way there and back."""
    router = LinuxLinks(netns.path(topology.namespace("router")))
    router.apply(LinkState(sysctls={**ROUTER_SYSCTLS, "net.ipv6.conf.default.accept_dad": "0"}))
    networks = [each.segment for each in topology.behind]
    clients = _on("eth0", [each.client for each in topology.behind], networks)
    router.add_veth(
        Veth(
            name="eth1",
            peer_name="eth0",
            peer_namespace=netns.path(topology.namespace("far")),
            mtu=SEGMENT_MTU,
            peer_addresses=tuple(each.address for each in clients),
            peer_gateways=tuple(each.gateway for each in topology.behind),
            peer_sysctls=MEMBER_SYSCTLS,
        )
    )
    router.apply(LinkState(addresses=_on("eth1", [each.gateway for each in topology.behind], networks)))
    for member in topology.members():
        if member not in ("router", "far"):
            device = SEGMENT_BRIDGE if member == "segment" else "eth0"
            ways = tuple(DeviceRoute(each.segment, device, each.router) for each in topology.behind)
            LinuxLinks(netns.path(topology.namespace(member))).apply(LinkState(routes=ways))


def _on(device: str, addresses: Iterable[str], networks: Iterable[str]) -> tuple[DeviceAddress, ...]:
    """Addresses on a device, each with the prefix length of its network."""
    pairs = zip(addresses, networks, strict=True)
    return tuple(DeviceAddress(device, f"{address}/{network.partition('/')[2]}") for address, network in pairs)


def cut_power(topology: Topology, node: str) -> None:
    """Take a node's cable out: its port on the segment goes down without a word to anyone."""
    LinuxLinks(netns.path(topology.namespace("segment"))).switch(node, on=False)


def restore_power(topology: Topology, node: str) -> None:
    """Put the cable back."""
    LinuxLinks(netns.path(topology.namespace("segment"))).switch(node, on=True)


def api_sockets(topology: Topology) -> list[socket.socket]:
    """The API server's two listening sockets: the host's loopback (for kubectl) and the control plane's address on
    the segment (for nodes and pods). Held by the supervisor, so that requests wait out a restart of the server instead
    of being refused."""
    host = _listen("127.0.0.1", topology.api_port)
    with netns.entered(netns.path(topology.namespace("control"))):
        return [host, _listen(topology.control_plane, API_PORT)]


def control_socket(state: StateDir) -> socket.socket:
    """The supervisor's ear: a socket in the lab's private directory."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(state.control_socket))
    listener.listen(16)
    return listener


def _listen(address: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((address, port))
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            raise OSError(error.errno, f"{address}:{port} is taken by another program (see --api-port)") from error
        raise
    listener.listen(BACKLOG)
    return listener


def pod_sandboxes(state: StateDir, node: str = "") -> Iterator[Process]:
    """The sandbox processes of the lab's pods (of one node, or all): killing one ends everything in its pod."""
    nodes = [state.node(node)] if node else [path for path in (state.path / "nodes").glob("*") if path.is_dir()]
    for directory in nodes:
        for pid in sandbox_pids(directory):
            process = Process.of(pid)
            if process is not None:
                yield process


def kill_pods(state: StateDir, node: str = "") -> None:
    """End the pods at once, as a power failure would, and wait until their processes are gone."""
    doomed = list(pod_sandboxes(state, node))
    for process in doomed:
        process.signal(signal.SIGKILL)
    deadline = time.monotonic() + POD_END
    for process in doomed:
        while process.alive() and time.monotonic() < deadline:
            time.sleep(0.002)


def end_processes(state: StateDir) -> None:
    """Kill the lab's recorded processes but this one. All are stopped first, those that start others before the rest,
    and the record is read again: nobody may start again, or take the place of, what ends here."""
    for number in (signal.SIGSTOP, signal.SIGKILL):
        recorded = state.processes()
        for name in dict.fromkeys(("supervisor", "standby", *recorded)):
            process = recorded.get(name)
            if process and process.pid != os.getpid():
                process.signal(number)


def teardown(state: StateDir, topology: Topology) -> None:
    """Remove all that the record names: processes, pods, namespaces (with the links in them), files. What is gone
    already is no error, so it serves after a crash too."""
    end_processes(state)
    kill_pods(state)
    for name in topology.namespaces():
        with contextlib.suppress(FileNotFoundError):
            netns.delete(name)
    state.remove()


def leftovers(topology: Topology) -> list[str]:
    """Namespaces with a name of this lab that exist now."""
    wanted = set(topology.namespaces())
    return [name for name in netns.names() if name in wanted]
