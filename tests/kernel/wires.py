"""A node between wires: frames go in at its devices, and where they come out is what became of them.

One namespace is the node, with devices of a lab node (eth0 to the segment, cni0 and veth12345 to its pods, flannel.1
to other nodes); the far ends of all wires lie in another, where no kernel answers anything. A packet is sent as a
frame, or from a raw socket when one of the node's own processes sends it, and is found again by a tag inside it: on a
wire, delivered in the node, or quoted in an ICMP error. Thousands go through in a second.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from select import select

from fairway.kernel.base import DeviceAddress, DeviceRoute, LinkState, Veth
from fairway.kernel.linux import netns
from fairway.kernel.linux.conntrack import LinuxConntrack
from fairway.kernel.linux.links import LinuxLinks
from fairway.node import Node
from fairway.packet import Family, Outcome, Packet, Protocol, Verdict, host_port
from tests.kernel.datagrams import ICMP, Hop, datagram, quoted, read_packet, read_transport

DEVICES = ("eth0", "cni0", "veth12345", "flannel.1")
BATCH = 400
QUIET = 0.03

_ETHERTYPES = {Family.IPV4: 0x0800, Family.IPV6: 0x86DD}
_KINDS = {Family.IPV4: socket.AF_INET, Family.IPV6: socket.AF_INET6}
_IPV6_HDRINCL = 36
_GET_FLAGS, _SET_FLAGS, _GET_ADDRESS = 0x8913, 0x8914, 0x8927  # SIOCGIFFLAGS, SIOCSIFFLAGS, SIOCGIFHWADDR
_NO_ARP = 0x80  # IFF_NOARP
_BUFFER = 8 << 20
_FIRST_PORT, _PORTS = 20000, 40000


@dataclass
class _Seen:
    """What came of one packet: where it came out of the node, where it was delivered inside, whether it was refused."""

    out: list[Hop] = field(default_factory=list)
    inside: list[Hop] = field(default_factory=list)
    refused: bool = False


class Wires:
    """The built scene. `path` is the node's namespace."""

    def __init__(self, path: str, world: str, undo: ExitStack) -> None:
        self.path = path
        self._links = LinuxLinks(path)
        self._state = LinkState()
        self._sent = 0
        self._seen: dict[int, _Seen] = {}
        self._taps = {d: undo.enter_context(netns.open_socket_in(world, partial(_tap, d))) for d in DEVICES}
        self._macs = {d: netns.open_socket_in(path, partial(_mac, d)) for d in DEVICES}
        self._raw = {f: undo.enter_context(netns.open_socket_in(path, partial(_raw, f))) for f in Family}
        self._readers: dict[socket.socket, Callable[[socket.socket], None]] = dict.fromkeys(
            self._taps.values(), self._from_tap
        )
        for family in Family:
            for number in (*(p.number for p in Protocol), ICMP[family]):
                opened = netns.open_socket_in(path, partial(_listener, family, number))
                self._readers[undo.enter_context(opened)] = partial(self._from_inside, family, number)

    def settle(self, node: Node, route_localnet: bool = False) -> None:
        """Give the node's devices its addresses and routes. Without neighbours to ask, everything is on the link."""
        connected = {a.network for i in node.interfaces for a in i.addresses}
        per_device = {
            f"net.ipv4.conf.{device.replace('.', '/')}.{name}": "0"
            for device in ("all", *DEVICES)
            for name in ("rp_filter", "send_redirects")
        }
        wanted = LinkState(
            addresses=tuple(DeviceAddress(i.name, str(a)) for i in node.interfaces for a in i.addresses),
            routes=tuple(
                DeviceRoute(str(r.destination), r.device) for r in node.routes if r.destination not in connected
            ),
            sysctls={
                "net.ipv4.ip_forward": "1",
                "net.ipv6.conf.all.forwarding": "1",
                # the kernel answers a peer once a second otherwise, and all of them a thousand times
                "net.ipv4.icmp_ratelimit": "0",
                "net.ipv4.icmp_msgs_per_sec": "1000000",
                "net.ipv4.icmp_msgs_burst": "100000",
                "net.ipv6.icmp.ratelimit": "0",
                "net.ipv4.conf.all.route_localnet": str(int(route_localnet)),
                **per_device,
            },
        )
        self._links.apply(wanted, self._state)
        self._state = wanted

    def fates(self, packets: Sequence[Packet]) -> list[Outcome]:
        """What becomes of each packet."""
        return [f for start in range(0, len(packets), BATCH) for f in self._batch(packets[start : start + BATCH])]

    def _batch(self, packets: Sequence[Packet]) -> list[Outcome]:
        self._seen = {}
        sent: list[tuple[Packet, int, int]] = []
        for packet in packets:
            self._sent += 1
            tag, port = 0x46570000 + self._sent % 0x10000, _FIRST_PORT + self._sent % _PORTS
            self._seen[tag] = _Seen()
            self._send(packet, datagram(packet, port, tag))
            sent.append((packet, port, tag))
        while ready := select([*self._readers], [], [], QUIET)[0]:
            for opened in ready:
                self._drain(opened)
        return [_fate(packet, port, self._seen[tag]) for packet, port, tag in sent]

    def forget_connections(self) -> None:
        """Delete every connection the node knows."""
        conntrack = LinuxConntrack(self.path)
        for family in Family:
            conntrack.delete(conntrack.flows(family))

    def _send(self, packet: Packet, data: bytes) -> None:
        if packet.in_interface:
            kind = _ETHERTYPES[packet.family].to_bytes(2, "big")
            self._taps[packet.in_interface].send(self._macs[packet.in_interface] + b"\x02\0\0\0\0\x01" + kind + data)
            return
        try:
            self._raw[packet.family].sendto(data, (packet.destination, 0))
        except OSError:
            pass  # refused or dropped on the way out: the sender is told at once, and what was quoted says which

    def _drain(self, opened: socket.socket) -> None:
        while True:
            try:
                self._readers[opened](opened)
            except BlockingIOError:
                return

    def _from_tap(self, tap: socket.socket) -> None:
        frame, address = tap.recvfrom(2048)
        if address[2] != socket.PACKET_OUTGOING:
            found = read_packet(frame[14:])
            if found is not None:
                self._note(found.quoted, found.tag, found.hop, inside=False)

    def _from_inside(self, family: Family, number: int, listener: socket.socket) -> None:
        data, extra, _, address = listener.recvmsg(2048, 256)
        if family is Family.IPV4:
            found = read_packet(data)
        elif number == ICMP[family]:
            found = quoted(data[8:]) if data[0] == 1 else None
        else:
            destination = next((socket.inet_ntop(socket.AF_INET6, d[:16]) for _, _, d in extra), "")
            found = read_transport(number, address[0].partition("%")[0], destination, data)
        if found is not None:
            self._note(found.quoted, found.tag, found.hop, inside=True)

    def _note(self, is_quote: bool, tag: int, hop: Hop, inside: bool) -> None:
        seen = self._seen.get(tag)
        if seen is None:
            return
        if is_quote:
            seen.refused = True
        else:
            (seen.inside if inside else seen.out).append(hop)


