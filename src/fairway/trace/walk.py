"""The way of a packet through the kernel: hooks in their order, routing between them, until it has arrived or ended.

What a hook asks, iptables' tables and nftables' base chains alike, comes in the order of priorities (enum
nf_ip_hook_priorities in uapi/linux/netfilter_ipv4.h). All that translates is asked at one place of the hook, whatever
priority its chains claim, and sees a connection's first packet once per end of it (nf_nat_inet_fn in
net/netfilter/nf_nat_core.c).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeAlias

from fairway.node import Node
from fairway.packet import Family, Packet, Verdict
from fairway.ruleset.iptables import Ruleset as IptablesRuleset
from fairway.ruleset.nft import Ruleset as NftRuleset
from fairway.trace.book import Book
from fairway.trace.branch import Branch
from fairway.trace.conditions import Remembered
from fairway.trace.connections import Connections
from fairway.trace.ipsets import Sets
from fairway.trace.iptables import Tables
from fairway.trace.nft import Base, Runner, bases, is_iptables
from fairway.trace.routing import LOOPBACK, Asked, Decision, Settings, Way, decide, martian, reverse_path
from fairway.trace.steps import Event, Hook, State, Step, Trace

TABLES: Mapping[Hook, tuple[str, ...]] = {
    Hook.PREROUTING: ("raw", "mangle", "nat"),
    Hook.INPUT: ("mangle", "filter", "security", "nat"),
    Hook.FORWARD: ("mangle", "filter", "security"),
    Hook.OUTPUT: ("raw", "mangle", "nat", "filter", "security"),
    Hook.POSTROUTING: ("mangle", "nat"),
}
"""Which tables of iptables a hook has."""

PRIORITIES: Mapping[str, int] = {"raw": -300, "mangle": -150, "filter": 0, "security": 50}
"""When iptables' tables are asked; nat is asked as all translation is."""

TO_DESTINATION = (Hook.PREROUTING, Hook.OUTPUT)
"""Where nat may change the destination; at its other hooks it changes the source."""

DESTINATIONS, SOURCES = -100, 100
"""When the two ends are translated."""

CONNECTIONS = -200
"""When connection tracking sees the packet, at PREROUTING and OUTPUT."""

Stage: TypeAlias = Callable[[Branch], list[Branch]]


@dataclass(frozen=True, slots=True)
class Rules:
    """What a node's kernel holds: one family's iptables, nftables, or both; None: nothing is known of it. Tables that
    iptables' nf_tables variant keeps in nftables are asked once, in the place they have there. `whole`: what is not
    there is known not to be there. `remembered` are the lists of `-m recent`; None: not known. `sets` are those of
    ipset."""

    iptables: IptablesRuleset | None = None
    nft: NftRuleset | None = None
    whole: bool = False
    remembered: Remembered | None = None
    sets: Sets = field(default_factory=Sets)
    _bases: dict[tuple[Family, Hook], list[Base]] = field(init=False, default_factory=dict, compare=False, repr=False)

    def bases(self, family: Family, hook: Hook) -> list[Base]:
        """The base chains of a hook, looked for once: there may be tens of thousands of chains."""
        if self.nft is None:
            return []
        if (family, hook) not in self._bases:
            self._bases[family, hook] = bases(self.nft, family, hook)
        return self._bases[family, hook]

    @classmethod
    def of(cls, rules: Rules | IptablesRuleset | NftRuleset) -> Rules:
        """Rules of either kind."""
        if isinstance(rules, Rules):
            return rules
        return cls(nft=rules) if isinstance(rules, NftRuleset) else cls(iptables=rules)


def trace(
    rules: Rules | IptablesRuleset | NftRuleset,
    node: Node,
    packet: Packet,
    *,
    settings: Settings | None = None,
    connections: Connections | None = None,
) -> Trace:
    """Everything that can become of a packet at this node: the first of its connection, unless `connections` has one
    that it belongs to. Pure.

    Raises TraceError (JumpLoop) when the rules cannot be what a kernel holds.
    """
    given = Rules.of(rules)
    whole = given.whole or given.iptables is None or (given.nft is not None and not given.iptables.tables)
    book = Book(given.iptables or IptablesRuleset(), whole=whole)
    settings = settings or Settings()
    tables = Tables(book, node, given.remembered, given.sets, settings)
    runner = Runner(node, tables.ledger, book.note)
    walk = _Walk(given, tables, runner, node, settings, connections or Connections())
    start = Branch(State.of(packet))
    ends = walk.arriving([start]) if packet.in_interface else walk.leaving(start)
    for branch in ends:
        if branch.outcome is not None:
            tables.ledger.end(branch.knot, branch.outcome)
    return Trace(packet, node, tuple(b.path() for b in ends), tables.ledger.shares(), book.notes)


