"""What is said on an Ethernet segment about who has an address: ARP (RFC 826, RFC 5227) and neighbour discovery
(RFC 4861), as frames. Values in, bytes out, and back.

What is not well-formed to the letter is not heard: an answer to a forged question would be an amplifier.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass
from struct import Struct

from fairway.node import Address

ETH_ARP, ETH_IPV6 = 0x0806, 0x86DD
BROADCAST = b"\xff" * 6
ALL_NODES = ipaddress.IPv6Address("ff02::1")
SHORTEST = 60
"""Octets of an Ethernet frame at least, without its checksum; shorter ones are filled up here and not by a driver."""

_ETHERNET = Struct("!6s6sH")
_ARP = Struct("!HHBBH6s4s6s4s")
_IPV6 = Struct("!IHBB16s16s")
_ND = Struct("!BBHI16s")  # type, code, checksum, flags, target
_ARP_ETHERNET = (1, 0x0800, 6, 4)
_REQUEST, _REPLY = 1, 2
_NOBODY = bytes(6)
_ANY4, _ANY6 = ipaddress.IPv4Address(0), ipaddress.IPv6Address(0)
_ICMP6, _SOLICITATION, _ADVERTISEMENT = 58, 135, 136
_SOLICITED, _OVERRIDE = 1 << 30, 1 << 29
_SOURCE_OPTION, _TARGET_OPTION = 1, 2
_SOLICITED_NODES = int(ipaddress.IPv6Address("ff02::1:ff00:0"))


@dataclass(frozen=True, slots=True)
class Asks:
    """Somebody at `mac` asks who has `address`. `sender` is the asker's own address; None asks whether anybody has it
    (an ARP probe, duplicate address detection)."""

    address: Address
    mac: bytes
    sender: Address | None


@dataclass(frozen=True, slots=True)
class Tells:
    """Somebody says, asked or not, that `address` is at `mac`."""

    address: Address
    mac: bytes


Heard = Asks | Tells


def read(frame: bytes) -> Heard | None:
    """What a received frame says; None when it says nothing of the kind, or not properly."""
    if len(frame) < _ETHERNET.size:
        return None
    _, source, kind = _ETHERNET.unpack_from(frame)
    if source[0] & 1:  # nobody sends from a group address
        return None
    if kind == ETH_ARP:
        return _read_arp(frame[_ETHERNET.size :])
    if kind == ETH_IPV6:
        return _read_nd(frame[_ETHERNET.size :], source)
    return None


def answer(asked: Asks, mac: bytes) -> bytes:
    """The frame by which `mac` says that it has the address."""
    address, sender = asked.address, asked.sender
    if isinstance(address, ipaddress.IPv4Address):
        return _arp(_REPLY, mac, address, asked.mac, _v4(sender), to=asked.mac)
    if isinstance(sender, ipaddress.IPv6Address):
        return _advertisement(mac, address, asked.mac, sender, _SOLICITED | _OVERRIDE)
    return _advertisement(mac, address, group_mac(ALL_NODES), ALL_NODES, _OVERRIDE)  # RFC 4861, 7.2.4


def announcement(address: Address, mac: bytes) -> tuple[bytes, ...]:
    """The frames that tell everybody at once. Of ARP both forms, since there are hosts that heed only one of them
    (RFC 5944, 4.6)."""
    if isinstance(address, ipaddress.IPv4Address):
        return (
            _arp(_REQUEST, mac, address, _NOBODY, address, to=BROADCAST),
            _arp(_REPLY, mac, address, mac, address, to=BROADCAST),
        )
    return (_advertisement(mac, address, group_mac(ALL_NODES), ALL_NODES, _OVERRIDE),)


def probe(address: Address, mac: bytes) -> bytes:
    """The frame that asks whether anybody has the address, and changes nobody's mind (RFC 5227, 2.1.1; RFC 4862,
    5.4.2)."""
    if isinstance(address, ipaddress.IPv4Address):
        return _arp(_REQUEST, mac, _ANY4, _NOBODY, address, to=BROADCAST)
    group = solicited_node(address)
    message = _ND.pack(_SOLICITATION, 0, 0, 0, address.packed)
    return _ipv6(mac, group_mac(group), _ANY6, group, message)


def solicited_node(address: ipaddress.IPv6Address) -> ipaddress.IPv6Address:
    """The group where an address is asked for (RFC 4291, 2.7.1)."""
    return ipaddress.IPv6Address(_SOLICITED_NODES | int(address) & 0xFFFFFF)


def group_mac(group: ipaddress.IPv6Address) -> bytes:
    """Where frames to a group go (RFC 2464, 7)."""
    return b"\x33\x33" + group.packed[12:]


def _read_arp(data: bytes) -> Heard | None:
    if len(data) < _ARP.size:
        return None
    *form, operation, mac, sender, _, target = _ARP.unpack_from(data)
    if tuple(form) != _ARP_ETHERNET or mac[0] & 1 or mac == _NOBODY:
        return None
    asked, asker = ipaddress.IPv4Address(target), ipaddress.IPv4Address(sender)
    if operation == _REPLY or (operation == _REQUEST and asked == asker):
        return None if asker == _ANY4 else Tells(asker, mac)
    if operation == _REQUEST:
        return Asks(asked, mac, None if asker == _ANY4 else asker)
    return None


def _read_nd(data: bytes, mac: bytes) -> Heard | None:
    """RFC 4861, 7.1.1 and 7.1.2. A message in pieces, or behind extension headers, is not heard (RFC 6980)."""
    if len(data) < _IPV6.size + _ND.size:
        return None
    first, length, after, hops, source, destination = _IPV6.unpack_from(data)
    message = data[_IPV6.size : _IPV6.size + length]
    if first >> 28 != 6 or after != _ICMP6 or hops != 255 or len(message) != length or length < _ND.size:
        return None
    if _checksum(source, destination, message):
        return None
    type_, code, _, flags, target = _ND.unpack_from(message)
    options = _options(message[_ND.size :])
    address = ipaddress.IPv6Address(target)
    if code or options is None or address.is_multicast:
        return None
    sender, to = ipaddress.IPv6Address(source), ipaddress.IPv6Address(destination)
    if type_ == _SOLICITATION:
        return _solicitation(address, sender, to, options.get(_SOURCE_OPTION), mac)
    if type_ == _ADVERTISEMENT and not (to.is_multicast and flags & _SOLICITED):
        return Tells(address, options.get(_TARGET_OPTION, mac))
    return None


def _solicitation(
    address: ipaddress.IPv6Address,
    sender: ipaddress.IPv6Address,
    to: ipaddress.IPv6Address,
    said: bytes | None,
    mac: bytes,
) -> Asks | None:
    if sender == _ANY6:
        return Asks(address, mac, None) if to == solicited_node(address) and said is None else None
    return None if sender.is_multicast else Asks(address, said or mac, sender)


def _options(data: bytes) -> dict[int, bytes] | None:
    """Link-layer addresses by the option they stand in; None for options that are none."""
    found: dict[int, bytes] = {}
    while data:
        if len(data) < 2 or not data[1] or len(data) < 8 * data[1]:
            return None
        if data[1] == 1 and data[0] in (_SOURCE_OPTION, _TARGET_OPTION):
            if data[2] & 1:
                return None
            found[data[0]] = data[2:8]
        data = data[8 * data[1] :]
    return found


def _v4(address: Address | None) -> ipaddress.IPv4Address:
    return address if isinstance(address, ipaddress.IPv4Address) else _ANY4


def _arp(
    operation: int, mac: bytes, sender: ipaddress.IPv4Address, other: bytes, target: ipaddress.IPv4Address, *, to: bytes
) -> bytes:
    body = _ARP.pack(*_ARP_ETHERNET, operation, mac, sender.packed, other, target.packed)
    return _filled(_ETHERNET.pack(to, mac, ETH_ARP) + body)


def _advertisement(
    mac: bytes, address: ipaddress.IPv6Address, to_mac: bytes, to: ipaddress.IPv6Address, flags: int
) -> bytes:
    message = _ND.pack(_ADVERTISEMENT, 0, 0, flags, address.packed) + bytes([_TARGET_OPTION, 1]) + mac
    return _ipv6(mac, to_mac, address, to, message)


def _ipv6(mac: bytes, to_mac: bytes, source: ipaddress.IPv6Address, to: ipaddress.IPv6Address, message: bytes) -> bytes:
    checksum = _checksum(source.packed, to.packed, message)
    message = message[:2] + checksum.to_bytes(2, "big") + message[4:]
    header = _IPV6.pack(6 << 28, len(message), _ICMP6, 255, source.packed, to.packed)
    return _filled(_ETHERNET.pack(to_mac, mac, ETH_IPV6) + header + message)


def _checksum(source: bytes, destination: bytes, message: bytes) -> int:
    """The checksum over pseudo header and message (RFC 8200, 8.1); 0 when the one in the message is right."""
    data = source + destination + len(message).to_bytes(4, "big") + _ICMP6.to_bytes(4, "big") + message
    total = sum(_words(data + b"\0" * (len(data) % 2)))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def _words(data: bytes) -> Iterator[int]:
    return (data[index] << 8 | data[index + 1] for index in range(0, len(data), 2))


def _filled(frame: bytes) -> bytes:
    return frame.ljust(SHORTEST, b"\0")
