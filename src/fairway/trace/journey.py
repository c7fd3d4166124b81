"""What comes after a path's end: the packet's way over further nodes, and its answer's way back to the client.

An answer is given back the addresses that its connection began with where the connection is known: on the nodes that
translated the packet. One that takes another way reaches the client from an address it never asked, and is refused.
"""

from __future__ import annotations

import enum
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from fairway.packet import Packet, Verdict, host_port
from fairway.trace.connections import Connections, Entry, Original
from fairway.trace.evidence.gathered import Scene
from fairway.trace.routing import LOOPBACK
from fairway.trace.steps import Egress, Path, Trace
from fairway.trace.walk import trace as walk

MAX_NODES = 8
"""Nodes that one packet is followed over; routes that lead in a circle end there."""

_ARRIVED = (Verdict.ENDPOINT, Verdict.UNTRANSLATED)


class World(Protocol):
    """The nodes that are known besides the first."""

    def onward(self, node: str, egress: Egress, destination: str) -> tuple[Scene, str] | None:
        """The node that a packet comes to next, and the device it comes in by; None: it has left what is known, or
        arrived."""


class Alone:
    """A world of one node."""

    def onward(self, node: str, egress: Egress, destination: str) -> tuple[Scene, str] | None:
        return None


class End(enum.StrEnum):
    """How an answer ends."""

    RIGHT = "right"  # it comes from where the client asked
    STRANGE = "strange"  # it comes from elsewhere: the client refuses it
    LOST = "lost"  # it does not reach the client
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Leg:
    """A packet's way over one node."""

    scene: Scene
    trace: Trace
    path: Path


@dataclass(frozen=True, slots=True)
class Journey:
    """`onward` is the packet's way over further nodes, `back` its answer's from node to node, `end` how the answer
    ends, `seen` the "address:port" it comes from when it reaches the client, "" when it does not, and `why`, where
    `end` is not RIGHT, a clause."""

    onward: tuple[Leg, ...] = ()
    back: tuple[Leg, ...] = ()
    end: End = End.UNKNOWN
    seen: str = ""
    why: str = ""


def travel(legs: Sequence[Leg], world: World) -> Journey | None:
    """What comes after the last of these legs; None when the packet does not arrive, is an answer itself, or leaves by
    a device that is not known. Pure but for what `world` reads. Raises TraceError."""
    path = legs[-1].path
    if path.outcome.verdict not in _ARRIVED or not path.egress.device or any(s.packet.answers for s in path.steps):
        return None
    return _Traveller(list(legs), world, len(legs)).travel()


