"""What an nft rule does to a packet: the effect, or a tree of effects where chance or ignorance decides."""

from __future__ import annotations

import contextlib
import ipaddress
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TypeAlias

from fairway.packet import Family
from fairway.ruleset.iptables_terms import Masquerade, NoTrack, Redirect, Side, Translate
from fairway.ruleset.nft import (
    AnonymousSet,
    Assign,
    Concat,
    Counter,
    Ct,
    Expression,
    Literal,
    MapLookup,
    Match,
    Meta,
    Nat,
    Other,
    Range,
    Reject,
    Rule,
    SetName,
    SetUpdate,
    Statement,
    Type,
    Verdict,
    VerdictMap,
)
from fairway.ruleset.nft_values import number, split, type_of, types_of
from fairway.trace.deeds import Deed, perform
from fairway.trace.nft_registers import Answers, Fails, Registers, Scene, Undecided
from fairway.trace.nft_sets import Unknowable, among, constant
from fairway.trace.steps import Event, State

_VERDICTS: Mapping[str, Event] = {
    "accept": Event.ACCEPT,
    "drop": Event.DROP,
    "return": Event.RETURN,
    "jump": Event.JUMP,
    "goto": Event.GOTO,
}


@dataclass(frozen=True, slots=True)
class Effect:
    """What became of the packet at a rule. `event` None: the rule did not apply, though statements before the match
    that failed may have changed the packet."""

    state: State
    event: Event | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Chances:
    """Each effect with its share; `fixed` when a hash of the packet decides, not chance."""

    ways: tuple[tuple[Fraction, Tree], ...]
    fixed: bool = False


@dataclass(frozen=True, slots=True)
class Guess:
    """Nobody can tell which."""

    reason: str
    yes: Tree
    no: Tree


Tree: TypeAlias = Effect | Chances | Guess


MAX_WAYS = 100_000
"""Ways that one rule may leave open, all its draws together; the largest Services have some thousand endpoints."""


def apply(rule: Rule, state: State, scene: Scene) -> Tree:
    """Everything the rule may do to the packet. Ways that come to the same are one."""
    try:
        return _grow(lambda answers: _Reading(Registers(state, scene, answers)).run(rule), (), 1)
    except _TooMany:
        return Effect(state, Event.UNKNOWN, f"the rule leaves more than {MAX_WAYS} ways open")


class _TooMany(Exception):
    pass


def _grow(run: Callable[[Answers], Effect], given: tuple[int, ...], open_: int) -> Tree:
    """Ask until all that comes up is answered; `open_` counts the ways up to here. Raises _TooMany."""
    try:
        return run(Answers(given))
    except Undecided as question:
        if open_ * question.options > MAX_WAYS:
            raise _TooMany from None
        ways = [_grow(run, (*given, option), open_ * question.options) for option in range(question.options)]
        if question.reason:
            no, yes = ways
            return yes if yes == no else Guess(question.reason, yes, no)
        return _share(ways, question.fixed)


def _share(ways: list[Tree], fixed: bool) -> Tree:
    """Equal shares, added up where the ways come to the same."""
    each = Fraction(1, len(ways))
    shares: dict[Tree, Fraction] = {}
    for way in ways:
        shares[way] = shares.get(way, Fraction(0)) + each
    if len(shares) == 1:
        return ways[0]
    return Chances(tuple((share, way) for way, share in shares.items()), fixed)


