"""What a trace is made of: the packet's state on its way, steps, paths, and the trace as a whole. Values only."""

from __future__ import annotations

import enum
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction

from fairway.node import Address, Node
from fairway.packet import Family, Outcome, Packet, Protocol, family_of
from fairway.trace.connections import Known, Original


class TraceError(ValueError):
    """The rules cannot be followed, and it is the rules' fault. The text says which and what to look at."""


class JumpLoop(TraceError):
    """A chain leads back to itself. The kernel refuses such rules, so the dump at hand was edited or mixed."""

    def __init__(self, table: str, chains: tuple[str, ...]) -> None:
        super().__init__(
            f"table {table}: chain {chains[-1]} leads back to itself ({' -> '.join(chains)}); no kernel loads such "
            "rules, so look for pieces of several dumps in the input"
        )
        self.table = table
        self.chain = chains[-1]


class Hook(enum.StrEnum):
    """Where in the kernel a step happens; ROUTING is the decision between the hooks."""

    PREROUTING = "PREROUTING"
    INPUT = "INPUT"
    FORWARD = "FORWARD"
    OUTPUT = "OUTPUT"
    POSTROUTING = "POSTROUTING"
    ROUTING = "routing"


class Event(enum.StrEnum):
    """What happened at a step."""

    JUMP = "jump"
    GOTO = "goto"
    RETURN = "return"
    END = "end"  # the end of a user chain: back to where it was called
    POLICY = "policy"  # the end of a built-in chain
    ACCEPT = "accept"
    DROP = "drop"
    REJECT = "reject"
    MARK = "mark"
    DNAT = "dnat"
    SNAT = "snat"
    MASQUERADE = "masquerade"
    UNTRACKED = "untracked"
    COUNTED = "counted"  # the rule applies and changes nothing on the packet's way
    PASSED = "passed"  # the rule is taken not to apply, for a reason worth telling
    UNMARKED = "unmarked"  # a rule that has packets masqueraded lets this one alone for its source
    MAY_NOT = "may not"  # nobody can tell; this branch follows the case that the rule does not apply
    ROUTE = "route"
    MARTIAN = "martian"  # the kernel drops the packet for its addresses
    KNOWN = "known"  # the packet belongs to a connection that the kernel knows
    MISSING = "missing"  # the rules at hand lack a chain
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class State:
    """The packet at one point of its way, with what the kernel remembers of its connection.

    `destination_settled` and `source_settled` say that nat tables have had their one look at this connection for
    that end, whether they translated it or not. `connected` says that connection tracking has seen the packet, which
    comes after the raw table, and `original` as what; `tracked` False, that it was told not to look. `seen` holds
    (list, address) pairs that `-m recent --set` wrote on this packet's way, `forgotten` those that `--remove` took
    out, `changed_sets` the sets of ipset that `-j SET` may have changed. `status` is what `--ctstate SNAT` and `DNAT`
    look at: which ends really differ now, as a translation to the same address and port is none to the kernel.
    `known` is what the kernel's table of connections says of the packet, when it is not a connection's first.
    """

    source: str
    destination: str
    protocol: Protocol
    source_port: int
    destination_port: int
    in_device: str = ""
    out_device: str = ""
    via: str = ""
    mark: int = 0
    connection_mark: int = 0
    tracked: bool = True
    connected: bool = False
    source_translated: bool = False
    destination_translated: bool = False
    source_settled: bool = False
    destination_settled: bool = False
    status: frozenset[str] = frozenset()
    seen: frozenset[tuple[str, str]] = frozenset()
    forgotten: frozenset[tuple[str, str]] = frozenset()
    changed_sets: frozenset[str] = frozenset()
    original: Original | None = None
    known: Known | None = None

    @classmethod
    def of(cls, packet: Packet) -> State:
        """The state of a packet before its first hook."""
        return cls(
            packet.source,
            packet.destination,
            packet.protocol,
            packet.source_port,
            packet.destination_port,
            packet.in_interface,
        )

    @property
    def family(self) -> Family:
        return family_of(self.destination)

    @property
    def ends(self) -> Original:
        """The packet's two ends as they are now."""
        return Original(self.source, self.destination, self.source_port, self.destination_port)

    def connect(self, known: Known | None = None) -> State:
        """The state once connection tracking has seen the packet; a packet that it knows stays as it is. With `known`
        the nat tables are not asked: what they said of the first packet holds (nf_nat_inet_fn)."""
        if self.connected:
            return self
        if known is None:
            return replace(self, connected=True, original=self.ends)
        first, back = known.entry.original, known.entry.reply.turned()
        status = {
            "DNAT": (first.destination, first.destination_port) != (back.destination, back.destination_port),
            "SNAT": (first.source, first.source_port) != (back.source, back.source_port),
        }
        return replace(
            self,
            connected=True,
            original=first,
            known=known,
            connection_mark=known.entry.mark,
            status=frozenset(end for end, differs in status.items() if differs),
            destination_settled=True,
            source_settled=True,
        )

    @property
    def has_connection(self) -> bool:
        """Whether the packet has a conntrack entry at this point of its way."""
        return self.tracked and self.connected

    @property
    def answers(self) -> bool:
        """Whether the packet is known to go a connection's way back."""
        return self.known is not None and self.known.answer

    @property
    def source_address(self) -> Address | None:
        """The source as a value; None when it is not known (masquerade by a device whose address is not known)."""
        return ipaddress.ip_address(self.source) if self.source else None

    @property
    def destination_address(self) -> Address:
        return ipaddress.ip_address(self.destination)


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that happened. `number` counts rules of `chain` from 1 (0: no rule), `rule` is the rule's text,
    `packet` the state after the step, `detail` a word or two more (a device, a mark, a reason). `probability` is the
    chance of this rule to apply once the packet is there, None when nothing is left to chance. `comment` is that of
    an nftables rule; an iptables rule's is in its text."""

    hook: Hook
    event: Event
    packet: State
    table: str = ""
    chain: str = ""
    number: int = 0
    rule: str = ""
    detail: str = ""
    probability: Fraction | None = None
    comment: str = ""

    def place(self) -> dict[str, str | int]:
        """Where it happened and what it was, under the names that JSON has for it."""
        return {
            "hook": self.hook.value,
            "table": self.table,
            "chain": self.chain,
            "number": self.number,
            "rule": self.rule,
            "event": self.event.value,
        }


