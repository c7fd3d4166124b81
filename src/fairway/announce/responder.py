"""EDGE. A node's mouth and ears on its segments: raw sockets for ARP and neighbour discovery, one pair per device.

The kernel would answer for the node's own addresses only; those of load balancers are on no device, so that nothing
else of the node changes.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import ipaddress
import logging
import socket
import struct
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

from fairway.announce import filters, packets
from fairway.announce.packets import Asks, Heard
from fairway.node import Address, Interface

AT_ONCE = 1024
"""Frames of one socket taken in before any is answered: more than its buffer holds."""

_SO_ATTACH_FILTER = 26
_PACKET_IGNORE_OUTGOING = 23  # Linux 4.20
_SOL_PACKET = 263
_SIOCGIFFLAGS, _SIOCGIFHWADDR = 0x8913, 0x8927
_IFF_RUNNING = 0x40
_ARPHRD_ETHER = 1
_INSTRUCTION = struct.Struct("HBBI")
_BUFFER = 1 << 18

_log = logging.getLogger("fairway.announce")


class Segment:
    """One device: its sockets, its MAC, the groups it has joined. Raises OSError when it has gone or is no Ethernet."""

    def __init__(self, device: str) -> None:
        self.device = device
        self._watched: frozenset[Address] = frozenset()
        self._groups: set[ipaddress.IPv6Address] = set()
        self._sockets: list[socket.socket] = []
        try:
            self.mac = _mac(device)
            self._arp = self._open(packets.ETH_ARP)
            self._discovery = self._open(packets.ETH_IPV6)
            self._member = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            self._sockets.append(self._member)
            self._index = socket.if_nametoindex(device)
        except OSError:
            self.close()
            raise

    def filenos(self) -> tuple[int, int]:
        """Of the sockets that frames come to."""
        return self._arp.fileno(), self._discovery.fileno()

    def is_same(self) -> bool:
        """Whether the device is still the one that was opened, and has its MAC."""
        try:
            return socket.if_nametoindex(self.device) == self._index and _mac(self.device) == self.mac
        except OSError:
            return False

    def watch(self, addresses: frozenset[Address]) -> None:
        """Hear of these addresses and no others; be in the groups where they are asked for, so that switches that
        look at memberships bring the questions here (RFC 4541)."""
        if addresses == self._watched:
            return
        _filter(self._arp, filters.arp(addresses), filters.ARP)
        _filter(self._discovery, filters.discovery(addresses), filters.DISCOVERY)
        groups = {packets.solicited_node(each) for each in addresses if isinstance(each, ipaddress.IPv6Address)}
        for group in self._groups ^ groups:
            wanted = socket.IPV6_JOIN_GROUP if group in groups else socket.IPV6_LEAVE_GROUP
            try:
                self._member.setsockopt(socket.IPPROTO_IPV6, wanted, group.packed + struct.pack("@I", self._index))
            except OSError as error:
                _log.warning("%s: group %s: %s", self.device, group, error.strerror)
        self._watched, self._groups = addresses, groups

    def heard(self, fileno: int) -> Iterator[Heard]:
        """What has come to one of the sockets."""
        source = self._arp if fileno == self._arp.fileno() else self._discovery
        for _ in range(AT_ONCE):
            try:
                frame = source.recv(2048)
            except BlockingIOError:
                return
            except OSError as error:  # the device went down; what is opened stays for when it comes back
                _log.info("%s: %s", self.device, error.strerror)
                return
            found = packets.read(frame)
            if found is not None and found.mac != self.mac:
                yield found

    def send(self, frame: bytes) -> bool:
        """Whether it could be sent."""
        try:
            self._arp.send(frame)
        except OSError:
            return False
        return True

    def close(self) -> None:
        for each in self._sockets:
            each.close()

    def _open(self, kind: int) -> socket.socket:
        opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, 0)
        self._sockets.append(opened)
        _filter(opened, filters.NOTHING)  # before it is bound: nothing comes that nobody asked for
        opened.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
        opened.bind((self.device, kind))
        return opened


class Responder:
    """All segments of a node. `may_answer` is asked at each question, `heard` told of what else others say of watched
    addresses (the device, and what was said); `add` and `remove` are the event loop's for readers."""

    def __init__(
        self,
        may_answer: Callable[[str], bool],
        heard: Callable[[str, Heard], None],
        add: Callable[..., object],
        remove: Callable[[int], object],
    ) -> None:
        self.answers = {4: 0, 6: 0}
        """By IP version, questions answered so far."""
        self._may_answer = may_answer
        self._heard = heard
        self._add = add
        self._remove = remove
        self._segments: dict[str, Segment] = {}
        self._where: dict[str, tuple[str, ...]] = {}
        self._silent: set[str] = set()

    def watch(self, where: Mapping[str, tuple[str, ...]]) -> None:
        """Attend to these addresses on their devices, and to nothing else."""
        wanted: dict[str, set[Address]] = {}
        for address, devices in where.items():
            for device in devices:
                wanted.setdefault(device, set()).add(ipaddress.ip_address(address))
        for device in set(self._segments) - set(wanted):
            self._shut(device)
        self._where = dict(where)
        for device, addresses in wanted.items():
            segment = self._segment(device)
            if segment is not None:
                segment.watch(frozenset(addresses))

    def check(self) -> bool:
        """Open again the devices that are not what they were; whether there were any."""
        changed = [device for device, segment in self._segments.items() if not segment.is_same()]
        for device in changed:
            self._shut(device)
        self.watch(self._where)
        return bool(changed)

    def announce(self, address: str) -> bool:
        """Tell everybody; whether it could be told on every device."""
        return self._say(address, packets.announcement)

    def probe(self, address: str) -> bool:
        """Ask whether anybody has it."""
        return self._say(address, lambda number, mac: (packets.probe(number, mac),))

    def close(self) -> None:
        for device in list(self._segments):
            self._shut(device)

    def _say(self, address: str, frames: Callable[[Address, bytes], Sequence[bytes]]) -> bool:
        said = []
        for device in self._where.get(address, ()):
            segment = self._segment(device)
            if segment is not None:
                said += [segment.send(frame) for frame in frames(ipaddress.ip_address(address), segment.mac)]
        return bool(said) and all(said)

    def _segment(self, device: str) -> Segment | None:
        if device not in self._segments:
            try:
                opened = Segment(device)
            except OSError as error:
                if device not in self._silent:
                    _log.warning("%s cannot be spoken on: %s", device, error.strerror or error)
                    self._silent.add(device)
                return None
            self._silent.discard(device)
            self._segments[device] = opened
            for fileno in opened.filenos():
                self._add(fileno, self._attend, opened, fileno)
        return self._segments[device]

    def _attend(self, segment: Segment, fileno: int) -> None:
        """Take in all that was said before anything is answered: others may have taken an address meanwhile."""
        said = [each for each in segment.heard(fileno) if segment.device in self._where.get(str(each.address), ())]
        for each in said:
            if not isinstance(each, Asks) or each.sender is None:
                self._heard(segment.device, each)
        for each in said:
            if isinstance(each, Asks) and self._may_answer(str(each.address)):
                self.answers[each.address.version] += segment.send(packets.answer(each, segment.mac))

    def _shut(self, device: str) -> None:
        segment = self._segments.pop(device)
        for fileno in segment.filenos():
            self._remove(fileno)
        segment.close()


