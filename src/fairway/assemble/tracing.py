"""What the tracer needs, put together: from a lab, from this machine, or from files; and the way of one packet."""

from __future__ import annotations

import asyncio
import ipaddress
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace

import msgspec

from fairway.announce import bulletin
from fairway.assemble.catalogue import Catalogue, Object, addresses_of
from fairway.assemble.destinations import Destination, Places, QuestionError, Wanted, find, service_name
from fairway.assemble.travelling import Nodes, journeys
from fairway.client.kubeconfig import connect, load
from fairway.kernel.linux import netns, observed
from fairway.kernel.linux.links import LinuxLinks
from fairway.lab import build
from fairway.lab.state import StateDir
from fairway.lab.topology import Topology
from fairway.node import Node
from fairway.objects import kinds
from fairway.packet import Family, Packet, Protocol, Verdict, family_of
from fairway.trace.causes import Causes
from fairway.trace.connections import Original
from fairway.trace.evidence import guesses, texts
from fairway.trace.evidence.bundle import CONTENTS
from fairway.trace.evidence.gathered import Gathered, Scene
from fairway.trace.journey import Alone, Journey, Leg, World
from fairway.trace.sources import own_source
from fairway.trace.steps import Trace
from fairway.trace.walk import Rules
from fairway.trace.walk import trace as walk

ROUTER = "segment"
SEGMENT_DEVICE = "eth0"
ARRIVED = (Verdict.ENDPOINT, Verdict.UNTRANSLATED)
HERE = ("node", "localhost")
"""What the node whose rules are read may be called, besides its name."""


@dataclass(frozen=True, slots=True)
class Question:
    """What `fairway trace` is asked: source and destination as the user wrote them. `source_port` 0: of a connection
    that is not there yet; `in_interface` "": found out; `family` None: the destination's first."""

    source: str
    destination: str
    protocol: str = "TCP"
    namespace: str = "default"
    source_port: int = 0
    in_interface: str = ""
    family: Family | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """The trace, and names for the addresses in it. `then` goes on where the packet was sent to another node, on that
    node. `rules` are those that were followed, `then_rules` the other node's. `journeys` tell what comes after the
    ends: the packet on other nodes, and its answer's way back."""

    trace: Trace
    names: Mapping[str, str]
    then: Trace | None = None
    catalogue: Catalogue = field(default_factory=Catalogue)
    rules: Rules = field(default_factory=Rules)
    then_rules: Rules = field(default_factory=Rules)
    journeys: Mapping[int, Journey] = field(default_factory=dict)

    def journeys_of(self, part: Trace) -> Mapping[int, Journey]:
        """What comes after the branches of the trace or of `then`: only the last of them has ends."""
        return self.journeys if part is (self.then or self.trace) else {}

    def causes(self, part: Trace) -> Causes | None:
        """Where the objects behind the steps are found, if any are known."""
        return Causes(self.catalogue, part.node.name) if self.catalogue.given else None

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


def ask(state: StateDir, question: Question, objects: Catalogue | None = None) -> Answer:
    """Follow one packet in a live lab. `objects` are its own, where they are known already. Raises QuestionError,
    StateError."""
    topology = state.topology()
    catalogue = asyncio.run(_fetch(str(state.kubeconfig))) if objects is None else objects
    wanted = Wanted.read(question.destination, Protocol(question.protocol), question.family)
    destination = find(catalogue, _lab_places(topology), wanted, question.namespace)
    start = _start(catalogue, topology, question, destination.address, lambda: asyncio.run(_announced(state)))
    people = {address: name for name, addresses in _people(topology).items() for address in addresses}
    names = people | catalogue.names()
    world = Nodes.of(topology, catalogue, lambda member: _observe(topology, member, False))
    scene = _observe(topology, start.member, bool(question.source_port)).scene(family_of(destination.address))
    source = start.address or own_address(scene.node, destination.address)
    packet = _packet(question, source, destination, wanted.protocol, question.in_interface or start.in_interface)
    notes = (*destination.notes, *_outside_notes(topology, start, destination))
    first = follow(scene, packet, notes)
    second = _on_the_next_node(topology, world, start, first)
    if second is None:
        ways = journeys(scene, first, world)
        return Answer(first, names, None, catalogue, scene.rules, journeys=ways)
    there, then = second
    ways = journeys(there, then, world, [Leg(scene, first, first.branches[0])])
    return Answer(first, names, then, catalogue, scene.rules, there.rules, ways)


