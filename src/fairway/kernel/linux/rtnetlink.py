"""rtnetlink (rtnetlink(7), linux/rtnetlink.h, if_link.h, neighbour.h): links, addresses, routes, neighbours as
messages, and the kernel's lists of them as values. No sockets here.
"""

from __future__ import annotations

import socket
import struct
from typing import NamedTuple

from fairway.kernel.base import Bridge, DeviceAddress, DeviceRoute, ForwardingEntry, Neighbour, Veth, Vxlan
from fairway.kernel.linkplan import Entry, describe
from fairway.kernel.linux import netlink
from fairway.kernel.linux.netlink import Request, attribute, attributes, be16, nested, read_text, read_u32, u8, u32

NEW_LINK, DELETE_LINK, GET_LINK = 16, 17, 18
NEW_ADDRESS, DELETE_ADDRESS, GET_ADDRESS = 20, 21, 22
NEW_ROUTE, DELETE_ROUTE, GET_ROUTE = 24, 25, 26
NEW_NEIGHBOUR, DELETE_NEIGHBOUR, GET_NEIGHBOUR = 28, 29, 30
GET_NSID = 90

AF_BRIDGE = 7
LINK_NOTICES = 1  # RTMGRP_LINK

_LINK = struct.Struct("=BxHiII")  # family, hardware type, index, flags, which flags change
_ADDRESS = struct.Struct("=BBBBi")  # family, prefix length, flags, scope, index
_ROUTE = struct.Struct("=BBBBBBBBI")  # family, dst len, src len, tos, table, protocol, scope, type, flags
_NEIGHBOUR = struct.Struct("=BxxxiHBB")  # family, index, state, flags, type
_NEXT_HOP = struct.Struct("=HBBi")  # length, flags, hops, index

_IFF_UP = 1

_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_LINK, _IFLA_MASTER = 1, 3, 4, 5, 10
_IFLA_OPERSTATE, _IFLA_LINKINFO, _IFLA_NET_NS_FD, _IFLA_EXT_MASK, _IFLA_LINK_NETNSID = 16, 18, 28, 29, 37
_OPER_UNKNOWN, _OPER_UP = 0, 6
_INFO_KIND, _INFO_DATA, _INFO_SLAVE_KIND, _INFO_SLAVE_DATA = 1, 2, 4, 5
_SKIP_STATISTICS = 1 << 3  # RTEXT_FILTER_SKIP_STATS: half the bytes of every link
_BR_FORWARD_DELAY, _BR_STP_STATE = 1, 5
_BRPORT_HAIRPIN = 4
_VETH_PEER = 1
_VXLAN_ID, _VXLAN_LINK, _VXLAN_LOCAL, _VXLAN_LEARNING, _VXLAN_PORT, _VXLAN_LOCAL6 = 1, 3, 4, 7, 15, 17

_IFA_ADDRESS, _IFA_LOCAL, _IFA_BROADCAST, _IFA_FLAGS = 1, 2, 4, 8
_IFA_F_NODAD = 0x02

_RTA_DST, _RTA_OIF, _RTA_GATEWAY, _RTA_PRIORITY, _RTA_PREFSRC = 1, 4, 5, 6, 7
_RTA_MULTIPATH, _RTA_TABLE, _RTA_VIA = 9, 15, 18
_TABLE_MAIN = 254
_PROTOCOL_BOOT, _PROTOCOL_KERNEL = 3, 2
_SCOPE_UNIVERSE, _SCOPE_LINK, _SCOPE_NOWHERE = 0, 253, 255
_UNICAST = 1
_ONLINK = 4  # RTNH_F_ONLINK
_ROUTE_METRIC_IPV6 = 1024  # what the kernel writes where none was given

_NDA_DST, _NDA_LLADDR = 1, 2
_NUD_NOARP, _NUD_PERMANENT = 0x40, 0x80
_NTF_SELF = 0x02

_NETNSA_NSID, _NETNSA_FD = 1, 3


