"""`Conntrack` on the real kernel: ctnetlink (linux/netfilter/nfnetlink_conntrack.h), dumps and deletions by tuple."""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Sequence
from pathlib import Path

from fairway.kernel.base import Flow, KernelError
from fairway.kernel.linux.netlink import (
    NESTED,
    NETFILTER,
    Netlink,
    Request,
    attribute,
    attributes,
    be16,
    be32,
    nested,
    read_address,
    u8,
    u32,
)
from fairway.packet import Family, host_port

_GET = 1 << 8 | 1  # NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_GET
_DELETE = 1 << 8 | 2

_ORIGINAL, _REPLY, _MARK, _ID, _ZONE, _FILTER = 1, 2, 8, 12, 18, 25
_TUPLE_IP, _TUPLE_PROTO = 1, 2
_IP_SOURCE: dict[int, int] = {socket.AF_INET: 1, socket.AF_INET6: 3}  # the destination's number is the next
_NUMBER, _SOURCE_PORT, _DESTINATION_PORT = 1, 2, 3
_ICMP = {1: 4, 58: 7}  # protocol number -> the attribute of the identifier; type and code are the next two
_FILTER_ORIGINAL, _FILTER_REPLY = 1, 2
_BY_PROTOCOL = 1 << 3  # CTA_FILTER_FLAG(CTA_PROTO_NUM): kernels before 5.8 do not know it and list everything

_HASH_SIZE = Path("/sys/module/nf_conntrack/parameters/hashsize")

_NFGEN = struct.Struct("=BBH")
_PORT = struct.Struct("!H")
_TUPLE = tuple[str, int, str, int, int]
_FAMILY = {Family.IPV4: socket.AF_INET, Family.IPV6: socket.AF_INET6}


class LinuxConntrack:
    """The connections of the namespace at the path `namespace`; None: of the calling thread's own."""

    def __init__(self, namespace: str | None = None) -> None:
        self._namespace = namespace

    def flows(self, family: Family, protocol: int = 0) -> Sequence[Flow]:
        """See `kernel.base.Conntrack.flows`."""
        with Netlink(NETFILTER, self._namespace) as kernel:
            replies = kernel.dump(_list(family, protocol))
        found = (_read(reply.body, family) for reply in replies)
        return [flow for flow in found if flow and protocol in (0, flow.protocol)]

    def delete(self, flows: Sequence[Flow]) -> int:
        """See `kernel.base.Conntrack.delete`."""
        if not flows:
            return 0
        with Netlink(NETFILTER, self._namespace) as kernel:
            results = kernel.send([_delete(flow) for flow in flows])
        for error in results:
            if error and error.number != errno.ENOENT:
                raise error
        return results.count(None)


def _list(family: Family, protocol: int) -> Request:
    body = _NFGEN.pack(_FAMILY[family], 0, 0)
    if protocol:
        flags = u32(_FILTER_ORIGINAL, _BY_PROTOCOL), u32(_FILTER_REPLY, 0)
        body += nested(_ORIGINAL, nested(_TUPLE_PROTO, u8(_NUMBER, protocol))) + nested(_FILTER, *flags)
    return Request(_GET, 0, body, f"list {family} connections")


def _delete(flow: Flow) -> Request:
    family = _FAMILY[flow.family]
    source = _IP_SOURCE[family]
    ip = nested(
        _TUPLE_IP,
        attribute(source, socket.inet_pton(family, flow.source)),
        attribute(source + 1, socket.inet_pton(family, flow.destination)),
    )
    body = _NFGEN.pack(family, 0, 0) + nested(_ORIGINAL, ip, nested(_TUPLE_PROTO, *_ports(flow)))
    body += be32(_ID, flow.identity) if flow.identity else b""
    ends = f"{host_port(flow.source, flow.source_port)} to {host_port(flow.destination, flow.destination_port)}"
    return Request(_DELETE, 0, body, f"delete the connection {ends} (protocol {flow.protocol})")


