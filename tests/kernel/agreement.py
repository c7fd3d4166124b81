"""The tracer against the kernel: packets by the hundred through one set of rules, and what both say of them.

Where a packet comes out, with which addresses, must be what one of its branches tells; and every rule must have
counted as many packets as the branches that end so tell.
"""

from __future__ import annotations

import ipaddress
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from fairway.node import Interface, Node, Route
from fairway.packet import Family, Packet, Protocol, Verdict
from fairway.trace.connections import Connections, Entry, Original
from fairway.trace.steps import Event, Path, State, Trace
from tests.golden import nodes
from tests.kernel.datagrams import Hop
from tests.kernel.rule_styles import host
from tests.kernel.wires import Seen, Wires

Counts = Counter[tuple[str, str, int]]
"""(table, chain, rule number) -> packets."""

NOT_COUNTED = (Event.PASSED, Event.UNMARKED, Event.MAY_NOT)
PORTS = (22, 53, 80, 8080, 30000, 30080)
SENDERS = (
    *(("10.244.1.5", "cni0"), ("10.244.1.77", "veth12345"), ("10.244.2.9", "flannel.1"), ("10.0.0.100", "eth0")),
    *(("192.0.2.5", "eth0"), ("10.0.0.11", ""), ("10.0.7.11", ""), ("10.244.1.254", ""), ("127.0.0.1", "")),
)
PLACES = (
    *("10.244.1.5", "10.244.1.77", "10.244.2.9", "10.0.0.11", "10.0.7.11", "10.244.1.254", "10.0.0.100"),
    *("10.96.0.1", "203.0.113.10", "192.0.2.7"),
)
LOOPBACK = ("127.0.0.1", "::1")


def described() -> Node:
    """A lab node with a second network on eth0; neighbours are not asked for, so every route is on its link."""
    node = nodes.lab_node(nodes.case("33").node)
    second = [ipaddress.ip_interface(text) for text in ("10.0.7.11/24", "fd00:b::11/64")]
    interfaces = {i.name: i for i in (*node.interfaces, Interface("flannel.1", (_on("10.244.1.0/32"),)))}
    interfaces["eth0"] = Interface("eth0", (*interfaces["eth0"].addresses, *second))
    routes = (*node.routes, *(Route(address.network, "eth0") for address in second))
    return replace(node, interfaces=tuple(interfaces.values()), routes=tuple(replace(r, via=None) for r in routes))


_on = ipaddress.ip_interface


def random_packets(chance: random.Random, family: Family, number: int, ports: Iterator[int]) -> list[Packet]:
    """Packets from everywhere to everywhere; `ports` gives each a source port of its own."""
    return [_random_packet(chance, family, next(ports)) for _ in range(number)]


def _random_packet(chance: random.Random, family: Family, port: int) -> Packet:
    source, device = chance.choice(SENDERS)
    own = [place for place in PLACES if place != source]
    destination = chance.choice(["127.0.0.1", "10.0.0.11"] if source == "127.0.0.1" else own)
    if family is Family.IPV6:
        source, destination = host(source), host(destination)
    protocol = chance.choice((Protocol.UDP, Protocol.UDP, Protocol.TCP))
    return Packet(source, destination, protocol, chance.choice(PORTS), port, device)


@dataclass(frozen=True)
class Told:
    """What one branch says: where the packet comes out ("": in the node itself) and as what, or that it is refused, or
    that nothing is seen of it; `open` that it does not know. And what rules count."""

    counts: Counts
    end: State
    device: str = ""
    hop: Hop | None = None
    refused: bool = False
    open: bool = False
    port_changes: bool = False

    @property
    def shows(self) -> bool:
        """Whether something is seen of the packet."""
        return not self.open and (self.hop is not None or self.refused)

    def fits(self, seen: Seen) -> bool:
        """Whether what was seen is what is told."""
        if self.open:
            return True
        if self.hop is None:
            return not seen.places and seen.refused == self.refused
        if len(seen.places) != 1:
            return False
        device, hop = seen.places[0]
        same = hop if not self.port_changes else hop._replace(source_port=self.hop.source_port)
        return (device, same) == (self.device, self.hop)


def told(found: Trace) -> list[Told]:
    """Every branch of a trace."""
    return [_told(path, found.packet) for path in found.branches]


def _told(path: Path, packet: Packet) -> Told:
    counts: Counts = Counter(
        (step.table, step.chain, step.number)
        for step in path.steps
        if step.number and step.event not in NOT_COUNTED and _counts(step.rule)
    )
    verdict, state = path.outcome.verdict, path.steps[-1].packet
    if verdict in (Verdict.REJECTED, Verdict.DROPPED):
        return Told(counts, state, refused=verdict is Verdict.REJECTED)
    if verdict is Verdict.UNKNOWN or not path.source_seen:
        return Told(counts, state, open=True)
    hop = Hop(path.source_seen, state.source_port, state.destination, state.destination_port)
    device = "" if path.egress.device == "lo" else path.egress.device
    return Told(counts, state, device, hop, port_changes=path.outcome.masqueraded and state.known is None)


