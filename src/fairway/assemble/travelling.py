"""Where packets go after a trace ends: to other nodes of a lab, and back to the client."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from fairway.assemble.catalogue import Catalogue
from fairway.lab.topology import Topology
from fairway.packet import Family, family_of
from fairway.trace.evidence.gathered import Gathered, Scene
from fairway.trace.journey import Journey, Leg, World, travel
from fairway.trace.routing import LOOPBACK
from fairway.trace.steps import Egress, Trace

MAX_FOLLOWED = 64
"""Branches of one trace of which the answers are followed."""


@dataclass(slots=True)
class Nodes:
    """The nodes of a lab, each looked at when a packet first comes to it. `look` reads what a member's kernel holds."""

    look: Callable[[str], Gathered]
    owners: dict[str, str]
    _seen: dict[str, Gathered] = field(default_factory=dict)

    @classmethod
    def of(cls, topology: Topology, catalogue: Catalogue, look: Callable[[str], Gathered]) -> Nodes:
        """By the addresses of nodes on the segment and those of their ends of the overlay."""
        addresses = {address: node.name for node in topology.nodes for address in node.addresses}
        return cls(look, dict(catalogue.next_hops()) | addresses)

    def onward(self, node: str, egress: Egress, destination: str) -> tuple[Scene, str] | None:
        """See `trace.journey.World`. Nodes name their devices alike."""
        there = self.owners.get(egress.via or destination, "")
        if egress.device in ("", LOOPBACK) or there in ("", node):
            return None
        return self.scene(there, family_of(destination)), egress.device

    def scene(self, node: str, family: Family) -> Scene:
        """What a node's kernel holds."""
        if node not in self._seen:
            self._seen[node] = self.look(node)
        return self._seen[node].scene(family)


def journeys(scene: Scene, trace: Trace, world: World, before: Sequence[Leg] = ()) -> dict[int, Journey]:
    """What comes after the branches of a trace, by their index. `before` are the nodes that the packet came over."""
    found: dict[int, Journey] = {}
    for index, path in enumerate(trace.branches[:MAX_FOLLOWED]):
        journey = travel([*before, Leg(scene, trace, path)], world)
        if journey is not None:
            found[index] = journey
    return found