def _ports(flow: Flow) -> list[bytes]:
    number = u8(_NUMBER, flow.protocol)
    identifier = _ICMP.get(flow.protocol)
    if identifier is None:
        return [number, be16(_SOURCE_PORT, flow.source_port), be16(_DESTINATION_PORT, flow.destination_port)]
    kind, code = divmod(flow.destination_port, 256)
    return [number, be16(identifier, flow.source_port), u8(identifier + 1, kind), u8(identifier + 2, code)]


def _read(body: bytes, family: Family) -> Flow | None:
    """One entry; None for one of another zone than the default."""
    found = attributes(body, _NFGEN.size)
    if _ZONE in found or _ORIGINAL not in found or _REPLY not in found:
        return None
    number = _FAMILY[family]
    source, source_port, destination, destination_port, protocol = _read_tuple(found[_ORIGINAL], number)
    back, back_port, forth, forth_port, _ = _read_tuple(found[_REPLY], number)
    return Flow(
        family,
        protocol,
        source,
        source_port,
        destination,
        destination_port,
        back,
        back_port,
        forth,
        forth_port,
        int.from_bytes(found.get(_MARK, b""), "big"),
        int.from_bytes(found.get(_ID, b""), "big"),
    )


def _read_tuple(data: bytes, family: int) -> _TUPLE:
    """Source, its port, destination, its port, protocol number."""
    layout, headers = _LAYOUTS[family]
    if len(data) == layout.size:
        ip, at, source, to, destination, proto, kind, number, one, source_port, other, port = layout.unpack(data)
        if (ip, at, to, proto, kind, one, other) == headers:
            return read_address(source), _port(source_port), read_address(destination), _port(port), number
    return _read_any_tuple(data, family)


def _read_any_tuple(data: bytes, family: int) -> _TUPLE:
    """Attribute by attribute: protocols without ports, and kernels that write in another order."""
    found = attributes(data)
    ip = attributes(found[_TUPLE_IP])
    proto = attributes(found[_TUPLE_PROTO])
    source = _IP_SOURCE[family]
    number = proto[_NUMBER][0]
    identifier = _ICMP.get(number)
    if identifier is None:
        ports = _port(proto.get(_SOURCE_PORT)), _port(proto.get(_DESTINATION_PORT))
    else:
        kind, code = proto.get(identifier + 1, b"\0")[0], proto.get(identifier + 2, b"\0")[0]
        ports = _port(proto.get(identifier)), kind * 256 + code
    return read_address(ip[source]), ports[0], read_address(ip[source + 1]), ports[1], number


def _layout(family: int) -> tuple[struct.Struct, tuple[int, ...]]:
    """The tuple of TCP, UDP and SCTP as the kernel writes it, headers and values in turn, and what the headers must
    be: tables of ten thousand flows are read with every change, and this takes 5 us off each."""
    size = 4 if family == socket.AF_INET else 16
    source = _IP_SOURCE[family]
    sizes_and_kinds = (
        (4 + 2 * (4 + size), _TUPLE_IP | NESTED),
        (4 + size, source),
        (4 + size, source + 1),
        (4 + 3 * 8, _TUPLE_PROTO | NESTED),
        (5, _NUMBER),
        (6, _SOURCE_PORT),
        (6, _DESTINATION_PORT),
    )
    headers = tuple(struct.unpack("=I", struct.pack("=HH", *pair))[0] for pair in sizes_and_kinds)
    return struct.Struct(f"=II{size}sI{size}sIIB3xI2s2xI2s2x"), headers


_LAYOUTS = {family: _layout(family) for family in _IP_SOURCE}


def _port(payload: bytes | None) -> int:
    return int(_PORT.unpack(payload)[0]) if payload else 0


def grow_hash(buckets: int) -> None:
    """Give the table of connections at least so many buckets. The kernel has one table for all namespaces and lets
    only the first of them change it. Raises KernelError."""
    try:
        if int(_HASH_SIZE.read_text()) < buckets:
            _HASH_SIZE.write_text(str(buckets))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise KernelError(f"cannot set {_HASH_SIZE} to {buckets}: {reason}") from error
