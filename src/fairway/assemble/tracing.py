"""What the tracer needs, gathered from a live lab: the node's rules, addresses and routes, and the names of things."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from fairway.assemble.destinations import Destination, QuestionError, Wanted, address_of, find
from fairway.client.base import ApiError, Client
from fairway.client.kubeconfig import connect, load
from fairway.kernel.linux import netns
from fairway.kernel.linux.links import LinuxLinks
from fairway.kernel.linux.netfilter import LinuxNetfilter
from fairway.lab import build
from fairway.lab.state import StateDir
from fairway.lab.topology import Topology
from fairway.node import Node
from fairway.objects import kinds
from fairway.packet import Family, Packet, Protocol, Verdict, family_of
from fairway.ruleset import iptables
from fairway.trace.steps import Trace
from fairway.trace.walk import trace as walk

ROUTER = "segment"
SEGMENT_DEVICE = "eth0"
ARRIVED = (Verdict.ENDPOINT, Verdict.UNTRANSLATED)


@dataclass(frozen=True, slots=True)
class Question:
    """What `fairway trace` is asked: source and destination as the user wrote them."""

    source: str
    destination: str
    protocol: str = "TCP"
    namespace: str = "default"


@dataclass(frozen=True, slots=True)
class Answer:
    """The trace, and names for the addresses in it. `then` goes on where the packet was sent to another node, on that
    node."""

    trace: Trace
    names: Mapping[str, str]
    then: Trace | None = None

    @property
    def delivered(self) -> bool:
        """Whether some branch ends at an endpoint or at the address the packet names."""
        return any(path.outcome.verdict in ARRIVED for path in (self.then or self.trace).branches)


@dataclass(frozen=True, slots=True)
class _Start:
    """Where the packet begins: on which member of the segment its walk is followed, and how it gets there."""

    member: str
    address: str
    in_interface: str


def ask(state: StateDir, question: Question) -> Answer:
    """Follow one packet in a live lab. Raises QuestionError, StateError."""
    topology = state.topology()
    return asyncio.run(_ask(state, topology, question))


async def _ask(state: StateDir, topology: Topology, question: Question) -> Answer:
    client = connect(load(str(state.kubeconfig)))
    try:
        wanted = Wanted.read(question.destination, Protocol(question.protocol))
        destination = await find(client, topology, wanted, question.namespace)
        start = await _start(client, topology, question, destination.address)
        names = await _names(client, topology)
    finally:
        await client.close()
    node, rules = _observe(topology, start.member, family_of(destination.address))
    source = start.address or _own_address(node, destination.address)
    if family_of(source) is not family_of(destination.address):
        raise QuestionError(f"--to {question.destination}: {question.source} has no address of that family")
    if source == destination.address and start.in_interface:
        why = f"{question.source} reaches itself by its loopback; no rule sees the packet"
        raise QuestionError(f"--to {question.destination}: {why}")
    packet = Packet(source, destination.address, wanted.protocol, destination.port, in_interface=start.in_interface)
    notes = (*destination.notes, *_outside_notes(topology, start, destination))
    first = walk(rules, node, packet)
    first = replace(first, notes=(*notes, *first.notes))
    return Answer(first, names, _on_the_next_node(topology, start, first))


def _outside_notes(topology: Topology, start: _Start, destination: Destination) -> Iterator[str]:
    services = ipaddress.ip_network(topology.service_range)
    if start.member == ROUTER and ipaddress.ip_address(destination.address) in services:
        yield "The outside client is no part of the cluster: it has none of its rules; ClusterIPs lead nowhere."


def _on_the_next_node(topology: Topology, start: _Start, first: Trace) -> Trace | None:
    """A packet to another node's own address is at that node's rules next: node ports are looked up there."""
    packet = first.packet
    there = next((node.name for node in topology.nodes if node.address == packet.destination), "")
    path = first.branches[0]
    if there in ("", start.member) or len(first.branches) > 1 or path.outcome.verdict is not Verdict.UNTRANSLATED:
        return None
    node, rules = _observe(topology, there, packet.family)
    return walk(rules, node, replace(packet, source=path.source_seen or packet.source, in_interface=SEGMENT_DEVICE))


async def _start(client: Client, topology: Topology, question: Question, destination: str) -> _Start:
    source = question.source
    nodes = {node.name: node.address for node in topology.nodes}
    owner = {address: name for name, address in nodes.items()}
    address = address_of(topology, source)
    if source in nodes or address in owner:
        return _Start(owner[address], "", "")
    if address == topology.outside_client:
        if destination in owner:
            return _Start(owner[destination], address, SEGMENT_DEVICE)
        return _Start(ROUTER, address, build.SEGMENT_BRIDGE)  # what is not on the segment goes to its router
    pod = await _pod(client, question, address)
    node = pod["spec"].get("nodeName", "")
    ip = pod.get("status", {}).get("podIP", "")
    if not node or not ip:
        raise QuestionError(f"--from {source}: the pod has no node or no address yet")
    return _Start(node, "", "") if pod["spec"].get("hostNetwork") else _Start(node, ip, "cni0")


async def _pod(client: Client, question: Question, address: str) -> dict[str, Any]:
    if address:
        listing = await client.list(kinds.POD)
        for raw in listing.items:
            pod: dict[str, Any] = msgspec.json.decode(raw)
            if pod.get("status", {}).get("podIP") == address:
                return pod
        raise QuestionError(f"--from {question.source}: no pod, node or client of this lab has that address")
    namespace, _, name = question.source.rpartition("/")
    try:
        return await client.get(kinds.POD, name, namespace or question.namespace)
    except ApiError as error:
        if error.code != 404:
            raise QuestionError(f"--from {question.source}: {error.message}") from error
        there = namespace or question.namespace
        why = f'there is no node and in namespace {there} no pod "{name}"; `client` is the outside client'
        raise QuestionError(f"--from {question.source}: {why}") from error


async def _names(client: Client, topology: Topology) -> dict[str, str]:
    names = {node.address: node.name for node in topology.nodes}
    names[topology.outside_client] = "the outside client"
    for raw in (await client.list(kinds.NODE)).items:
        node = msgspec.json.decode(raw)
        for cidr in node["spec"].get("podCIDRs", []):  # flannel's next hop is the range's network address
            names[cidr.partition("/")[0]] = node["metadata"]["name"]
    for raw in (await client.list(kinds.POD)).items:
        pod = msgspec.json.decode(raw)
        ip = pod.get("status", {}).get("podIP")
        if ip and not pod["spec"].get("hostNetwork"):
            names[ip] = f"{pod['metadata']['namespace']}/{pod['metadata']['name']}"
    return names


def _observe(topology: Topology, member: str, family: Family) -> tuple[Node, iptables.Ruleset]:
    """A member's addresses, routes and rules as its kernel holds them now."""
    namespace = netns.path(topology.namespace(member))
    with netns.entered(namespace):
        links = LinuxLinks()
        node = Node(member, tuple(links.interfaces()), tuple(links.routes()))
        return node, iptables.parse(LinuxNetfilter().save(family))


def _own_address(node: Node, destination: str) -> str:
    """The source address a process on the node would use: the route's preferred one, else the device's first."""
    target = ipaddress.ip_address(destination)
    route = node.route(target)
    if route and route.source:
        return str(route.source)
    device = route.device if route else ""
    same = [
        (interface.name == device, str(address.ip))
        for interface in node.interfaces
        for address in interface.addresses
        if address.version == target.version
    ]
    if not same:
        raise QuestionError(f"{node.name} has no address of the destination's family")
    return max(same, key=lambda found: found[0])[1]
