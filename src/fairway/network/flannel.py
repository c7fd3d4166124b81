"""The overlay of a node as an intention (pure): bridge `cni0` for its pods, VXLAN `flannel.1` to the other nodes.

Laid out as flannel's vxlan backend lays it, so that operators find what they know: every node's VTEP carries the
network address of the node's pod range, and for each other node there is one route (its range, through its VTEP's
address, on-link), one ARP entry (that address has this MAC) and one FDB entry (frames for this MAC go to that node).
All of it is permanent: nothing is learned, nothing is broadcast, and a node that is gone takes exactly three entries
with it. Nodes tell each other MAC and address by annotations on their Node objects.
"""

import hashlib
import ipaddress
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fairway.kernel.base import (
    Bridge,
    DeviceAddress,
    DeviceRoute,
    ForwardingEntry,
    LinkState,
    Neighbour,
    Vxlan,
)
from fairway.network.ipam import Ipam
from fairway.node import Network
from fairway.packet import Family, family_of

BRIDGE = "cni0"
VNI = 1
PORT = 8472  # Linux' own VXLAN port, older than the 4789 of RFC 7348, and the one flannel keeps
SEGMENT_MTU = 1500

_PREFIX = "flannel.alpha.coreos.com"
BACKEND_TYPE = f"{_PREFIX}/backend-type"
SUBNET_MANAGER = f"{_PREFIX}/kube-subnet-manager"
BACKEND_DATA = {Family.IPV4: f"{_PREFIX}/backend-data", Family.IPV6: f"{_PREFIX}/backend-v6-data"}
PUBLIC_IP = {Family.IPV4: f"{_PREFIX}/public-ip", Family.IPV6: f"{_PREFIX}/public-ipv6"}

_DEVICE = {Family.IPV4: f"flannel.{VNI}", Family.IPV6: f"flannel-v6.{VNI}"}
_OVERHEAD = {Family.IPV4: 50, Family.IPV6: 70}  # outer Ethernet, IP, UDP and VXLAN headers (RFC 7348, section 5)
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")


@dataclass(frozen=True, slots=True)
class Peer:
    """Another node: where its VTEP is (`public_ip`), the VTEP's MAC, and the pod ranges behind it."""

    name: str
    public_ip: str
    vtep_mac: str
    pod_cidrs: tuple[str, ...]


def vtep_mac(node_name: str) -> str:
    """The MAC of a node's VTEP: locally administered, unicast, the same whenever the node is made again."""
    first, *rest = hashlib.sha256(b"fairway vtep " + node_name.encode()).digest()[:6]
    return ":".join(f"{octet:02x}" for octet in (first & 0xFC | 0x02, *rest))


def address_mac(address: str) -> str:
    """The MAC of the interface that has `address`: 0a:58 and the address's last four octets, as the reference CNI
    plugins once chose it. Who reuses an address reuses its MAC, so ARP entries that outlive a pod stay right."""
    return ":".join(f"{octet:02x}" for octet in (0x0A, 0x58, *ipaddress.ip_address(address).packed[-4:]))


def overlay_device(own_address: str) -> str:
    """The VTEP's name: `flannel.1` on an IPv4 segment, `flannel-v6.1` on an IPv6 one."""
    return _DEVICE[family_of(own_address)]


def overlay_mtu(own_address: str) -> int:
    """The largest packet that crosses a segment of 1500 bytes in one piece: 1450 over IPv4, 1430 over IPv6."""
    return SEGMENT_MTU - _OVERHEAD[family_of(own_address)]