@dataclass(slots=True)
class _Reading:
    """One rule read from left to right for one packet and given answers."""

    registers: Registers
    marked: bool = False

    def run(self, rule: Rule) -> Effect:
        try:
            for statement in rule.statements:
                if (effect := self._statement(statement)) is not None:
                    return effect
        except Fails:
            return Effect(self.state)
        mark = self.state.mark
        if self.marked:
            return Effect(self.state, Event.MARK, f"mark {mark:#x}" if mark else "no mark")
        return Effect(self.state, Event.COUNTED)

    @property
    def state(self) -> State:
        return self.registers.state

    def _statement(self, statement: Statement) -> Effect | None:
        """Do one statement; an effect ends the rule. Raises Fails when the rule does not apply, Undecided."""
        match statement:
            case Match():
                self._require(statement)
            case Verdict():
                return self._verdict(statement)
            case VerdictMap():
                return self._verdict_map(statement)
            case Assign():
                return self._assign(statement)
            case Nat():
                return self._nat(statement)
            case Reject(with_):
                return Effect(self.state, Event.REJECT, with_ or self._default_answer())
            case SetUpdate(_, _, key, _, data):
                self._update(key, data)
            case Counter():
                pass
            case Other():
                return self._other(statement)
        return None

    def _update(self, *expressions: Expression | None) -> None:
        """A set that the packet is written into; the rule ends where the packet lacks what would be written."""
        for expression in expressions:
            if expression is not None:
                with contextlib.suppress(Unknowable):
                    self.registers.key(expression)

    def _default_answer(self) -> str:
        return "icmpv6 port-unreachable" if self.state.family is Family.IPV6 else "icmp port-unreachable"

    def _known(self, question: Callable[[], Effect | None]) -> Effect | None:
        """What a statement does; where nobody can tell, the trail ends if the rule applies at all."""
        try:
            return question()
        except Unknowable as unknown:
            if self.registers.answers.may(unknown.reason):
                return Effect(self.state, Event.UNKNOWN, unknown.reason)
            raise Fails from None

    # Matches.

    def _require(self, wanted: Match) -> None:
        try:
            holds = self._holds(wanted)
        except Unknowable as unknown:
            holds = self.registers.answers.may(unknown.reason)
        if not holds:
            raise Fails

    def _holds(self, wanted: Match) -> bool:
        if wanted.operator == "any":
            return bool(self.registers.number(wanted.left) & self.registers.number(wanted.right))
        if wanted.operator in ("==", "!="):
            return self._equal(wanted.left, wanted.right) == (wanted.operator == "==")
        left, right = self.registers.number(wanted.left), self.registers.number(wanted.right)
        return {"<": left < right, ">": left > right, "<=": left <= right, ">=": left >= right}[wanted.operator]

    def _equal(self, left: Expression, right: Expression) -> bool:
        key, types = self.registers.key(left), types_of(left)
        if isinstance(right, SetName):
            return self.registers.scene.index.find(right.name, key)[1] is not None
        if Type.UNKNOWN in types:
            raise Unknowable("a value that is not known")
        if isinstance(right, AnonymousSet):
            return among(right.elements, types, key)
        if isinstance(right, Literal | Range | Concat):
            return constant(right, types, key)
        return self.registers.key(right) == key

    # Verdicts.

    def _verdict(self, given: Verdict) -> Effect | None:
        if given.code == "continue":
            return None
        event = _VERDICTS.get(given.code)
        if event is None:
            return Effect(self.state, Event.UNKNOWN, f"`{given.code}` hands it to a program")
        return Effect(self.state, event, given.chain)

    def _verdict_map(self, wanted: VerdictMap) -> Effect | None:
        def look() -> Effect | None:
            found = self.registers.found(wanted.map, wanted.key)
            if not isinstance(found, Verdict):
                raise Unknowable("a map that holds no verdicts")
            return self._verdict(found)

        return self._known(look)

    # Changes.

    def _assign(self, wanted: Assign) -> Effect | None:
        target = wanted.target
        of_connection = isinstance(target, Ct)
        if isinstance(target, Meta | Ct) and target.key != "mark":
            return None  # priorities, labels and the like: the packet's way is the same
        if not isinstance(target, Meta | Ct):
            return self._rewrite(wanted)

        def write() -> None:
            value = self.registers.value(wanted.value)
            mark = number(Type.MARK, value)
            if not of_connection:
                self.registers.state = replace(self.state, mark=mark)
                self.marked = True
            elif self.state.has_connection:
                self.registers.state = replace(self.state, connection_mark=mark)

        return self._known(write)

    def _rewrite(self, wanted: Assign) -> Effect | None:
        """A header that is written: its addresses and ports would be another packet's."""
        if type_of(wanted.target) not in (Type.IPV4, Type.IPV6, Type.SERVICE, Type.PROTOCOL):
            return None
        return Effect(self.state, Event.UNKNOWN, "the rule rewrites the packet's header")

    def _other(self, statement: Other) -> Effect | None:
        if statement.text == "notrack":
            scene = self.registers.scene
            self.registers.state = perform(NoTrack(), self.state, scene.hook, scene.node).state
            return None
        if statement.harmless:
            return None
        if statement.maybe:
            if self.registers.answers.may(f"`{statement.text}` may hold or not"):
                return None
            raise Fails
        if self.registers.answers.may(f"`{statement.text}` is not understood"):
            return Effect(self.state, Event.UNKNOWN, f"`{statement.text}` is not understood")
        raise Fails

    # Translation.

    def _nat(self, wanted: Nat) -> Effect | None:
        def translate() -> Effect:
            done = self._deed(wanted)
            return Effect(done.state, done.event, done.detail)

        return self._known(translate)

    def _deed(self, wanted: Nat) -> Deed:
        scene = self.registers.scene
        address, port = self._target(wanted)
        ports = (port, port) if port is not None else None
        match wanted.kind:
            case "masquerade":
                return perform(Masquerade("fully-random" in wanted.flags, ports), self.state, scene.hook, scene.node)
            case "redirect":
                return perform(Redirect(ports), self.state, scene.hook, scene.node)
        side = Side.DESTINATION if wanted.kind == "dnat" else Side.SOURCE
        parsed = ipaddress.ip_address(address) if address else None
        addresses = (parsed, parsed) if parsed is not None else None
        return perform(Translate(side, addresses, ports), self.state, scene.hook, scene.node)

    def _target(self, wanted: Nat) -> tuple[bytes, int | None]:
        """The new address (b"": none) and port."""
        if isinstance(wanted.address, Range) or isinstance(wanted.port, Range):
            raise Unknowable("the kernel picks one of several addresses or ports")
        port = self.registers.number(wanted.port) if wanted.port is not None else None
        if wanted.address is None:
            return b"", port
        if isinstance(wanted.address, Literal) and wanted.address.prefix_bits is not None:
            raise Unknowable("the kernel picks an address of a network")
        if isinstance(wanted.address, MapLookup):
            types, found = self.registers.lookup(wanted.address)
        else:
            types, found = types_of(wanted.address), self.registers.key(wanted.address)
        fields = split(types, found)
        if len(fields) == 2:
            return fields[0], number(types[1], fields[1])
        return fields[0], port
