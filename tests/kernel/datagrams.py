"""First packets of connections as bytes, each with a tag that survives translation: TCP's sequence number, UDP's
payload, the initiate tag of an SCTP INIT. Checksums are right: connection tracking passes over what is not."""

from __future__ import annotations

import socket
import struct
from functools import lru_cache
from typing import NamedTuple

from fairway.packet import Family, Packet, Protocol

ICMP = {Family.IPV4: 1, Family.IPV6: 58}
_RST = 4
_UNREACHABLE = {1: 3, 58: 1}  # ICMP's and ICMPv6's type


class Hop(NamedTuple):
    """A packet's addresses at one point of its way."""

    source: str
    source_port: int
    destination: str
    destination_port: int


class Found(NamedTuple):
    """A packet that was met; `quoted`: not itself, but in an error or a reset about it."""

    tag: int
    hop: Hop
    quoted: bool = False


def datagram(packet: Packet, source_port: int, tag: int) -> bytes:
    """The whole packet with its IP header."""
    source, destination = _packed(packet.source), _packed(packet.destination)
    number = packet.protocol.number
    ports = struct.pack("!HH", source_port, packet.destination_port)
    body = _body(packet.protocol, ports, tag, source + destination)
    if packet.family is Family.IPV6:
        return struct.pack("!IHBB", 6 << 28, len(body), number, 64) + source + destination + body
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), tag & 0xFFFF, 0, 64, number, 0) + source + destination
    return header[:10] + struct.pack("!H", internet_checksum(header)) + header[12:] + body


def _body(protocol: Protocol, ports: bytes, tag: int, addresses: bytes) -> bytes:
    if protocol is Protocol.SCTP:
        chunk = struct.pack("!BBHIIHHI", 1, 0, 20, tag, 65535, 1, 1, 1)
        blank = ports + struct.pack("!II", 0, 0) + chunk
        return blank[:8] + struct.pack("<I", crc32c(blank)) + blank[12:]
    if protocol is Protocol.UDP:
        blank, place = ports + struct.pack("!HHI", 12, 0, tag), 6
    else:
        blank, place = ports + struct.pack("!IIBBHHH", tag, 0, 0x50, 2, 65535, 0, 0), 16
    pseudo = addresses + struct.pack("!II", len(blank), protocol.number)
    checksum = internet_checksum(pseudo + blank) or 0xFFFF
    return blank[:place] + struct.pack("!H", checksum) + blank[place + 2 :]


def read_packet(data: bytes) -> Found | None:
    """A packet from its IP header on; None for one that is none of ours."""
    if len(data) < 20:
        return None
    if data[0] >> 4 == 6 and len(data) >= 40:
        return read_transport(data[6], _text(data[8:24]), _text(data[24:40]), data[40:])
    if data[0] >> 4 == 4:
        return read_transport(data[9], _text(data[12:16]), _text(data[16:20]), data[(data[0] & 15) * 4 :])
    return None


def read_transport(number: int, source: str, destination: str, data: bytes) -> Found | None:
    """What comes after the IP header."""
    if number in _UNREACHABLE:
        return quoted(data[8:]) if data[:1] == bytes([_UNREACHABLE[number]]) else None
    places = {6: 4, 17: 8, 132: 16}
    place = places.get(number)
    if place is None or len(data) < place + 4:
        return None
    source_port, destination_port = struct.unpack_from("!HH", data)
    if number == 6 and len(data) >= 14 and data[13] & _RST:
        (after,) = struct.unpack_from("!I", data, 8)
        return Found(after - 1 & 0xFFFFFFFF, Hop(destination, destination_port, source, source_port), quoted=True)
    (tag,) = struct.unpack_from("!I", data, place)
    return Found(tag, Hop(source, source_port, destination, destination_port))


def quoted(data: bytes) -> Found | None:
    """The packet that an ICMP error is about."""
    found = read_packet(data)
    return found._replace(quoted=True) if found is not None else None


def internet_checksum(data: bytes) -> int:
    """RFC 1071."""
    total: int = sum(struct.unpack(f"!{(len(data) + 1) // 2}H", data + b"\0" * (len(data) % 2)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def crc32c(data: bytes) -> int:
    """Castagnoli's, as SCTP takes it (RFC 9260)."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _CRC[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


def _crc_entry(value: int) -> int:
    for _ in range(8):
        value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)
    return value


_CRC = [_crc_entry(value) for value in range(256)]


@lru_cache(maxsize=4096)
def _packed(address: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)


@lru_cache(maxsize=4096)
def _text(packed: bytes) -> str:
    return socket.inet_ntop(socket.AF_INET6 if len(packed) == 16 else socket.AF_INET, packed)