def carries(device: str) -> bool:
    """Whether frames can leave a device now: it is up, and something is at the other end of its cable."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as handle:
        try:
            answer = fcntl.ioctl(handle, _SIOCGIFFLAGS, struct.pack("16s24x", device.encode()))
        except OSError:
            return False
    return bool(struct.unpack_from("H", answer, 16)[0] & _IFF_RUNNING)


def places(
    interfaces: Sequence[Interface], chosen: Collection[str], addresses: Collection[str]
) -> Mapping[str, tuple[str, ...]]:
    """The devices on which each address is answered for: the `chosen` ones, or without any those on whose segment it
    lies."""
    found = {}
    for address in addresses:
        number = ipaddress.ip_address(address)
        found[address] = tuple(
            each.name
            for each in interfaces
            if (each.name in chosen if chosen else any(number in one.network for one in _segments(each)))
        )
    return found


def reach(interfaces: Sequence[Interface], chosen: Collection[str]) -> tuple[str, ...]:
    """The networks whose addresses can be answered for; with `chosen` devices, any address."""
    if chosen:
        return ("0.0.0.0/0", "::/0") if any(each.name in chosen for each in interfaces) else ()
    return tuple(sorted({str(one.network) for each in interfaces for one in _segments(each)}))


def speakers(interfaces: Sequence[Interface], chosen: Collection[str]) -> tuple[str, ...]:
    """The devices on which any address may be answered for."""
    return tuple(each.name for each in interfaces if (each.name in chosen if chosen else any(_segments(each))))


def macs(devices: Iterable[str]) -> tuple[str, ...]:
    """Their MACs; those that are gone, or no Ethernet, have none."""
    found = []
    for device in devices:
        with contextlib.suppress(OSError):
            found.append(_mac(device).hex(":"))
    return tuple(sorted(found))


def _segments(interface: Interface) -> Iterator[ipaddress.IPv4Interface | ipaddress.IPv6Interface]:
    """Addresses with others beside them."""
    return (each for each in interface.addresses if each.network.num_addresses > 1)


def _mac(device: str) -> bytes:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as handle:
        answer: bytes = fcntl.ioctl(handle, _SIOCGIFHWADDR, struct.pack("16s24x", device.encode()))
    if struct.unpack_from("H", answer, 16)[0] != _ARPHRD_ETHER:
        raise OSError(f"{device} is no Ethernet")
    return answer[18:24]


def _filter(opened: socket.socket, program: filters.Program, simple: filters.Program = filters.NOTHING) -> None:
    """Replace the socket's filter, in one step of the kernel; by a `simple` one if it is too long for what a socket may
    keep (net.core.optmem_max)."""
    try:
        _attach(opened, program)
    except OSError as error:
        if error.errno != errno.ENOMEM:
            raise
        _attach(opened, simple)


def _attach(opened: socket.socket, program: filters.Program) -> None:
    code = ctypes.create_string_buffer(b"".join(_INSTRUCTION.pack(*each) for each in program))
    opened.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("@HP", len(program), ctypes.addressof(code)))