class LinkInfo(NamedTuple):
    """One device as the kernel lists it.

    `kind` "" is hardware; `up` is what it was set to, `carries` whether packets pass it (operational state up, or
    unknown to its driver: RFC 2863). `link` is the index of the other end of a veth or of the device below a VXLAN,
    `link_namespace` the local number of the namespace that index is of (None: this one). `settings` are the kind's own
    attributes, `port` those of the master's kind.
    """

    ifindex: int
    name: str
    kind: str
    up: bool
    carries: bool
    mtu: int
    mac: str
    master: int
    link: int
    link_namespace: int | None
    settings: dict[int, bytes]
    port: dict[int, bytes]

    @property
    def hairpin(self) -> bool:
        return self.port.get(_BRPORT_HAIRPIN, b"\0")[0] != 0


class AddressInfo(NamedTuple):
    """An address of a device: text form and prefix length."""

    ifindex: int
    address: str
    prefix: int


class RouteInfo(NamedTuple):
    """A unicast route of the main table; one of several next hops stands for itself. `protocol` 2 is the kernel's."""

    ifindex: int
    destination: str
    via: str
    source: str
    metric: int
    onlink: bool
    kernel: bool


def list_links() -> Request:
    body = _LINK.pack(socket.AF_UNSPEC, 0, 0, 0, 0) + u32(_IFLA_EXT_MASK, _SKIP_STATISTICS)
    return Request(GET_LINK, 0, body, "list devices")


def get_link(name: str) -> Request:
    return Request(GET_LINK, 0, _LINK.pack(0, 0, 0, 0, 0) + netlink.text(_IFLA_IFNAME, name), f"look at device {name}")


def read_link(body: bytes) -> LinkInfo:
    _, _, index, flags, _ = _LINK.unpack_from(body)
    found = attributes(body, _LINK.size)
    info = attributes(found.get(_IFLA_LINKINFO, b""))
    number = found.get(_IFLA_LINK_NETNSID)
    return LinkInfo(
        index,
        read_text(found.get(_IFLA_IFNAME, b"")),
        read_text(info.get(_INFO_KIND, b"")),
        bool(flags & _IFF_UP),
        found.get(_IFLA_OPERSTATE, b"\0")[0] in (_OPER_UNKNOWN, _OPER_UP),
        read_u32(found.get(_IFLA_MTU)),
        found.get(_IFLA_ADDRESS, b"").hex(":"),
        read_u32(found.get(_IFLA_MASTER)),
        read_u32(found.get(_IFLA_LINK)),
        None if number is None else read_u32(number),
        attributes(info.get(_INFO_DATA, b"")),
        attributes(info.get(_INFO_SLAVE_DATA, b"")),
    )


def read_bridge(link: LinkInfo) -> Bridge:
    return Bridge(link.name, link.mtu, link.mac)


def read_vxlan(link: LinkInfo, device: str) -> Vxlan:
    """`device` is the name of the device below."""
    settings = link.settings
    local = settings.get(_VXLAN_LOCAL) or settings.get(_VXLAN_LOCAL6) or b"\0\0\0\0"
    return Vxlan(
        link.name,
        read_u32(settings.get(_VXLAN_ID)),
        device,
        netlink.read_address(local),
        link.mac,
        int.from_bytes(settings.get(_VXLAN_PORT, b""), "big"),
        link.mtu,
    )


def vxlan_below(link: LinkInfo) -> int:
    """The index of the device a VXLAN sends through."""
    return read_u32(link.settings.get(_VXLAN_LINK))


def new_bridge(bridge: Bridge) -> Request:
    """Down, and without its MTU: one that is given while the bridge is made does not count as chosen, and the kernel
    would change it with the ports. `set_link` gives it and sets the bridge up."""
    data = nested(_INFO_DATA, u32(_BR_STP_STATE, 0), u32(_BR_FORWARD_DELAY, 0))
    kind = nested(_IFLA_LINKINFO, netlink.text(_INFO_KIND, "bridge"), data)
    mac = attribute(_IFLA_ADDRESS, _mac(bridge.mac)) if bridge.mac else b""
    body = _link(bridge.name, up=False) + mac + kind
    return Request(NEW_LINK, netlink.CREATE | netlink.EXCLUSIVE, body, f"make {describe(bridge)}")


