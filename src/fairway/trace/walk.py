"""The way of a packet through the kernel: hooks in their order, routing between them, until it has arrived or ended.

The order of tables at a hook is that of their priorities (enum nf_ip_hook_priorities in uapi/linux/netfilter_ipv4.h);
nat tables see a connection's first packet once per end of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial

from fairway.node import Node
from fairway.packet import Packet, Verdict
from fairway.ruleset.iptables import Ruleset
from fairway.trace.book import Book
from fairway.trace.branch import Branch
from fairway.trace.iptables import Tables
from fairway.trace.routing import LOOPBACK, Settings, Way, decide, martian
from fairway.trace.steps import Event, Hook, State, Step, Trace

TABLES: Mapping[Hook, tuple[str, ...]] = {
    Hook.PREROUTING: ("raw", "mangle", "nat"),
    Hook.INPUT: ("mangle", "filter", "security", "nat"),
    Hook.FORWARD: ("mangle", "filter", "security"),
    Hook.OUTPUT: ("raw", "mangle", "nat", "filter", "security"),
    Hook.POSTROUTING: ("mangle", "nat"),
}
"""Which tables a hook has, in the order the kernel asks them. Connection tracking comes right after raw."""

TO_DESTINATION = (Hook.PREROUTING, Hook.OUTPUT)
"""Where nat may change the destination; at its other hooks it changes the source."""

REROUTING = ("mangle", "nat")
"""Tables after which the kernel routes a packet of its own again when they changed what routing looks at."""


def trace(rules: Ruleset, node: Node, packet: Packet, *, settings: Settings | None = None) -> Trace:
    """Everything that can become of the first packet of a connection at this node. Pure.

    Raises TraceError (JumpLoop) when the rules cannot be what a kernel holds.
    """
    book = Book(rules)
    walk = _Walk(Tables(book, node), node, settings or Settings())
    start = Branch(State.of(packet))
    ends = walk.arriving([start]) if packet.in_interface else walk.leaving(start)
    for branch in ends:
        if branch.outcome is not None:
            walk.tables.ledger.end(branch.knot, branch.outcome)
    return Trace(packet, node, tuple(b.path() for b in ends), walk.tables.ledger.shares(), book.notes)


@dataclass(slots=True)
class _Walk:
    tables: Tables
    node: Node
    settings: Settings

    def arriving(self, branches: Iterable[Branch]) -> list[Branch]:
        """From a device: PREROUTING, routing, and on to this node or through it."""
        routed = _each(self._hook(Hook.PREROUTING, branches), lambda b: [self._route(b)])
        return _each(routed, self._deliver_or_forward)

    def leaving(self, branch: Branch) -> list[Branch]:
        """From a process of the node: routing, OUTPUT, POSTROUTING, and over `lo` back in when it stays here."""
        branches = [self._route(branch)]
        for table in TABLES[Hook.OUTPUT]:
            branches = _each(branches, partial(self._output, table))
        branches = _each(branches, lambda b: [self._aim(b)])
        branches = self._hook(Hook.POSTROUTING, branches)
        return _each(branches, self._send)

    def _hook(self, hook: Hook, branches: Iterable[Branch]) -> list[Branch]:
        left = list(branches)
        for table in TABLES[hook]:
            left = _each(left, partial(self._table, hook, table))
        return left

    def _table(self, hook: Hook, table: str, branch: Branch) -> list[Branch]:
        if table == "raw":
            return [_connect(b) for b in self.tables.run(hook, table, branch)]
        if table != "nat":
            return self.tables.run(hook, table, branch)
        state = branch.state
        destination = hook in TO_DESTINATION
        settled = state.destination_settled if destination else state.source_settled
        if settled or not state.tracked:
            return [branch]
        return [_settle(b, destination) for b in self.tables.run(hook, table, branch)]

    def _output(self, table: str, branch: Branch) -> list[Branch]:
        """One table of OUTPUT, and the second routing decision where it changed the destination or the mark. Rules of
        OUTPUT's later tables still see the device of the first decision (nf_hook_state is filled in once per hook)."""
        found = self._table(Hook.OUTPUT, table, branch)
        if table not in REROUTING:
            return found
        return _each(found, lambda b: [self._reroute(b) if _routes_anew(branch.state, b.state) else b])

    def _reroute(self, branch: Branch) -> Branch:
        routed = self._route(branch)
        first = replace(routed.state, out_device=branch.state.out_device, via=branch.state.via)
        return routed if routed.ended else replace(routed, state=first)

    def _aim(self, branch: Branch) -> Branch:
        """OUTPUT is done: the packet takes the way of its last routing decision."""
        found = decide(self.node, branch.state.destination_address)
        return replace(branch, state=replace(branch.state, out_device=found.device, via=found.via))

    def _route(self, branch: Branch) -> Branch:
        """Decide the way; ends the branch when there is none, or when the kernel refuses the addresses."""
        state = branch.state
        found = decide(self.node, state.destination_address)
        after = replace(state, out_device=found.device, via=found.via)
        refused = martian(
            state.source_address, state.destination_address, state.in_device or found.device, self.settings
        )
        if refused:
            step = Step(Hook.ROUTING, Event.MARTIAN, state, detail=refused)
            return branch.step(step).end(Verdict.DROPPED)
        branch = branch.step(Step(Hook.ROUTING, Event.ROUTE, after, detail=found.route or found.way.value))
        if found.way is Way.UNREACHABLE:
            return branch.end(Verdict.REJECTED)
        if found.way is Way.UNKNOWN:
            self.tables.book.note(f"The node's {state.family} routes are not known: the packet is taken to leave it.")
        return branch

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


def _connect(branch: Branch) -> Branch:
    """Connection tracking: right after raw, before anything else (NF_IP_PRI_CONNTRACK)."""
    return replace(branch, state=replace(branch.state, connected=True))


def _settle(branch: Branch, destination: bool) -> Branch:
    state = branch.state
    settled = replace(state, destination_settled=True) if destination else replace(state, source_settled=True)
    return replace(branch, state=settled)


def _routes_anew(before: State, after: State) -> bool:
    return (before.source, before.destination, before.mark) != (after.source, after.destination, after.mark)
