"""A packet in one table at one hook: chains, rules, jumps, and the branches that open on the way."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from fractions import Fraction

from fairway.node import Node
from fairway.packet import Verdict
from fairway.ruleset.iptables_terms import ChangeSets, Jump
from fairway.trace.book import Book
from fairway.trace.branch import Branch
from fairway.trace.chances import Ledger
from fairway.trace.conditions import Reading, Remembered, Scene, read, why_unmarked
from fairway.trace.deeds import Deed, perform
from fairway.trace.ipsets import Sets
from fairway.trace.names import chain_kind, subject
from fairway.trace.routing import Settings
from fairway.trace.steps import Event, Hook, JumpLoop, State, Step

MAX_RULES = 4_000_000
"""Rules tried in one walk, all branches together; about ten seconds. What is left then ends as UNKNOWN."""

MAX_STEPS = 100_000
"""Rules that applied in one walk, all branches together; a few seconds. Chains that each call the next one twice would
go on for ever."""

MAX_BRANCHES = 4096
"""Branches of one walk; a Service of that many endpoints is beyond what iptables carries."""

MARKS_FOR_MASQUERADE = Jump("KUBE-MARK-MASQ")

ENDS = {Event.DROP: Verdict.DROPPED, Event.REJECT: Verdict.REJECTED, Event.UNKNOWN: Verdict.UNKNOWN}


@dataclass(frozen=True, slots=True)
class Frame:
    """A chain being read: the next rule's index, and the chains that `goto` left behind to come here."""

    chain: str
    index: int = 0
    left: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Reader:
    """A branch inside a table: its frames from the built-in chain to the one being read."""

    branch: Branch
    frames: tuple[Frame, ...]

    @property
    def frame(self) -> Frame:
        return self.frames[-1]

    def at(self, index: int) -> Reader:
        """The same, going on at another rule of the chain."""
        return replace(self, frames=(*self.frames[:-1], replace(self.frame, index=index)))


@dataclass(slots=True)
class Tables:
    """Runs packets through tables. One per walk: it counts the work."""

    book: Book
    node: Node
    remembered: Remembered | None = None
    sets: Sets = field(default_factory=Sets)
    settings: Settings = field(default_factory=Settings)
    ledger: Ledger = field(default_factory=Ledger)
    tried: int = 0
    applied: int = 0
    opened: int = 1

    def run(self, hook: Hook, table: str, branch: Branch) -> list[Branch]:
        """The branches that leave the table at this hook, ended ones among them, in the order of the rules. Raises
        JumpLoop for rules that no kernel would load."""
        if not self.book.has(table, hook.value):
            return [branch]
        done: list[Branch] = []
        waiting = [Reader(branch, (Frame(hook.value),))]
        while waiting:
            left = _Pass(self, hook, table, waiting).follow(waiting.pop())
            done.append(left)
        return done


