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
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from select import select

from fairway.kernel.base import DeviceAddress, DeviceRoute, LinkState, Veth
from fairway.kernel.linux import netns
from fairway.kernel.linux.conntrack import LinuxConntrack
from fairway.kernel.linux.links import LinuxLinks
from fairway.node import Node
from fairway.packet import Family, Outcome, Packet, Protocol, Verdict, host_port
from tests.kernel.datagrams import ICMP, Found, Hop, datagram, quoted, read_packet, read_transport

DEVICES = ("eth0", "cni0", "veth12345", "flannel.1")
BATCH = 400
QUIET = 0.03
PATIENCE = 10.0
"""Seconds for what is surely seen."""

_ETHERTYPES = {Family.IPV4: 0x0800, Family.IPV6: 0x86DD}
_KINDS = {Family.IPV4: socket.AF_INET, Family.IPV6: socket.AF_INET6}
_IPV6_HDRINCL = 36
_GET_FLAGS, _SET_FLAGS, _GET_ADDRESS = 0x8913, 0x8914, 0x8927  # SIOCGIFFLAGS, SIOCSIFFLAGS, SIOCGIFHWADDR
_NO_ARP = 0x80  # IFF_NOARP
_BUFFER = 8 << 20
_FIRST_PORT, _PORTS = 20000, 40000


@dataclass
class Seen:
    """What came of one packet: the devices by which it came out of the node ("": it was delivered inside), with its
    addresses there, and whether it was refused."""

    places: list[tuple[str, Hop]] = field(default_factory=list)
    refused: bool = False

    @property
    def anything(self) -> bool:
        return bool(self.places) or self.refused


class Wires:
    """The built scene. `path` is the node's namespace."""

    def __init__(self, path: str, world: str, undo: ExitStack) -> None:
        self.path = path
        self._links = LinuxLinks(path)
        self._state = LinkState()
        self._sent = self._ports = 0
        self._seen: dict[int, Seen] = {}
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
        """What becomes of each packet; source ports are given out here."""
        found = []
        for start in range(0, len(packets), BATCH):
            batch = [self._with_port(packet) for packet in packets[start : start + BATCH]]
            found += [_fate(packet, seen) for packet, seen in zip(batch, self._batch(batch), strict=True)]
        return found

    def meet(self, packets: Sequence[Packet], surely: Sequence[bool]) -> list[Seen]:
        """What is seen of each packet, sent with its own source port. For those of which something is surely seen it
        waits longer."""
        pairs = list(zip(packets, surely, strict=True))
        batches = [pairs[start : start + BATCH] for start in range(0, len(pairs), BATCH)]
        return [seen for batch in batches for seen in self._batch(*map(list, zip(*batch, strict=True)))]

    def _with_port(self, packet: Packet) -> Packet:
        self._ports += 1
        return replace(packet, source_port=_FIRST_PORT + self._ports % _PORTS)

    def _batch(self, packets: Sequence[Packet], surely: Sequence[bool] = ()) -> list[Seen]:
        self._seen = {}
        for packet in packets:
            self._sent += 1
            tag = 0x46570000 + self._sent % 0x10000
            self._seen[tag] = Seen()
            self._send(packet, datagram(packet, packet.source_port, tag))
        seen = list(self._seen.values())
        awaited = [each for each, sure in zip(seen, surely, strict=False) if sure]
        end = time.monotonic() + PATIENCE
        while True:
            ready = select([*self._readers], [], [], QUIET)[0]
            for opened in ready:
                self._drain(opened)
            if not ready and (all(each.anything for each in awaited) or time.monotonic() > end):
                return seen

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
                self._note(found, address[0])

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
            self._note(found, "")

    def _note(self, found: Found, device: str) -> None:
        seen = self._seen.get(found.tag)
        if seen is None:
            return
        if found.quoted:
            seen.refused = True
        else:
            seen.places.append((device, found.hop))


def _fate(packet: Packet, seen: Seen) -> Outcome:
    for _, hop in sorted(seen.places):  # what was delivered inside comes first
        if (hop.destination, hop.destination_port) == (packet.destination, packet.destination_port):
            return Outcome(Verdict.UNTRANSLATED)
        hidden = (hop.source, hop.source_port) != (packet.source, packet.source_port)
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


def inside(world: Wires, *command: str, given: str = "") -> str:
    """What a program prints in the node's namespace."""
    with netns.entered(world.path):
        done = subprocess.run(command, input=given, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}\n{given}"
    return done.stdout


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