async def _announced(state: StateDir) -> dict[str, str]:
    """Which node answers on the segment for each load-balancer address, as the Leases of announcers say."""
    client = connect(load(str(state.kubeconfig)))
    try:
        listing = await client.list(kinds.LEASE, bulletin.NAMESPACE, label_selector=bulletin.SELECTOR)
    finally:
        await client.close()
    found: dict[str, str] = {}
    for raw in listing.items:
        with suppress(ValueError):  # a Lease that says nothing of the kind
            said = bulletin.read(msgspec.json.decode(raw))
            found |= {address: said.node for address, claim in said.claims.items() if claim.held}
    return found


async def _fetch(kubeconfig: str | None) -> Catalogue:
    client = connect(load(kubeconfig))
    try:
        return await Catalogue.fetch(client)
    finally:
        await client.close()


def _lab_places(topology: Topology) -> Places:
    named = {node.name: node.address for node in topology.nodes}
    return Places(named | {name: addresses[0] for name, addresses in _outside(topology).items()}, topology.domain)


def _outside(topology: Topology) -> dict[str, tuple[str, ...]]:
    """The lab's members outside the cluster that may be asked about, with their addresses."""
    behind = {"far": tuple(each.client for each in topology.behind)} if topology.behind else {}
    return {"client": topology.on_segment()["client"], **behind}


def _people(topology: Topology) -> dict[str, tuple[str, ...]]:
    """What answers call those who have addresses."""
    nodes = {node.name: node.addresses for node in topology.nodes}
    said = {"client": "the outside client", "far": "the client behind the router"}
    return nodes | {said[name]: addresses for name, addresses in _outside(topology).items()}


def ask_here(question: Question, node: str, kubeconfig: str, objects: Catalogue) -> Answer:
    """Follow one packet by the rules that this machine's kernel holds. `node` is its name in the cluster; names are
    looked up in the kubeconfig's cluster ("": among `objects`). Raises QuestionError, EvidenceError, KernelError."""
    catalogue = asyncio.run(_fetch(kubeconfig)) if kubeconfig else objects
    gathered = live(None, node or os.uname().nodename, bool(question.source_port))
    return ask_of(gathered, catalogue, question)


def ask_of(gathered: Gathered, catalogue: Catalogue, question: Question, world: World | None = None) -> Answer:
    """Follow one packet by what was gathered of a node, and over those of `world`. Raises QuestionError, TraceError."""
    wanted = Wanted.read(question.destination, Protocol(question.protocol), question.family)
    own = _own_names(gathered, catalogue)
    named = _destination(gathered, catalogue, own, wanted, question.namespace)
    scene = gathered.scene(family_of(named.address))
    scene = guesses.with_addresses(scene, named.address, wanted.protocol, named.port)
    source, device, notes = _source(scene, catalogue, own, question, named.address)
    packet = _packet(question, source, named, wanted.protocol, device)
    found = follow(scene, packet, (*named.notes, *notes))
    ways = journeys(scene, found, world or Alone())
    return Answer(found, catalogue.names(), None, catalogue, scene.rules, journeys=ways)


def live(namespace: str | None, name: str, connections: bool) -> Gathered:
    """What the kernel holds now in a namespace (None: this thread's). Raises EvidenceError, KernelError."""
    pieces = observed.observe(namespace, connections=connections)
    found = [texts.read(piece.command, piece.text, CONTENTS[piece.name]) for piece in pieces if not piece.failure]
    gathered = Gathered.read(found, name, whole=True)
    gathered.notes += [
        f"`{piece.command}` could not be read: {piece.failure}."
        for piece in pieces
        if piece.failure and CONTENTS[piece.name] in texts.RULES
    ]
    if not gathered.interfaces:  # a machine without iproute2
        links = LinuxLinks(namespace)
        gathered.interfaces, gathered.routes["main"] = list(links.interfaces()), list(links.routes())
    return gathered


def follow(scene: Scene, packet: Packet, notes: Iterable[str] = ()) -> Trace:
    """Walk, with what is worth a note about the packet and what was gathered."""
    found = walk(scene.rules, scene.node, packet, settings=scene.settings, connections=scene.connections)
    said = (*notes, *scene.notes, *_about_connections(scene, packet), *_about_bridge(scene, found), *found.notes)
    return replace(found, notes=tuple(dict.fromkeys(said)))


