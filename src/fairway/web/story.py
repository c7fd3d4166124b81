"""A trace as the page tells it: outcomes, and every way step by step, with the rules beside it. Pure.

Steps that branches share stand once in a list; branches refer to them by their places in it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from fairway.node import Node
from fairway.packet import Outcome, Verdict
from fairway.trace import words
from fairway.trace.causes import Cause, Causes
from fairway.trace.explain import Journeys, Tongue
from fairway.trace.journey import Journey, Leg
from fairway.trace.names import chain_purpose, named
from fairway.trace.steps import Path, State, Step, Trace
from fairway.trace.story import Idle, Scene, Share, scenes, share_of
from fairway.trace.walk import Rules
from fairway.trace.ways import Stop, ways
from fairway.trace.why import why
from fairway.web.listing import listings

Row: TypeAlias = dict[str, Any]

MAX_BRANCHES = 120
"""Branches told step by step; the outcomes count all of them."""

ARRIVES = (Verdict.ENDPOINT, Verdict.UNTRANSLATED)


@dataclasses.dataclass(frozen=True, slots=True)
class Telling:
    """What a trace is told with: the rules it went by, who has which address, the objects, the language, and what comes
    after its branches."""

    rules: Rules
    names: Mapping[str, str]
    causes: Causes | None = None
    say: Tongue = str
    journeys: Journeys = dataclasses.field(default_factory=dict)


def tell(trace: Trace, how: Telling) -> Row:
    """The whole story of one node."""
    return _Teller(trace, how).tell()


class _Teller:
    def __init__(self, trace: Trace, how: Telling) -> None:
        self._trace = trace
        self._how = how
        self._say = how.say
        self._steps: list[tuple[Step, int]] = []
        self._numbers: dict[int, int] = {}
        self._nodes: list[tuple[Node, Rules]] = [(trace.node, how.rules)]

    def tell(self) -> Row:
        trace, how = self._trace, self._how
        told = trace.branches[:MAX_BRANCHES]
        branches = [self._branch(number, path) for number, path in enumerate(told)]
        return {
            "node": trace.node.name,
            "packet": _state(State.of(trace.packet)),
            "title": words.line(trace.packet),
            "entry": trace.packet.in_interface,
            "sender": how.names.get(trace.packet.source, ""),
            "why": why(trace, how.names, how.causes, self._say, how.journeys),
            "outcomes": self._outcomes(told),
            "branches": branches,
            "untold": len(trace.branches) - len(told),
            "steps": [self._step(index) for index in range(len(self._steps))],
            "chains": self._chains(),
            "ways": self._ways(),
            "notes": [self._say(note) for note in trace.notes],
        }

    # What becomes of it.

    def _outcomes(self, told: Sequence[Path]) -> list[Row]:
        """Ends that look the same from both sides are one."""
        merged: dict[tuple[Outcome, str, str], list[int]] = {}
        for number, path in enumerate(self._trace.branches):
            left = words.leaving(path.egress, self._trace.node, self._how.names)
            merged.setdefault((path.outcome, left, words.source_seen(path)), []).append(number)
        return [self._outcome(key, numbers, len(told)) for key, numbers in merged.items()]

    def _outcome(self, key: tuple[Outcome, str, str], numbers: list[int], told: int) -> Row:
        outcome, left, seen = key
        arrives = outcome.verdict in ARRIVES
        return {
            **self._end(outcome),
            **_share(share_of(self._trace.branches[number] for number in numbers), self._say),
            "leaves": self._say(left) if arrives else "",
            "seen": self._say(seen) if arrives else "",
            "branches": [number for number in numbers if number < told],
        }

    def _end(self, outcome: Outcome) -> Row:
        return {
            "verdict": outcome.verdict.value,
            "endpoint": outcome.endpoint,
            "pod": self._how.names.get(outcome.endpoint.rpartition(":")[0].strip("[]"), ""),
            "masqueraded": outcome.masqueraded,
            "end": self._say(words.ends(outcome, self._trace.packet, self._how.names)),
        }

    # The way.

    def _branch(self, number: int, path: Path) -> Row:
        journey = self._how.journeys.get(number)
        return {
            **_share(Share(path.chance, path.certain), self._say),
            "scenes": self._scenes(path, 0),
            "journey": self._journey(journey) if journey else None,
        }

    def _journey(self, journey: Journey) -> Row:
        """The packet over further nodes, and its answer's way back."""
        legs = [(leg, False) for leg in journey.onward] + [(leg, True) for leg in journey.back]
        return {
            "legs": [{**self._leg(leg), "back": back} for leg, back in legs],
            "end": journey.end.value,
            "meaning": self._say(words.answer(journey)),
        }

    def _leg(self, leg: Leg) -> Row:
        at = next((n for n, (node, _) in enumerate(self._nodes) if node.name == leg.trace.node.name), len(self._nodes))
        if at == len(self._nodes):
            self._nodes.append((leg.trace.node, leg.scene.rules))
        return {
            "node": leg.trace.node.name,
            "title": words.line(leg.trace.packet),
            "entry": leg.trace.packet.in_interface,
            "packet": _state(State.of(leg.trace.packet)),
            "scenes": self._scenes(leg.path, at),
        }

    def _scenes(self, path: Path, at: int) -> list[Row]:
        return [self._scene(scene, at) for scene in scenes(path.steps) if scene.parts]

    def _scene(self, scene: Scene, at: int) -> Row:
        return {
            "hook": scene.hook.value,
            "heading": self._say(words.hook(scene.hook, scene.packet, self._nodes[at][0])),
            "parts": [self._idle(part) if isinstance(part, Idle) else self._number(part, at) for part in scene.parts],
        }

    def _idle(self, idle: Idle) -> str:
        chains = ", ".join(idle.chains)
        return self._say(f"{idle.table} {chains}: nothing there for this packet.")

    def _number(self, step: Step, at: int) -> int:
        """The step's place in the list. Steps that branches share are the same objects."""
        if id(step) not in self._numbers:
            self._numbers[id(step)] = len(self._steps)
            self._steps.append((step, at))
        return self._numbers[id(step)]

    def _step(self, index: int) -> Row:
        step, at = self._steps[index]
        about = named(step) if step.rule else None
        cause = self._how.causes.of_step(step) if self._how.causes and not at else None
        chance = None if step.probability is None else Share(step.probability)
        return {
            "at": at,
            **step.place(),
            "meaning": self._say(words.step(step, self._nodes[at][0], self._how.names)),
            "service": str(about) if about else "",
            "cause": self._cause(cause),
            "chance": _share(chance, self._say) if chance else None,
            "packet": _state(step.packet),
        }

    def _cause(self, cause: Cause | None) -> Row | None:
        if cause is None:
            return None
        return {**dataclasses.asdict(cause), "why": self._say(cause.why), "remedy": self._say(cause.remedy)}

    # The chains.

    def _chains(self) -> list[Row]:
        """Of each node on the way the chains by their names."""
        return [
            listings(rules, [step for step, at in self._steps if at == number])
            for number, (_, rules) in enumerate(self._nodes)
        ]

    def _ways(self) -> Row:
        graph = ways(self._trace)
        return {
            "stops": [self._stop(stop) for stop in graph.stops],
            "lines": [
                {
                    "from": line.start,
                    "to": line.end,
                    **_share(line.share, self._say),
                    "rules": line.rules,
                    "branches": line.branches,
                }
                for line in graph.lines
            ],
            "left": graph.left_out,
        }

    def _stop(self, stop: Stop) -> Row:
        if stop.outcome is not None:
            return {"kind": "end", **self._end(stop.outcome)}
        if stop.place is None:
            return {"kind": "packet"}
        hook, table, chain = stop.place
        about = named(stop.rule) if stop.rule and stop.rule.rule else None
        return {
            "kind": "chain",
            "hook": hook.value,
            "table": table,
            "chain": chain,
            "purpose": self._say(chain_purpose(chain)),
            "service": str(about) if about else "",
        }


def _share(share: Share, say: Tongue) -> Row:
    """A share as people read it, as a number between 0 and 1, and whether nobody can tell."""
    return {"share": say(str(share)), "part": float(share.chance), "certain": share.certain}


def _state(state: State) -> Row:
    return {
        "source": state.source,
        "sourcePort": state.source_port,
        "destination": state.destination,
        "destinationPort": state.destination_port,
        "protocol": state.protocol.value,
        "mark": state.mark,
        "in": state.in_device,
        "out": state.out_device,
        "via": state.via,
    }