def _fate(packet: Packet, port: int, seen: _Seen) -> Outcome:
    for hop in (*seen.inside, *seen.out):
        if (hop.destination, hop.destination_port) == (packet.destination, packet.destination_port):
            return Outcome(Verdict.UNTRANSLATED)
        hidden = (hop.source, hop.source_port) != (packet.source, port)
        return Outcome(Verdict.ENDPOINT, host_port(hop.destination, hop.destination_port), hidden)
    return Outcome(Verdict.REJECTED if seen.refused else Verdict.DROPPED)


@contextmanager
def wires() -> Iterator[Wires]:
    """Build it and remove all of it."""
    prefix = f"fwt-{os.getpid()}-wires"
    with ExitStack() as undo:
        paths = []
        for name in (f"{prefix}-node", f"{prefix}-world"):
            paths.append(netns.create(name))
            undo.callback(netns.delete, name)
        node, world = paths
        links = LinuxLinks(node)
        for device in DEVICES:
            links.add_veth(Veth(device, device, world, mtu=1500))
            for path in paths:
                netns.open_socket_in(path, partial(_without_neighbours, device))
        yield Wires(node, world, undo)


def _without_neighbours(device: str) -> None:
    """No ARP and no neighbour discovery: frames are sent without asking who is there."""
    request = struct.Struct("16sh14x")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as handle:
        name, flags = request.unpack(fcntl.ioctl(handle, _GET_FLAGS, request.pack(device.encode(), 0)))
        fcntl.ioctl(handle, _SET_FLAGS, request.pack(name, flags | _NO_ARP))


def _tap(device: str) -> socket.socket:
    opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.htons(3))
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
    opened.bind((device, 3))
    return opened


def _mac(device: str) -> bytes:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as handle:
        answer: bytes = fcntl.ioctl(handle, _GET_ADDRESS, struct.pack("16s24x", device.encode()))
        return answer[18:24]


def _raw(family: Family) -> socket.socket:
    opened = socket.socket(_KINDS[family], socket.SOCK_RAW, socket.IPPROTO_RAW)
    if family is Family.IPV6:
        opened.setsockopt(socket.IPPROTO_IPV6, _IPV6_HDRINCL, 1)
    return opened


def _listener(family: Family, number: int) -> socket.socket:
    opened = socket.socket(_KINDS[family], socket.SOCK_RAW | socket.SOCK_NONBLOCK, number)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
    if family is Family.IPV6:
        opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
    return opened