def new_vxlan(vxlan: Vxlan, below: int) -> Request:
    """Down; `below` is the index of its device."""
    local = _packed(vxlan.local)
    data = nested(
        _INFO_DATA,
        u32(_VXLAN_ID, vxlan.vni),
        u32(_VXLAN_LINK, below),
        attribute(_VXLAN_LOCAL if len(local) == 4 else _VXLAN_LOCAL6, local),
        u8(_VXLAN_LEARNING, 0),
        be16(_VXLAN_PORT, vxlan.port),
    )
    body = (
        _link(vxlan.name, up=False)
        + u32(_IFLA_MTU, vxlan.mtu)
        + attribute(_IFLA_ADDRESS, _mac(vxlan.mac))
        + nested(_IFLA_LINKINFO, netlink.text(_INFO_KIND, "vxlan"), data)
    )
    return Request(NEW_LINK, netlink.CREATE | netlink.EXCLUSIVE, body, f"make {describe(vxlan)}")


def new_veth(veth: Veth, namespace: int, master: int) -> list[Request]:
    """The pair, its far end made where it belongs (`namespace` is an open descriptor), the near end up and in its
    bridge (`master` is the bridge's index, 0 for none). The far end stays down: at that moment it has no other end
    yet, and the kernel refuses to set it up."""
    peer = (
        _link(veth.peer_name, up=False)
        + u32(_IFLA_MTU, veth.mtu)
        + u32(_IFLA_NET_NS_FD, namespace)
        + (attribute(_IFLA_ADDRESS, _mac(veth.peer_mac)) if veth.peer_mac else b"")
    )
    body = (
        _link(veth.name)
        + u32(_IFLA_MTU, veth.mtu)
        + (u32(_IFLA_MASTER, master) if master else b"")
        + nested(_IFLA_LINKINFO, netlink.text(_INFO_KIND, "veth"), nested(_INFO_DATA, nested(_VETH_PEER, peer)))
    )
    what = f"make veth {veth.name} with {veth.peer_name} in {veth.peer_namespace}"
    requests = [Request(NEW_LINK, netlink.CREATE | netlink.EXCLUSIVE, body, what)]
    if veth.hairpin and master:
        requests.append(set_hairpin(veth.name, True))
    return requests


def set_link(
    name: str, what: str, *, mtu: int | None = None, mac: str = "", master: int | None = None, index: int = 0
) -> Request:
    """Set a device up and change what is given (`master` 0 takes it out of its bridge). By `name`, unless `index`."""
    body = _LINK.pack(0, 0, index, _IFF_UP, _IFF_UP)
    body += b"" if index else netlink.text(_IFLA_IFNAME, name)
    body += b"" if mtu is None else u32(_IFLA_MTU, mtu)
    body += attribute(_IFLA_ADDRESS, _mac(mac)) if mac else b""
    body += b"" if master is None else u32(_IFLA_MASTER, master)
    return Request(NEW_LINK, 0, body, what)


def set_down(name: str) -> Request:
    """Set a device down; the routes over it go."""
    body = _LINK.pack(0, 0, 0, 0, _IFF_UP) + netlink.text(_IFLA_IFNAME, name)
    return Request(NEW_LINK, 0, body, f"set {name} down")


def set_hairpin(name: str, on: bool) -> Request:
    """Whether a bridge may send a frame back through the port it came by."""
    data = nested(_INFO_SLAVE_DATA, u8(_BRPORT_HAIRPIN, on))
    body = _link(name) + nested(_IFLA_LINKINFO, netlink.text(_INFO_SLAVE_KIND, "bridge"), data)
    return Request(NEW_LINK, 0, body, f"set hairpin of {name}")


def delete_link(name: str) -> Request:
    body = _LINK.pack(0, 0, 0, 0, 0) + netlink.text(_IFLA_IFNAME, name)
    return Request(DELETE_LINK, 0, body, f"delete device {name}")


def list_addresses(index: int = 0) -> Request:
    """Of one device, or of all (0)."""
    return Request(GET_ADDRESS, 0, _ADDRESS.pack(0, 0, 0, 0, index), "list addresses")


def read_address(body: bytes) -> AddressInfo:
    _, prefix, _, _, index = _ADDRESS.unpack_from(body)
    found = attributes(body, _ADDRESS.size)
    return AddressInfo(index, netlink.read_address(found.get(_IFA_LOCAL) or found[_IFA_ADDRESS]), prefix)


