"""The rules a node's proxy should hold, worked out from objects alone: what a trace goes by where no node can be read.

Pure. What objects do not tell of a node (devices, routes, the range of all pods) is assumed, and said in notes.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import TypeVar

import msgspec

from fairway.assemble.catalogue import Catalogue, Object
from fairway.assemble.destinations import QuestionError
from fairway.assemble.travelling import Nodes
from fairway.dataplane import iptables
from fairway.desired import view
from fairway.desired.build import FAMILIES, build
from fairway.desired.options import ProxyOptions
from fairway.node import Address, Interface, Network, Node, Route
from fairway.trace.evidence.gathered import Gathered

T = TypeVar("T")

UPLINK, POD_BRIDGE = "eth0", "cni0"


def gathered(catalogue: Catalogue, name: str, cluster_cidrs: tuple[str, ...] = ()) -> Gathered:
    """What the node of that name would hold in iptables mode. Raises QuestionError."""
    described = catalogue.nodes.get(("", name))
    if described is None:
        known = ", ".join(sorted(found for _, found in catalogue.nodes)) or "none"
        raise QuestionError(f"there is no node {name!r}; choose one of {known}")
    ranges = list(_pod_ranges(catalogue.nodes.values()))
    cidrs = cluster_cidrs or tuple(str(each) for each in _spanning([cidr for cidr, _ in ranges]))
    node = _node(described, ranges)
    options = ProxyOptions(cluster_cidrs=cidrs, localhost_nodeports=True)  # as kube-proxy has it unless told
    wanted = build(
        _views(catalogue.services.values(), view.service),
        _views(catalogue.slices.values(), view.endpoint_slice),
        node,
        options,
    )
    rules = [(family, "worked out", iptables.render(wanted, family)) for family in FAMILIES]
    routes = {"main": list(node.routes)}
    return Gathered(name, True, list(rules), interfaces=list(node.interfaces), routes=routes, notes=_notes(name, cidrs))


def world(catalogue: Catalogue, cluster_cidrs: tuple[str, ...] = ()) -> Nodes:
    """All nodes, each worked out when a packet first comes to it."""
    owners = {address: name for name, own in catalogue.node_addresses().items() for address in own}
    return Nodes(lambda name: gathered(catalogue, name, cluster_cidrs), owners)


def _notes(name: str, cidrs: tuple[str, ...]) -> list[str]:
    pods = ", ".join(cidrs) or "unknown"
    return [
        f"Nobody looked at {name}: these are the rules its proxy should write in iptables mode, worked out from the "
        f"cluster's objects. Pods are taken to be {pods}, and nodes to reach each other's directly."
    ]


def _views(objects: Iterable[Object], decode: Callable[[bytes], T]) -> Iterator[T]:
    """What the proxy sees of objects; such as it refuses are passed over, as it does. Manifests need not name the
    namespace."""
    for each in objects:
        try:
            yield decode(msgspec.json.encode({**each, "metadata": {"namespace": "default"} | each["metadata"]}))
        except view.Malformed:
            continue


def _node(described: Object, ranges: Iterable[tuple[Network, Address]]) -> Node:
    """A node with one device for the world and one for its pods; the pods of others are behind their nodes."""
    own = [_cidr(text) for text in _cidrs_of(described)]
    uplink = Interface(UPLINK, tuple(ipaddress.ip_interface(str(address)) for address in _addresses(described)))
    bridge = Interface(POD_BRIDGE, tuple(ipaddress.ip_interface(f"{cidr[1]}/{cidr.prefixlen}") for cidr in own))
    routes = [Route(cidr, POD_BRIDGE, source=cidr[1]) for cidr in own]
    routes += [Route(cidr, UPLINK, via=address) for cidr, address in ranges if cidr not in own]
    routes += [Route(_everything(address), UPLINK, source=address) for address in _addresses(described)]
    metadata = described["metadata"]
    labels = metadata.get("labels") or {}
    primary = tuple(_addresses(described))
    return Node(metadata["name"], (uplink, bridge), tuple(routes), tuple(own), labels, primary)


def _everything(address: Address) -> Network:
    return ipaddress.ip_network("0.0.0.0/0" if address.version == 4 else "::/0")


def _addresses(described: Object) -> Iterator[Address]:
    for each in (described.get("status") or {}).get("addresses") or ():
        if each.get("type") in ("InternalIP", "ExternalIP"):
            try:
                yield ipaddress.ip_address(each.get("address") or "")
            except ValueError:
                continue


def _cidrs_of(described: Object) -> list[str]:
    spec = described.get("spec") or {}
    return list(spec.get("podCIDRs") or filter(None, [spec.get("podCIDR")]))


def _cidr(text: str) -> Network:
    return ipaddress.ip_network(text, strict=False)


def _pod_ranges(nodes: Iterable[Object]) -> Iterator[tuple[Network, Address]]:
    """The ranges of all nodes, each with the address of its node."""
    for node in nodes:
        for text in _cidrs_of(node):
            with suppress(ValueError):
                cidr = _cidr(text)
                yield from ((cidr, each) for each in list(_addresses(node))[:2] if each.version == cidr.version)


def _spanning(ranges: Iterable[Network]) -> Iterator[Network]:
    """Of each family the smallest range with all nodes' pods in it, a /16 (or /48) or wider."""
    for version, longest in ((4, 16), (6, 48)):
        own = [each for each in ranges if each.version == version]
        if not own:
            continue
        low = min(int(each.network_address) for each in own)
        high = max(int(each.broadcast_address) for each in own)
        bits = own[0].max_prefixlen
        length = min(bits - (low ^ high).bit_length(), longest)
        yield ipaddress.ip_network((low >> (bits - length) << (bits - length), length))
