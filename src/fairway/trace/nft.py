"""A packet in the base chains of nftables: chains by priority, jumps, and the branches that open on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from fractions import Fraction

from fairway.node import Node
from fairway.packet import Family, Verdict
from fairway.ruleset.nft import Chain, Rule, Ruleset, Table
from fairway.ruleset.nft_print import rule as printed
from fairway.trace.branch import Branch
from fairway.trace.chances import Ledger
from fairway.trace.iptables import ENDS, MAX_BRANCHES, MAX_RULES, MAX_STEPS, Frame, Reader
from fairway.trace.nft_registers import Scene
from fairway.trace.nft_rule import Chances, Effect, Guess, Tree, apply
from fairway.trace.nft_sets import Index
from fairway.trace.steps import Event, Hook, JumpLoop, Step

FAMILIES = {Family.IPV4: ("ip", "inet"), Family.IPV6: ("ip6", "inet")}
IPTABLES = frozenset({"raw", "mangle", "nat", "filter", "security"})
STAYS = (Event.MARK, Event.COUNTED)
"""Events after which the next rule is read."""


@dataclass(frozen=True, slots=True)
class Base:
    """A base chain, ready for packets."""

    table: Table
    chain: Chain
    index: Index

    @property
    def priority(self) -> int:
        return self.chain.hook.priority if self.chain.hook is not None else 0

    @property
    def type(self) -> str:
        return self.chain.hook.type if self.chain.hook is not None else ""


def bases(ruleset: Ruleset, family: Family, hook: Hook) -> list[Base]:
    """The base chains that a packet of the family meets at the hook, in the order the kernel asks them: of equal
    priorities, what was made last first (nf_hook_entries_grow in net/netfilter/core.c)."""
    newest_first = reversed(ruleset.tables.values())
    found = [
        Base(table, chain, Index(table))
        for table in newest_first
        if table.family in FAMILIES[family] and "dormant" not in table.flags
        for chain in reversed(table.chains.values())
        if chain.hook is not None and chain.hook.hook == hook.value.lower()
    ]
    return sorted(found, key=lambda base: base.priority)


def is_iptables(table: Table) -> bool:
    """Whether the table was made by iptables-nft."""
    bases_ = [chain for chain in table.chains.values() if chain.hook is not None]
    return (
        table.family in ("ip", "ip6")
        and table.name in IPTABLES
        and bool(bases_)
        and all(chain.name == (chain.hook.hook if chain.hook else "").upper() for chain in bases_)
    )


@dataclass(slots=True)
class Runner:
    """Runs packets through base chains. One per walk: it counts the work."""

    node: Node
    ledger: Ledger
    note: Callable[[str], None]
    tried: int = 0
    applied: int = 0
    opened: int = 1
    _printed: dict[int, str] = field(default_factory=dict)

    def run(self, hook: Hook, base: Base, branch: Branch) -> list[Branch]:
        """The branches that leave the base chain, ended ones among them. Raises JumpLoop."""
        done: list[Branch] = []
        waiting: list[Reader | Branch] = [Reader(branch, (Frame(base.chain.name),))]
        reading = _Reading(self, hook, base, Scene(hook, self.node, base.index))
        while waiting:
            reader = waiting.pop()
            if isinstance(reader, Branch):
                done.append(reader)
            else:
                waiting.extend(reversed(reading.on(reader)))
        return done

    def text(self, rule: Rule, family: str) -> str:
        """The rule as nft prints it."""
        found = self._printed.get(id(rule))
        if found is None:
            found = self._printed[id(rule)] = printed(rule, family)
        return found


@dataclass(frozen=True, slots=True)
class _Reading:
    runner: Runner
    hook: Hook
    base: Base
    scene: Scene

    def on(self, reader: Reader) -> list[Reader | Branch]:
        """Go on to the next rule that says something: the ways on from there, the first ones first."""
        chain = self.base.table.chains.get(reader.frame.chain)
        if chain is None:
            return [self._missing(reader)]
        for index in range(reader.frame.index, len(chain.rules)):
            self.runner.tried += 1
            if self.runner.tried > MAX_RULES:
                return [self._stop(reader, Event.UNKNOWN, f"stopped after {MAX_RULES} rules")]
            tree = apply(chain.rules[index], reader.branch.state, self.scene)
            if isinstance(tree, Effect) and tree.event is None and tree.state is reader.branch.state:
                continue
            self.runner.applied += 1
            if self.runner.applied > MAX_STEPS:
                return [self._stop(reader, Event.UNKNOWN, f"stopped after {MAX_STEPS} steps")]
            at = _Place(self, chain.rules[index], reader.at(index + 1))
            return [at.after(way) for way in at.ways(_Way(reader.branch, Effect(reader.branch.state)), tree)]
        return [self._end_of_chain(reader)]

    def enter(self, reader: Reader, chain: str, goto: bool) -> Reader:
        """Begin another chain. Raises JumpLoop."""
        entered = [name for frame in reader.frames for name in (*frame.left, frame.chain)]
        if chain in entered:
            raise JumpLoop(self.place, (*entered, chain))
        if goto:
            left = (*reader.frame.left, reader.frame.chain)
            return replace(reader, frames=(*reader.frames[:-1], Frame(chain, left=left)))
        return replace(reader, frames=(*reader.frames, Frame(chain)))

    def leave(self, reader: Reader) -> Reader | Branch:
        """Back to the chain that jumped here, or to the base chain's policy."""
        if len(reader.frames) == 1:
            return self._policy(reader.branch)
        return replace(reader, frames=reader.frames[:-1])

    @property
    def place(self) -> str:
        """The table, as a step names it."""
        return f"{self.base.table.family} {self.base.table.name}"

    def _end_of_chain(self, reader: Reader) -> Reader | Branch:
        if len(reader.frames) == 1:
            return self._policy(reader.branch)
        back = reader.frames[-2].chain
        step = Step(self.hook, Event.END, reader.branch.state, self.place, reader.frame.chain, detail=back)
        return self.leave(replace(reader, branch=reader.branch.step(step)))

    def _policy(self, branch: Branch) -> Branch:
        policy = self.base.chain.hook.policy if self.base.chain.hook is not None else "accept"
        step = Step(self.hook, Event.POLICY, branch.state, self.place, self.base.chain.name, detail=policy)
        branch = branch.step(step)
        return branch if policy == "accept" else branch.end(Verdict.DROPPED)

    def _missing(self, reader: Reader) -> Branch:
        chain = reader.frame.chain
        self.runner.note(f"Chain {chain} of table {self.place} is missing: what it does to the packet is not known.")
        return self._stop(reader, Event.MISSING, f"the rules at hand lack chain {chain}")

    def _stop(self, reader: Reader, event: Event, reason: str) -> Branch:
        step = Step(self.hook, event, reader.branch.state, self.place, reader.frame.chain, detail=reason)
        return reader.branch.step(step).end(Verdict.UNKNOWN)