@dataclass(slots=True)
class _Traveller:
    legs: list[Leg]
    world: World
    given: int
    back: list[Leg] = field(default_factory=list)

    def travel(self) -> Journey:
        if why := self._go_on():
            return self._ended(End.UNKNOWN, why)
        last = self.legs[-1]
        if last.path.outcome.verdict not in _ARRIVED:
            return self._ended(End.LOST, f"{_name(last)} does not let the packet through")
        if not last.path.source_seen:
            return self._ended(End.UNKNOWN, "the source after masquerading is not known")
        if shortcut := self._beside_the_rules():
            return shortcut
        return self._come_back()

    def _ended(self, end: End, why: str = "", seen: str = "") -> Journey:
        return Journey(tuple(self.legs[self.given :]), tuple(self.back), end, seen, why)

    def _go_on(self) -> str:
        """Follow the packet over the nodes that come next; why that cannot be done, or ""."""
        while len(self.legs) < MAX_NODES:
            leg = self.legs[-1]
            if leg.path.outcome.verdict not in _ARRIVED or not leg.path.source_seen:
                return ""
            end = ends_of(leg.path, leg.trace.packet)
            found = self.world.onward(leg.scene.node.name, leg.path.egress, end.destination)
            if found is None:
                return ""
            scene, device = found
            trace = _follow(scene, _packet(leg.trace.packet, end, device))
            if len(trace.branches) > 1:
                return f"what {scene.node.name or 'the next node'} does with the packet is left to chance"
            self.legs.append(Leg(scene, trace, trace.branches[0]))
        return f"the packet goes over more than {MAX_NODES} nodes"

    def _beside_the_rules(self) -> Journey | None:
        """An answer from pod to pod of one bridge meets the rules only if the bridge asks them."""
        first, last = self.legs[0], self.legs[-1]
        device = first.trace.packet.in_interface
        direct = device and last.path.egress == Egress(device) and len(self.legs) == 1
        if not direct or last.path.outcome.masqueraded or last.scene.settings.bridge_rules:
            return None
        end = ends_of(last.path, last.trace.packet)
        seen = host_port(end.destination, end.destination_port)
        why = f"client and endpoint are on the bridge {device}, and net.bridge.bridge-nf-call-iptables is 0"
        return self._judged(seen, why)

    def _judged(self, seen: str, why: str) -> Journey:
        asked = self.legs[0].trace.packet
        right = seen == host_port(asked.destination, asked.destination_port)
        return self._ended(End.RIGHT if right else End.STRANGE, "" if right else why, seen)

    def _come_back(self) -> Journey:
        leg = self.legs[-1]
        end = ends_of(leg.path, leg.trace.packet).turned()
        device = "" if leg.path.egress.device == LOOPBACK else leg.path.egress.device
        if away := self._goes_elsewhere(leg, end):
            return away
        scene = leg.scene
        while len(self.back) < MAX_NODES:
            trace = _follow(self._knowing(scene), _packet(leg.trace.packet, end, device))
            paths = [path for path in trace.branches if path.outcome.verdict in _ARRIVED]
            if not paths:
                self.back.append(Leg(scene, trace, trace.branches[0]))
                return self._ended(End.LOST, f"{scene.node.name or 'the node'} does not let the answer through")
            self.back.append(Leg(scene, trace, paths[0]))
            if len(paths) < len(trace.branches):
                return self._ended(End.UNKNOWN, "nobody can tell whether the node lets the answer through")
            end = ends_of(paths[0], trace.packet)
            found = self.world.onward(scene.node.name, paths[0].egress, end.destination)
            if found is None:
                return self._arrived(end)
            scene, device = found
        return self._ended(End.UNKNOWN, f"the answer goes over more than {MAX_NODES} nodes")

    def _arrived(self, end: Original) -> Journey:
        asked = self.legs[0].trace.packet
        if (end.destination, end.destination_port) != (asked.source, asked.source_port):
            where = host_port(end.destination, end.destination_port)
            return self._ended(End.LOST, f"it is sent to {where}, who never asked", "")
        return self._judged(host_port(end.source, end.source_port), self._bypassed())

    def _bypassed(self) -> str:
        passed = {_name(leg) for leg in self.back}
        missed = [_name(leg) for leg in self.legs if leg.path.outcome.verdict is Verdict.ENDPOINT]
        missed = [name for name in missed if name not in passed]
        if missed:
            return f"the answer does not come by {missed[0]}, which alone knows what was translated"
        return "nothing gives the answer back the address that was asked"

    def _goes_elsewhere(self, leg: Leg, end: Original) -> Journey | None:
        """Where the endpoint's own node is not known: its answer comes by this one only if the client is this node,
        one of its pods, or whoever shares its link with the endpoint's way."""
        node, egress = leg.scene.node, leg.path.egress
        client = ipaddress.ip_address(end.destination)
        if not egress.via or not isinstance(self.world, Alone) or node.is_local(client):
            return None
        way = node.route(client)
        here = way is not None and way.via is None and way.device != egress.device
        if not node.routes or (here and _of_pods(leg, client)):
            return None
        seen = host_port(end.source, end.source_port)
        why = f"{named_hop(egress)} sends the answer to {client} by its own routes, not by {_name(leg)}"
        return self._judged(seen, why)

    def _knowing(self, scene: Scene) -> Scene:
        """The node with the connections that the packet has made there."""
        entries = [entry_of(leg) for leg in self.legs if leg.scene.node.name == scene.node.name]
        return replace(scene, connections=Connections.of([entry for entry in entries if entry is not None]))


def _of_pods(leg: Leg, client: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Whether other nodes reach the client over this one: it came in by another device than strangers do."""
    node, device = leg.scene.node, leg.trace.packet.in_interface
    default = next((route.device for route in node.routes if route.destination.prefixlen == 0), "")
    return device != default or any(client in pods for pods in node.pod_cidrs)


def named_hop(egress: Egress) -> str:
    """The next hop, as a sentence's subject."""
    return f"the node at {egress.via}"


def _name(leg: Leg) -> str:
    return leg.scene.node.name or "this node"


def ends_of(path: Path, packet: Packet) -> Original:
    """A packet's ends when a path is over."""
    if not path.steps:
        return Original(packet.source, packet.destination, packet.source_port, packet.destination_port)
    state = path.steps[-1].packet
    return Original(path.source_seen, state.destination, state.source_port, state.destination_port)


def entry_of(leg: Leg) -> Entry | None:
    """The connection that a packet has made on a node; None where it was not tracked."""
    packet, state = leg.trace.packet, leg.path.steps[-1].packet
    if not state.tracked:
        return None
    original = Original(packet.source, packet.destination, packet.source_port, packet.destination_port)
    reply = ends_of(leg.path, packet).turned()
    return Entry(packet.protocol, original, reply, replied=False, mark=state.connection_mark)


def _follow(scene: Scene, packet: Packet) -> Trace:
    return walk(scene.rules, scene.node, packet, settings=scene.settings, connections=scene.connections)


def _packet(like: Packet, end: Original, device: str) -> Packet:
    return Packet(end.source, end.destination, like.protocol, end.destination_port, end.source_port, device)
