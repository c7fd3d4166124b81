"""The rules as a walk reads them: each chain's rules understood once, and what partial dumps lack.

Rules pasted from somewhere (`iptables-save | grep httpd-svc`) often lack the chains around them. Where a dump shows
that it is partial, and convention leaves no doubt about a missing chain of kube-proxy's, the chain is assumed, and a
note says so. A dump that declares its chains is taken at its word: nothing is assumed.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence

from fairway.ruleset.iptables import Chain, Ruleset, Table
from fairway.ruleset.iptables_match import understand
from fairway.ruleset.iptables_terms import Jump, Parsed, Translate
from fairway.trace.names import Subject, subject
from fairway.trace.steps import TraceError

MAX_CHAIN = 2_000_000
"""Rules in one chain that are still read; the largest clusters known have about a hundred thousand."""

NODEPORTS_LAST = (
    '-m comment --comment "kubernetes service nodeports; NOTE: this must be the last rule in this chain" '
    "-m addrtype --dst-type LOCAL -j KUBE-NODEPORTS"
)
PORTALS = '-m comment --comment "kubernetes service portals" -j KUBE-SERVICES'
CONVENTION: Mapping[str, tuple[tuple[str, ...], str]] = {
    "PREROUTING": ((PORTALS,), "that it sends every packet to KUBE-SERVICES"),
    "OUTPUT": ((PORTALS,), "that it sends every packet to KUBE-SERVICES"),
    "KUBE-SERVICES": ((NODEPORTS_LAST,), "that it sends packets for the node's own addresses to KUBE-NODEPORTS"),
    "POSTROUTING": (
        ('-m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING',),
        "that it sends every packet to KUBE-POSTROUTING",
    ),
    "KUBE-POSTROUTING": (
        (
            "-m mark ! --mark 0x4000/0x4000 -j RETURN",
            '-m comment --comment "kubernetes service traffic requiring SNAT" -j MASQUERADE',
        ),
        "that it masquerades packets with the mark 0x4000",
    ),
    "KUBE-MARK-MASQ": (("-j MARK --set-xmark 0x4000/0x4000",), "that it sets the mark 0x4000"),
}
"""What kube-proxy's chains of the nat table hold whatever the Services are, for dumps that lack them."""

_LOOKED_UP = ("KUBE-SERVICES", "KUBE-NODEPORTS")