@dataclass(slots=True)
class _Pass:
    """One branch's way through one table. Alternatives that open on the way are put to `waiting`."""

    tables: Tables
    hook: Hook
    table: str
    waiting: list[Reader]

    def follow(self, reader: Reader) -> Branch:
        while True:
            following = self._next(reader)
            if isinstance(following, Branch):
                return following
            reader = following

    def _next(self, reader: Reader) -> Reader | Branch:
        """Go on to the next rule that says something; a Branch when the packet leaves the table or ends."""
        frame, book = reader.frame, self.tables.book
        if not book.has(self.table, frame.chain):
            return self._missing(reader)
        rules = book.rules(self.table, frame.chain)
        prefix = _host_prefix(reader.branch.state)
        for index in range(frame.index, len(rules)):
            self.tables.tried += 1
            if _for_another_host(rules[index], prefix):
                continue
            reading = self._read(reader.branch.state, frame.chain, index, rules[index])
            state = reading.state
            if reading.holds:
                return self._apply(reader.at(index + 1), index, rules[index], reading)
            if reading.remark or state is not reader.branch.state:
                return self._passed(reader.at(index + 1), index, rules[index], Event.PASSED, reading.remark, state)
            if unmarked := self._unmarked(state, rules[index], reading):
                return self._passed(reader.at(index + 1), index, rules[index], Event.UNMARKED, unmarked, state)
            if self.tables.tried > MAX_RULES:
                return self._stop(reader, Event.UNKNOWN, f"stopped after {MAX_RULES} rules")
        return self._end_of_chain(reader)

    def _missing(self, reader: Reader) -> Branch:
        book, chain, trail = self.tables.book, reader.frame.chain, reader.branch.trail
        book.note(f"Chain {chain} of table {self.table} is missing: what it does to the packet is not known.")
        about = subject(book.parsed(trail.step.rule).comment) if trail is not None else None
        known = book.endpoints(about) if about is not None and chain_kind(chain) != "SEP" else ()
        if known:
            book.note(f"The rules do show endpoints of {about}, though not what leads to them: {', '.join(known)}.")
        return self._stop(reader, Event.MISSING, f"the rules at hand lack chain {chain}")

    def _read(self, state: State, chain: str, index: int, rule: str) -> Reading:
        book = self.tables.book
        alternatives = book.alternatives(self.table, chain, index) if "--probability" in rule else None
        known = self.tables
        scene = Scene(self.hook, known.node, alternatives, known.remembered, known.sets, known.settings)
        return read(book.parsed(rule).matches, state, scene)

    def _unmarked(self, state: State, rule: str, reading: Reading) -> str:
        """Why a rule that leads to the masquerade mark did not take the packet, when nothing marked it before."""
        marks = self.tables.book.parsed(rule).target == MARKS_FOR_MASQUERADE
        return why_unmarked(reading.failed, state) if marks and not state.mark else ""

    def _apply(self, reader: Reader, index: int, rule: str, reading: Reading) -> Reader | Branch:
        """The rule applies, perhaps only in one of the branches that open here."""
        branch = replace(reader.branch, state=reading.state)
        self.tables.applied += 1
        if self.tables.applied > MAX_STEPS:
            return self._stop(reader, Event.UNKNOWN, f"stopped after {MAX_STEPS} steps")
        if self.tables.opened >= MAX_BRANCHES and (reading.mays or reading.chance != 1):
            return self._stop(reader, Event.UNKNOWN, f"stopped after {MAX_BRANCHES} branches")
        if reading.mays:
            yes, no = self.tables.ledger.guess(branch.knot)
            doubt = replace(branch, knot=no, certain=False)
            reason = "; ".join(reading.mays)
            self._wait(self._passed(replace(reader, branch=doubt), index, rule, Event.MAY_NOT, reason, doubt.state))
            branch = replace(branch, knot=yes, certain=False)
        if reading.chance != 1:
            yes, no = self.tables.ledger.chance(branch.knot, reading.chance)
            self._wait(replace(reader, branch=replace(branch, knot=no, share=branch.share * (1 - reading.chance))))
            branch = replace(branch, knot=yes, share=branch.share * reading.chance)
        target = self.tables.book.parsed(rule).target
        if isinstance(target, ChangeSets):
            self.tables.book.note(
                f"A rule changes {', '.join(target.names)} as packets pass; taken is what sets held when saved."
            )
        deed = perform(target, branch.state, self.hook, self.tables.node)
        maybe = f"if it applies: {'; '.join(reading.mays)}" if reading.mays else ""
        chance = reading.chance if reading.chance != 1 else None
        step = self._step(reader.frame.chain, index, rule, deed, maybe, chance)
        return self._after(replace(reader, branch=branch.step(step)), deed)

    def _wait(self, reader: Reader) -> None:
        self.tables.opened += 1
        self.waiting.append(reader)

    def _step(self, chain: str, index: int, rule: str, deed: Deed, maybe: str, chance: Fraction | None) -> Step:
        detail = "; ".join(part for part in (deed.detail, maybe) if part)
        return Step(self.hook, deed.event, deed.state, self.table, chain, index + 1, rule, detail, chance)

    def _passed(self, reader: Reader, index: int, rule: str, event: Event, why: str, state: State) -> Reader:
        if not why:
            return replace(reader, branch=replace(reader.branch, state=state))
        step = Step(self.hook, event, state, self.table, reader.frame.chain, index + 1, rule, why)
        return replace(reader, branch=reader.branch.step(step))

    def _after(self, reader: Reader, deed: Deed) -> Reader | Branch:
        """Where the packet is after the deed."""
        if deed.event in ENDS:
            return reader.branch.end(ENDS[deed.event])
        if deed.event in (Event.JUMP, Event.GOTO):
            return self._enter(reader, deed.detail, goto=deed.event is Event.GOTO)
        if deed.event is Event.RETURN:
            return self._leave(reader)
        if deed.event in (Event.MARK, Event.COUNTED, Event.UNTRACKED, Event.PASSED):
            return reader
        return reader.branch  # accepted, or translated: the table is done with the packet

    def _enter(self, reader: Reader, chain: str, goto: bool) -> Reader:
        entered = [name for frame in reader.frames for name in (*frame.left, frame.chain)]
        if chain in entered:
            raise JumpLoop(self.table, (*entered, chain))
        if goto:
            left = (*reader.frame.left, reader.frame.chain)
            return replace(reader, frames=(*reader.frames[:-1], Frame(chain, left=left)))
        return replace(reader, frames=(*reader.frames, Frame(chain)))

    def _end_of_chain(self, reader: Reader) -> Reader | Branch:
        self.tables.book.came_through(self.table, reader.frame.chain)
        if len(reader.frames) == 1:
            return self._policy(reader.branch)
        back = reader.frames[-2].chain
        step = Step(self.hook, Event.END, reader.branch.state, self.table, reader.frame.chain, detail=back)
        return self._leave(replace(reader, branch=reader.branch.step(step)))

    def _leave(self, reader: Reader) -> Reader | Branch:
        if len(reader.frames) == 1:
            return self._policy(reader.branch)
        return replace(reader, frames=reader.frames[:-1])

    def _policy(self, branch: Branch) -> Branch:
        policy = self.tables.book.policy(self.table, self.hook.value)
        step = Step(self.hook, Event.POLICY, branch.state, self.table, self.hook.value, detail=policy)
        branch = branch.step(step)
        return branch if policy == "ACCEPT" else branch.end(Verdict.DROPPED)

    def _stop(self, reader: Reader, event: Event, reason: str) -> Branch:
        frame = reader.frame
        step = Step(self.hook, event, reader.branch.state, self.table, frame.chain, detail=reason)
        return reader.branch.step(step).end(Verdict.UNKNOWN)


def _host_prefix(state: State) -> str:
    """How a rule begins that is for this packet's destination alone, as iptables-save prints it."""
    return f"-d {state.destination}/{128 if ':' in state.destination else 32} "


def _for_another_host(rule: str, prefix: str) -> bool:
    """Whether a rule is plainly for another destination: most of the thousands of rules of KUBE-SERVICES are, and
    need not be understood to be passed over."""
    if not rule.startswith("-d ") or rule.startswith(prefix):
        return False
    return rule[3 : rule.find(" ", 3)].endswith(prefix[prefix.rindex("/") : -1])