def change_address(kind: int, entry: DeviceAddress, index: int, what: str) -> Request:
    """NEW_ADDRESS or DELETE_ADDRESS. IPv6 addresses skip duplicate detection, so that they can be used at once: who
    chose them knows that they are free."""
    address, _, prefix = entry.address.partition("/")
    packed = _packed(address)
    family = _family(packed)
    body = _ADDRESS.pack(family, int(prefix), 0, _SCOPE_UNIVERSE, index)
    body += attribute(_IFA_LOCAL, packed) + attribute(_IFA_ADDRESS, packed)
    if kind == NEW_ADDRESS and family == socket.AF_INET6:
        body += u32(_IFA_FLAGS, _IFA_F_NODAD)
    elif kind == NEW_ADDRESS and int(prefix) < 31:
        host_bits = (1 << (32 - int(prefix))) - 1
        body += attribute(_IFA_BROADCAST, (int.from_bytes(packed, "big") | host_bits).to_bytes(4, "big"))
    return Request(kind, netlink.CREATE | netlink.REPLACE if kind == NEW_ADDRESS else 0, body, what)


def list_routes(family: int) -> Request:
    """The main table of AF_INET or AF_INET6."""
    body = _ROUTE.pack(family, 0, 0, 0, _TABLE_MAIN, 0, 0, 0, 0) + u32(_RTA_TABLE, _TABLE_MAIN)
    return Request(GET_ROUTE, 0, body, "list routes")


def read_routes(body: bytes) -> list[RouteInfo]:
    """The unicast routes a message of the main table holds: one for each next hop."""
    family, prefix, _, _, _, protocol, _, kind, flags = _ROUTE.unpack_from(body)
    found = attributes(body, _ROUTE.size)
    if kind != _UNICAST or read_u32(found.get(_RTA_TABLE)) != _TABLE_MAIN:
        return []
    any_address = "0.0.0.0" if family == socket.AF_INET else "::"
    destination = f"{netlink.read_address(found[_RTA_DST]) if _RTA_DST in found else any_address}/{prefix}"
    source = netlink.read_address(found[_RTA_PREFSRC]) if _RTA_PREFSRC in found else ""
    metric = read_u32(found.get(_RTA_PRIORITY))
    hops = (
        _next_hops(found[_RTA_MULTIPATH])
        if _RTA_MULTIPATH in found
        else [(read_u32(found.get(_RTA_OIF)), flags, found)]
    )
    return [
        RouteInfo(index, destination, _via(rest), source, metric, bool(hop & _ONLINK), protocol == _PROTOCOL_KERNEL)
        for index, hop, rest in hops
        if index
    ]


def _next_hops(data: bytes) -> list[tuple[int, int, dict[int, bytes]]]:
    """Index, flags and attributes of each next hop of a multipath route."""
    hops = []
    offset = 0
    while offset + _NEXT_HOP.size <= len(data):
        size, flags, _, index = _NEXT_HOP.unpack_from(data, offset)
        if size < _NEXT_HOP.size:
            break
        hops.append((index, flags, attributes(data[offset : offset + size], _NEXT_HOP.size)))
        offset += size + 3 & ~3
    return hops


def _via(found: dict[int, bytes]) -> str:
    """A gateway of the route's own family, or of the other one (RTA_VIA: two bytes of family, then the address)."""
    if _RTA_GATEWAY in found:
        return netlink.read_address(found[_RTA_GATEWAY])
    return netlink.read_address(found[_RTA_VIA][2:]) if _RTA_VIA in found else ""


def change_route(kind: int, entry: DeviceRoute, index: int, what: str) -> Request:
    """NEW_ROUTE (taking the place of one for that destination) or DELETE_ROUTE."""
    destination, _, prefix = entry.destination.partition("/")
    packed = _packed(destination)
    new = kind == NEW_ROUTE
    scope = (_SCOPE_UNIVERSE if entry.via or len(packed) == 16 else _SCOPE_LINK) if new else _SCOPE_NOWHERE
    protocol, flags = (_PROTOCOL_BOOT, _ONLINK if entry.onlink else 0) if new else (0, 0)
    body = _ROUTE.pack(_family(packed), int(prefix), 0, 0, _TABLE_MAIN, protocol, scope, _UNICAST, flags)
    body += (attribute(_RTA_DST, packed) if int(prefix) else b"") + u32(_RTA_OIF, index)
    body += attribute(_RTA_GATEWAY, _packed(entry.via)) if entry.via else b""
    return Request(kind, netlink.CREATE | netlink.REPLACE if new else 0, body, what)


def without_metric(route: RouteInfo) -> bool:
    """Whether a route has the metric that one made without a metric has."""
    return route.metric == (_ROUTE_METRIC_IPV6 if ":" in route.destination else 0)