class Book:
    """One family's rules, understood on demand. `notes` grows with every assumption a walk had to make."""

    def __init__(self, ruleset: Ruleset, *, whole: bool = False) -> None:
        """`whole`: what is not there is known not to be there."""
        self._ruleset = ruleset
        self._understood: dict[str, Parsed] = {}
        self._assumed: dict[str, tuple[str, ...]] = {}
        self._choices: dict[tuple[str, str], list[int | None]] = {}
        self._notes: dict[str, None] = {}
        if not whole and "filter" not in ruleset.tables:
            self.note("The rules hold no filter table: what it rejects or drops is not seen here.")

    @property
    def notes(self) -> tuple[str, ...]:
        """What was assumed or missing so far, each said once."""
        return tuple(self._notes)

    @functools.cached_property
    def partial(self) -> bool:
        """Whether the nat table is a piece of one. Looked at only where a chain is missing: it reads every rule."""
        nat = self._ruleset.tables.get("nat")
        return nat is not None and _is_partial(nat)

    def note(self, text: str) -> None:
        """Remember something the reader of the trace must know."""
        self._notes[text] = None

    def has(self, table: str, chain: str) -> bool:
        """Whether the table is there and holds the chain, or the chain can be assumed."""
        return self._chain(table, chain) is not None or bool(self._assume(table, chain))

    def policy(self, table: str, chain: str) -> str:
        """A built-in chain's policy; ACCEPT when the dump does not say (the kernel's own default)."""
        found = self._chain(table, chain)
        return (found.policy if found else None) or "ACCEPT"

    def rules(self, table: str, chain: str) -> list[str] | tuple[str, ...]:
        """The specifications of a chain's rules, those assumed at the end. Raises TraceError beyond MAX_CHAIN."""
        found = self._chain(table, chain)
        written = found.rules if found else []
        if len(written) > MAX_CHAIN:
            raise TraceError(f"chain {chain} of table {table} holds {len(written)} rules; that is more than any node's")
        assumed = self._assume(table, chain)
        return [*written, *assumed] if assumed else written

    def parsed(self, spec: str) -> Parsed:
        """A rule's meaning, read once."""
        found = self._understood.get(spec)
        if found is None:
            found = self._understood[spec] = understand(spec)
        return found

    def alternatives(self, table: str, chain: str, index: int) -> int | None:
        """How many choices are left at the rule with this index (from 0), when it is one of a run of rules that choose
        by chance and a rule that takes the rest follows them."""
        if (table, chain) not in self._choices:
            self._choices[table, chain] = self._count_choices(self.rules(table, chain))
        return self._choices[table, chain][index]

    def _count_choices(self, rules: Sequence[str]) -> list[int | None]:
        """For every rule of a chain, from the last one back: what `alternatives` says."""
        counts: list[int | None] = []
        left: int | None = None  # choices from the following rule on
        for rule in reversed(rules):
            by_chance = "--probability" in rule
            counts.append(left + 1 if by_chance and left is not None else None)
            left = counts[-1] if by_chance else int(isinstance(self.parsed(rule).target, Jump)) or None
        return counts[::-1]

    def endpoints(self, about: Subject) -> tuple[str, ...]:
        """The "address:port" of every DNAT that the rules say is for a Service port, wherever they are."""
        found: dict[str, None] = {}
        nat = self._ruleset.tables.get("nat")
        for chain in nat.chains.values() if nat else ():
            for rule in chain.rules if chain.name.startswith("KUBE-SEP-") else ():
                parsed = self.parsed(rule)
                this = subject(parsed.comment)
                if isinstance(parsed.target, Translate) and this is not None and str(this) == str(about):
                    found[rule.rpartition("--to-destination ")[2]] = None
        return tuple(found)

    def came_through(self, table: str, chain: str) -> None:
        """A packet came to the end of a chain. Of a piece of those where Services are looked up that says little."""
        if table == "nat" and chain in _LOOKED_UP and self.partial:
            found = self._chain(table, chain)
            if found is not None and not found.declared:
                self.note(f"The rules may not show all of chain {chain}: a Service that they leave out is not seen.")

    def _chain(self, table: str, chain: str) -> Chain | None:
        found = self._ruleset.tables.get(table)
        return found.chains.get(chain) if found else None

    def _assume(self, table: str, chain: str) -> tuple[str, ...]:
        """The rules that convention puts into a chain that the dump lacks, or shows a piece of."""
        found = self._chain(table, chain)
        if table != "nat" or chain not in CONVENTION or (found is not None and found.declared):
            return ()
        if chain not in self._assumed:
            self._assumed[chain] = CONVENTION[chain][0] if self._lacks(chain, found) else ()
            if self._assumed[chain]:
                self.note(f"The rules do not show all of chain {chain}; it is assumed {CONVENTION[chain][1]}.")
        return self._assumed[chain]

    def _lacks(self, name: str, found: Chain | None) -> bool:
        if not self.partial:
            return False
        if name == "KUBE-SERVICES":
            leads_on = found is not None and any(rule.endswith("-j KUBE-NODEPORTS") for rule in found.rules)
            return not leads_on and self._chain("nat", "KUBE-NODEPORTS") is not None
        return found is None or not found.rules


def _is_partial(table: Table) -> bool:
    """A proxy's table is a piece when rules were seen for chains that nobody declared, or a rule leads to a chain that
    is not there; the kernel holds neither."""
    known = table.chains.keys()
    if not any(name.startswith("KUBE-") for name in known):
        return False
    if any(not chain.declared for chain in table.chains.values()):
        return True
    return any(
        target.startswith("KUBE-") and target not in known
        for chain in table.chains.values()
        for target in (rule.rpartition("-j ")[2] for rule in chain.rules)
    )
