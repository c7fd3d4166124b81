"""A world in which everything that can go wrong for announcers does, in a time of its own.

Nodes with clocks that drift, an API that answers late, not at all, or too late to be waited for; watches that lag;
processes that are killed, stopped and woken; cables that are out. Between two events nothing changes but time, so the
promises are looked at before and after each.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from random import Random

from fairway.announce.announcer import ALONE_SECONDS, PROBE_SECONDS, PROBES, RETRY_SECONDS, TICK_SECONDS
from fairway.announce.bulletin import Bulletin
from fairway.announce.election import Wish
from fairway.announce.member import DEFAULT, Member, Turn

REACH = ("10.0.0.0/24",)


@dataclass
class World:
    """`slow` is how long a message to or from the server takes at most, `lag` the same of watches."""

    random: Random
    slow: float = 0.02
    lag: float = 0.02
    time: float = 0.0
    up: bool = True
    leases: dict[str, tuple[Bulletin, int]] = field(default_factory=dict)
    nodes: dict[str, Node] = field(default_factory=dict)
    check: Callable[[], None] = lambda: None
    _revision: int = 0
    _number: int = 0
    _events: list[tuple[float, int, Node | None, Callable[[], None]]] = field(default_factory=list)

    def after(self, seconds: float, node: Node | None, deed: Callable[[], None]) -> None:
        """`deed` of `node` (None: of the world) in so many seconds."""
        self._number += 1
        heapq.heappush(self._events, (self.time + seconds, self._number, node, deed))

    def run(self, seconds: float) -> None:
        """Let so much time pass."""
        end = self.time + seconds
        while self._events and self._events[0][0] <= end:
            when, number, node, deed = heapq.heappop(self._events)
            self.time = max(when, self.time)
            self.check()
            if node is not None and node.dead:
                continue
            if node is not None and node.woken > self.time:
                heapq.heappush(self._events, (node.woken, number, node, deed))
                continue
            deed()
            self.check()
        self.time = end
        self.check()

    def write(self, node: str, said: Bulletin, version: int) -> int | None:
        """A conditional write, as it comes to the server: the new version, or None where another has been first."""
        if self.leases.get(node, (None, 0))[1] != version:
            return None
        self._revision += 1
        self.leases[node] = said, self._revision
        for each in self.nodes.values():
            lag = self.random.uniform(0, self.lag)
            self.after(lag, each, lambda each=each, at=self._revision: each.told(node, said, at))  # type: ignore[misc]
        return self._revision

    def answering(self, address: str) -> list[str]:
        """Who answers at this very moment to who is on the segment."""
        return [name for name, each in self.nodes.items() if each.cable and each.answers(address)]

    def delay(self) -> float:
        return self.random.uniform(0.0005, self.slow)


class Node:
    """An announcer as `announcer.Announcer` runs it, on this world's time. Its clock runs at `rate`; answers to it
    take `late` seconds more; while it is not `watching` it is told nothing that it does not ask for."""

    def __init__(self, world: World, name: str, rate: float, wishes: Mapping[str, Wish]) -> None:
        self.name, self.world, self.rate = name, world, rate
        self.offset = world.random.uniform(0, 1e6)
        self.member = Member(name, name, DEFAULT, self.now())
        self.answering: set[str] = set()
        self.dead, self.woken, self.api, self.cable = False, 0.0, True, True
        self.watching, self.late = True, 0.0
        self._version, self._busy, self._failures = 0, False, 0
        self._contact, self._lost = self.now(), False
        self._probed = 0.0
        left = world.leases.get(name)
        if left is not None:
            self.member.inherit(left[0])
            self._version = left[1]
        self.member.reach(REACH, (name,))
        self.member.wish(wishes)
        for other, (said, version) in world.leases.items():
            self.told(other, said, version)
        world.after(world.random.uniform(0, TICK_SECONDS), self, self.tick)

    def now(self) -> float:
        return self.offset + self.rate * self.world.time

    def run_at(self, rate: float) -> None:
        """From now on its clock is this fast."""
        self.offset, self.rate = self.now() - rate * self.world.time, rate

    def answers(self, address: str) -> bool:
        """A process that was just woken hears first what was said meanwhile, if it must."""
        if self.dead or self.woken > self.world.time or address not in self.answering:
            return False
        if self.woken == self.world.time:
            return self.member.is_entitled(address, self.now())
        return self.member.answers(address, self.now())

    def told(self, node: str, said: Bulletin, version: int) -> None:
        if not (self.api and self.world.up and self.watching):
            return
        if not self._lost:
            self._contact = self.now()
        if self.member.saw(said, str(version), self.now()):
            self.round()

    def watch(self, on: bool) -> None:
        """Lose the watch, or begin it anew with a list."""
        self.watching = on
        for other, (said, version) in self.world.leases.items() if on else ():
            self.told(other, said, version)

    def tick(self) -> None:
        self.obey(self.member.beat(self.now()))
        for address in self.member.alone:
            if self.now() - self._probed >= ALONE_SECONDS:
                self._probed = self.now()
                self.speak(address)
        self.round()
        self.world.after(TICK_SECONDS / self.rate, self, self.tick)

    def round(self) -> None:
        if self._busy:
            return
        turn = self.member.plan(self.now())
        self.obey(turn)
        if turn.bulletin is not None:
            self.post(turn.bulletin)
        elif self.member.should_look(self.now()):
            self.look()

    def post(self, said: Bulletin) -> None:
        """A write: on its way, at the server, and its answer on its way back."""
        self._busy = True
        sent, version, done = self.now(), self._version, [False]

        def arrive() -> None:
            if not self.world.up:
                return
            found = self.world.write(self.name, said, version)
            self.world.after(self.late + self.world.delay(), self, lambda: answer(found))

        def answer(found: int | None) -> None:
            if done[0] or not self.api:
                return
            done[0] = True
            if found is None:
                self._version = self.world.leases.get(self.name, (None, 0))[1]
                self.failed()
                return
            self._version = found
            self.succeeded()
            self.obey(self.member.wrote(said, sent, self.now()))
            self._busy = False
            if self.member.should_look(self.now()):
                self.look()

        self.request(arrive, done)

    def look(self) -> None:
        self._busy = True
        done = [False]

        def arrive() -> None:
            if not self.world.up:
                return
            listing = dict(self.world.leases)
            self.world.after(self.late + self.world.delay(), self, lambda: answer(listing))

        def answer(listing: dict[str, tuple[Bulletin, int]]) -> None:
            if done[0] or not self.api:
                return
            done[0], self._busy = True, False
            for said, version in listing.values():
                self.member.saw(said, str(version), self.now())
            self.obey(self.member.looked(self.now(), ""))
            self.round()

        self.request(arrive, done)

    def request(self, arrive: Callable[[], None], done: list[bool]) -> None:
        if self.api:
            self.world.after(self.world.delay(), None, arrive)

        def late() -> None:
            if not done[0]:
                done[0] = True
                if self.api and self.world.up:
                    self._version = self.world.leases.get(self.name, (None, 0))[1]
                self.failed()

        self.world.after(DEFAULT.answer / self.rate, self, late)

    def failed(self) -> None:
        self._lost = True
        self.member.lost()
        delay = RETRY_SECONDS[min(self._failures, len(RETRY_SECONDS) - 1)]
        self._failures += 1

        def again() -> None:
            self._busy = False
            self.round()

        self.world.after(delay / self.rate, self, again)

    def succeeded(self) -> None:
        if self._lost:
            self.member.regained(self._contact, self.now())
        self._contact, self._lost, self._failures = self.now(), False, 0

    def obey(self, turn: Turn) -> None:
        self.answering -= set(turn.cease)
        for address, careful in turn.begin.items():
            self.take(address, PROBES if careful else 0)

    def take(self, address: str, probes: int) -> None:
        if probes:
            self.speak(address)
            self.world.after(PROBE_SECONDS / self.rate, self, lambda: self.take(address, probes - 1))
        elif self.member.answers(address, self.now()):
            self.answering.add(address)
            self.speak(address)

    def speak(self, address: str) -> None:
        """Probe or announce: in a millisecond or so all on the segment have heard it. Who has it says so."""
        for other in self.world.nodes.values():
            if other is not self and self.cable:
                delay = self.world.random.uniform(0.0001, 0.002)
                self.world.after(delay, other, partial(other.hear, address, self, self.answers(address)))

    def hear(self, address: str, speaker: Node, claimed: bool) -> None:
        if not self.cable:
            return
        self.obey(self.member.heard(address, speaker.name, claimed, self.now()))
        if self.answers(address) and speaker.cable and not claimed:
            self.world.after(0.001, speaker, partial(speaker.hear, address, self, True))
