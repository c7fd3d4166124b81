"""What the tracer needs, gathered from a live lab: the node's rules, addresses and routes, and the names of things."""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

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


class QuestionError(Exception):
    """The question names something that is not there; the message names it."""


@dataclass(frozen=True, slots=True)
class Question:
    """What `fairway trace` is asked: source and destination as the user wrote them."""

    source: str
    destination: str
    protocol: str = "TCP"
    namespace: str = "default"


@dataclass(frozen=True, slots=True)
class Answer:
    """The trace, and names for the addresses in it."""

    trace: Trace
    names: Mapping[str, str]


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


def delivered(trace: Trace) -> bool:
    """Whether some branch ends at an endpoint or at the address the packet names."""
    return any(branch.outcome.verdict in (Verdict.ENDPOINT, Verdict.UNTRANSLATED) for branch in trace.branches)


async def _ask(state: StateDir, topology: Topology, question: Question) -> Answer:
    client = connect(load(str(state.kubeconfig)))
    try:
        protocol = Protocol(question.protocol)
        address, port = await _destination(client, topology, question, protocol)
        start = await _start(client, topology, question, address)
        names = await _names(client, topology)
    finally:
        await client.close()
    node, rules = _observe(topology, start.member, family_of(address))
    source = start.address or _own_address(node, address)
    packet = Packet(source, address, protocol, port, in_interface=start.in_interface)
    return Answer(walk(rules, node, packet), names)


async def _destination(client: Client, topology: Topology, question: Question, protocol: Protocol) -> tuple[str, int]:
    host, _, port = question.destination.strip("/").rpartition(":")
    host = host.strip("[]")
    if not host:
        host, port = question.destination, ""
    address = _address_of(topology, host)
    if address:
        return address, _number(port, question.destination)
    name, namespace = _split(host.removesuffix(f".svc.{topology.domain}").removesuffix(".svc"), question.namespace)
    try:
        service = await client.get(kinds.SERVICE, name, namespace)
    except ApiError as error:
        raise QuestionError(f"--to {question.destination}: {error.message}") from error
    ip = service["spec"].get("clusterIP", "")
    if ip in ("", "None"):
        raise QuestionError(f"--to {question.destination}: the Service has no ClusterIP; name an endpoint's address")
    return ip, _service_port(service, port, protocol, question.destination)


def _service_port(service: dict[str, Any], wanted: str, protocol: Protocol, said: str) -> int:
    ports = [p for p in service["spec"].get("ports", []) if p.get("protocol", "TCP") == protocol]
    if wanted.isdigit():
        return int(wanted)  # also one the Service does not have: the rules say what happens then
    found = [p["port"] for p in ports if p.get("name", "") == wanted] if wanted else [p["port"] for p in ports]
    if len(found) != 1:
        there = ", ".join(f"{p.get('name') or '(unnamed)'} {p['port']}" for p in ports) or "none"
        raise QuestionError(f"--to {said}: name one of the Service's {protocol} ports ({there})")
    return int(found[0])


def _number(port: str, said: str) -> int:
    if not port.isdigit() or not 0 < int(port) < 65536:
        raise QuestionError(f"--to {said}: needs a port between 1 and 65535 after the last ':'")
    return int(port)


def _address_of(topology: Topology, host: str) -> str:
    """The address a node's or the client's name stands for, or the address itself; "" for other names."""
    for node in topology.nodes:
        if node.name == host:
            return node.address
    if host == "client":
        return topology.outside_client
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        return ""


def _split(name: str, namespace: str) -> tuple[str, str]:
    first, _, second = name.partition(".")
    return first, second or namespace


async def _start(client: Client, topology: Topology, question: Question, destination: str) -> _Start:
    source = question.source
    nodes = {node.name: node.address for node in topology.nodes}
    owner = {address: name for name, address in nodes.items()}
    address = _address_of(topology, source)
    if source in nodes or address in owner:
        return _Start(owner[address], "", "")
    if address == topology.outside_client:
        if destination in owner:
            return _Start(owner[destination], address, "eth0")
        return _Start("segment", address, build.SEGMENT_BRIDGE)  # what is not on the segment goes to its router
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
        raise QuestionError(f"--from {question.source}: {error.message}") from error


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
