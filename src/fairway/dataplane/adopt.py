"""Which of a kernel's iptables rules are ours: ours from before a restart, or a kube-proxy's that we take over from.

Foreign chains and rules are looked at only to see whether they jump to ours; they are never written back.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from fairway.dataplane.iptables import Chains, Rules, Tables
from fairway.dataplane.iptables_base import BASE_CHAINS, JUMP_TARGETS, JUMPS, SERVICE_CHAIN_PREFIXES
from fairway.ruleset.iptables import BUILTIN, Chain, Ruleset, Table

_JUMP = re.compile(r"(?:^| )-[jg] (\S+)")


@dataclass(frozen=True, slots=True)
class Held:
    """What of ours a kernel holds in one family. Of built-in chains, only the rules that lead to our chains.

    `pinned` are (table, chain) that foreign rules jump to: such chains may be emptied but not removed.
    """

    tables: Tables = field(default_factory=dict)
    pinned: frozenset[tuple[str, str]] = frozenset()

    def chains(self, table: str) -> Chains:
        return self.tables.get(table, {})


NOTHING = Held()


def is_ours(table: str, chain: str) -> bool:
    """Whether a chain of this name belongs to a node proxy. Other KUBE chains are the kubelet's or somebody else's."""
    if chain.startswith(SERVICE_CHAIN_PREFIXES):
        return table == "nat"
    return chain in BASE_CHAINS.get(table, ())


def adopt(found: Ruleset) -> Held:
    """Take what is ours out of `found`, a kernel's whole rule set."""
    tables: dict[str, dict[str, Rules]] = {}
    pinned: set[tuple[str, str]] = set()
    for table in found.tables.values():
        if table.name not in BASE_CHAINS:
            continue
        tables[table.name] = {chain.name: rules for chain in table.chains.values() for rules in _ours(table, chain)}
        pinned.update((table.name, target) for target in _foreign_jumps(table))
    return Held(tables, frozenset(pinned))


def target(rule: str) -> str:
    """The chain or verdict a rule jumps or goes to; "" for one that only counts."""
    found = _JUMP.findall(rule)
    return found[-1] if found else ""


def _ours(table: Table, chain: Chain) -> Iterator[Rules]:
    """The rules of a chain that is ours, or the rules of ours in a built-in one; nothing for a foreign chain."""
    if is_ours(table.name, chain.name):
        yield tuple(chain.rules)
    elif chain.name in BUILTIN[table.name]:
        jumps = tuple(rule for rule in chain.rules if _is_jump(table.name, rule))
        if jumps or chain.name in JUMPS.get(table.name, ()):
            yield jumps


def _is_jump(table: str, rule: str) -> bool:
    return target(rule) in JUMP_TARGETS.get(table, ())


def _foreign_jumps(table: Table) -> Iterable[str]:
    for chain in table.chains.values():
        if is_ours(table.name, chain.name):
            continue
        builtin = chain.name in BUILTIN[table.name]
        for rule in chain.rules:
            if is_ours(table.name, target(rule)) and not (builtin and _is_jump(table.name, rule)):
                yield target(rule)