def _about_connections(scene: Scene, packet: Packet) -> Iterator[str]:
    """Connections of this client to this place that go on as they began, whatever rules say now."""
    ends = Original(packet.source, packet.destination, packet.source_port, packet.destination_port)
    if scene.connections.find(packet.protocol, ends) is not None:
        return
    alike = scene.connections.alike(packet.protocol, ends)
    if alike:
        ports = ", ".join(str(entry.original.source_port) for entry in alike[:5]) + (", ..." if len(alike) > 5 else "")
        yield (
            f"Connections of this client to this place that the kernel knows already: {len(alike)}, from port {ports}; "
            "they go where they began to go. --source-port follows one of them."
        )


def _about_bridge(scene: Scene, found: Trace) -> Iterator[str]:
    """Answers that go from pod to pod within the bridge are translated back only if bridged packets meet the rules."""
    if scene.settings.bridge_rules or not found.packet.in_interface:
        return
    for path in found.branches:
        if path.outcome.verdict is Verdict.ENDPOINT and path.egress.device == found.packet.in_interface:
            if not path.outcome.masqueraded:
                yield (
                    f"net.bridge.bridge-nf-call-iptables is 0: {path.outcome.endpoint} is on the same bridge as the "
                    "client and answers it directly, untranslated; the client does not know that address and refuses "
                    "the answer."
                )
            return


def _packet(question: Question, source: str, to: Destination, protocol: Protocol, device: str) -> Packet:
    """The packet asked about. Raises QuestionError where its ends do not fit each other."""
    if family_of(source) is not family_of(to.address):
        raise QuestionError(f"--to {question.destination}: {question.source} has no address of that family")
    if source == to.address and device:
        why = f"{question.source} reaches itself by its loopback; no rule sees the packet"
        raise QuestionError(f"--to {question.destination}: {why}")
    return Packet(source, to.address, protocol, to.port, question.source_port or 40000, device)


def _own_names(gathered: Gathered, catalogue: Catalogue) -> dict[str, list[str]]:
    """The names of nodes with their addresses; that of the node at hand stands for those of its devices."""
    own = [str(address.ip) for interface in gathered.interfaces for address in interface.addresses]
    found = catalogue.node_addresses()
    for name in (gathered.name, *HERE):
        if name and (own or name not in found):
            found[name] = own
    return found


def _destination(
    gathered: Gathered, catalogue: Catalogue, own: Mapping[str, list[str]], wanted: Wanted, namespace: str
) -> Destination:
    if wanted.host in own and not own[wanted.host]:
        raise wanted.error(f"the addresses of {wanted.host} are not known; write one, or give --ip-addr")
    places = Places({name: addresses[0] for name, addresses in own.items() if addresses})
    if catalogue.given or places.address(wanted.host):
        return find(catalogue, places, wanted, namespace)
    _, name, there = service_name(wanted, places.domain, namespace)
    known = [p for _, _, ruleset in gathered.iptables for p in guesses.service_places(ruleset, there, name)]
    fits = [p for p in known if p.protocol is wanted.protocol and wanted.port in ("", p.name, str(p.port))]
    if not known:
        why = f"the rules name no Service {there}/{name}; give its address, or its objects with --objects"
        raise wanted.error(why)
    if len({(p.address, p.port) for p in fits}) != 1:
        ports = ", ".join(f"{p.port}/{p.protocol}" for p in known)
        raise wanted.error(f"name one port after the ':'; the rules know {ports}")
    note = f"That {there}/{name} is {fits[0].address} is what the rules' comments say."
    return Destination(fits[0].address, fits[0].port, (note,))


def _source(
    scene: Scene, catalogue: Catalogue, own: Mapping[str, list[str]], question: Question, destination: str
) -> tuple[str, str, tuple[str, ...]]:
    """The packet's source address, the device it comes in by, and what was assumed."""
    said = question.source
    if said in (scene.node.name, *HERE) and said:
        return own_address(scene.node, destination), question.in_interface, ()
    family = family_of(destination)
    address = next((a for a in own.get(said, ()) if family_of(a) is family), "") or _literal(said)
    if not address:
        pod = _pod(catalogue, question)
        spec, addresses = pod.get("spec") or {}, [a for a in addresses_of(pod) if family_of(a) is family]
        if not addresses:
            raise QuestionError(f"--from {said}: the pod has no {family} address")
        address = addresses[0]
        node = spec.get("nodeName") or ""
        if spec.get("hostNetwork") and node == scene.node.name:
            return own_address(scene.node, destination), question.in_interface, ()
    if question.in_interface:
        return address, question.in_interface, ()
    device, note = guesses.arrival(scene, ipaddress.ip_address(address))
    return address, device, (note,) if note else ()