@dataclass(frozen=True, slots=True)
class _Way:
    """One end of a tree of effects: the branch that comes there, and what stood on the way."""

    branch: Branch
    effect: Effect
    chance: Fraction = Fraction(1)
    mays: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Place:
    """A rule that a branch has come to; `reader` goes on at the next one."""

    reading: _Reading
    rule: Rule
    reader: Reader

    def ways(self, way: _Way, tree: Tree) -> Iterator[_Way]:
        """Open a branch for every effect the rule may have."""
        if isinstance(tree, Effect):
            yield replace(way, effect=tree)
        elif isinstance(tree, Guess):
            yield from self._guess(way, tree)
        else:
            yield from self._chances(way, tree)

    def _guess(self, way: _Way, tree: Guess) -> Iterator[_Way]:
        runner, branch = self.reading.runner, way.branch
        runner.opened += 1
        yes, no = runner.ledger.guess(branch.knot)
        doubtful = replace(branch, certain=False)
        yield from self.ways(replace(way, branch=replace(doubtful, knot=yes), mays=(*way.mays, tree.reason)), tree.yes)
        step = self._step(Event.MAY_NOT, replace(way, branch=doubtful), detail=tree.reason)
        yield from self.ways(replace(way, branch=replace(doubtful.step(step), knot=no)), tree.no)

    def _chances(self, way: _Way, tree: Chances) -> Iterator[_Way]:
        runner, branch, left = self.reading.runner, way.branch, Fraction(1)
        runner.opened += len(tree.ways) - 1
        if tree.fixed:
            runner.note(
                "A hash of the packet decides in some rule: equal shares stand for what is fixed per connection."
            )
            branch = replace(branch, certain=False)
        knot = branch.knot
        for share, below in tree.ways:
            here = knot
            if share != left:
                here, knot = runner.ledger.chance(knot, share / left)
            left -= share
            taken = replace(branch, knot=here, share=branch.share * share)
            yield from self.ways(replace(way, branch=taken, chance=way.chance * share), below)

    def after(self, way: _Way) -> Reader | Branch:
        """Where the packet is after an effect."""
        reading, effect = self.reading, way.effect
        branch = replace(way.branch, state=effect.state)
        if reading.runner.opened > MAX_BRANCHES:
            stopped = Step(reading.hook, Event.UNKNOWN, branch.state, reading.place, self.reader.frame.chain)
            return branch.step(replace(stopped, detail=f"stopped after {MAX_BRANCHES} branches")).end(Verdict.UNKNOWN)
        if effect.event is None:
            return replace(self.reader, branch=branch)
        maybe = f"if it applies: {'; '.join(way.mays)}" if way.mays else ""
        detail = "; ".join(part for part in (effect.detail, maybe) if part)
        branch = branch.step(self._step(effect.event, replace(way, branch=branch), detail))
        reader = replace(self.reader, branch=branch)
        match effect.event:
            case Event.DROP | Event.REJECT | Event.UNKNOWN:
                return branch.end(ENDS[effect.event])
            case Event.JUMP | Event.GOTO:
                return reading.enter(reader, effect.detail, goto=effect.event is Event.GOTO)
            case Event.RETURN:
                return reading.leave(reader)
        return reader if effect.event in STAYS else branch

    def _step(self, event: Event, way: _Way, detail: str) -> Step:
        reading, frame = self.reading, self.reader.frame
        text = reading.runner.text(self.rule, reading.base.table.family)
        chance = way.chance if way.chance != 1 else None
        place = (reading.place, frame.chain, frame.index, text)
        return Step(reading.hook, event, way.branch.state, *place, detail, chance, self.rule.comment)