@dataclass(frozen=True, slots=True)
class Egress:
    """How the packet leaves: the device ("lo": it stays on this node, "": not known) and the next hop or ""."""

    device: str = ""
    via: str = ""


@dataclass(frozen=True, slots=True)
class Path:
    """One way the packet can take. `chance` is its share of the packets as far as chance decides; `certain` False
    means that it also hangs on something that cannot be known. `source_seen` is the source address at the end of the
    way, "" when it cannot be known."""

    steps: tuple[Step, ...]
    outcome: Outcome
    egress: Egress
    source_seen: str
    chance: Fraction
    certain: bool = True

    @property
    def probability(self) -> Fraction | None:
        """The path's exact probability; None when nobody can tell."""
        return self.chance if self.certain else None

    @property
    def reason(self) -> str:
        """Why it ended, as far as the last step tells."""
        return self.steps[-1].detail if self.steps else ""


@dataclass(frozen=True, slots=True)
class Trace:
    """Everything that can become of one packet. `notes` say what was missing from the rules and what was assumed."""

    packet: Packet
    node: Node
    branches: tuple[Path, ...]
    shares: Mapping[Outcome, Fraction] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def outcomes(self) -> dict[Outcome, Fraction]:
        """Every outcome with its probability; they sum to 1. Where a branch hangs on what cannot be known, only what
        is certain either way is counted and the rest is UNKNOWN."""
        return dict(self.shares)