def node_links(
    node_name: str, own_pod_cidrs: Sequence[str], own_address: str, device: str, others: Sequence[Peer]
) -> LinkState:
    """All links of a node: its bridge, its VTEP on `device` (which has `own_address`), and the way to each of
    `others`. Peers of the node's own name, and families the node has no range of, are left out."""
    overlay, mtu = overlay_device(own_address), overlay_mtu(own_address)
    own = [ipaddress.ip_network(text) for text in own_pod_cidrs]
    gateways = Ipam(own_pod_cidrs).gateways
    peers = _by_range(node_name, own, others)
    return LinkState(
        bridges=(Bridge(BRIDGE, mtu, address_mac(gateways[0].partition("/")[0]) if gateways else ""),),
        vxlans=(Vxlan(overlay, VNI, device, own_address, vtep_mac(node_name), PORT, mtu),),
        addresses=(
            *(DeviceAddress(BRIDGE, gateway) for gateway in gateways),
            *(DeviceAddress(overlay, f"{network[0]}/{network.max_prefixlen}") for network in own),
        ),
        routes=tuple(DeviceRoute(str(network), overlay, str(network[0]), onlink=True) for network in peers),
        neighbours=tuple(Neighbour(overlay, str(network[0]), peer.vtep_mac) for network, peer in peers.items()),
        forwarding=tuple(
            ForwardingEntry(overlay, mac, ip)
            for mac, ip in {peer.vtep_mac: peer.public_ip for peer in peers.values()}.items()
        ),
        sysctls=dict(_sysctls(own)),
    )


def annotations(node_name: str, own_address: str) -> dict[str, str]:
    """What a node writes on its Node object so that the others can reach its pods."""
    family = family_of(own_address)
    data = json.dumps({"VNI": VNI, "VtepMAC": vtep_mac(node_name)}, separators=(",", ":"))
    return {
        BACKEND_DATA[family]: data,
        BACKEND_TYPE: "vxlan",
        PUBLIC_IP[family]: own_address,
        SUBNET_MANAGER: "true",
    }


def peer_from_node(node_object: Mapping[str, Any]) -> Peer | None:
    """The peer a Node object describes; None while it has no range or no annotations yet, and for a node whose
    annotations are not what `annotations` writes: one node's mistake must not cost the others their network."""
    metadata = node_object.get("metadata") or {}
    notes = metadata.get("annotations") or {}
    spec = node_object.get("spec") or {}
    cidrs = tuple(spec.get("podCIDRs") or filter(None, [spec.get("podCIDR")]))
    for family in Family:
        public_ip, mac = str(notes.get(PUBLIC_IP[family], "")), _mac_of(notes.get(BACKEND_DATA[family]))
        if notes.get(BACKEND_TYPE) == "vxlan" and cidrs and mac and _valid(public_ip, family, cidrs):
            return Peer(metadata.get("name", ""), public_ip, mac, cidrs)
    return None


def _by_range(node_name: str, own: Sequence[Network], others: Sequence[Peer]) -> dict[Network, Peer]:
    """Which peer is behind which range. Should two claim one range (a node that came back under a new name while its
    old object lives), the first by name has it on every node, rather than each apply undoing the one before."""
    versions = {network.version for network in own}
    claims: dict[Network, Peer] = {}
    for peer in sorted(others, key=lambda peer: peer.name):
        for network in map(ipaddress.ip_network, peer.pod_cidrs):
            if peer.name != node_name and network.version in versions and network not in own:
                claims.setdefault(network, peer)
    return claims


def _sysctls(own: Iterable[Network]) -> Iterator[tuple[str, str]]:
    """Forwarding between bridge, overlay and segment; and frames between pods of one bridge pass iptables, or a
    Service's answer from a neighbour pod would come back with the neighbour's address."""
    for version in sorted({network.version for network in own}):
        if version == 4:
            yield "net.ipv4.ip_forward", "1"
            yield "net.bridge.bridge-nf-call-iptables", "1"
        else:
            yield "net.ipv6.conf.all.forwarding", "1"
            yield "net.bridge.bridge-nf-call-ip6tables", "1"


def _mac_of(data: Any) -> str:
    """The VTEP's MAC in a backend-data annotation, "" when it says none of our VNI."""
    try:
        parsed = json.loads(data or "")
        mac = str(parsed["VtepMAC"]).lower() if parsed["VNI"] == VNI else ""
    except (ValueError, TypeError, KeyError):
        return ""
    return mac if _MAC.fullmatch(mac) else ""


def _valid(public_ip: str, family: Family, cidrs: Sequence[str]) -> bool:
    try:
        for text in cidrs:
            ipaddress.ip_network(text)
        return family_of(str(ipaddress.ip_address(public_ip))) is family
    except ValueError:
        return False