def _literal(said: str) -> str:
    try:
        return str(ipaddress.ip_address(said.strip("[]")))
    except ValueError:
        return ""


def _pod(catalogue: Catalogue, question: Question) -> Object:
    """The pod that `--from` names. Raises QuestionError."""
    there, _, name = question.source.removeprefix("pod/").rpartition("/")
    namespace = there or question.namespace
    found = catalogue.pods.get((namespace, name))
    if found is not None:
        return found
    if not catalogue.given:
        why = "names need --objects FILE or --kubeconfig FILE; without them write an address, or `node` for the node"
        raise QuestionError(f"--from {question.source}: {why}")
    why = f'there is no node and in namespace {namespace} no pod "{name}"'
    raise QuestionError(f"--from {question.source}: {why}; in a lab `client` is the outside client")


def _outside_notes(topology: Topology, start: _Start, destination: Destination) -> Iterator[str]:
    services = [ipaddress.ip_network(each) for each in topology.service_ranges]
    outside = start.member in (ROUTER, "router")
    if outside and any(ipaddress.ip_address(destination.address) in each for each in services):
        yield "The outside client is no part of the cluster: it has none of its rules; ClusterIPs lead nowhere."


def _on_the_next_node(topology: Topology, world: Nodes, start: _Start, first: Trace) -> tuple[Scene, Trace] | None:
    """A packet to another node's own address is at that node's rules next: node ports are looked up there."""
    packet = first.packet
    there = next((node.name for node in topology.nodes if packet.destination in node.addresses), "")
    path = first.branches[0]
    if there in ("", start.member) or len(first.branches) > 1 or path.outcome.verdict is not Verdict.UNTRANSLATED:
        return None
    scene = world.scene(there, packet.family)
    packet = replace(packet, source=path.source_seen or packet.source, in_interface=SEGMENT_DEVICE)
    return scene, follow(scene, packet)


def _start(
    catalogue: Catalogue,
    topology: Topology,
    question: Question,
    destination: str,
    announced: Callable[[], Mapping[str, str]],
) -> _Start:
    source, family = question.source, family_of(destination)
    owner = {address: node.name for node in topology.nodes for address in node.addresses}
    outside = {address: name for name, addresses in _outside(topology).items() for address in addresses}
    address = _lab_places(topology).address(source)
    if address in owner:
        return _Start(owner[address], "", "")
    if address in outside:
        name = outside[address]
        if name == source:
            address = next((each for each in _outside(topology)[name] if family_of(each) is family), address)
        node = owner.get(destination) or announced().get(destination)
        if node:
            return _Start(node, address, SEGMENT_DEVICE)
        if name == "far":
            return _Start("router", address, "eth1")
        return _Start(ROUTER, address, build.SEGMENT_BRIDGE)  # what is not on the segment goes to its router
    if address:
        pod = catalogue.pod_at(address)
        if pod is None:
            raise QuestionError(f"--from {source}: no pod, node or client of this lab has that address")
    else:
        pod = _pod(catalogue, question)
    node = pod["spec"].get("nodeName") or ""
    ips = addresses_of(pod)
    ip = next((each for each in ips if family_of(each) is family), next(iter(ips), ""))
    if not node or not ip:
        raise QuestionError(f"--from {source}: the pod has no node or no address yet")
    return _Start(node, "", "") if pod["spec"].get("hostNetwork") else _Start(node, ip, "cni0")


def _observe(topology: Topology, member: str, connections: bool) -> Gathered:
    """What a member's kernel holds now."""
    return live(netns.path(topology.namespace(member)), member, connections)


def own_address(node: Node, destination: str) -> str:
    """The source address a process on the node would use. Raises QuestionError when none is known."""
    found = own_source(node, destination)
    if not found:
        who = node.name or "the node"
        raise QuestionError(f"{who} has no address of the destination's family, as far as is known (--ip-addr FILE)")
    return found