def list_neighbours(family: int) -> Request:
    return Request(GET_NEIGHBOUR, 0, _NEIGHBOUR.pack(family, 0, 0, 0, 0), "list neighbours")


def list_forwarding(index: int) -> Request:
    """The forwarding entries of a VXLAN device."""
    return Request(GET_NEIGHBOUR, 0, _NEIGHBOUR.pack(AF_BRIDGE, index, 0, 0, 0), "list forwarding entries")


def read_neighbour(body: bytes, device: str) -> Neighbour | ForwardingEntry | None:
    """The permanent entry a message holds, or None."""
    family, _, state, flags, _ = _NEIGHBOUR.unpack_from(body)
    found = attributes(body, _NEIGHBOUR.size)
    if not state & _NUD_PERMANENT or _NDA_DST not in found or _NDA_LLADDR not in found:
        return None
    mac, address = found[_NDA_LLADDR].hex(":"), netlink.read_address(found[_NDA_DST])
    if family == AF_BRIDGE:
        return ForwardingEntry(device, mac, address) if flags & _NTF_SELF else None
    return Neighbour(device, address, mac)


def neighbour_index(body: bytes) -> int:
    return int(_NEIGHBOUR.unpack_from(body)[1])


def change_neighbour(kind: int, entry: Neighbour, index: int, what: str) -> Request:
    """NEW_NEIGHBOUR (in place of one for that address) or DELETE_NEIGHBOUR."""
    packed = _packed(entry.address)
    body = _NEIGHBOUR.pack(_family(packed), index, _NUD_PERMANENT, 0, 0) + attribute(_NDA_DST, packed)
    body += attribute(_NDA_LLADDR, _mac(entry.mac))
    return Request(kind, netlink.CREATE | netlink.REPLACE if kind == NEW_NEIGHBOUR else 0, body, what)


def change_forwarding(kind: int, entry: ForwardingEntry, index: int, what: str) -> Request:
    """NEW_NEIGHBOUR (in place of one for that MAC) or DELETE_NEIGHBOUR, in the VXLAN's own table."""
    body = _NEIGHBOUR.pack(AF_BRIDGE, index, _NUD_NOARP | _NUD_PERMANENT, _NTF_SELF, 0)
    body += attribute(_NDA_LLADDR, _mac(entry.mac)) + attribute(_NDA_DST, _packed(entry.destination))
    return Request(kind, netlink.CREATE | netlink.REPLACE if kind == NEW_NEIGHBOUR else 0, body, what)


def change(new: bool, entry: Entry, index: int) -> Request:
    """The message that makes an entry true, or removes it; `index` is its device's."""
    what = f"{'add' if new else 'remove'} {describe(entry)}"
    match entry:
        case DeviceAddress():
            return change_address(NEW_ADDRESS if new else DELETE_ADDRESS, entry, index, what)
        case DeviceRoute():
            return change_route(NEW_ROUTE if new else DELETE_ROUTE, entry, index, what)
        case Neighbour():
            return change_neighbour(NEW_NEIGHBOUR if new else DELETE_NEIGHBOUR, entry, index, what)
        case ForwardingEntry():
            return change_forwarding(NEW_NEIGHBOUR if new else DELETE_NEIGHBOUR, entry, index, what)


def get_namespace_number(namespace: int) -> Request:
    """The local number of the namespace of an open descriptor, as `link_namespace` counts them."""
    return Request(GET_NSID, 0, struct.pack("=B3x", 0) + u32(_NETNSA_FD, namespace), "look up a namespace's number")


def read_namespace_number(body: bytes) -> int | None:
    """The number; None for a namespace that has none yet."""
    number = struct.unpack("=i", attributes(body, 4).get(_NETNSA_NSID, b"\xff\xff\xff\xff"))[0]
    return number if number >= 0 else None


def _link(name: str, *, up: bool = True) -> bytes:
    """A device by name, to be up, or to stay as it is."""
    flags = _IFF_UP if up else 0
    return _LINK.pack(socket.AF_UNSPEC, 0, 0, flags, flags) + netlink.text(_IFLA_IFNAME, name)


def _packed(address: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)


def _family(packed: bytes) -> int:
    return socket.AF_INET if len(packed) == 4 else socket.AF_INET6


def _mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))