@dataclass(frozen=True, slots=True)
class _Asker:
    """What a hook asks at one point: a table of iptables (`table`), or a base chain."""

    priority: int
    type: str
    stage: Stage
    table: str = ""


@dataclass(slots=True)
class _Walk:
    rules: Rules
    tables: Tables
    runner: Runner
    node: Node
    settings: Settings
    connections: Connections

    def arriving(self, branches: Iterable[Branch]) -> list[Branch]:
        """From a device: PREROUTING, routing, and on to this node or through it."""
        admitted = _each(branches, lambda b: [self._admit(b)])
        routed = _each(self._hook(Hook.PREROUTING, admitted), lambda b: [self._route(b)])
        return _each(routed, self._deliver_or_forward)

    def leaving(self, branch: Branch) -> list[Branch]:
        """From a process of the node: routing, OUTPUT, POSTROUTING, and over `lo` back in when it stays here."""
        branches = self._hook(Hook.OUTPUT, [self._route(branch)])
        branches = _each(branches, lambda b: [self._aim(b)])
        branches = self._hook(Hook.POSTROUTING, branches)
        return _each(branches, self._send)

    def _admit(self, branch: Branch) -> Branch:
        """IPv6 looks at the addresses once, before any rule, and never at those of packets on their way out
        (ip6_rcv_core in net/ipv6/ip6_input.c); IPv4 looks whenever it routes."""
        refused = self._martian(branch.state, branch.state.in_device) if branch.state.family is Family.IPV6 else ""
        return _refused(branch, refused) if refused else branch

    def _martian(self, state: State, device: str) -> str:
        return martian(state.source_address, state.destination_address, device, self.settings)

    def _hook(self, hook: Hook, branches: Iterable[Branch]) -> list[Branch]:
        left = list(branches)
        for stage in self._stages(hook, left):
            left = _each(left, stage)
        return left

    def _stages(self, hook: Hook, branches: list[Branch]) -> list[Stage]:
        """What the hook asks, in its order."""
        if not branches:
            return []
        askers = self._askers(hook, branches[0])
        found = [
            (asker.priority, self._rerouting(hook, asker.type in ("mangle", "route"), asker.stage))
            for asker in askers
            if asker.type != "nat"
        ]
        if hook in TO_DESTINATION:
            found.append((CONNECTIONS, partial(self._connect, hook)))
        if "nat" in TABLES[hook]:
            translators = [asker.stage for asker in askers if asker.type == "nat"]
            translate = partial(self._translate, hook, translators)
            found.append((DESTINATIONS if hook in TO_DESTINATION else SOURCES, self._rerouting(hook, True, translate)))
        return [stage for _, stage in sorted(found, key=lambda stage: stage[0])]

    def _askers(self, hook: Hook, branch: Branch) -> list[_Asker]:
        """Tables of iptables and base chains of nftables by priority. Of equal ones, what was made last comes first;
        where the listing of nftables does not tell, iptables."""
        found: list[_Asker] = []
        beside = self.rules.iptables is not None
        for base in self.rules.bases(branch.state.family, hook):
            if beside and is_iptables(base.table):
                found += [self._table(hook, base.table.name)] * (base.table.name in TABLES[hook])
            else:
                found.append(_Asker(base.priority, base.type, partial(self.runner.run, hook, base)))
        listed = {asker.table for asker in found}
        unlisted = [self._table(hook, table) for table in TABLES[hook] if table not in listed]
        return sorted(unlisted + found, key=lambda asker: asker.priority)

    def _table(self, hook: Hook, table: str) -> _Asker:
        own = DESTINATIONS if hook in TO_DESTINATION else SOURCES
        return _Asker(PRIORITIES.get(table, own), table, partial(self.tables.run, hook, table), table)

    def _translate(self, hook: Hook, translators: Iterable[Stage], branch: Branch) -> list[Branch]:
        """Ask one translator after the other until one has translated."""
        state = branch.state
        destination = hook in TO_DESTINATION
        if state.known is not None:
            return [branch.translate(state.known, hook, destination)]
        settled = state.destination_settled if destination else state.source_settled
        if settled or not state.tracked:
            return [branch]
        left = [branch]
        for translator in translators:
            left = _each(left, partial(_unless_translated, destination, translator))
        return [b if b.ended else _settle(b, destination) for b in left]

    def _rerouting(self, hook: Hook, reroutes: bool, stage: Stage) -> Stage:
        """At OUTPUT, what may change what routing looks at is followed by the second routing decision. Rules of
        later stages still see the device of the first decision (nf_hook_state is filled in once per hook)."""
        if hook is not Hook.OUTPUT or not reroutes:
            return stage

        def run(branch: Branch) -> list[Branch]:
            return _each(stage(branch), lambda b: [self._reroute(b) if _routes_anew(branch.state, b.state) else b])

        return run

    def _reroute(self, branch: Branch) -> Branch:
        routed = self._route(branch)
        first = replace(routed.state, out_device=branch.state.out_device, via=branch.state.via)
        return routed if routed.ended else replace(routed, state=first)

    def _aim(self, branch: Branch) -> Branch:
        """OUTPUT is done: the packet takes the way of its last routing decision."""
        found = self._decide(branch.state)
        return replace(branch, state=replace(branch.state, out_device=found.device, via=found.via))

    def _decide(self, state: State) -> Decision:
        asked = Asked(state.source_address, state.mark, state.in_device)
        return decide(self.node, state.destination_address, asked, self.settings)

    def _route(self, branch: Branch) -> Branch:
        """Decide the way; ends the branch when there is none, or when the kernel refuses the addresses."""
        state = branch.state
        found = self._decide(state)
        after = replace(state, out_device=found.device, via=found.via)
        refused = ""
        if state.family is Family.IPV4:
            refused = self._martian(state, state.in_device or found.device)
        refused = refused or reverse_path(self.node, state.source_address, state.in_device, self.settings)
        if refused:
            return _refused(branch, refused)
        branch = branch.step(Step(Hook.ROUTING, Event.ROUTE, after, detail=found.route or found.way.value))
        if found.way is Way.UNREACHABLE:
            return branch.end(Verdict.REJECTED)
        if found.way is Way.BLACKHOLE:
            return branch.end(Verdict.DROPPED)
        if found.way is Way.UNKNOWN:
            self.tables.book.note(f"The node's {state.family} routes are not known: the packet is taken to leave it.")
        return branch

    def _connect(self, hook: Hook, branch: Branch) -> list[Branch]:
        """Connection tracking (NF_IP_PRI_CONNTRACK)."""
        state = branch.state
        known = None if state.connected or not state.tracked else self.connections.find(state.protocol, state.ends)
        after = state.connect(known)
        if known is None:
            return [replace(branch, state=after)]
        way = "an answer of" if known.answer else "a packet of"
        standing = known.entry.state or ("answered" if known.entry.replied else "not answered yet")
        left = f", {known.entry.seconds} s left" if known.entry.seconds else ""
        return [
            branch.step(Step(hook, Event.KNOWN, after, "conntrack", detail=f"{way} a connection, {standing}{left}"))
        ]

    def _deliver_or_forward(self, branch: Branch) -> list[Branch]:
        if branch.state.out_device == LOOPBACK:
            return _each(self._hook(Hook.INPUT, [branch]), lambda b: [b.arrive()])
        if not self.settings.ip_forward:
            step = Step(Hook.ROUTING, Event.DROP, branch.state, detail="this node forwards nothing: ip_forward is 0")
            return [branch.step(step).end(Verdict.DROPPED)]
        forwarded = self._hook(Hook.FORWARD, [branch])
        return _each(self._hook(Hook.POSTROUTING, forwarded), lambda b: [b.arrive()])

    def _send(self, branch: Branch) -> list[Branch]:
        """Out of the node, or over `lo`, where the packet comes in again with its mark and its connection."""
        if branch.state.out_device != LOOPBACK:
            return [branch.arrive()]
        return self.arriving([replace(branch, state=replace(branch.state, in_device=LOOPBACK, out_device=""))])


def _each(branches: Iterable[Branch], onward: Callable[[Branch], list[Branch]]) -> list[Branch]:
    """Take every branch that is still under way one stage on."""
    return [after for branch in branches for after in ([branch] if branch.ended else onward(branch))]


def _refused(branch: Branch, why: str) -> Branch:
    return branch.step(Step(Hook.ROUTING, Event.MARTIAN, branch.state, detail=why)).end(Verdict.DROPPED)


def _unless_translated(destination: bool, translator: Stage, branch: Branch) -> list[Branch]:
    done = branch.state.destination_translated if destination else branch.state.source_translated
    return [branch] if done else translator(branch)


def _settle(branch: Branch, destination: bool) -> Branch:
    state = branch.state
    settled = replace(state, destination_settled=True) if destination else replace(state, source_settled=True)
    return replace(branch, state=settled)


def _routes_anew(before: State, after: State) -> bool:
    return (before.source, before.destination, before.mark) != (after.source, after.destination, after.mark)