def _counts(rule: str) -> bool:
    """Rules of iptables always count, those of nft where they say so."""
    return rule.startswith(("-", "!")) or not rule or " counter " in f" {rule}"


Follow = Callable[[Packet, Connections], Trace]


@dataclass(frozen=True)
class Scene:
    """How one set of rules is asked: `load` puts the rules into the kernel with all counters at nothing and gives what
    follows packets through them, `counted` reads the counters. `exact` False: they are not compared."""

    load: Callable[[], Follow]
    counted: Callable[[], Counts]
    exact: bool = True


@dataclass
class Tally:
    """What a run has compared."""

    packets: int = 0
    arrived: int = 0
    open: int = 0
    branched: int = 0

    def add(self, branches: Sequence[Sequence[Told]], met: Sequence[Seen]) -> None:
        """Count one batch."""
        self.packets += len(met)
        self.arrived += sum(bool(seen.places) for seen in met)
        self.open += sum(any(branch.open for branch in each) for each in branches)
        self.branched += sum(len(each) > 1 for each in branches)


def disagreements(world: Wires, scene: Scene, sent: Sequence[Packet], tally: Tally) -> list[str]:
    """What the kernel does otherwise than told. Where rules count otherwise, packets are sent again alone until one is
    found whose fault it is."""
    fates, counts = _wrong(world, scene, sent, tally)
    if fates or not counts:
        return fates
    for packet in sent:
        if alone := _wrong(world, scene, [packet], Tally())[1]:
            return [f"{packet}:", *alone]
    return ["no packet alone, but all together:", *counts]


def _wrong(world: Wires, scene: Scene, sent: Sequence[Packet], tally: Tally) -> tuple[list[str], list[str]]:
    """The packets that fare otherwise, and the rules that count otherwise."""
    follow = scene.load()
    world.forget_connections()
    branches = [told(follow(packet, Connections())) for packet in sent]
    met = world.meet(sent, [all(branch.shows for branch in each) for each in branches])
    tally.add(branches, met)
    fates, least, most = [], Counts(), Counts()
    for packet, each, seen in zip(sent, branches, met, strict=True):
        fitting = [branch for branch in each if branch.fits(seen)]
        if not fitting:
            fates.append(f"{packet}: {seen}, told {[replace(branch, counts=Counts()) for branch in each]}")
            continue
        rules = {rule for branch in fitting for rule in branch.counts}
        least.update({rule: min(branch.counts[rule] for branch in fitting) for rule in rules})
        most.update({rule: max(branch.counts[rule] for branch in fitting) for rule in rules})
    counted = scene.counted() if scene.exact else None
    fates = fates or _wrong_answers(world, follow, sent, branches, met)
    if fates or counted is None or any(branch.open for each in branches for branch in each):
        return fates, []
    differ = [
        f"{rule} counts {counted[rule]}, told {least[rule]} to {most[rule]}"
        for rule in sorted({*counted, *most})
        if not least[rule] <= counted[rule] <= most[rule]
    ]
    return [], differ


def _wrong_answers(
    world: Wires, follow: Follow, sent: Sequence[Packet], branches: Sequence[Sequence[Told]], met: Sequence[Seen]
) -> list[str]:
    """Datagrams that arrived are answered, and the answers that fare otherwise than told returned."""
    asked: list[tuple[Packet, list[Told]]] = []
    for packet, each, seen in zip(sent, branches, met, strict=True):
        fitting = [branch for branch in each if branch.fits(seen)]
        if packet.protocol is not Protocol.UDP or len(fitting) != 1 or fitting[0].open or len(seen.places) != 1:
            continue
        (device, hop), state = seen.places[0], fitting[0].end
        if not state.tracked:  # its answer would begin a connection, of whose ports others may be in the way
            continue
        reply = Original(hop.destination, hop.source, hop.destination_port, hop.source_port)
        first = Original(packet.source, packet.destination, packet.source_port, packet.destination_port)
        entry = Entry(packet.protocol, first, reply, replied=False, mark=state.connection_mark)
        answer = Packet(*reply[:2], packet.protocol, reply.destination_port, reply.source_port, device)
        asked.append((answer, told(follow(answer, Connections.of([entry])))))
    back = world.meet([answer for answer, _ in asked], [all(b.shows for b in each) for _, each in asked])
    return [
        f"answer {answer}: {seen}, told {each}"
        for (answer, each), seen in zip(asked, back, strict=True)
        if not any(branch.fits(seen) for branch in each)
    ]
