"""A packet under way: one branch of a walk, its state, the steps behind it, and its share of the packets."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction

from fairway.packet import Outcome, Verdict, host_port
from fairway.trace.connections import Known
from fairway.trace.steps import Egress, Event, Hook, Path, State, Step


@dataclass(frozen=True, slots=True)
class Trail:
    """Steps as a linked list from the last one back: branches share what they have in common."""

    step: Step
    before: Trail | None = None

    def steps(self) -> tuple[Step, ...]:
        """The steps from the first to the last."""
        found: list[Step] = []
        trail: Trail | None = self
        while trail is not None:
            found.append(trail.step)
            trail = trail.before
        return tuple(reversed(found))


@dataclass(frozen=True, slots=True)
class Branch:
    """`knot` is its place in the walk's Ledger, `share` its probability as far as chance goes, `certain` whether
    nothing but chance decides about it, `outcome` its end once there is one."""

    state: State
    knot: int = 0
    share: Fraction = Fraction(1)
    certain: bool = True
    trail: Trail | None = None
    outcome: Outcome | None = None

    @property
    def ended(self) -> bool:
        return self.outcome is not None

    def step(self, step: Step) -> Branch:
        """Take a step: its packet state becomes the branch's."""
        return replace(self, state=step.packet, trail=Trail(step, self.trail))

    def translate(self, known: Known, hook: Hook, destination: bool) -> Branch:
        """Give one end of the packet the address that its connection says."""
        state, after = self.state, known.after
        if destination:
            now, new = (state.destination, state.destination_port), (after.destination, after.destination_port)
            state = replace(state, destination=new[0], destination_port=new[1], destination_translated=now != new)
        else:
            now, new = (state.source, state.source_port), (after.source, after.source_port)
            state = replace(state, source=new[0], source_port=new[1], source_translated=now != new)
        if now == new:
            return self
        event = Event.DNAT if destination else Event.SNAT
        detail = f"{host_port(*new)}, as the connection says" if destination else f"{new[0]}, as the connection says"
        return self.step(Step(hook, event, state, "conntrack", detail=detail))

    def end(self, verdict: Verdict) -> Branch:
        """End without an arrival."""
        return replace(self, outcome=Outcome(verdict))

    def arrive(self) -> Branch:
        """End at the address the packet now bears."""
        state = self.state
        if not state.destination_translated:
            return replace(self, outcome=Outcome(Verdict.UNTRANSLATED, masqueraded=state.source_translated))
        endpoint = host_port(state.destination, state.destination_port)
        return replace(self, outcome=Outcome(Verdict.ENDPOINT, endpoint, state.source_translated))

    def path(self) -> Path:
        """The finished branch as a value. Raises ValueError while it is under way."""
        if self.outcome is None:
            raise ValueError("the branch has not ended")
        arrived = self.outcome.verdict in (Verdict.ENDPOINT, Verdict.UNTRANSLATED)
        return Path(
            steps=self.trail.steps() if self.trail else (),
            outcome=self.outcome,
            egress=Egress(self.state.out_device, self.state.via) if arrived else Egress(),
            source_seen=self.state.source,
            chance=self.share,
            certain=self.certain,
        )
